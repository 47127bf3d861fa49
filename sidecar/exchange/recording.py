"""What is left of an exchange at its end: a count, and a line of the access log if there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.errors import Failure
from sidecar.telemetry.access_log import AccessLog, Entry, path_of
from sidecar.telemetry.stats import Stats

if TYPE_CHECKING:
    from sidecar.exchange.machine import Exchange


def refused(exchange: Exchange, failure: Failure) -> None:
    """Records an exchange that never got a plan."""
    scope = exchange.scope
    now = scope.clock.now()
    scope.unrouted.record(exchange.head.method, failure.status, failure.reason, now - exchange.started)
    if scope.access_log is not None:
        logged(exchange, scope.access_log, scope.unrouted, failure.status, failure.reason, now)


def logged(exchange: Exchange, log: AccessLog, stats: Stats, status: int, reason: str, now: float) -> None:
    """Puts an exchange into the access log, unless that leaves out what ended so."""
    if not log.wants(status, reason):
        return
    head = exchange.head
    labels = exchange.labels
    log.record(
        Entry(
            exchange.scope.clock.wall(),
            stats,
            head.method,
            path_of(head.target),
            head.host,
            head.port,
            status,
            reason,
            now - exchange.started,
            exchange.attempt,
            exchange.endpoint.label if exchange.attempt else "",
            labels.request_id,
            labels.trace_id,
            exchange.downstream.peer,
        )
    )


def unread(wall: float, stats: Stats, failure: Failure, request_id: bytes, peer: str) -> Entry:
    """The entry of what could not be read as a request: most of what one has is missing."""
    return Entry(wall, stats, b"", b"", "", 0, failure.status, failure.reason, 0.0, 0, "", request_id, b"", peer)
