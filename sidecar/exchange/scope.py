"""What exchanges have in common."""

from __future__ import annotations

from collections.abc import Callable

from sidecar.clock import Clock
from sidecar.errors import Failure
from sidecar.exchange.seams import Pool
from sidecar.http.head import Request
from sidecar.routing.plan import RoutePlan
from sidecar.routing.table import Lookup
from sidecar.telemetry.access_log import AccessLog
from sidecar.telemetry.stats import Stats
from sidecar.telemetry.trace import Tracer


def nowhere(head: Request) -> Failure:
    """The table of a scope that goes by none: of a listener that could not be bound."""
    return Failure.NO_ROUTE


class Scope:
    """What all exchanges of one listener share."""

    __slots__ = ("_table", "access_log", "clock", "pool", "refusing", "route", "source", "tracer", "unrouted")

    route: Callable[[Request], RoutePlan | Failure | Lookup]
    """The routing table's answer, or why no request is taken. A reload replaces it; running exchanges keep their plan."""
    _table: Callable[[Request], RoutePlan | Failure | Lookup]
    tracer: Tracer
    source: str
    """What replies to requests without a plan call themselves."""
    access_log: AccessLog | None
    """Also for exchanges that run."""

    def __init__(self, pool: Pool, clock: Clock, unrouted: Stats) -> None:
        self.pool = pool
        self.clock = clock
        self.unrouted = unrouted
        """Counts what never got a plan."""
        self.refusing: Failure | None = None
        self.route = self._table = nowhere

    def follow(
        self,
        route: Callable[[Request], RoutePlan | Failure | Lookup],
        tracer: Tracer,
        source: str,
        access_log: AccessLog | None = None,
    ) -> None:
        """Go by these from the next exchange on."""
        self._table = route
        self.tracer = tracer
        self.source = source
        self.access_log = access_log
        self.refuse(self.refusing)

    def refuse(self, failure: Failure | None) -> None:
        """Why every request is refused from the next one on; ``None``: they find their plans again."""
        self.refusing = failure
        self.route = self._table if failure is None else lambda head: failure
