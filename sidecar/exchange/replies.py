"""The response that we make when an exchange fails: the error document and the fields that tell it from the application's."""

from __future__ import annotations

from datetime import UTC, datetime
from math import ceil
from typing import TYPE_CHECKING, Final

from sidecar.errors import Failure, document
from sidecar.exchange import recording
from sidecar.exchange.states import FINISHED
from sidecar.http.head import Request
from sidecar.http.reply import Reply
from sidecar.resilience.breaker import OPEN
from sidecar.resilience.grpc import encode_message
from sidecar.resilience.standing import why
from sidecar.routing.plan import Service

if TYPE_CHECKING:
    from sidecar.exchange.machine import Exchange

RETRY_AFTER: Final = {Failure.OVERLOADED: 1.0}
"""After how many seconds it makes sense to ask again, where nothing better is known."""

NAMED: Final = 5
"""Endpoints that a detail tells of one by one."""


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
    grpc: bool = False,
) -> Reply:
    """``wall``: Unix seconds; ``retry_after``: seconds, rounded up (``Retry-After`` knows no fractions).

    ``parameter``: the one of the query that is at fault; ``grpc``: the request was a gRPC call.
    """
    if retry_after is None:
        retry_after = RETRY_AFTER.get(failure)
    fields = [
        (b"x-request-id", request_id),
        (b"x-sidecar-reason", failure.reason.encode()),
        (b"x-sidecar-source", source.encode("utf-8")),
    ]
    if retry_after is not None:
        fields.append((b"retry-after", b"%d" % max(1, ceil(retry_after))))
    if grpc:
        return _refused_call(failure, detail, fields, retry_after)
    body = document(failure, detail, source, request_id.decode("ascii"), rfc3339(wall), parameter)
    return Reply(failure.status, [(b"content-type", b"application/json"), *fields], body)


def _refused_call(failure: Failure, detail: str, fields: list[tuple[bytes, bytes]], retry_after: float | None) -> Reply:
    """gRPC over HTTP/2, "Responses": a status of 200, and one field section that is head and trailers in one."""
    if retry_after is not None:
        fields.append((b"grpc-retry-pushback-ms", b"%d" % ceil(retry_after * 1000)))
    status = [(b"grpc-status", b"%d" % failure.grpc), (b"grpc-message", encode_message(detail))]
    return Reply(200, [(b"content-type", b"application/grpc"), *fields, *status], b"")


def nobody(service: Service, now: float) -> tuple[Failure, str, float | None]:
    """Why no endpoint of ``service`` may be asked: reason, detail, and seconds after which asking again makes sense."""
    listed = service.listed
    if not listed:
        return Failure.NO_ENDPOINTS, f"{service.name} has no endpoints", None
    barred = [e for e in service.endpoints if e.weight > 0 and e.breaker is not None and not e.breaker.admits(now)]
    if not barred:
        told = "; ".join(f"{one.label}: {why(one)}" for one in listed[:NAMED] if why(one))
        detail = f"none of the {len(listed)} endpoints of {service.name} takes requests{f' ({told})' if told else ''}"
        return Failure.NO_HEALTHY_ENDPOINT, detail, None
    wait = min(e.breaker.retry_after(now) if e.breaker is not None and e.breaker.state == OPEN else 1.0 for e in barred)
    names = ", ".join(endpoint.label for endpoint in barred[:NAMED]) + (" and more" if len(barred) > NAMED else "")
    detail = f"the breaker of {names} is open after repeated failures; it lets a probe through in {wait:.1f} s"
    return Failure.BREAKER_OPEN, detail, wait


def failed(exchange: Exchange, failure: Failure, detail: str, retry_after: float | None) -> Reply:
    """The answer to a request whose plan did not lead to one."""
    if exchange.tried:
        detail += f"; tried {', '.join(endpoint.label for endpoint in exchange.tried)} in {exchange.attempt} attempts"
    wall = exchange.scope.clock.wall()
    return error_reply(
        failure, detail, exchange.plan.source, exchange.labels.request_id, wall, retry_after, grpc=exchange.head.grpc
    )


def refuse(exchange: Exchange, failure: Failure, detail: str = "") -> None:
    """Answers a request that has no plan, hence no policy; it is counted apart."""
    scope = exchange.scope
    exchange.state = FINISHED
    recording.refused(exchange, failure)
    detail = detail or _why_unplanned(failure, exchange.head)
    wall, grpc = scope.clock.wall(), exchange.head.grpc
    reply = error_reply(failure, detail, scope.source, exchange.labels.request_id, wall, grpc=grpc)
    exchange.downstream.reply(reply)


def _why_unplanned(failure: Failure, head: Request) -> str:
    if failure is Failure.LOOP_DETECTED:
        return "the request passed through this sidecar before"
    if failure is Failure.OVERLOADED:
        return "the memory of this sidecar is nearly used up; it takes requests again when less is in use"
    return f"no service and no route is named by the host {head.host!r}"
