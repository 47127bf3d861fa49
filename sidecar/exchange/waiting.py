"""When silence becomes something to act upon, and what is done then.

Until the response head, the deadline rules, and the attempt's own timeout under it. Afterwards a transfer may take as
long as it likes while it moves; it is broken off when bytes are owed and nobody delivers or takes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.errors import Failure
from sidecar.exchange import blame
from sidecar.exchange.states import BACKING_OFF, RESPONDING, SENDING
from sidecar.resilience.outcome import Outcome

if TYPE_CHECKING:
    from sidecar.exchange.machine import Exchange


def due(exchange: Exchange, now: float) -> float:
    """When to look again, if nothing happens until then."""
    plan = exchange.plan
    if exchange.state == RESPONDING:
        owed = exchange.sized or not exchange.complete or exchange.downstream.unsent() > 0
        return now + (plan.stall_timeout if owed else plan.idle_timeout)
    if exchange.state == SENDING:
        at = min(exchange.deadline, exchange.began + plan.attempt_timeout)
        return at if exchange.complete else min(at, now + plan.stall_timeout)
    return exchange.deadline


def on_timer(exchange: Exchange, now: float) -> None:
    state = exchange.state
    if state == BACKING_OFF:
        exchange.begin_attempt(now)
    elif state == RESPONDING:
        _response_stalled(exchange, now)
    elif now >= exchange.deadline:
        if _client_is_slow(exchange):
            _client_timed_out(exchange, now)
        else:
            exchange.give_up(blame.outcome(exchange, Failure.DEADLINE_EXCEEDED, now), now)
            exchange.fail(Failure.DEADLINE_EXCEEDED, f"no response within {now - exchange.started:.3f} s")
    elif now >= exchange.began + exchange.plan.attempt_timeout:
        if exchange.upstream is not None:
            exchange.upstream.cancel()
        seconds = exchange.plan.attempt_timeout
        detail = f"{exchange.endpoint.label} did not answer within the attempt's {seconds:g} s"
        exchange.attempt_failed(Failure.DEADLINE_EXCEEDED, detail, now)
    elif _client_is_slow(exchange):
        _client_timed_out(exchange, now)
    else:
        upstream = exchange.upstream
        if not _moved(exchange, upstream.unsent() if upstream is not None else 0, now):
            exchange.give_up(Outcome.FAILURE, now)
            exchange.fail(Failure.STALLED, f"{exchange.endpoint.label} does not take the request's body")


def _client_is_slow(exchange: Exchange) -> bool:
    """Whether it is the caller that we wait for: its body is not here, and what was here has been sent."""
    upstream = exchange.upstream
    return exchange.state == SENDING and not exchange.complete and upstream is not None and not upstream.unsent()


def _client_timed_out(exchange: Exchange, now: float) -> None:
    exchange.give_up(Outcome.IGNORED, now)
    exchange.fail(Failure.CLIENT_TIMEOUT, "the request's body did not come in time")


def _response_stalled(exchange: Exchange, now: float) -> None:
    unsent = exchange.downstream.unsent()
    if not _moved(exchange, unsent, now):
        exchange.give_up(Outcome.IGNORED if unsent or not exchange.complete else Outcome.FAILURE, now)
        exchange.fail(Failure.STALLED, "the transfer stood still")


def _moved(exchange: Exchange, unsent: int, now: float) -> bool:
    """Whether a slow peer took something since it was last looked at: then it is given the same time again."""
    if not 0 < unsent != exchange.unsent:
        return False
    exchange.unsent = unsent
    exchange.timer.set(now + exchange.plan.stall_timeout)
    return True
