"""What an attempt says of its endpoint, and how the endpoint's breaker hears of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.errors import Failure
from sidecar.exchange.states import CONNECTING, RESPONDING, SENDING
from sidecar.resilience.outcome import Outcome, classify

if TYPE_CHECKING:
    from sidecar.exchange.machine import Exchange


def outcome(exchange: Exchange, failure: Failure, now: float) -> Outcome:
    """What the attempt that now ends without a response says of its endpoint."""
    if exchange.state != CONNECTING and exchange.state != SENDING:
        return Outcome.IGNORED
    plan = exchange.plan
    callers = plan.timeout is None or exchange.deadline < exchange.started + plan.timeout
    # An attempt's own timeout is ours, whoever set the deadline that lies behind it.
    callers = callers and now >= exchange.deadline
    waited = 0.0 if caller_owes(exchange) else now - exchange.began
    return classify(failure, waited, plan.slow, callers)


def caller_owes(exchange: Exchange) -> bool:
    """Whether it is the caller that we wait for: its body is not here, and what was here has been sent."""
    upstream = exchange.upstream
    return exchange.state == SENDING and not exchange.complete and upstream is not None and not upstream.unsent()


def open(exchange: Exchange, outcome: Outcome) -> bool:
    """Whether the breaker has yet to hear of a response that breaks off: always of a failure."""
    return outcome is Outcome.FAILURE or unjudged(exchange)


def unjudged(exchange: Exchange) -> bool:
    """Whether the breaker has heard nothing of a response that is passed on: a gRPC call says at its end alone whether it
    went well."""
    return exchange.head.grpc and exchange.grpc_status is None


def report(exchange: Exchange, outcome: Outcome, now: float) -> None:
    """Tells the breaker how the attempt went: a failure once in an exchange, and nothing twice of one attempt.

    A response whose body broke off is the exception: the head was a success, and the rest is a failure.
    """
    endpoint = exchange.endpoint
    if endpoint.load is not None and outcome is Outcome.FAILURE:
        endpoint.load.failed(now, now - exchange.began)
    breaker = endpoint.breaker
    if breaker is None:
        return
    if outcome is Outcome.FAILURE and endpoint not in exchange.blamed:
        exchange.blamed += (endpoint,)
        breaker.failure(now, exchange.ticket)
    elif exchange.state != RESPONDING or unjudged(exchange):
        breaker.ignored(now, exchange.ticket)
