"""A route, compiled for running: everything about it that is known when the configuration loads.

An exchange holds its plan from its first step to its last, also across a reload. A policy that is switched off is
``None`` here and costs one test. What lives on between plans (endpoints with their breakers and connections, limits, the
retry budget) hangs on the ``Service``, which a reload keeps.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

from sidecar.balance import Balancer
from sidecar.errors import Failure
from sidecar.filters import Filter
from sidecar.http.h1.fields import HOP_BY_HOP
from sidecar.http.head import Field, Request, Section
from sidecar.model import Dial, Endpoint
from sidecar.resilience import breaker as breakers
from sidecar.resilience import standing
from sidecar.resilience.budget import Budget
from sidecar.resilience.deadline import remaining_ms
from sidecar.resilience.limits import Limits
from sidecar.resilience.retry import Retry
from sidecar.telemetry.stats import Stats


class Direction(enum.Enum):
    """Which way an exchange goes; passthrough is outbound to a host that is none of our services."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"
    PASSTHROUGH = "passthrough"


# hot: names of the module are read faster than members of an enumeration.
INBOUND: Final = Direction.INBOUND
OUTBOUND: Final = Direction.OUTBOUND
PASSTHROUGH: Final = Direction.PASSTHROUGH

# The fields that a sidecar writes itself: what the sender put there has been read, and goes. Where a request has passed
# is kept while it goes from sidecar to sidecar, since a loop may be longer than one of them, and is no application's affair.
OURS = frozenset((b"traceparent", b"x-request-timeout-ms", b"grpc-timeout"))
DROPPED = {
    Direction.INBOUND: HOP_BY_HOP | OURS | {b"x-sidecar-passed"},
    Direction.OUTBOUND: HOP_BY_HOP | OURS | {b"x-sidecar-attempt"},
    Direction.PASSTHROUGH: HOP_BY_HOP,
}


Key = Callable[[Request, str], int | None]
"""From a request's head and its peer's address, 64 bits that are the same for requests that belong together."""


class Service:
    """A logical name with its endpoints, and the live parts that all its routes share."""

    __slots__ = (
        "balancer", "breaker_settings", "budget", "dial", "endpoints", "key", "limits", "listed", "name", "panic_threshold",
        "panicking",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        endpoints: Sequence[Endpoint],
        balancer: Balancer,
        limits: Limits,
        budget: Budget | None,
        breaker_settings: breakers.Settings | None,
        dial: Dial,
        key: Key | None = None,
        panic_threshold: float = 0.5,
    ) -> None:
        self.name = name
        self.balancer = balancer
        self.limits = limits
        self.budget = budget
        self.breaker_settings = breaker_settings
        self.dial = dial
        self.key = key
        """What of a request says which endpoint it belongs to, if its balancer asks for that."""
        self.panic_threshold = panic_threshold
        self.panicking = False
        self.endpoints: Sequence[Endpoint] = ()
        """Those that may be picked. Replaced as a whole, never changed: balancers know a set by its identity."""
        self.list(endpoints)

    def list(self, endpoints: Sequence[Endpoint]) -> bool:
        """These are all endpoints from here on; whether panic has begun or ended with that."""
        self.listed = endpoints
        self.endpoints = ()  # A new set even if they are the same ones: their weights or zones may have changed.
        return self.review()

    def review(self) -> bool:
        """Goes by the standing that each endpoint has now; whether panic has begun or ended with that."""
        before = self.panicking
        usable, self.panicking = standing.usable(self.listed, self.panic_threshold)
        if usable != self.endpoints:
            self.endpoints = usable
        return self.panicking != before

    def __repr__(self) -> str:
        return f"<Service {self.name}: {len(self.listed)} endpoints, {self.limits.in_flight} in flight>"


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """Fields in the order in which an exchange asks for them. Times in seconds, inf where there is none."""

    direction: Direction
    service: Service
    stats: Stats
    timeout: float | None
    filters: tuple[Filter, ...]
    attempt_timeout: float
    connect_failure: Failure
    retry: Retry | None
    stall_timeout: float
    idle_timeout: float
    mark: bytes
    """The last of the lines that an attempt adds: what an outbound request carries so that it is known should it come back."""
    source: str
    """What an error document and ``x-sidecar-source`` say: service and direction."""
    dropped: frozenset[bytes]
    slow: float
    first: bytes
    """``attempt_lines`` of a first attempt that has all of ``timeout`` before it, as most have."""
    identity: bytes
    first_fields: list[Field]
    """The same as fields of HTTP/2."""
    unbounded_fields: list[Field]
    """The same where nothing but a gRPC call's own deadline bounds it."""


def attempt_lines(direction: Direction, deadline: float, now: float, attempt: int, mark: bytes) -> bytes:
    """The lines by which an attempt tells of itself, from the line end before them to the one behind."""
    left = b"\r\nx-request-timeout-ms: %d" % remaining_ms(deadline, now) if deadline != inf else b""
    number = b"\r\nx-sidecar-attempt: %d" % attempt if direction is OUTBOUND else b""
    return left + number + mark


def attempt_fields(direction: Direction, deadline: float, now: float, attempt: int, identity: bytes) -> list[Field]:
    """The same as fields of HTTP/2."""
    fields: list[Field] = []
    if deadline != inf:
        fields.append((b"x-request-timeout-ms", b"%d" % remaining_ms(deadline, now), now != 0.0))
    if direction is OUTBOUND:
        fields.append((b"x-sidecar-attempt", b"%d" % attempt, False))
        fields.append((b"x-sidecar-passed", identity, False))
    return fields


def compile_plan(
    direction: Direction,
    service: Service,
    stats: Stats,
    *,
    timeout: float | None,
    attempt_timeout: float | None,
    stall_timeout: float,
    idle_timeout: float,
    retry: Retry | None,
    slow: float | None,
    identity: bytes,
    source: str,
    filters: tuple[Filter, ...] = (),
) -> RoutePlan:
    """Works out once what every request would otherwise ask again. Times in seconds, ``None`` where there is none."""
    mark = b"\r\nx-sidecar-passed: %b\r\n" % identity if direction is OUTBOUND else b"\r\n"
    return RoutePlan(
        direction=direction,
        service=service,
        stats=stats,
        timeout=timeout,
        filters=filters,
        attempt_timeout=inf if attempt_timeout is None else attempt_timeout,
        connect_failure=Failure.APP_UNREACHABLE if direction is Direction.INBOUND else Failure.CONNECT_FAILED,
        retry=retry,
        stall_timeout=stall_timeout,
        idle_timeout=idle_timeout,
        mark=mark,
        source=source,
        dropped=DROPPED[direction],
        slow=inf if slow is None else slow,
        first=attempt_lines(direction, inf if timeout is None else timeout, 0.0, 1, mark),
        identity=identity,
        first_fields=Section(
            attempt_fields(direction, inf if timeout is None else timeout, 0.0, 1, identity), again=True
        ),
        unbounded_fields=Section(attempt_fields(direction, inf, 0.0, 1, identity), again=True),
    )
