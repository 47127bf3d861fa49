"""What has been counted, as Prometheus text, a piece at a time.

Nothing is kept here. The counts are plain integers that exchanges and policies maintain for their own sake; a scrape
reads them, and prometheus-client only knows how the text is written. So a metric costs its reader, never a request.

A scrape of a thousand services takes longer than any request should wait. The text therefore comes as an iterator whose
pieces hold a few dozen samples each: whoever sends it can serve others between two of them. Each row is right at the
moment when it is read, and all buckets of one histogram are read at the same moment; rows that lie far apart may differ
by what ended in between, as they would between two scrapes.

Two objects may stand behind one set of labels: a route that is split twice to the same service, an address that two
names lead to. They are added up, since Prometheus takes no series twice. A series of requests, durations or retries
begins with the first of them: most of a large configuration is never called, and nobody should store its zeros.

(Text format: https://prometheus.io/docs/instrumenting/exposition_formats/)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Protocol, TypeVar

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import PROCESS_COLLECTOR

from sidecar.resilience.breaker import CLOSED, NAMES, Breaker
from sidecar.resilience.grpc import name_of
from sidecar.resilience.standing import STATES, state
from sidecar.routing.plan import Direction, Service
from sidecar.telemetry.lag import BOUNDS as LAG_BOUNDS
from sidecar.telemetry.lag import Lag
from sidecar.telemetry.stats import BOUNDS, Stats

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4.encode()
"""The version that every scraper reads; later ones must be asked for."""

FULL: Final = 32
"""Samples after which a piece is given out. The largest row, a histogram, has 17: a piece holds at most 48."""

STRIDE: Final = 256
"""Things looked at, whether they have a row or not, after which there is a pause."""

PAUSE: Final = b"\n"
"""A piece that says nothing: readers skip empty lines. (No bytes at all would end a chunked body.)"""

UPPER_BOUNDS: Final = (*map(str, BOUNDS), "+Inf")

Key = TypeVar("Key")
Value = TypeVar("Value")
Route = tuple[str, str, str]
"""Direction, service and route."""


class Answers(Protocol):
    """How many were good, and how many bad."""

    @property
    def good(self) -> int: ...
    @property
    def bad(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the numbers are: each is asked anew at every scrape, and what it gives is read at once."""

    stats: Callable[[], Iterable[Stats]]
    """Of every route, and those of requests that found none (service and route are empty)."""
    services: Callable[[], Iterable[tuple[str, Service]]]
    """Direction and service; a service may come as often as it has routes."""
    connections: Callable[[], Iterable[tuple[str, str, int]]]
    """Side (downstream or upstream), direction, and how many there are."""
    reload_successful: Callable[[], bool]
    """Whether the configuration that was read last is the one that runs."""
    memory: Callable[[], tuple[float, str]]
    """How much of the memory that can be had is in use, and the name of the step that is taken against it."""
    lag: Callable[[], Lag]
    """How late the event loop has been."""
    registry: Callable[[], tuple[float, bool] | None] = lambda: None
    """For how many seconds what the registry tells may have been out of date, and whether others find us through it;
    ``None`` if there is no registry."""
    checks: Callable[[], Iterable[tuple[str, str, Answers]]] = tuple
    """Whose health is asked after (application, peers or dependency), the name of service or dependency, and the answers."""
    dependencies: Callable[[], Iterable[tuple[str, bool | None]]] = tuple
    """Each dependency, and whether it is well; ``None`` before it has been asked."""
    log_lines_dropped: Callable[[], Iterable[tuple[str, int]]] = tuple
    """Each log that is written, and how many of its lines have been lost."""
    http2: Callable[[], Iterable[tuple[str, Mapping[str, int]]]] = tuple
    """Each direction, and what has ended at each limit of HTTP/2."""
    passing: Callable[[], Iterable[Service]] = tuple
    """Hosts that are no service of ours and were called lately; each goes by the name ``passthrough``."""


def exposition(sources: Sources) -> Iterator[bytes]:
    """All metrics as text, in pieces of at most 48 samples; each metric is announced once and its rows follow it."""
    # Read at once, since a reload may replace them between two pieces; what comes twice is dropped on the way.
    all_stats = dict.fromkeys(sources.stats())
    all_services = dict.fromkeys(sources.services())
    # Inbound the only endpoint is the application, which must not be taken for a peer of the same name.
    all_called = dict.fromkeys(one for direction, one in all_services if direction != Direction.INBOUND.value)

    stats = yield from _grouped(((one.direction, one.service, one.route), one) for one in all_stats if one.requests)
    yield from _pieces(_requests(stats))
    yield from _pieces(_grpc_requests(stats))
    yield from _pieces(_durations(stats))
    passing = ((Direction.OUTBOUND.value, one) for one in sources.passing())
    services = yield from _grouped(((way, one.name), one) for way, one in (*all_services, *passing))
    yield from _pieces(_in_flight(services))
    retried = yield from _grouped((one.service, one) for one in all_stats if one.retries)
    yield from _pieces(_retries(retried))
    called = yield from _grouped((one.name, one) for one in all_called)
    yield from _pieces(_breaker_states(called))
    yield from _pieces(_breaker_transitions(called))
    yield from _pieces(_endpoints(called))
    yield from _pieces(_panic(called))
    yield from _pieces(_connections(sources.connections()))
    yield from _pieces(_http2_limits(sources.http2()))
    registry = sources.registry()
    if registry is not None:
        for family in _registry(*registry):
            yield from _pieces((family,))
    yield from _pieces(_checks(sources.checks()))
    yield from _pieces((_dependencies(sources.dependencies()),))
    yield from _pieces((_reload(sources.reload_successful()),))
    yield from _pieces((_memory(sources.memory()[0]),))
    yield from _pieces((_loop_lag(sources.lag()),))
    yield from _pieces(_log_lines_dropped(sources.log_lines_dropped()))
    for family in PROCESS_COLLECTOR.collect():
        yield from _pieces((family,))


def _grouped(pairs: Iterable[tuple[Key, Value]]) -> Generator[bytes, None, dict[Key, list[Value]]]:
    """Returns the values of each key, in the order in which they came; yields pauses, since there may be many."""
    grouped: dict[Key, list[Value]] = {}
    for number, (key, value) in enumerate(pairs, 1):
        grouped.setdefault(key, []).append(value)
        if number % STRIDE == 0:
            yield PAUSE
    return grouped


class _Portion:
    """What prometheus-client takes for a collector: one family with the samples that are in it now."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return (self._family,)


def _pieces(growing: Iterable[Metric]) -> Iterator[bytes]:
    """``growing`` gives the same family again and again, mostly a row longer; it is emptied as its text is made."""
    announced = False
    family: Metric | None = None
    for number, family in enumerate(growing, 1):
        if len(family.samples) >= FULL:
            yield _text(family, announced)
            announced = True
        elif number % STRIDE == 0:
            yield PAUSE
    if family is not None and family.samples:
        yield _text(family, announced)


def _text(family: Metric, announced: bool) -> bytes:
    text = generate_latest(_Portion(family))
    family.samples.clear()
    # HELP and TYPE are one line each, and may stand only once.
    return text.split(b"\n", 2)[2] if announced else text


def _requests(stats: Mapping[Route, Iterable[Stats]]) -> Iterator[Metric]:
    family = CounterMetricFamily(
        "sidecar_requests_total",
        "Requests that have ended; reason says why one failed, and is empty on success.",
        labels=("direction", "service", "route", "method", "status", "reason"),
    )
    for route, same in stats.items():
        # A copy: while the iterator rests, requests end.
        total: Counter[tuple[bytes, int, str]] = Counter()
        for one in same:
            total.update(one.requests)
        for (method, status, reason), count in total.items():
            family.add_metric((*route, method.decode(), str(status), reason), count)
            yield family


def _grpc_requests(stats: Mapping[Route, Iterable[Stats]]) -> Iterator[Metric]:
    family = CounterMetricFamily(
        "sidecar_grpc_requests_total",
        "gRPC calls that have ended, by the status of gRPC; reason as in sidecar_requests_total.",
        labels=("direction", "service", "route", "grpc_status", "reason"),
    )
    for route, same in stats.items():
        total: Counter[tuple[str, str]] = Counter()
        for one in same:
            for (status, reason, _), count in one.grpc.items():
                total[name_of(status), reason] += count
        for labels, count in total.items():
            family.add_metric((*route, *labels), count)
            yield family
        yield family  # Finding none takes time as well.


def _durations(stats: Mapping[Route, Iterable[Stats]]) -> Iterator[Metric]:
    family = HistogramMetricFamily(
        "sidecar_request_duration_seconds",
        "Time from a request's head to the end of its response.",
        labels=("direction", "service", "route"),
    )
    for route, same in stats.items():
        counts = [sum(bucket) for bucket in zip(*(one.buckets for one in same), strict=True)]
        buckets = list(zip(UPPER_BOUNDS, accumulate(counts), strict=True))
        family.add_metric(route, buckets, sum(one.seconds for one in same))
        yield family


def _in_flight(services: Mapping[tuple[str, str], Iterable[Service]]) -> Iterator[Metric]:
    family = GaugeMetricFamily(
        "sidecar_requests_in_flight", "Requests that have begun and not ended.", labels=("direction", "service")
    )
    for labels, same in services.items():
        family.add_metric(labels, sum(service.limits.in_flight for service in same))
        yield family


def _retries(retried: Mapping[str, Iterable[Stats]]) -> Iterator[Metric]:
    family = CounterMetricFamily(
        "sidecar_retries_total", "Attempts after the first, by what made them necessary.", labels=("service", "reason")
    )
    for service, same in retried.items():
        total: Counter[str] = Counter()
        for one in same:
            total.update(one.retries)
        for reason, count in total.items():
            family.add_metric((service, reason), count)
            yield family


def _breakers(same: Iterable[Service]) -> dict[str, list[Breaker]]:
    """The breakers that there are, by the endpoint's label; one that no call has needed yet is not made."""
    breakers: dict[str, list[Breaker]] = {}
    for service in same:
        for endpoint in service.listed:
            if isinstance(endpoint.breaker, Breaker):
                breakers.setdefault(endpoint.label, []).append(endpoint.breaker)
            elif service.breaker_settings is not None:
                breakers.setdefault(endpoint.label, [])
    return breakers


def _breaker_states(called: Mapping[str, Iterable[Service]]) -> Iterator[Metric]:
    family = GaugeMetricFamily(
        "sidecar_breaker_state",
        "State of an endpoint's circuit breaker: 0 closed, 1 half-open, 2 open.",
        labels=("service", "endpoint"),
    )
    for name, same in called.items():
        for label, breakers in _breakers(same).items():
            family.add_metric((name, label), max((breaker.state for breaker in breakers), default=CLOSED))
            yield family
        yield family  # Finding none takes time as well.


def _breaker_transitions(called: Mapping[str, Iterable[Service]]) -> Iterator[Metric]:
    family = CounterMetricFamily(
        "sidecar_breaker_transitions_total",
        "How often an endpoint's circuit breaker entered a state.",
        labels=("service", "endpoint", "to"),
    )
    for name, same in called.items():
        for label, breakers in _breakers(same).items():
            for number, to in enumerate(NAMES if breakers else ()):
                family.add_metric((name, label, to), sum(breaker.transitions[number] for breaker in breakers))
            yield family
        yield family


def _endpoints(called: Mapping[str, Iterable[Service]]) -> Iterator[Metric]:
    family = GaugeMetricFamily(
        "sidecar_endpoints",
        "Endpoints that have a weight: available, barred by their breaker, unhealthy, or refusing connections.",
        labels=("service", "state"),
    )
    for name, same in called.items():
        counts = Counter(state(endpoint) for service in same for endpoint in service.listed)
        for one in STATES:
            if one != "off":
                family.add_metric((name, one), counts[one])
        yield family


def _panic(called: Mapping[str, Iterable[Service]]) -> Iterator[Metric]:
    family = GaugeMetricFamily(
        "sidecar_panic", "1 if so few endpoints are well that all of them are used.", labels=("service",)
    )
    for name, same in called.items():
        family.add_metric((name,), float(any(service.panicking for service in same)))
        yield family


def _registry(stale: float, registered: bool) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "sidecar_registry_stale_seconds",
        "For how long what the registry tells may have been out of date, 0 if it is not.",
        value=stale,
    )
    yield GaugeMetricFamily("sidecar_registry_registered", "1 if others find this instance.", value=float(registered))


def _connections(counts: Iterable[tuple[str, str, int]]) -> Iterator[Metric]:
    family = GaugeMetricFamily("sidecar_connections", "Open connections, idle or in use.", labels=("side", "direction"))
    total: Counter[tuple[str, str]] = Counter()
    for side, direction, count in counts:
        total[side, direction] += count
    for labels, count in total.items():
        family.add_metric(labels, count)
        yield family


def _http2_limits(counts: Iterable[tuple[str, Mapping[str, int]]]) -> Iterator[Metric]:
    family = CounterMetricFamily(
        "sidecar_http2_limits_total",
        "Streams and connections of HTTP/2 that ended because the peer reached a limit.",
        labels=("direction", "limit"),
    )
    for direction, ended in counts:
        for limit, count in ended.items():
            family.add_metric((direction, limit), count)
        yield family


def _checks(counts: Iterable[tuple[str, str, Answers]]) -> Iterator[Metric]:
    family = CounterMetricFamily(
        "sidecar_health_checks_total", "Answers to questions whether somebody is well.", labels=("of", "name", "result")
    )
    for of, name, answers in counts:
        family.add_metric((of, name, "good"), answers.good)
        family.add_metric((of, name, "bad"), answers.bad)
        yield family


def _dependencies(dependencies: Iterable[tuple[str, bool | None]]) -> Metric:
    family = GaugeMetricFamily(
        "sidecar_dependency_up", "1 if the dependency is well, 0 if not or not known yet.", labels=("dependency",)
    )
    for name, well in dependencies:
        family.add_metric((name,), float(bool(well)))
    return family


def _reload(successful: bool) -> Metric:
    return GaugeMetricFamily(
        "sidecar_config_last_reload_successful",
        "1 if the configuration that was read last is the one that runs, 0 if it was refused.",
        value=float(successful),
    )


def _memory(pressure: float) -> Metric:
    return GaugeMetricFamily(
        "sidecar_memory_pressure",
        "Share in use of the memory that this process can have, 0 where nothing bounds it.",
        value=pressure,
    )


def _loop_lag(lag: Lag) -> Metric:
    family = HistogramMetricFamily(
        "sidecar_loop_lag_seconds", "How late the event loop was, at four instants a second that the clock chose."
    )
    bounds = (*map(str, LAG_BOUNDS), "+Inf")
    family.add_metric((), list(zip(bounds, accumulate(lag.buckets), strict=True)), lag.seconds)
    return family


def _log_lines_dropped(counts: Iterable[tuple[str, int]]) -> Iterator[Metric]:
    family = CounterMetricFamily(
        "sidecar_log_lines_dropped_total",
        "Lines that were lost because nobody read them in time, or at all.",
        labels=("log",),
    )
    for log, count in counts:
        family.add_metric((log,), count)
        yield family
