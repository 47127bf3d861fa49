"""What a scrape reads: every value by its labels, as Prometheus' own parser sees it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sidecar.admin.metrics import Sources, exposition
from sidecar.balance.round_robin import RoundRobin
from sidecar.clock import Random
from sidecar.model import Dial, Endpoint
from sidecar.resilience.breaker import OPEN, Breaker
from sidecar.resilience.breaker import Settings as BreakerSettings
from sidecar.resilience.limits import Limits
from sidecar.resilience.limits import Settings as LimitSettings
from sidecar.resilience.standing import STATES, judge
from sidecar.routing.plan import Service
from sidecar.telemetry.http2 import LIMITS, Http2Stats
from sidecar.telemetry.lag import Lag
from sidecar.telemetry.stats import BOUNDS, Stats

BREAKER = BreakerSettings()

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def a_service(name: str, endpoints: Sequence[Endpoint] = (), breaker: BreakerSettings | None = BREAKER) -> Service:
    return Service(name, endpoints, RoundRobin(Random(1)), Limits(LimitSettings()), None, breaker, Dial())


def sources(
    stats: Sequence[Stats] = (),
    services: Sequence[tuple[str, Service]] = (),
    connections: Sequence[tuple[str, str, int]] = (),
    reloaded: bool = True,
    memory: tuple[float, str] = (0.0, "calm"),
    lag: Lag | None = None,
) -> Sources:
    return Sources(
        lambda: stats, lambda: services, lambda: connections, lambda: reloaded, lambda: memory, lambda: lag or Lag()
    )


def parsed(text: bytes) -> Series:
    """The samples; one that comes twice, and a metric that is announced twice, are errors."""
    series: Series = {}
    families = list(text_string_to_metric_families(text.decode()))
    assert len({family.name for family in families}) == len(families)
    for family in families:
        assert family.documentation
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in series
            series[key] = sample.value
    return series


def scrape(what: Sources) -> Series:
    return parsed(b"".join(exposition(what)))


def value(series: Series, metric: str, **labels: str) -> float | None:
    return series.get((metric, frozenset(labels.items())))


def names(series: Series) -> set[str]:
    return {name for name, _ in series if not name.startswith("process_")}


def tripped() -> Breaker:
    breaker = Breaker(BreakerSettings())
    for _ in range(breaker.settings.failures):
        breaker.failure(0.0, breaker.begin(0.0))
    assert breaker.state == OPEN
    return breaker


def samples(piece: bytes) -> int:
    return sum(line[:1] not in (b"", b"#") for line in piece.splitlines())


def test_requests_are_counted_by_how_they_ended() -> None:
    """Each method, status and reason is a series of its own, beside where the request came from and went to."""
    stats = Stats("outbound", "orders", "v2")
    stats.record(b"GET", 200, "", 0.004)
    stats.record(b"GET", 200, "", 0.004)
    stats.record(b"BREW", 503, "breaker_open", 0.001)
    series = scrape(sources([stats]))
    where = {"direction": "outbound", "service": "orders", "route": "v2"}
    assert value(series, "sidecar_requests_total", method="GET", status="200", reason="", **where) == 2
    assert value(series, "sidecar_requests_total", method="OTHER", status="503", reason="breaker_open", **where) == 1


def test_a_request_that_found_no_route_is_counted_without_names() -> None:
    """Its service and route are empty: metrics must not name what only a request has named."""
    unrouted = Stats("outbound", "", "")
    unrouted.record(b"GET", 404, "no_route", 0.0)
    series = scrape(sources([unrouted]))
    labels = {"direction": "outbound", "service": "", "route": "", "method": "GET", "status": "404"}
    assert value(series, "sidecar_requests_total", reason="no_route", **labels) == 1


def test_grpc_calls_are_counted_by_the_name_of_their_status() -> None:
    """Beside the requests that they are; numbers without a name are one series, and other requests have none."""
    one, other, plain = (Stats("inbound", "orders", route) for route in ("", "", "r"))
    for stats, status, reason in (
        (one, 0, ""),
        (one, 0, ""),
        (other, 0, ""),
        (one, 14, "app_unreachable"),
        (one, 17, ""),
        (other, -1, ""),
    ):
        stats.record(b"POST", 200, reason, 0.01)
        stats.record_grpc(status, reason)
    one.record(b"POST", 503, "", 0.01)
    one.record_grpc(14, "app_unreachable", 503)
    plain.record(b"GET", 200, "", 0.01)
    series = scrape(sources([one, other, plain]))
    metric, where = "sidecar_grpc_requests_total", {"direction": "inbound", "service": "orders", "route": ""}
    assert value(series, metric, grpc_status="OK", reason="", **where) == 3
    assert value(series, metric, grpc_status="UNAVAILABLE", reason="app_unreachable", **where) == 2
    assert value(series, metric, grpc_status="OTHER", reason="", **where) == 2
    assert sum(name == metric for name, _ in series) == 3
    assert value(series, "sidecar_requests_total", method="POST", status="200", reason="", **where) == 5


def test_each_limit_of_http_2_has_its_count_from_the_start() -> None:
    """They are rare: an alert on the first one needs a series that was 0 before."""
    inbound = Http2Stats()
    inbound.count("resets")
    inbound.count("resets")
    inbound.count("stall")
    counts = [("inbound", inbound.ended), ("outbound", Http2Stats().ended)]
    series = scrape(replace(sources(), http2=lambda: counts))
    metric = "sidecar_http2_limits_total"
    found = {
        (way, limit): value(series, metric, direction=way, limit=limit)
        for way in ("inbound", "outbound")
        for limit in LIMITS
    }
    assert {which: count for which, count in found.items() if count != 0} == {
        ("inbound", "resets"): 2,
        ("inbound", "stall"): 1,
    }
    assert sum(name == metric for name, _ in series) == len(found)


def test_the_buckets_of_durations_are_cumulative() -> None:
    """A bucket holds everything up to its bound, that of infinity all of it, and sum and count agree with them."""
    stats = Stats("inbound", "orders", "")
    for seconds in (0.001, 0.02, 0.02, 99.0):
        stats.record(b"GET", 200, "", seconds)
    series = scrape(sources([stats]))
    metric, where = "sidecar_request_duration_seconds", {"direction": "inbound", "service": "orders", "route": ""}
    by_bound = [value(series, f"{metric}_bucket", le=str(bound), **where) for bound in BOUNDS]
    assert by_bound == [1, 1, 1, 1, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3]
    assert value(series, f"{metric}_bucket", le="+Inf", **where) == 4
    assert value(series, f"{metric}_count", **where) == 4
    assert value(series, f"{metric}_sum", **where) == pytest.approx(99.041)


def test_counts_with_the_same_labels_are_added_up() -> None:
    """Two plans that lead to one service by one route are one series, whatever it is that they count."""
    one, other = Stats("outbound", "orders", "r"), Stats("outbound", "orders", "r")
    elsewhere = Stats("outbound", "orders", "s")
    one.record(b"GET", 200, "", 0.01)
    other.record(b"GET", 200, "", 0.02)
    other.record(b"GET", 200, "", 7.0)
    for stats in (one, other, elsewhere):
        stats.retried("5xx")
    series = scrape(sources([one, other, elsewhere]))
    where = {"direction": "outbound", "service": "orders", "route": "r"}
    assert value(series, "sidecar_requests_total", method="GET", status="200", reason="", **where) == 3
    assert value(series, "sidecar_request_duration_seconds_bucket", le="5.0", **where) == 2
    assert value(series, "sidecar_request_duration_seconds_count", **where) == 3
    assert value(series, "sidecar_request_duration_seconds_sum", **where) == pytest.approx(7.03)
    assert value(series, "sidecar_retries_total", service="orders", reason="5xx") == 3


def test_what_is_handed_in_twice_counts_once() -> None:
    """A service comes once for each of its routes, and counters may come with several plans."""
    stats, orders = Stats("outbound", "orders", ""), a_service("orders", [Endpoint("10.0.0.1", 80)])
    stats.record(b"GET", 200, "", 0.01)
    orders.limits.in_flight = 3
    series = scrape(sources([stats, stats], [("outbound", orders), ("outbound", orders)]))
    where = {"direction": "outbound", "service": "orders"}
    assert value(series, "sidecar_request_duration_seconds_count", route="", **where) == 1
    assert value(series, "sidecar_requests_in_flight", **where) == 3
    assert value(series, "sidecar_endpoints", service="orders", state="available") == 1


def test_a_route_that_was_never_asked_has_no_series_yet() -> None:
    """The zeros of a large configuration, most of which is never called, are not worth a scrape."""
    assert names(scrape(sources([Stats("outbound", "orders", "")]))) == names(scrape(sources()))


def test_requests_in_flight_are_told_by_direction() -> None:
    """The application and a service that has its name are not the same thing."""
    application, peers = a_service("orders"), a_service("orders")
    application.limits.in_flight = 1
    peers.limits.in_flight = 2
    series = scrape(sources(services=[("inbound", application), ("outbound", peers)]))
    assert value(series, "sidecar_requests_in_flight", direction="inbound", service="orders") == 1
    assert value(series, "sidecar_requests_in_flight", direction="outbound", service="orders") == 2


def test_a_breaker_shows_its_state_and_how_often_it_entered_each() -> None:
    """Closed, half-open and open are 0, 1 and 2; one that no call has made yet is closed."""
    endpoints = [Endpoint("10.0.0.1", 80), Endpoint("10.0.0.2", 80), Endpoint("::1", 80)]
    endpoints[0].breaker = tripped()
    endpoints[1].breaker = tripped()
    assert endpoints[1].breaker.admits(30.0)
    series = scrape(sources(services=[("outbound", a_service("orders", endpoints))]))
    states = [value(series, "sidecar_breaker_state", service="orders", endpoint=e.label) for e in endpoints]
    assert states == [2, 1, 0]
    of_second = {"service": "orders", "endpoint": "10.0.0.2:80"}
    entered = [
        value(series, "sidecar_breaker_transitions_total", to=to, **of_second) for to in ("closed", "half-open", "open")
    ]
    assert entered == [0, 1, 1]
    assert value(series, "sidecar_breaker_transitions_total", to="open", service="orders", endpoint="[::1]:80") is None


def test_an_open_breaker_stays_open_however_often_it_is_scraped() -> None:
    """Looking is not asking: only a request may turn it half-open."""
    endpoint = Endpoint("10.0.0.1", 80)
    endpoint.breaker = tripped()
    what = sources(services=[("outbound", a_service("orders", [endpoint]))])
    series = [scrape(what) for _ in range(2)]
    assert [value(one, "sidecar_breaker_state", service="orders", endpoint=endpoint.label) for one in series] == [2, 2]
    assert endpoint.breaker.state == OPEN


def test_a_service_without_breakers_shows_none() -> None:
    """Where the policy is off there is no state, and nothing to alert on."""
    series = scrape(sources(services=[("outbound", a_service("orders", [Endpoint("10.0.0.1", 80)], breaker=None))]))
    assert not {name for name in names(series) if "breaker" in name}
    assert value(series, "sidecar_endpoints", service="orders", state="available") == 1


def test_one_address_under_two_names_is_one_series() -> None:
    """Two endpoints with one label show the worse state and the transitions of both."""
    twins = [Endpoint("10.0.0.1", 80, weight=1), Endpoint("10.0.0.1", 80, weight=2)]
    twins[0].breaker = tripped()
    twins[1].breaker = Breaker(BreakerSettings())
    series = scrape(sources(services=[("outbound", a_service("orders", twins))]))
    labels = {"service": "orders", "endpoint": "10.0.0.1:80"}
    assert value(series, "sidecar_breaker_state", **labels) == 2
    assert value(series, "sidecar_breaker_transitions_total", to="open", **labels) == 1


def test_endpoints_are_available_or_barred() -> None:
    """An endpoint whose breaker is not closed is barred; one without a weight is set aside on purpose, and neither."""
    endpoints = [Endpoint("10.0.0.1", 80), Endpoint("10.0.0.2", 80), Endpoint("10.0.0.3", 80, weight=0)]
    endpoints[0].breaker = tripped()
    series = scrape(sources(services=[("outbound", a_service("orders", endpoints)), ("outbound", a_service("empty"))]))
    assert value(series, "sidecar_endpoints", service="orders", state="available") == 1
    assert value(series, "sidecar_endpoints", service="orders", state="barred") == 1
    assert value(series, "sidecar_endpoints", service="empty", state="available") == 0


def test_an_endpoint_is_counted_once_by_what_speaks_against_it_most() -> None:
    """A refused connection before an opinion, an opinion before a breaker."""
    endpoints = [Endpoint("10.0.0.1", port) for port in range(1, 5)]
    for endpoint in endpoints[:3]:
        endpoint.breaker = tripped()
    judge(endpoints[0], registry="critical", refused="refused")
    judge(endpoints[1], check="answers 503")
    series = scrape(sources(services=[("outbound", a_service("orders", endpoints))]))
    counts = {state: value(series, "sidecar_endpoints", service="orders", state=state) for state in STATES[:-1]}
    assert counts == {"available": 1, "barred": 1, "unhealthy": 1, "refused": 1}


def test_panic_is_told_while_it_lasts() -> None:
    """Most of a service's endpoints are ill at the same time."""
    endpoints = [Endpoint("10.0.0.1", port) for port in range(1, 4)]
    service = a_service("orders", endpoints)
    for endpoint, expected in zip(endpoints, (0, 1, 1), strict=True):
        judge(endpoint, registry="critical")
        service.review()
        assert value(scrape(sources(services=[("outbound", service)])), "sidecar_panic", service="orders") == expected


def test_a_registry_that_is_out_of_date_shows_for_how_long() -> None:
    """Where there is a registry at all."""
    told = replace(sources(), registry=lambda: (12.5, True))
    assert value(scrape(told), "sidecar_registry_stale_seconds") == 12.5
    assert value(scrape(told), "sidecar_registry_registered") == 1
    assert not any(name.startswith("sidecar_registry") for name, _ in scrape(sources()))


def test_the_application_is_nobodys_endpoint() -> None:
    """A peer service of the same name shows its own endpoints only."""
    inbound = a_service("orders", [Endpoint("127.0.0.1", 8080)], breaker=None)
    peers = a_service("orders", [Endpoint("10.0.0.1", 80), Endpoint("10.0.0.2", 80)])
    series = scrape(sources(services=[("inbound", inbound), ("outbound", peers)]))
    assert value(series, "sidecar_endpoints", service="orders", state="available") == 2


def test_connections_are_told_by_side_and_direction() -> None:
    """What is handed in for the same side and direction is added up."""
    open_ = [("downstream", "inbound", 5), ("upstream", "outbound", 2), ("upstream", "outbound", 1)]
    series = scrape(sources(connections=open_))
    assert value(series, "sidecar_connections", side="downstream", direction="inbound") == 5
    assert value(series, "sidecar_connections", side="upstream", direction="outbound") == 3


@pytest.mark.parametrize("successful", [True, False])
def test_a_refused_configuration_shows(successful: bool) -> None:
    """The gauge is 1 as long as the last reload went well."""
    series = scrape(sources(reloaded=successful))
    assert value(series, "sidecar_config_last_reload_successful") == int(successful)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="process metrics are read from /proc")
def test_the_process_tells_what_it_uses() -> None:
    """Memory, processor time, descriptors and start time have the names that every dashboard knows."""
    series = scrape(sources())
    for metric in ("resident_memory_bytes", "cpu_seconds_total", "open_fds", "max_fds", "start_time_seconds"):
        assert value(series, f"process_{metric}") is not None, metric


def test_odd_names_survive_the_text_format() -> None:
    """Quotes, backslashes, line feeds and other alphabets come back from the parser as they went in."""
    odd = 'größe "x"\\n\n{a="b"} 1'
    stats, service = Stats("outbound", odd, odd), a_service(odd, [Endpoint("10.0.0.1", 80)])
    stats.record(b"GET", 200, "", 0.01)
    series = scrape(sources([stats], [("outbound", service)]))
    assert value(series, "sidecar_request_duration_seconds_count", direction="outbound", service=odd, route=odd) == 1
    assert value(series, "sidecar_breaker_state", service=odd, endpoint="10.0.0.1:80") == 0


def test_what_the_process_lacks_is_told_without_labels() -> None:
    """How much of its memory is in use, and how late its loop was: a look of 20 ms, and one of 3 s."""
    lag = Lag()
    lag.record(0.02)
    lag.record(3.0)
    series = scrape(sources(memory=(0.875, "hurrying"), lag=lag))
    assert value(series, "sidecar_memory_pressure") == 0.875
    bounds = ("0.01", "0.025", "2.5", "5.0", "+Inf")
    assert [value(series, "sidecar_loop_lag_seconds_bucket", le=bound) for bound in bounds] == [0, 1, 1, 2, 2]
    assert value(series, "sidecar_loop_lag_seconds_sum") == pytest.approx(3.02)


def test_a_large_mesh_comes_in_small_pieces() -> None:
    """With 1,000 services of 10 endpoints no piece is long, none is empty, and each metric is announced once."""
    all_stats, services = [], []
    for number in range(1000):
        stats = Stats("outbound", f"s{number}", "")
        stats.record(b"GET", 200, "", 0.01)
        endpoints = [Endpoint("10.0.0.1", port) for port in range(1, 11)]
        endpoints[0].breaker = tripped()
        all_stats.append(stats)
        services.append(("outbound", a_service(stats.service, endpoints)))
    pieces = list(exposition(sources(all_stats, services)))
    assert all(pieces)
    assert max(samples(piece) for piece in pieces) <= 48
    # Requests 1, durations 17, in flight 1, states 10, transitions 3, endpoints 4, panic 1; of the process reload 1,
    # memory 1, lag 13.
    text = b"".join(pieces)
    assert text.count(b"\nsidecar_") == 1000 * (1 + 17 + 1 + 10 + 3 + 4 + 1) + 1 + 1 + 13
    for metric in (b"sidecar_requests_total", b"sidecar_breaker_state", b"sidecar_request_duration_seconds"):
        assert text.count(b"# TYPE " + metric + b" ") == text.count(b"# HELP " + metric + b" ") == 1


@pytest.mark.parametrize("breaker", [BREAKER, None])
def test_looking_at_what_has_no_rows_is_interrupted_too(breaker: BreakerSettings | None) -> None:
    """A large mesh at rest has little to tell; even so no piece takes looking at more than 256 services."""
    looked_at = 0

    class Watched(Service):
        __slots__ = ()

        def __getattribute__(self, name: str) -> object:
            nonlocal looked_at
            looked_at += name in ("name", "listed")
            return super().__getattribute__(name)

    policies = (RoundRobin(Random(1)), Limits(LimitSettings()), None, breaker, Dial())
    services = [("outbound", Watched(f"s{number}", (), *policies)) for number in range(2000)]
    looked_at = 0
    at_pieces = [0]
    for piece in exposition(sources(services=services)):
        assert piece
        at_pieces.append(looked_at)
    # Twice by name to put them in order, three times for endpoints.
    assert looked_at == 5 * 2000
    # What is left over of one metric may come with the beginning of the next.
    assert max(after - before for before, after in pairwise(at_pieces)) <= 2 * 256


def test_one_route_with_many_outcomes_comes_in_small_pieces() -> None:
    """The pieces are bounded by what they hold, not by where it comes from."""
    stats = Stats("outbound", "orders", "")
    for status in range(100, 1000):
        stats.record(b"GET", status, "", 0.01)
    assert max(samples(piece) for piece in exposition(sources([stats]))) <= 48


def test_counting_goes_on_while_the_text_is_made() -> None:
    """Between two pieces requests end, in new ways too: the scrape goes on, and every row of it is whole."""
    busy, later = Stats("outbound", "busy", ""), Stats("outbound", "later", "")
    for status in range(100, 300):
        busy.record(b"GET", status, "", 0.01)
    later.record(b"GET", 200, "", 0.01)

    def interrupted() -> Iterator[bytes]:
        for number, piece in enumerate(exposition(sources([busy, later]))):
            busy.record(b"GET", 300 + number, "", 0.01)
            later.record(b"POST", 300 + number, "", 0.01)
            later.retried("timeout" if number % 2 else "5xx")
            yield piece

    series = parsed(b"".join(interrupted()))
    where = {"direction": "outbound", "service": "later", "route": ""}
    count = value(series, "sidecar_request_duration_seconds_count", **where)
    assert count is not None and count > 1
    assert value(series, "sidecar_request_duration_seconds_bucket", le="+Inf", **where) == count


def test_nothing_is_read_before_the_text_is_asked_for() -> None:
    """Making the iterator costs nothing: the reply's head is sent before the first number is looked at."""
    asked: list[str] = []

    def stats() -> list[Stats]:
        asked.append("stats")
        return []

    pieces = exposition(Sources(stats, lambda: (), lambda: (), lambda: True, lambda: (0.0, "calm"), Lag))
    assert asked == []
    next(pieces)
    assert asked == ["stats"]
