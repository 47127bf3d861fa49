"""The response that we make when an exchange fails: the error document and the fields that tell it from the application's."""

from __future__ import annotations

from datetime import UTC, datetime
from math import ceil
from typing import Final

from sidecar.errors import Failure, document
from sidecar.http.head import Request
from sidecar.http.reply import Reply
from sidecar.resilience.breaker import OPEN
from sidecar.routing.plan import Service

RETRY_AFTER: Final = {Failure.OVERLOADED: 1.0}
"""After how many seconds it makes sense to ask again, where nothing better is known."""


def rfc3339(wall: float) -> str:
    """Unix seconds as a timestamp in UTC, with milliseconds."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def error_reply(
    failure: Failure,
    detail: str,
    source: str,
    request_id: bytes,
    wall: float,
    retry_after: float | None = None,
    parameter: str | None = None,
) -> Reply:
    """``wall``: Unix seconds; ``retry_after``: seconds, rounded up (``Retry-After`` knows no fractions).

    ``parameter``: the one of the query that is at fault.
    """
    if retry_after is None:
        retry_after = RETRY_AFTER.get(failure)
    body = document(failure, detail, source, request_id.decode("ascii"), rfc3339(wall), parameter)
    fields = [
        (b"content-type", b"application/json"),
        (b"x-request-id", request_id),
        (b"x-sidecar-reason", failure.reason.encode()),
        (b"x-sidecar-source", source.encode("utf-8")),
    ]
    if retry_after is not None:
        fields.append((b"retry-after", b"%d" % max(1, ceil(retry_after))))
    return Reply(failure.status, fields, body)


def nobody(service: Service, now: float) -> tuple[Failure, str, float | None]:
    """Why no endpoint of ``service`` may be asked: reason, detail, and seconds after which asking again makes sense."""
    endpoints = service.endpoints
    if not endpoints:
        return Failure.NO_ENDPOINTS, f"{service.name} has no endpoints", None
    barred = [e for e in endpoints if e.weight > 0 and e.breaker is not None and not e.breaker.admits(now)]
    if not barred:
        return (
            Failure.NO_HEALTHY_ENDPOINT,
            f"none of the {len(endpoints)} endpoints of {service.name} takes requests",
            None,
        )
    wait = min(e.breaker.retry_after(now) if e.breaker is not None and e.breaker.state == OPEN else 1.0 for e in barred)
    names = ", ".join(endpoint.label for endpoint in barred[:5]) + (" and more" if len(barred) > 5 else "")
    detail = f"the breaker of {names} is open after repeated failures; it lets a probe through in {wait:.1f} s"
    return Failure.BREAKER_OPEN, detail, wait


def unrouted(failure: Failure, head: Request) -> str:
    """What to tell a caller whose request has no plan."""
    if failure is Failure.LOOP_DETECTED:
        return "the request passed through this sidecar before"
    return f"no service and no route is named by the host {head.host!r}"
