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
    return classify(failure, now - exchange.began, plan.slow, callers)


def report(exchange: Exchange, outcome: Outcome, now: float) -> None:
    """Tells the breaker how the attempt went: a failure once in an exchange, and nothing twice of one attempt.

    A response whose body broke off is the exception: the head was a success, and the rest is a failure.
    """
    endpoint = exchange.endpoint
    breaker = endpoint.breaker
    if breaker is None:
        return
    if outcome is Outcome.FAILURE and endpoint not in exchange.blamed:
        exchange.blamed += (endpoint,)
        breaker.failure(now, exchange.ticket)
    elif exchange.state != RESPONDING:
        breaker.ignored(now, exchange.ticket)
