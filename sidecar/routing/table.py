"""Which plan a request goes by. A reload makes a new table and swaps the listener's reference; all that one learns
meanwhile are services that only the registry knows."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Protocol

from sidecar.clock import Random
from sidecar.errors import Failure
from sidecar.http.head import Request
from sidecar.routing.match import Match
from sidecar.routing.plan import RoutePlan

MESH = ".mesh"
SERVICE_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?")


class Lookup(Protocol):
    """A question to the registry that has not been answered yet."""

    def wait(self, then: Callable[[], None]) -> None:
        """Calls ``then`` when it has: whoever asks the table again finds out what the answer was."""
        ...


class Route:
    """A match and the plans it leads to, one for each service of its split, chosen by weight."""

    __slots__ = ("_bounds", "_plans", "_random", "host", "match")

    def __init__(self, host: str | None, match: Match, split: Sequence[tuple[RoutePlan, int]], random: Random) -> None:
        self.host = service_name(host) if host is not None else None
        self.match = match
        self._plans = [plan for plan, weight in split if weight > 0]
        self._bounds = list(accumulate(weight for _, weight in split if weight > 0))
        self._random = random

    def choose(self) -> RoutePlan:
        plans = self._plans
        if len(plans) == 1:
            return plans[0]
        return plans[bisect_right(self._bounds, self._random.random() * self._bounds[-1])]


def service_name(host: str) -> str:
    """``orders.mesh`` is the service ``orders``."""
    return host[: -len(MESH)] if host.endswith(MESH) else host


class Table:
    """Routes in their order, then services by their names, then passthrough."""

    __slots__ = ("_anywhere", "_by_host", "_has_routes", "_identity", "_look_up", "_owns", "_passthrough", "_services")

    def __init__(
        self,
        routes: Sequence[Route],
        services: Mapping[str, RoutePlan],
        passthrough: Callable[[Request], RoutePlan | None],
        identity: bytes,
        look_up: Callable[[str], Lookup | None],
        owns: Callable[[str], bool] = lambda name: False,
    ) -> None:
        """``owns`` says of a name with a dot whether the registry could have such a service."""
        self._services = dict(services)
        # Only the routes that a host can reach are looked at: those that name it and those that name none, in order.
        self._anywhere = tuple(route for route in routes if route.host is None)
        self._by_host = {
            name: tuple(route for route in routes if route.host is None or route.host == name)
            for name in {route.host for route in routes if route.host is not None}
        }
        self._has_routes = bool(routes)
        self._passthrough = passthrough
        self._identity = identity
        self._look_up = look_up
        self._owns = owns

    def add(self, name: str, plan: RoutePlan) -> None:
        """The registry has a service that the configuration does not name."""
        self._services[name] = plan

    def remove(self, name: str) -> None:
        """That service is forgotten again."""
        del self._services[name]

    def find(self, head: Request) -> RoutePlan | Failure | Lookup:
        specials = head.specials
        if b"x-sidecar-passed" in specials and self._identity in specials[b"x-sidecar-passed"]:
            return Failure.LOOP_DETECTED
        name = head.host
        if not self._has_routes:  # hot: most meshes need no routes.
            known = self._services.get(name)
            if known is not None:
                return known
        meshed = name.endswith(MESH)
        if meshed:
            name = service_name(name)
        for route in self._by_host.get(name, self._anywhere):
            if route.match.accepts(head):
                return route.choose()
        plan = self._services.get(name)
        if plan is not None:
            return plan
        # A name with a dot is somebody else's, unless it is said to be of the mesh or lies where the registry looks.
        if (meshed or "." not in name or self._owns(name)) and SERVICE_NAME.fullmatch(name):
            lookup = self._look_up(name)
            if lookup is not None:
                return lookup
        return self._passthrough(head) or Failure.NO_ROUTE
