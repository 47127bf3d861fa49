"""What is left of an exchange at its end: a count, and a line of the access log if there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.errors import Failure
from sidecar.resilience.grpc import FAILURE_STATUSES, name_of
from sidecar.telemetry.access_log import AccessLog, Entry, path_of
from sidecar.telemetry.stats import Stats

if TYPE_CHECKING:
    from sidecar.exchange.machine import Exchange


def refused(exchange: Exchange, failure: Failure) -> None:
    """Records an exchange that never got a plan."""
    scope = exchange.scope
    now = scope.clock.now()
    grpc = exchange.head.grpc
    status = 200 if grpc else failure.status
    scope.unrouted.record(exchange.head.method, status, failure.reason, now - exchange.started)
    if grpc:
        exchange.grpc_status = failure.grpc
        scope.unrouted.record_grpc(failure.grpc, failure.reason)
    if scope.access_log is not None:
        logged(exchange, scope.access_log, scope.unrouted, status, failure.reason, now)


def logged(exchange: Exchange, log: AccessLog, stats: Stats, status: int, reason: str, now: float) -> None:
    """Puts an exchange into the access log, unless that leaves out what ended so."""
    code = exchange.grpc_status
    if not log.wants(reason != "" or status >= 500 or code in FAILURE_STATUSES):
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
            "" if code is None else name_of(code),
        )
    )


def unread(wall: float, stats: Stats, failure: Failure, request_id: bytes, peer: str) -> Entry:
    """The entry of what could not be read as a request: most of what one has is missing."""
    return Entry(wall, stats, b"", b"", "", 0, failure.status, failure.reason, 0.0, 0, "", request_id, b"", peer)
