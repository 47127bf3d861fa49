"""Asking the request filters in their order, with a pause wherever one of them takes its time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.errors import Failure
from sidecar.exchange.states import FINISHED, PAUSED
from sidecar.filters import PAUSE, Reply, RequestView

if TYPE_CHECKING:
    from sidecar.exchange.machine import Exchange


def go_on(exchange: Exchange, reply: Reply | None) -> None:
    """Asks the filters that are left, from the step at which the exchange stands; ``reply``: the verdict of a pause."""
    if exchange.state == FINISHED:
        return
    filters = exchange.plan.filters
    view = RequestView(exchange.head, exchange.resume)
    while reply is None and exchange.step < len(filters):
        ask = filters[exchange.step]
        exchange.step += 1
        try:
            verdict = ask(view)
        except Exception as error:
            exchange.fail(Failure.FILTER_FAILED, f"filter {exchange.step} raised {type(error).__name__}")
            return
        if verdict is PAUSE:
            exchange.state = PAUSED
            return
        reply = verdict
    now = exchange.scope.clock.now()
    if reply is None:
        exchange.begin_attempt(now)
    else:
        exchange.finish(reply.status, "", now)
        exchange.downstream.reply(reply)
