"""What exchanges have in common."""

from __future__ import annotations

from collections.abc import Callable

from sidecar.clock import Clock
from sidecar.errors import Failure
from sidecar.exchange.seams import Pool
from sidecar.http.h1.request import RequestHead
from sidecar.routing.plan import RoutePlan
from sidecar.telemetry.access_log import AccessLog
from sidecar.telemetry.stats import Stats
from sidecar.telemetry.trace import Tracer


class Scope:
    """What all exchanges of one listener share. ``source`` is what its replies call themselves."""

    __slots__ = ("access_log", "clock", "pool", "route", "source", "tracer", "unrouted")

    def __init__(
        self,
        route: Callable[[RequestHead], RoutePlan | Failure],
        pool: Pool,
        tracer: Tracer,
        clock: Clock,
        unrouted: Stats,
        source: str,
    ) -> None:
        self.route = route
        """The routing table's answer; a reload replaces it, running exchanges keep their plan."""
        self.pool = pool
        self.tracer = tracer
        self.clock = clock
        self.unrouted = unrouted
        """Counts what never got a plan."""
        self.source = source
        self.access_log: AccessLog | None = None
        """A reload replaces it, also for exchanges that run."""
