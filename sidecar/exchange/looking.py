"""A request for a service that nobody has called yet: it waits until the registry has said whether there is one.

There is no plan meanwhile, hence no timeout of a route; the caller's own bounds the wait, and ``LOOKUP_SECONDS``. The
plan that is found goes by the instant at which the request came.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from sidecar.errors import Failure
from sidecar.exchange.replies import refuse
from sidecar.exchange.states import LOOKING, NEW
from sidecar.resilience.deadline import earliest
from sidecar.routing.plan import RoutePlan
from sidecar.routing.table import Lookup

if TYPE_CHECKING:
    from sidecar.exchange.machine import Exchange

LOOKUP_SECONDS: Final = 5.0


def unplanned(exchange: Exchange, answer: Failure | Lookup) -> None:
    """The table has no plan: the exchange is refused, or waits for one."""
    if isinstance(answer, Failure):
        refuse(exchange, answer)
        return
    exchange.state = LOOKING
    exchange.deadline = earliest(exchange.started, LOOKUP_SECONDS, exchange.labels.timeout_ms)
    exchange.timer.set(exchange.deadline)
    answer.wait(partial(_answered, exchange))


def _answered(exchange: Exchange) -> None:
    if exchange.state != LOOKING:
        return
    plan = exchange.scope.route(exchange.head)
    if isinstance(plan, RoutePlan):
        exchange.state = NEW
        if not exchange.complete:
            exchange.downstream.resume_reading()
        exchange.go_by(plan, exchange.scope.clock.now())
    else:
        unplanned(exchange, plan)
