"""What a gRPC call adds to an exchange: how it ended is told by ``grpc-status``, mostly behind everything else.

A response that is one field section (``Trailers-Only`` in gRPC over HTTP/2) tells at once, and may be tried again, for
nothing of it has been passed on. Of any other the endpoint's breaker hears at its end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sidecar.errors import Failure
from sidecar.exchange import again, blame
from sidecar.http.head import Field, Response
from sidecar.resilience.grpc import FAILURE_STATUSES, UNKNOWN, encode_message, parse_status
from sidecar.resilience.outcome import Outcome

if TYPE_CHECKING:
    from sidecar.exchange.machine import Exchange

BY_HTTP: Final = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
"""What a client makes of a status that is not 200 (gRPC, "HTTP to gRPC Status Code Mapping"); all else is UNKNOWN."""


def response(exchange: Exchange, head: Response, body: bytes, end: bool, trailers: list[Field], now: float) -> bool:
    """A response's head; whether that was all there is to do about it. One that is no gRPC is judged as others are."""
    if head.status != 200:
        exchange.grpc_status = BY_HTTP.get(head.status, UNKNOWN)
        return False
    if b"grpc-status" in head.specials:
        # Also of a server that ends the stream only with the next frame.
        _judge(exchange, parse_status(head.specials[b"grpc-status"]), now)
    elif end:
        trailers = ended(exchange, trailers, now)
    else:
        exchange.grpc_status = None
    if end and exchange.grpc_status and not body:
        at = again.after_call(exchange, head, trailers, exchange.grpc_status, now)
        if at is not None:
            exchange.back_off(at, (head, body, end, trailers))
            return True
    load = exchange.endpoint.load
    if load is not None and exchange.grpc_status not in FAILURE_STATUSES:
        load.responded(now, now - exchange.began, 200)
    exchange.respond(head, body, end, trailers, now)
    return True


def ended(exchange: Exchange, trailers: list[Field], now: float) -> list[Field]:
    """The end of a response, which tells how the call went; the trailers to be passed on."""
    for name, value, _ in trailers:
        if name == b"grpc-status":
            _judge(exchange, parse_status(value), now)
            return trailers
    _judge(exchange, Failure.UPSTREAM_PROTOCOL.grpc, now)
    detail = f"{exchange.endpoint.label} ended the response without a grpc-status"
    return [*trailers, *status_fields(Failure.UPSTREAM_PROTOCOL, detail)]


def _judge(exchange: Exchange, status: int, now: float) -> None:
    """Tells the endpoint's breaker how the call went."""
    breaker = exchange.endpoint.breaker
    if status in FAILURE_STATUSES:
        blame.report(exchange, Outcome.FAILURE, now)
    elif breaker is not None:
        breaker.success(now, exchange.ticket)
    exchange.grpc_status = status  # Behind the report, which asks whether there was one before.


def status_of(exchange: Exchange, failure: Failure) -> int:
    """The HTTP status by which ``failure`` is told, or would be: of a gRPC call it is 200 whatever went wrong."""
    if not exchange.head.grpc:
        return failure.status
    exchange.grpc_status = failure.grpc
    return 200


def status_fields(failure: Failure, detail: str) -> list[Field]:
    return [(b"grpc-status", b"%d" % failure.grpc, False), (b"grpc-message", encode_message(detail), False)]


def break_off(exchange: Exchange, failure: Failure, detail: str) -> None:
    """A response that has begun cannot be completed. A gRPC client is told why, unless it takes nothing any more."""
    if exchange.head.grpc and failure is not Failure.STALLED and failure is not Failure.BAD_REQUEST:
        reason = (b"x-sidecar-reason", failure.reason.encode(), False)
        exchange.downstream.end_body(b"", [*status_fields(failure, detail), reason])
    else:
        exchange.downstream.abort()
