"""Reaching into a world: its exchanges watched from within, filters put into its plans, and all that must be given back."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from sidecar.exchange.machine import Exchange
from sidecar.exchange.scope import Scope
from sidecar.exchange.states import FINISHED, TRANSITIONS
from sidecar.filters import Filter
from sidecar.proxy.pool import EndpointPool
from sidecar.resilience.breaker import HALF_OPEN, Breaker
from sidecar.routing.table import Table
from tests.support.world import World


class Watched(Exchange):
    """An exchange that refuses every transition that the machine's drawing does not have."""

    _state: int | None = None

    @property
    def state(self) -> int:
        assert self._state is not None
        return self._state

    @state.setter
    def state(self, new: int) -> None:
        old = self._state
        assert old is None or new in TRANSITIONS[old], f"from {old} to {new}"
        self._state = new


def scope_of(world: World, listener: str = "outbound") -> Scope:
    begin: Any = world.sidecar.listeners[listener].begin
    scope = begin.args[0]
    assert isinstance(scope, Scope)
    return scope


def watch(world: World, listener: str = "outbound") -> list[Watched]:
    """The exchanges that begin from here on, each watched."""
    begun: list[Watched] = []

    def begin(scope: Scope, head: Any, connection: Any) -> Watched:
        begun.append(Watched(scope, head, connection))
        return begun[-1]

    world.sidecar.listeners[listener].begin = partial(begin, scope_of(world, listener))
    return begun


def with_filters(world: World, *filters: Filter) -> World:
    """``filters`` stand before the service ``orders``."""
    table: Any = scope_of(world).route
    assert isinstance(table.__self__, Table)
    services = table.__self__._services
    services["orders"] = replace(services["orders"], filters=filters)
    return world


def all_given_back(world: World, begun: list[Watched]) -> None:
    """When all is over: every exchange is finished and recorded once, and nobody holds or waits for anything."""
    assert [exchange.state for exchange in begun] == [FINISHED] * len(begun)
    recorded = [plan.stats.requests for plan in world.sidecar.assembly.plans] + [
        one.requests for one in world.sidecar.assembly.unrouted.values()
    ]
    # What could not be read as a request is recorded too, under OTHER, and began no exchange.
    known = sum(count for one in recorded for (method, _, _), count in one.items() if method != b"OTHER")
    assert known == len(begun)
    for service in {plan.service for plan in world.sidecar.assembly.plans}:
        assert (service.limits.in_flight, service.limits.pending) == (0, 0)
    for endpoint in {exchange.endpoint for exchange in begun if hasattr(exchange, "endpoint")}:
        assert endpoint.in_flight == 0
        pool, breaker = endpoint.pool, endpoint.breaker
        assert isinstance(pool, EndpointPool) and not pool.waiters and not pool.connecting
        there = [one for one in world.peers if one.address == (endpoint.host, endpoint.port) and not one.over]
        assert pool.open == len(there) == len(pool.idle)
        assert not any(one.paused for one in there), "an idle connection that nobody reads"
        if isinstance(breaker, Breaker) and breaker.state == HALF_OPEN:
            assert breaker._probing == 0
