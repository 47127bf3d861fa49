"""What lies around an algorithm: our own zone first, and new endpoints slowly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.balance import Balancer, settings
from sidecar.balance.least_request import LeastRequest
from sidecar.balance.peak_ewma import PeakEwma
from sidecar.balance.round_robin import RoundRobin
from sidecar.balance.slow_start import SlowStart
from sidecar.balance.weighted import Weighted
from sidecar.balance.zone import ZoneFirst
from sidecar.clock import Random
from sidecar.model import Endpoint
from tests.test_balance import FakeBreaker, Listing, picks

# Zones


def zones(here: int, elsewhere: int, weight: int = 1) -> tuple[Endpoint, ...]:
    """Endpoints a, b, ... of our zone, then A, B, ... of another."""
    return tuple(
        Endpoint(chr(ord(first) + number), 80, weight, zone)
        for first, count, zone in (("a", here, "here"), ("A", elsewhere, "there"))
        for number in range(count)
    )


def zone_first(listed: Sequence[Endpoint]) -> ZoneFirst:
    return ZoneFirst("here", Listing(listed), lambda: RoundRobin(Random(1)), Random(2))


def at_home(balancer: Balancer, endpoints: Sequence[Endpoint], now: float = 0.0) -> float:
    """The share of picks that stay in the zone."""
    return sum(host.islower() for host in picks(balancer, endpoints, 4000, now)) / 4000


@pytest.mark.parametrize(
    ("usable", "share"), [(10, 1.0), (8, 1.0), (7, 0.98), (6, 0.84), (5, 0.7), (3, 0.42), (1, 0.14), (0, 0.0)]
)
def test_a_zone_gets_what_it_can_bear(usable: int, share: float) -> None:
    """Of ten listed endpoints so many are well: 1.4 times their share stays, the rest goes to the others."""
    listed = zones(10, 10)
    assert at_home(zone_first(listed), listed[10 - usable :]) == pytest.approx(share, abs=0.025)


def test_breakers_count_like_health_within_a_second() -> None:
    """Half of the zone barred by breakers: no new set comes, and what is left is not given everything for that."""
    listed = zones(4, 4)
    balancer = zone_first(listed)
    assert at_home(balancer, listed) == 1.0
    for endpoint in listed[:2]:
        endpoint.breaker = FakeBreaker(state=2)
    assert at_home(balancer, listed, now=1.1) == pytest.approx(0.7, abs=0.025)
    for endpoint in listed[:4]:
        endpoint.breaker = FakeBreaker(state=2)
    assert at_home(balancer, listed, now=1.2) == 0.0


def test_shares_go_by_weight() -> None:
    """One endpoint of weight 3 gone from four: that is half of the zone."""
    listed = zones(4, 1)
    listed[0].weight = 3
    assert at_home(zone_first(listed), listed[1:]) == pytest.approx(0.7, abs=0.025)


def test_a_retry_leaves_the_zone_when_all_of_it_was_tried() -> None:
    """An endpoint that was not tried is better than one that is near, and one that is near better than one that was
    tried further away."""
    listed = zones(2, 1)
    balancer = zone_first(listed)
    assert balancer.pick(listed, 0.0, listed[:1], None) is listed[1]
    assert balancer.pick(listed, 0.0, listed[:2], None) is listed[2]
    again = balancer.pick(listed, 0.0, listed, None)
    assert again in listed[:2]


def test_nobody_of_our_zone_is_listed() -> None:
    """Then it is as if there were no zones."""
    listed = zones(0, 3)
    assert set(picks(zone_first(listed), listed, 30)) == set("ABC")


@given(data=st.data())
def test_with_zones_the_pick_is_still_the_best_that_there_is(data: st.DataObject) -> None:
    """Over any mixture of breakers, Retry-Afters, tried ones and who is listed."""
    listed = zones(data.draw(st.integers(0, 3)), data.draw(st.integers(0, 3)))
    tried = [endpoint for endpoint in listed if data.draw(st.booleans())]
    for endpoint in listed:
        endpoint.breaker = data.draw(st.sampled_from([None, FakeBreaker(0), FakeBreaker(1, True), FakeBreaker(2)]))
        endpoint.not_before = data.draw(st.sampled_from([0.0, 0.0, 5.0, 9.0]))
    usable = listed[data.draw(st.integers(0, 2)) :]

    def rank(endpoint: Endpoint | None) -> float:
        if endpoint is None or (endpoint.breaker is not None and endpoint.breaker.state == 2):
            return float("inf")
        if endpoint.not_before > 1.0:
            return 1.0 + endpoint.not_before
        return 1.0 if endpoint in tried else 0.0

    balancer = zone_first(listed)
    best = min(map(rank, usable), default=float("inf"))
    assert all(rank(balancer.pick(usable, 1.0, tried, None)) == best for _ in range(3))


def test_each_group_is_balanced_and_measured_by_itself() -> None:
    """An endpoint that changes zones is measured anew, and disturbs nobody."""
    listed = zones(3, 3)
    balancer = ZoneFirst("here", Listing(listed), lambda: Weighted(settings.Weighted(), Random(1)), Random(2))
    assert set(picks(balancer, listed, 100)) == set("abc")
    before = listed[0].load
    assert before is not None
    listed[0].zone = "there"
    moved = tuple(list(listed))
    for endpoint in listed[1:3]:
        endpoint.breaker = FakeBreaker(state=2)
    assert set(picks(balancer, moved, 300)) == set("aABC")
    for endpoint in listed[1:3]:
        endpoint.breaker = None
    balancer.pick(moved, 2.0, (), None)  # Now the group that it left meets its new set, last.
    for endpoint in listed[1:3]:
        endpoint.breaker = FakeBreaker(state=2)
    before.failed(0.0, 1.0)
    before.responded(0.0, 1.0, 200)
    shares = Counter(picks(balancer, moved, 4000))
    assert all(shares[host] == pytest.approx(1000, rel=0.15) for host in "aABC")
    assert listed[0].load is not None
    for _ in range(200):
        listed[0].load.failed(3.0, 1.0)
    assert picks(balancer, moved, 4000, now=3.0).count("a") < 300


# Slow start

algorithms = pytest.mark.parametrize(
    "algorithm",
    [
        RoundRobin(Random(1)),
        LeastRequest(Random(1)),
        Weighted(settings.Weighted(), Random(1)),
        PeakEwma(settings.PeakEwma(), Random(1)),
    ],
    ids=["round_robin", "least_request", "weighted", "peak_ewma"],
)


def share_of(host: str, balancer: Balancer, endpoints: Sequence[Endpoint], now: float) -> float:
    return picks(balancer, endpoints, 4000, now).count(host) / 4000


@algorithms
def test_who_joins_gets_a_tenth_at_first_and_all_of_it_in_the_end(algorithm: Balancer) -> None:
    """One of four, over twenty seconds: 2.5 %, 14 % in the middle, then a quarter."""
    *old, new = endpoints = zones(4, 0)
    balancer = SlowStart(algorithm, 20.0, Random(2))
    assert len(set(picks(balancer, old, 200))) == 3
    found = [share_of(new.host, balancer, endpoints, now) for now in (5.0, 15.0, 24.9, 25.1)]
    assert found == pytest.approx([0.025, 0.1375, 0.25, 0.25], abs=0.02)


def test_who_was_ill_begins_anew() -> None:
    """An endpoint that comes back is as cold as one that is new."""
    endpoints = zones(4, 0)
    balancer = SlowStart(RoundRobin(Random(1)), 20.0, Random(2))
    assert share_of("a", balancer, endpoints, 0.0) == pytest.approx(0.25, abs=0.01)
    assert share_of("a", balancer, endpoints[1:], 1.0) == 0.0
    assert share_of("a", balancer, endpoints, 2.0) < 0.05
    assert share_of("a", balancer, endpoints, 23.0) == pytest.approx(0.25, abs=0.01)


def test_who_is_still_cold_goes_on_where_it_was_when_the_set_changes_again() -> None:
    """A second new endpoint does not make the first one new again."""
    endpoints = zones(4, 0)
    balancer = SlowStart(RoundRobin(Random(1)), 20.0, Random(2))
    picks(balancer, endpoints[:2], 10)
    picks(balancer, endpoints[:3], 10, now=0.0)
    assert share_of("c", balancer, endpoints, 19.9) > 0.25
    assert share_of("d", balancer, endpoints, 19.9) < 0.05


def test_a_service_that_begins_is_not_held_back() -> None:
    """All are cold together: at the start, and when everybody was replaced."""
    balancer = SlowStart(RoundRobin(Random(1)), 20.0, Random(2))
    assert Counter(picks(balancer, zones(4, 0), 400)) == dict.fromkeys("abcd", 100)
    assert Counter(picks(balancer, zones(0, 4), 400)) == dict.fromkeys("ABCD", 100)


def test_a_cold_endpoint_is_better_than_none_and_than_one_that_was_tried() -> None:
    """It is spared for the sake of others; if there are none, it gets everything."""
    old, new = endpoints = zones(2, 0)
    balancer = SlowStart(RoundRobin(Random(1)), 20.0, Random(2))
    balancer.pick(endpoints[:1], 0.0, (), None)
    assert all(balancer.pick(endpoints, 0.0, (old,), None) is new for _ in range(50))
    old.not_before = 9.0
    assert all(balancer.pick(endpoints, 0.0, (), None) is new for _ in range(50))
    old.not_before, old.breaker = 0.0, FakeBreaker(state=2)
    assert all(balancer.pick(endpoints, 0.0, (), None) is new for _ in range(50))
