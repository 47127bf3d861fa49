"""What the API lists: where the rows are, what they can be sorted by, and the document that one of them becomes.

Rows are the live objects themselves. What is read of them is read when the row's turn comes, so that a page is made of
its own rows alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Final, Generic, TypeVar

from sidecar.admin import documents
from sidecar.admin.figures import failures, quantile
from sidecar.admin.words import Asked, in_words
from sidecar.clock import Clock
from sidecar.exchange.replies import rfc3339
from sidecar.model import Endpoint
from sidecar.resilience.breaker import CLOSED, NAMES, Breaker, Settings
from sidecar.resilience.standing import STATES, state, why
from sidecar.routing.plan import Direction, RoutePlan, Service
from sidecar.telemetry.stats import BOUNDS, Stats

Row = TypeVar("Row")
Key = Callable[[Row], Any]


Entry = tuple[str, str, str]
"""A setting: its key, its value as TOML text, and where that was written."""


@dataclass(frozen=True, slots=True)
class Snapshots:
    """Where the objects are: each is asked anew for every answer, and what it gives is read at once."""

    services: Callable[[], Iterable[tuple[str, Service]]]
    """Direction and service."""
    passing: Callable[[], Iterable[Service]]
    """Hosts that are no service of ours, and were called lately."""
    stats: Callable[[], Iterable[Stats]]
    """Of every route, and those of requests that found none."""
    plans: Callable[[], Iterable[RoutePlan]]
    matches: Callable[[], Mapping[str, Asked]]
    """What a route asks of a request, by its name."""
    dependencies: Callable[[], Sequence[documents.DependencyAttributes]]
    """What the application needs beside services."""
    entries: Callable[[Callable[[Sequence[Entry]], None]], None]
    """Tells what it is given the configuration that runs, at once or later: to work it out takes a thread some time."""


Place = tuple[str, Service, Endpoint]
"""An endpoint, with the direction and the service that it is one of."""

Way = tuple[Stats, RoutePlan | None, Asked | None]
"""What has happened on a route, and today's plan and match of it."""


@dataclass(frozen=True, slots=True)
class Collection(Generic[Row]):
    """``rows`` gives how many there are, and them; ``fields`` are what they can be sorted by."""

    type: str
    rows: Callable[[], tuple[int, Iterator[Row]]]
    fields: Mapping[str, Key[Row]]
    id: Callable[[Row], str]
    attributes: Callable[[Row], documents.Document]


def services(snapshots: Snapshots, clock: Clock) -> Collection[tuple[str, Service]]:
    """What is served and called, by name."""

    def rows() -> tuple[int, Iterator[tuple[str, Service]]]:
        all_ = list(snapshots.services())
        return len(all_), iter(all_)

    def attributes(row: tuple[str, Service]) -> documents.Document:
        direction, service = row
        settings = service.limits.settings
        return documents.ServiceAttributes(
            name=service.name,
            direction=direction,
            endpoints=len(service.listed),
            available=_available(service),
            panic=service.panicking,
            in_flight=service.limits.in_flight,
            pending=service.limits.pending,
            max_requests=settings.max_requests,
            max_pending=settings.max_pending,
            max_connections=settings.max_connections,
            retries_left=round(max(0.0, service.budget.left(clock.now())), 3) if service.budget is not None else None,
        )

    fields: dict[str, Key[tuple[str, Service]]] = {
        "name": lambda row: row[1].name,
        "direction": lambda row: row[0],
        "endpoints": lambda row: len(row[1].endpoints),
        "available": lambda row: _available(row[1]),
        "inFlight": lambda row: row[1].limits.in_flight,
        "pending": lambda row: row[1].limits.pending,
    }
    return Collection("service", rows, fields, lambda row: f"{row[0]}/{row[1].name}", attributes)


def _connections(row: Place) -> int:
    return sum(pool.open for pool in row[2].pools)


def endpoints(snapshots: Snapshots, clock: Clock, name: str | None = None) -> Collection[Place]:
    """The addresses of all services, or of those of that name, of which there may be one in each direction."""

    def rows() -> tuple[int, Iterator[Place]]:
        return _places(one for one in called(snapshots) if name is None or one[1].name == name)

    def attributes(row: Place) -> documents.Document:
        direction, service, endpoint = row
        pools = endpoint.pools
        return documents.EndpointAttributes(
            service=service.name,
            direction=direction,
            address=endpoint.label,
            weight=endpoint.weight,
            zone=endpoint.zone,
            state=state(endpoint),
            why=_why(row),
            breaker=NAMES[_state(row)] if _has_breaker(service) else None,
            in_flight=endpoint.in_flight,
            connections=_connections(row),
            idle=sum(pool.resting for pool in pools),
            connecting=sum(pool.connecting for pool in pools),
            waiting=sum(len(pool.waiters) for pool in pools),
            idle_limit_seconds=_finite(min(pool.idle_limit for pool in pools)) if pools else None,
            retry_after_seconds=round(max(0.0, endpoint.not_before - clock.now()), 3),
            measured=endpoint.load.describe(clock.now()) if endpoint.load is not None else "",
        )

    return Collection("endpoint", rows, ENDPOINT_FIELDS, _place_id, attributes)


def breakers(snapshots: Snapshots, clock: Clock) -> Collection[Place]:
    """Every endpoint that has a breaker, or gets one with its first call. They sort by state as it gets worse."""

    def rows() -> tuple[int, Iterator[Place]]:
        return _places((direction, one) for direction, one in called(snapshots) if _has_breaker(one))

    def attributes(row: Place) -> documents.Document:
        direction, service, endpoint = row
        now = clock.now()
        breaker = endpoint.breaker if isinstance(endpoint.breaker, Breaker) else _UNUSED
        closed, half_open, open_ = breaker.transitions
        return documents.BreakerAttributes(
            service=service.name,
            direction=direction,
            endpoint=endpoint.label,
            state=NAMES[breaker.state],
            failures=breaker.failures(now),
            opened_at=rfc3339(clock.wall() - (now - breaker.opened_at)) if open_ else None,
            retry_after_seconds=round(breaker.retry_after(now), 3),
            transitions=documents.Transitions(closed=closed, half_open=half_open, open=open_),
        )

    fields: dict[str, Key[Place]] = {
        "service": lambda row: row[1].name,
        "endpoint": lambda row: row[2].label,
        "state": _state,
        "failures": lambda row: row[2].breaker.failures(clock.now()) if isinstance(row[2].breaker, Breaker) else 0,
    }
    return Collection("breaker", rows, fields, _place_id, attributes)


def routes(snapshots: Snapshots) -> Collection[Way]:
    """Every route to every service, what passes through, and what found no route."""

    def rows() -> tuple[int, Iterator[Way]]:
        plans = {id(plan.stats): plan for plan in snapshots.plans()}
        matches = snapshots.matches()
        all_ = list(snapshots.stats())
        return len(all_), ((stats, plans.get(id(stats)), matches.get(stats.route)) for stats in all_)

    def attributes(row: Way) -> documents.Document:
        stats, plan, asked = row
        requests = sum(stats.requests.values())
        failed = failures(stats)
        return documents.RouteAttributes(
            direction=stats.direction,
            service=stats.service,
            route=stats.route,
            match=_match(stats, asked),
            policies=_policies(plan) if plan is not None else None,
            requests=requests,
            failures=failed,
            retries=sum(stats.retries.values()),
            success_ratio=round(1 - failed / requests, 6) if requests else None,
            p50_seconds=quantile(stats.buckets, 0.5),
            p95_seconds=quantile(stats.buckets, 0.95),
            p99_seconds=quantile(stats.buckets, 0.99),
            service_in_flight=plan.service.limits.in_flight if plan is not None else 0,
            durations=documents.Durations(bounds=BOUNDS, counts=tuple(stats.buckets)),
        )

    fields: dict[str, Key[Way]] = {
        "direction": lambda row: row[0].direction,
        "service": lambda row: row[0].service,
        "route": lambda row: row[0].route,
        "requests": lambda row: sum(row[0].requests.values()),
        "failures": lambda row: failures(row[0]),
        "retries": lambda row: sum(row[0].retries.values()),
        "p50Seconds": lambda row: quantile(row[0].buckets, 0.5) or 0.0,
        "p95Seconds": lambda row: quantile(row[0].buckets, 0.95) or 0.0,
        "p99Seconds": lambda row: quantile(row[0].buckets, 0.99) or 0.0,
    }
    return Collection(
        "route", rows, fields, lambda row: f"{row[0].direction}/{row[0].service}/{row[0].route}", attributes
    )


def dependencies(snapshots: Snapshots) -> Collection[documents.DependencyAttributes]:
    """What the application needs beside services."""

    def rows() -> tuple[int, Iterator[documents.DependencyAttributes]]:
        all_ = snapshots.dependencies()
        return len(all_), iter(all_)

    fields: dict[str, Key[documents.DependencyAttributes]] = {
        "name": lambda row: row.name,
        "kind": lambda row: row.kind,
        "healthy": lambda row: bool(row.healthy),
    }
    return Collection("dependency", rows, fields, lambda row: row.name, lambda row: row)


def settings(entries: Sequence[Entry]) -> Collection[Entry]:
    """The configuration that runs, a setting a row."""

    def rows() -> tuple[int, Iterator[Entry]]:
        return len(entries), iter(entries)

    def attributes(row: Entry) -> documents.Document:
        return documents.SettingAttributes(key=row[0], value=row[1], origin=row[2])

    fields: dict[str, Key[Entry]] = {"key": lambda row: row[0], "origin": lambda row: row[2]}
    return Collection("setting", rows, fields, lambda row: row[0], attributes)


_UNUSED: Final = Breaker(Settings())
"""What a breaker says that no call has needed yet."""


def called(snapshots: Snapshots) -> Iterator[tuple[str, Service]]:
    """All services with their direction, those that are none of ours among them."""
    yield from snapshots.services()
    for service in snapshots.passing():
        yield Direction.PASSTHROUGH.value, service


def _places(services: Iterable[tuple[str, Service]]) -> tuple[int, Iterator[Place]]:
    # The services now, since a reload may replace them between two steps; their endpoints, which are many, in time.
    all_ = list(services)
    places = ((direction, service, endpoint) for direction, service in all_ for endpoint in service.listed)
    return sum(len(service.listed) for _, service in all_), places


def _place_id(row: Place) -> str:
    return f"{row[0]}/{row[1].name}/{row[2].label}"


def _has_breaker(service: Service) -> bool:
    return service.breaker_settings is not None


def _state(row: Place) -> int:
    breaker = row[2].breaker
    return breaker.state if breaker is not None else CLOSED


ENDPOINT_FIELDS: Final[dict[str, Key[Place]]] = {
    "service": lambda row: row[1].name,
    "address": lambda row: row[2].label,
    "weight": lambda row: row[2].weight,
    "zone": lambda row: row[2].zone,
    "state": lambda row: STATES.index(state(row[2])),
    "breaker": _state,
    "inFlight": lambda row: row[2].in_flight,
    "connections": _connections,
}


def _available(service: Service) -> int:
    return sum(state(endpoint) == "available" for endpoint in service.listed)


def _why(row: Place) -> str:
    breaker = _state(row)
    return "; ".join(filter(None, (why(row[2]), f"its breaker is {NAMES[breaker]}" if breaker != CLOSED else "")))


def _match(stats: Stats, asked: Asked | None) -> str:
    if stats.route:
        return in_words(asked) if asked is not None else "a route of the former configuration"
    if not stats.service:
        return "what found no route"
    if stats.service == Direction.PASSTHROUGH.value:
        return "hosts that are no service"
    return "everything" if stats.direction == Direction.INBOUND.value else f"host is {stats.service}"


def _policies(plan: RoutePlan) -> documents.Policies:
    retry = plan.retry
    return documents.Policies(
        timeout_seconds=plan.timeout,
        attempt_timeout_seconds=_finite(plan.attempt_timeout),
        stall_timeout_seconds=_finite(plan.stall_timeout),
        idle_timeout_seconds=_finite(plan.idle_timeout),
        max_retries=retry.max_retries if retry is not None else 0,
        retry_on=retry.settings.on if retry is not None else (),
    )


def _finite(seconds: float) -> float | None:
    return seconds if seconds != inf else None
