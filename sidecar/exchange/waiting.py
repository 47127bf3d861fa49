"""When silence becomes something to act upon, and what is done then.

Until the response head, the deadline rules, and the attempt's own timeout under it. Afterwards a transfer may take as
long as it likes while it moves; it is broken off when bytes are owed and nobody delivers or takes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.errors import Failure
from sidecar.exchange import blame
from sidecar.exchange.states import BACKING_OFF, CONNECTING, LOOKING, RESPONDING, SENDING
from sidecar.resilience.outcome import Outcome

if TYPE_CHECKING:
    from sidecar.exchange.machine import Exchange


def in_line(exchange: Exchange, now: float) -> None:
    """No connection is ready: the exchange stands in its pool's line."""
    exchange.upstream = None
    service = exchange.plan.service
    limits = service.limits
    limits.pending += 1
    if limits.pending > limits.settings.max_pending:
        exchange.give_up(Outcome.IGNORED, now)
        detail = f"{limits.settings.max_pending} requests wait for a connection to {service.name} already"
        exchange.fail(Failure.OVERLOADED, detail)
    else:
        exchange.timer.set(due(exchange, now))


def due(exchange: Exchange, now: float) -> float:
    """When to look again at an attempt that has no response yet, if nothing happens until then."""
    plan = exchange.plan
    if exchange.state == SENDING and not exchange.complete:
        # An endpoint that does not have the whole request yet is not late with its answer.
        return min(exchange.deadline, now + _patience(exchange))
    return min(exchange.deadline, exchange.began + plan.attempt_timeout)


def _patience(exchange: Exchange) -> float:
    """How long a request's body may stand still. A gRPC client may say nothing for as long as it likes; what it has said
    is owed to the endpoint, and has to be taken."""
    plan = exchange.plan
    upstream = exchange.upstream
    if exchange.head.grpc and (upstream is None or not upstream.unsent()):
        return plan.idle_timeout
    return plan.stall_timeout


def moved(exchange: Exchange) -> None:
    """Something came, or was taken: from here on silence is measured anew."""
    now = exchange.scope.clock.now()
    if exchange.state == RESPONDING:
        exchange.moved = now
        plan = exchange.plan
        exchange.timer.set(now + min(plan.stall_timeout, plan.idle_timeout))
    elif exchange.state == SENDING:
        exchange.timer.set(due(exchange, now))


def on_timer(exchange: Exchange, now: float) -> None:
    state = exchange.state
    if state == BACKING_OFF:
        exchange.begin_attempt(now)
    elif state == RESPONDING:
        _response_stalled(exchange, now)
    elif now >= exchange.deadline:
        _deadline_passed(exchange, now)
    elif state == CONNECTING:
        exchange.let_go()
        seconds = exchange.plan.attempt_timeout
        detail = f"there was no connection to {exchange.endpoint.label} within the attempt's {seconds:g} s"
        exchange.attempt_failed(Failure.CONNECT_TIMEOUT, detail, now)
    elif exchange.complete:
        exchange.let_go()
        seconds = exchange.plan.attempt_timeout
        detail = f"{exchange.endpoint.label} did not answer within the attempt's {seconds:g} s"
        exchange.attempt_failed(Failure.DEADLINE_EXCEEDED, detail, now)
    elif blame.caller_owes(exchange):
        _client_timed_out(exchange, now)
    else:
        _request_stalled(exchange, now)


def _deadline_passed(exchange: Exchange, now: float) -> None:
    if blame.caller_owes(exchange):
        _client_timed_out(exchange, now)
        return
    silent = {SENDING: "no response came from ", CONNECTING: "there was no connection to "}.get(exchange.state)
    whoever = "the registry" if exchange.state == LOOKING else "a filter"
    who = silent + exchange.endpoint.label if silent is not None else f"{whoever} did not answer"
    exchange.give_up(blame.outcome(exchange, Failure.DEADLINE_EXCEEDED, now), now)
    exchange.fail(Failure.DEADLINE_EXCEEDED, f"{who} within the {now - exchange.started:.3f} s that the request had")


def _client_timed_out(exchange: Exchange, now: float) -> None:
    if not exchange.head.http2:  # There, requests may share a head.
        exchange.head.keep_alive = False  # The rest of its body may still come, and is no request.
    exchange.give_up(Outcome.IGNORED, now)
    exchange.fail(Failure.CLIENT_TIMEOUT, "the request's body did not come in time")


def _request_stalled(exchange: Exchange, now: float) -> None:
    upstream = exchange.upstream
    unsent = upstream.unsent() if upstream is not None else 0
    if unsent != exchange.unsent:
        exchange.unsent = unsent
        moved(exchange)
    else:
        exchange.give_up(Outcome.FAILURE, now)
        exchange.fail(Failure.STALLED, f"{exchange.endpoint.label} does not take the request's body")


def _response_stalled(exchange: Exchange, now: float) -> None:
    plan = exchange.plan
    unsent = exchange.downstream.unsent()
    if 0 < unsent != exchange.unsent:
        exchange.unsent = unsent
        exchange.moved = now
    owed = exchange.sized or unsent > 0 or not (exchange.complete or _patience(exchange) == plan.idle_timeout)
    at = exchange.moved + (plan.stall_timeout if owed else plan.idle_timeout)
    if now < at:
        exchange.timer.set(at)
    else:
        endpoint_owes = exchange.sized and exchange.complete and not unsent
        exchange.give_up(Outcome.FAILURE if endpoint_owes else Outcome.IGNORED, now)
        exchange.fail(Failure.STALLED, "the transfer stood still")
