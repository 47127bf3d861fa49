"""The balancers: what each is for, and what all of them owe."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.balance import Balancer, settings
from sidecar.balance.least_connections import LeastConnections
from sidecar.balance.least_request import LeastRequest
from sidecar.balance.peak_ewma import PeakEwma
from sidecar.balance.random_choice import RandomChoice
from sidecar.balance.ring_hash import RingHash
from sidecar.balance.round_robin import RoundRobin
from sidecar.balance.slow_start import SlowStart
from sidecar.balance.weighted import Weighted
from sidecar.balance.zone import ZoneFirst
from sidecar.clock import Random
from sidecar.model import Endpoint
from sidecar.resilience import limits

Make = Callable[[Random], Balancer]


def weighted(random: Random) -> Weighted:
    return Weighted(settings.Weighted(), random)


def static(random: Random) -> Weighted:
    return Weighted(settings.Weighted(dynamic=False), random)


def peak_ewma(random: Random) -> PeakEwma:
    return PeakEwma(settings.PeakEwma(), random)


def ring_hash(random: Random) -> RingHash:
    return RingHash(settings.RingHash(), random, limits.Limits(limits.Settings()))


def slow_start(random: Random) -> SlowStart:
    return SlowStart(RoundRobin(random), 30.0, random)


class Listing:
    """A service that lists what it was given."""

    def __init__(self, listed: Sequence[Endpoint] = ()) -> None:
        self.listed = listed


def zone_first(random: Random) -> ZoneFirst:
    """Of a zone that no endpoint is in."""
    return ZoneFirst("here", Listing(), lambda: RoundRobin(random), random)


every = pytest.mark.parametrize(
    "make",
    [
        RoundRobin, LeastRequest, RandomChoice, LeastConnections, weighted, static, peak_ewma, ring_hash, slow_start,
        zone_first,
    ],
)  # fmt: skip


class FakeBreaker:
    """A breaker that is in one state; it admits or not, and counts how often it is asked."""

    def __init__(self, state: int, admitting: bool = False) -> None:
        self.state = state
        self.admitting = admitting
        self.asked = 0

    def admits(self, now: float) -> bool:
        self.asked += 1
        return self.admitting

    def begin(self, now: float) -> int:
        return 0

    def success(self, now: float, ticket: int) -> None: ...
    def failure(self, now: float, ticket: int) -> None: ...
    def ignored(self, now: float, ticket: int) -> None: ...

    def retry_after(self, now: float) -> float:
        return 0.0


def service(*weights: int) -> list[Endpoint]:
    return [Endpoint(chr(ord("a") + number), 80, weight) for number, weight in enumerate(weights)]


def picks(balancer: Balancer, endpoints: Sequence[Endpoint], count: int, now: float = 0.0) -> str:
    """The hosts of ``count`` picks, one letter each."""
    chosen = (balancer.pick(endpoints, now, (), None) for _ in range(count))
    return "".join("-" if endpoint is None else endpoint.host for endpoint in chosen)


# What all of them owe


@every
def test_no_endpoints_no_pick(make: Make) -> None:
    """An empty service has nothing to offer, and gets its first endpoint later without trouble."""
    balancer = make(Random(1))
    assert balancer.pick([], 0.0, (), None) is None
    assert picks(balancer, service(1), 2) == "aa"


@every
def test_a_service_of_one_gets_everything(make: Make) -> None:
    """There is no choice to make."""
    assert picks(make(Random(1)), service(1), 5) == "aaaaa"


@every
def test_equal_weights_get_equal_shares(make: Make) -> None:
    """Thirty thousand picks over three endpoints, none more than 3 % off."""
    shares = Counter(picks(make(Random(2)), service(1, 1, 1), 30_000))
    assert all(abs(shares[host] - 10_000) < 300 for host in "abc")


@every
@pytest.mark.parametrize("weights", [(1, 1, 1), (3, 2, 1)])
def test_an_open_endpoint_is_not_picked_and_the_others_share_its_part(make: Make, weights: tuple[int, ...]) -> None:
    """Its neighbour does not get both shares."""
    endpoints = service(*weights, 1)
    endpoints[1].breaker = FakeBreaker(state=2)
    shares = Counter(picks(make(Random(3)), endpoints, 20_000))
    assert shares["b"] == 0
    if make not in (LeastRequest, LeastConnections, peak_ewma) or weights[0] == 1:
        whole = weights[0] + weights[2] + 1
        for host, weight in zip("acd", (weights[0], weights[2], 1), strict=True):
            assert abs(shares[host] - 20_000 * weight / whole) < 400


@every
def test_if_every_endpoint_is_open_none_is_picked(make: Make) -> None:
    """Open means open: there is no panic that picks one all the same."""
    endpoints = service(1, 1, 2)
    for endpoint in endpoints:
        endpoint.breaker = FakeBreaker(state=2)
    assert picks(make(Random(1)), endpoints, 3) == "---"


@every
def test_a_half_open_endpoint_is_picked_while_it_admits(make: Make) -> None:
    """The breaker decides: admitting it takes part, else not."""
    endpoints = service(1, 1)
    endpoints[0].breaker = breaker = FakeBreaker(state=1, admitting=True)
    assert set(picks(make(Random(1)), endpoints, 50)) == {"a", "b"}
    breaker.admitting = False
    assert set(picks(make(Random(1)), endpoints, 50)) == {"b"}


@every
def test_closed_breakers_are_not_even_asked(make: Make) -> None:
    """The common case reads the state and no more."""
    endpoints = service(1, 1)
    breakers = [FakeBreaker(state=0), FakeBreaker(state=0)]
    for endpoint, breaker in zip(endpoints, breakers, strict=True):
        endpoint.breaker = breaker
    assert set(picks(make(Random(1)), endpoints, 50)) == {"a", "b"}
    assert [breaker.asked for breaker in breakers] == [0, 0]


@every
def test_an_endpoint_not_yet_tried_is_preferred(make: Make) -> None:
    """Five retries over five endpoints try each of them once."""
    balancer, endpoints = make(Random(5)), service(1, 1, 5, 1, 1)
    for _ in range(20):
        tried: set[Endpoint] = set()
        for _ in endpoints:
            choice = balancer.pick(endpoints, 0.0, tried, None)
            assert choice is not None
            tried.add(choice)
        assert len(tried) == 5


@every
def test_when_all_were_tried_one_of_them_is_tried_again(make: Make) -> None:
    """A retry at the same endpoint is better than none, and an open one stays out of it."""
    endpoints = service(1, 1, 1)
    endpoints[2].breaker = FakeBreaker(state=2)
    balancer = make(Random(1))
    again = [balancer.pick(endpoints, 0.0, set(endpoints), None) for _ in range(50)]
    assert {endpoint.host for endpoint in again if endpoint} == {"a", "b"}
    assert None not in again


@every
def test_an_endpoint_that_asked_to_be_left_alone_is_left_alone_until_then(make: Make) -> None:
    """Others are picked while its Retry-After runs, even ones that were tried; afterwards it takes part again."""
    endpoints = service(1, 1)
    endpoints[0].not_before = 10.0
    balancer = make(Random(1))
    assert set(picks(balancer, endpoints, 20, now=9.9)) == {"b"}
    assert balancer.pick(endpoints, 9.9, {endpoints[1]}, None) is endpoints[1]
    assert set(picks(balancer, endpoints, 20, now=10.0)) == {"a", "b"}


@every
def test_when_all_asked_to_be_left_alone_the_soonest_is_picked(make: Make) -> None:
    """The caller sees its not_before and waits; an open one is not among them."""
    endpoints = service(1, 1, 1, 1)
    for endpoint, until in zip(endpoints, (30.0, 20.0, 10.0, 5.0), strict=True):
        endpoint.not_before = until
    endpoints[3].breaker = FakeBreaker(state=2)
    assert picks(make(Random(1)), endpoints, 5) == "ccccc"


@every
@pytest.mark.parametrize("weights", [(0, 1, 1), (0, 3, 1)])
def test_weight_zero_gets_nothing(make: Make, weights: tuple[int, ...]) -> None:
    """Neither among others nor alone."""
    assert "a" not in picks(make(Random(1)), service(*weights), 1000)
    assert picks(make(Random(1)), service(0, 0), 3) == "---"


@every
def test_a_changed_set_takes_effect_with_the_next_pick(make: Make) -> None:
    """Endpoints come and go between picks, weights change, nothing of the old set is picked or kept."""
    balancer, endpoints = make(Random(1)), service(1, 2, 3, 4)
    picks(balancer, endpoints, 7)
    for keep in (endpoints[1:], endpoints[:1], tuple(endpoints), endpoints[2:]):
        assert set(picks(balancer, keep, 200)) <= {endpoint.host for endpoint in keep}
    assert "z" in picks(balancer, [*endpoints, Endpoint("z", 80, 9)], 200)
    for endpoint in endpoints:
        endpoint.weight = 1
    shares = Counter(picks(balancer, list(endpoints), 8000))
    assert all(abs(shares[host] - 2000) < 200 for host in "abcd")


@every
def test_an_endpoint_that_left_is_let_go(make: Make) -> None:
    """With the first pick from a new set, nothing of the old one is held."""
    balancer, endpoints = make(Random(1)), service(1, 2, 3)
    picks(balancer, endpoints, 10)
    last = Weak("w", 80)
    gone = weakref.ref(last)
    picks(balancer, [*endpoints, last], 10)
    del last
    picks(balancer, list(endpoints), 1)
    gc.collect()
    assert gone() is None


@every
@given(data=st.data())
def test_the_pick_is_always_the_best_that_there_is(make: Make, data: Any) -> None:
    """Over any mixture of weights, breakers, Retry-Afters and tried ones, no better endpoint is left unpicked."""
    endpoints = service(*data.draw(st.lists(st.integers(0, 3), max_size=6)))
    tried: set[Endpoint] = set()
    for endpoint in endpoints:
        endpoint.breaker = data.draw(st.sampled_from([None, FakeBreaker(0), FakeBreaker(1, True), FakeBreaker(2)]))
        endpoint.not_before = data.draw(st.sampled_from([0.0, 0.0, 5.0, 9.0]))
        if data.draw(st.booleans()):
            tried.add(endpoint)

    def rank(endpoint: Endpoint) -> float:
        """0 is best; infinity must not be picked."""
        if endpoint.weight == 0 or (endpoint.breaker is not None and endpoint.breaker.state == 2):
            return float("inf")
        if endpoint.not_before > 1.0:
            return 1.0 + endpoint.not_before
        return 1.0 if endpoint in tried else 0.0

    best = min(map(rank, endpoints), default=float("inf"))
    balancer = make(Random(data.draw(st.integers(0, 99))))
    for _ in range(3):
        choice = balancer.pick(endpoints, 1.0, tried, None)
        assert (float("inf") if choice is None else rank(choice)) == best


class Weak(Endpoint):
    """An endpoint whose end can be seen."""

    __slots__ = ("__weakref__",)


class Counting(list[Endpoint]):
    """Endpoints that count how often one of them is looked at."""

    looks = 0

    def __getitem__(self, index: Any) -> Any:
        self.looks += 1
        return super().__getitem__(index)

    def __iter__(self) -> Any:
        self.looks += len(self)
        return super().__iter__()


@every
def test_a_pick_among_a_thousand_looks_at_two(make: Make) -> None:
    """With nothing open and nothing tried, the price of a pick does not grow with the service, or with its logarithm."""
    balancer, endpoints = make(Random(1)), Counting(service(*[1] * 1000))
    balancer.pick(endpoints, 0.0, (), None)
    endpoints.looks = 0
    for _ in range(1000):
        balancer.pick(endpoints, 0.0, (), None)
    assert endpoints.looks <= 1000 * (10 if make is LeastConnections else 2)


@every
def test_with_a_third_of_a_thousand_open_a_pick_hardly_looks_at_more(make: Make) -> None:
    """An outage of a part must not make every pick go through all."""
    balancer, endpoints = make(Random(1)), Counting(service(*[1] * 999))
    for endpoint in endpoints[::3]:
        endpoint.breaker = FakeBreaker(state=2)
    balancer.pick(endpoints, 0.0, (), None)
    endpoints.looks = 0
    for _ in range(1000):
        choice = balancer.pick(endpoints, 0.0, (), None)
        assert choice is not None
        assert choice.breaker is None
        retried = balancer.pick(endpoints, 0.0, (choice,), None)
        assert retried is not None
        assert retried.breaker is None
    assert endpoints.looks <= 2000 * (10 if make is LeastConnections else 4)


# Round robin


def test_round_robin_goes_round() -> None:
    """One after the other, from wherever chance begins."""
    sequence = picks(RoundRobin(Random(1)), service(1, 1, 1), 9)
    assert sequence[:3] * 3 == sequence
    assert sequence in "abc" * 4


def test_round_robin_begins_anywhere() -> None:
    """Sidecars that start together spread their first calls."""
    firsts = Counter(picks(RoundRobin(Random(seed)), service(1, 1, 1), 1) for seed in range(300))
    assert all(firsts[host] > 60 for host in "abc")


def test_round_robin_skips_what_is_open_and_keeps_its_turn() -> None:
    """With b open it is a c d a c d, not a c c d."""
    endpoints = service(1, 1, 1, 1)
    endpoints[1].breaker = FakeBreaker(state=2)
    assert picks(RoundRobin(Random(1)), endpoints, 9) in "acd" * 4


def test_weights_five_one_one_are_spread_smoothly() -> None:
    """The sequence of nginx, twice over."""
    assert picks(RoundRobin(Random(1)), service(5, 1, 1), 14) == "aabacaa" * 2


def test_weights_three_two_one_are_spread_smoothly() -> None:
    """No endpoint gets its share in one burst."""
    assert picks(RoundRobin(Random(1)), service(3, 2, 1), 12) == "abacba" * 2


def test_a_weighted_endpoint_that_comes_back_gets_its_share_and_no_burst() -> None:
    """What it missed while it was open is not made up for."""
    endpoints = service(3, 2, 1)
    balancer = RoundRobin(Random(1))
    endpoints[0].breaker = FakeBreaker(state=2)
    shares = Counter(picks(balancer, endpoints, 3000))
    assert abs(shares["b"] - 2000) < 20
    assert abs(shares["c"] - 1000) < 20
    endpoints[0].breaker = None
    back = picks(balancer, endpoints, 600)
    assert "aaaa" not in back
    assert abs(back.count("a") - 300) < 5


@pytest.mark.parametrize("weights", [(3, 2, 1) * 20, (100, 1) * 17])
def test_many_unequal_weights_are_exact_and_spread(weights: tuple[int, ...]) -> None:
    """Beyond thirty-two endpoints too, each has its turns to the last one, and no two of them in a row."""
    endpoints = service(*weights)
    rounds = 20
    found = picks(RoundRobin(Random(1)), endpoints, rounds * sum(weights))
    shares = Counter(found)
    assert all(abs(shares[endpoint.host] - rounds * endpoint.weight) <= 1 for endpoint in endpoints)
    assert not any(one == other for one, other in pairwise(found))


def test_many_unequal_weights_keep_their_turns_as_endpoints_come_and_go() -> None:
    """Whoever stays is due when it was, and whoever comes gets no more than its share."""
    endpoints = service(*(3, 2, 1) * 20)
    balancer = RoundRobin(Random(1))
    shares = Counter(picks(balancer, endpoints, 3000))
    for number in range(20):
        joined = Endpoint("!", 80, 3)
        changed = [*endpoints[: 40 + number], joined]
        shares += Counter(picks(balancer, changed, 2 * sum(endpoint.weight for endpoint in changed)))
    assert shares["!"] == pytest.approx(20 * 2 * 3, abs=12)
    assert max(shares[host] for host in "adg") - min(shares[host] for host in "adg") <= 2


def test_among_many_unequal_weights_a_pick_looks_at_the_next_ones_only() -> None:
    """With a third of them open, tried ones too: the price does not grow with the service."""
    endpoints = Counting(service(*(3, 2, 1, 1) * 250))
    for endpoint in endpoints[::3]:
        endpoint.breaker = FakeBreaker(state=2)
    balancer = RoundRobin(Random(1))
    balancer.pick(endpoints, 0.0, (), None)
    endpoints.looks = 0
    shares: Counter[int] = Counter()
    for _ in range(3500):
        choice = balancer.pick(endpoints, 0.0, endpoints[1:2], None)
        assert choice is not None
        assert choice.breaker is None
        shares[choice.weight] += 1
    assert endpoints.looks <= 3500 * 2
    assert [shares[weight] for weight in (3, 2, 1)] == pytest.approx([1500, 1000, 1000], rel=0.05)


# Least request


def test_least_request_avoids_the_busy_one() -> None:
    """Of two endpoints, the one with less in flight is always picked."""
    endpoints = service(1, 1)
    endpoints[0].in_flight = 3
    assert picks(LeastRequest(Random(1)), endpoints, 100) == "b" * 100


def test_least_request_takes_the_other_one_when_the_better_is_open() -> None:
    """An open endpoint is always idle and so often drawn as the better: that must not cost a look at all others."""
    endpoints = Counting(service(*[1] * 10))
    for endpoint in endpoints[1:]:
        endpoint.in_flight = 1
    endpoints[0].breaker = FakeBreaker(state=2)
    endpoints.looks = 0
    assert "a" not in picks(LeastRequest(Random(1)), endpoints, 500)
    assert endpoints.looks == 1000


def test_least_request_never_picks_the_busiest_of_many() -> None:
    """It loses against whichever other was drawn."""
    endpoints = service(1, 1, 1, 1)
    endpoints[2].in_flight = 9
    assert set(picks(LeastRequest(Random(1)), endpoints, 1000)) == {"a", "b", "d"}


def test_least_request_keeps_what_is_in_flight_in_proportion_to_weight() -> None:
    """Filled with forty requests that do not end, weights 3 and 1 hold thirty and ten."""
    endpoints = service(3, 1)
    balancer = LeastRequest(Random(1))
    for _ in range(40):
        choice = balancer.pick(endpoints, 0.0, (), None)
        assert choice is not None
        choice.in_flight += 1
    assert [endpoint.in_flight for endpoint in endpoints] == [30, 10]


def test_two_choices_level_out_what_one_does_not() -> None:
    """A thousand requests over a hundred endpoints: the fullest holds few more than the mean of ten."""
    endpoints = service(*[1] * 100)
    balancer = LeastRequest(Random(1))
    for _ in range(1000):
        choice = balancer.pick(endpoints, 0.0, (), None)
        assert choice is not None
        choice.in_flight += 1
    assert max(endpoint.in_flight for endpoint in endpoints) <= 13


# Random


def test_random_follows_the_weights() -> None:
    """Weights 5, 3, 2 over ten thousand picks."""
    shares = Counter(picks(RandomChoice(Random(4)), service(5, 3, 2), 10_000))
    for host, share in (("a", 5000), ("b", 3000), ("c", 2000)):
        assert abs(shares[host] - share) < 150
