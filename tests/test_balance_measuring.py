"""The balancers that measure: what they make of what they are told, and how they forget it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.balance import Balancer, settings
from sidecar.balance.peak_ewma import PeakEwma
from sidecar.balance.shares import Shares
from sidecar.balance.weighted import Weighted
from sidecar.clock import Random
from sidecar.model import Endpoint
from tests.test_balance import picks, service

# Shares


@given(
    units=st.lists(st.integers(0, 50), max_size=40), changes=st.lists(st.tuples(st.integers(0, 39), st.integers(0, 50)))
)
def test_shares_find_what_a_walk_would_find(units: list[int], changes: list[tuple[int, int]]) -> None:
    """Whatever the shares are and however they were changed, every unit belongs to the position that a sum says."""
    shares = Shares(units)
    for position, changed in changes:
        if position < len(units):
            units[position] = changed
            shares.set(position, changed)
    owners = [position for position, count in enumerate(units) for _ in range(count)]
    assert shares.total == len(owners)
    assert [shares.find(unit) for unit in range(shares.total)] == owners


# Both


def weighted(seed: int = 1, **changes: float) -> Weighted:
    return Weighted(settings.Weighted(**changes), Random(seed))  # type: ignore[arg-type]


def peak_ewma(seed: int = 1) -> PeakEwma:
    return PeakEwma(settings.PeakEwma(), Random(seed))


def meet(balancer: Balancer, endpoints: Sequence[Endpoint], now: float = 0.0) -> None:
    """Picks until each of them has been picked."""
    while any(endpoint.load is None for endpoint in endpoints):
        balancer.pick(endpoints, now, (), None)


def answer(endpoint: Endpoint, now: float, seconds: float, times: int = 1, status: int = 200) -> None:
    assert endpoint.load is not None
    for _ in range(times):
        endpoint.load.responded(now, seconds, status)


def fail(endpoint: Endpoint, now: float, seconds: float = 0.001, times: int = 1) -> None:
    assert endpoint.load is not None
    for _ in range(times):
        endpoint.load.failed(now, seconds)


def shares(balancer: Balancer, endpoints: Sequence[Endpoint], now: float) -> list[float]:
    """Of ten thousand picks at an instant."""
    found = Counter(picks(balancer, endpoints, 10_000, now))
    return [found[endpoint.host] / 10_000 for endpoint in endpoints]


@pytest.mark.parametrize("balancer", [weighted(), peak_ewma()], ids=["weighted", "peak_ewma"])
def test_what_was_measured_stays_with_an_endpoint_while_the_set_changes(balancer: Balancer) -> None:
    """A new endpoint beside them is no reason to ask the slow one again."""
    slow, fast = endpoints = service(1, 1)
    meet(balancer, endpoints)
    answer(fast, 1.0, 0.01, 100)
    answer(slow, 1.0, 1.0, 100)
    before = shares(balancer, endpoints, 1.0)[0]
    assert before < 0.2
    wider = [Endpoint("z", 80), *endpoints]
    assert shares(balancer, wider, 1.0)[1] <= before
    assert shares(balancer, endpoints[:], 1.0)[0] == pytest.approx(before, abs=0.02)


@pytest.mark.parametrize("balancer", [weighted(), peak_ewma()], ids=["weighted", "peak_ewma"])
def test_an_endpoint_that_left_may_still_answer(balancer: Balancer) -> None:
    """Exchanges outlive the set that they were picked from; what they tell changes nobody else's share."""
    endpoints = service(1, 1, 1)
    meet(balancer, endpoints)
    gone, *left = endpoints
    assert shares(balancer, left, 0.0)[0] == pytest.approx(0.5, abs=0.02)
    fail(gone, 1.0, times=100)
    answer(gone, 1.0, 30.0, 100)
    assert shares(balancer, left, 1.0)[0] == pytest.approx(0.5, abs=0.02)
    assert picks(balancer, [], 1) == "-"


# Weighted


def test_a_slower_endpoint_gets_as_much_less_as_it_is_slower() -> None:
    """Four times as slow as the two others, less the quarter that is nobody's fault: a third of what they get."""
    balancer, endpoints = weighted(), service(1, 1, 1)
    meet(balancer, endpoints)
    for endpoint, seconds in zip(reversed(endpoints), (0.01, 0.01, 0.04), strict=True):
        answer(endpoint, 0.0, seconds, 1000)
    share = shares(balancer, endpoints, 0.0)[0]
    assert share == pytest.approx((1.25 / 4) / (2 + 1.25 / 4), abs=0.015)


def test_a_little_slower_is_no_slower() -> None:
    """A fifth is within what chance does."""
    balancer, endpoints = weighted(), service(1, 1)
    meet(balancer, endpoints)
    answer(endpoints[0], 0.0, 0.012, 1000)
    answer(endpoints[1], 0.0, 0.010, 1000)
    assert shares(balancer, endpoints, 0.0)[0] == pytest.approx(0.5, abs=0.015)


def test_a_single_slow_answer_says_little() -> None:
    """One answer a hundred times as slow as usual costs no more than a half."""
    balancer, endpoints = weighted(), service(1, 1)
    meet(balancer, endpoints)
    answer(endpoints[1], 0.0, 0.01, 100)
    answer(endpoints[0], 0.0, 1.0)
    assert 0.3 < shares(balancer, endpoints, 0.0)[0] < 0.45


def test_an_endpoint_that_fails_half_of_the_time_gets_a_quarter() -> None:
    """The square of what succeeds, beside one that always does."""
    balancer, endpoints = weighted(), service(1, 1)
    meet(balancer, endpoints)
    for _ in range(500):
        answer(endpoints[0], 0.0, 0.01)
        fail(endpoints[0], 0.0)
        answer(endpoints[1], 0.0, 0.01)
    assert shares(balancer, endpoints, 0.0)[0] == pytest.approx(0.25 / 1.25, abs=0.015)


def test_where_all_fail_alike_all_get_alike() -> None:
    """What is wrong with everybody is nobody's fault."""
    balancer, endpoints = weighted(), service(2, 1)
    meet(balancer, endpoints)
    for endpoint in endpoints:
        fail(endpoint, 0.0, times=200)
    assert shares(balancer, endpoints, 0.0)[0] == pytest.approx(2 / 3, abs=0.02)


@pytest.mark.parametrize("floor", [0.02, 0.1, 0.5])
def test_nobody_falls_below_the_floor(floor: float) -> None:
    """However an endpoint fares, it keeps so much of its weight: else nobody would notice that it is well again."""
    balancer, endpoints = weighted(floor=floor), service(1, 1)
    meet(balancer, endpoints)
    fail(endpoints[0], 0.0, times=10_000)
    assert shares(balancer, endpoints, 0.0)[0] == pytest.approx(floor / (1 + floor), abs=0.01)


def test_weights_and_factors_multiply() -> None:
    """A slow endpoint of weight 8 and a fast one of weight 1."""
    balancer, endpoints = weighted(), service(8, 1)
    meet(balancer, endpoints)
    answer(endpoints[1], 0.0, 0.01, 1000)
    answer(endpoints[0], 0.0, 0.1, 1000)
    assert shares(balancer, endpoints, 0.0)[0] == pytest.approx(1 / (1 + 1), abs=0.02)


def test_what_is_not_heard_of_goes_back_to_its_weight_by_itself() -> None:
    """Nobody has to pick an endpoint for it to be forgiven: that happens as others are picked, smoothly."""
    balancer, endpoints = weighted(), service(1, 1)
    meet(balancer, endpoints)
    fail(endpoints[0], 0.0, times=50)
    found = [shares(balancer, endpoints, now)[0] for now in (0.0, 10.0, 20.0, 30.0, 60.0)]
    assert found[1:] == sorted(found[1:])
    assert found[0] < 0.11
    assert found[-1] == pytest.approx(0.5, abs=0.02)
    assert 0.1 < found[2] < 0.45


def test_what_holds_far_more_than_is_usual_is_passed_over() -> None:
    """Requests that hang are heard of when it is too late; that they are many is seen at once."""
    balancer, endpoints = weighted(), service(1, 1, 1, 1)
    endpoints[0].in_flight = 200
    assert shares(balancer, endpoints, 0.0)[0] < 0.05
    endpoints[0].in_flight = 0
    assert shares(balancer, endpoints, 0.0)[0] == pytest.approx(0.25, abs=0.02)


def test_a_service_whose_endpoints_are_all_busy_is_picked_from_all_the_same() -> None:
    """Busy is relative: with as much everywhere, shares are what the weights say."""
    balancer, endpoints = weighted(), service(3, 1)
    endpoints[0].in_flight, endpoints[1].in_flight = 900, 300
    shares(balancer, endpoints, 0.0)
    assert shares(balancer, endpoints, 0.0)[0] == pytest.approx(0.75, abs=0.02)


def test_static_weights_measure_nothing() -> None:
    """With ``dynamic = false`` nothing is left on the endpoints, and nothing but weights counts."""
    balancer, endpoints = weighted(dynamic=False), service(3, 1)
    endpoints[0].in_flight = 500
    assert shares(balancer, endpoints, 0.0)[0] == pytest.approx(0.75, abs=0.015)
    assert [endpoint.load for endpoint in endpoints] == [None, None]


@given(
    told=st.lists(
        st.tuples(st.integers(0, 4), st.floats(0, 100), st.one_of(st.none(), st.floats(0, 1e6)), st.booleans()),
        max_size=40,
    )
)
def test_whatever_is_told_the_shares_stay_within_their_bounds(
    told: list[tuple[int, float, float | None, bool]],
) -> None:
    """Any latency, none at all, failures, in any order and with sets that change between: the sum is that of the parts."""
    balancer, everybody = weighted(), service(1, 2, 3, 0, 5)
    now = 0.0
    endpoints = list(everybody)
    for number, later, seconds, change in told:
        now += later
        balancer.pick(endpoints, now, (), None)
        load = everybody[number].load
        if load is not None and seconds is not None:
            load.responded(now, seconds, 200)
        elif load is not None:
            load.failed(now, 1.0)
        if change:
            endpoints = [endpoint for endpoint in everybody if endpoint is not everybody[number]]
    balancer.pick(endpoints, now, (), None)
    whole = sum(endpoint.weight for endpoint in endpoints) * 1000
    assert whole // 10 <= balancer._shares.total <= whole
    found = Weighted(settings.Weighted(), Random(1))
    assert found.pick(endpoints, now, (), None) is not None


# Peak EWMA


def test_a_slow_answer_is_believed_at_once_and_fast_ones_with_time() -> None:
    """Slower is the new average; that it is faster again has to be said for a while."""
    balancer, endpoints = peak_ewma(), service(1, 1)
    meet(balancer, endpoints)
    slow, fast = endpoints
    answer(slow, 0.0, 0.01, 10)
    answer(fast, 0.0, 0.02, 10)
    assert shares(balancer, endpoints, 0.0) == [1.0, 0.0]
    answer(slow, 0.0, 1.0)
    assert shares(balancer, endpoints, 0.0) == [0.0, 1.0]
    for tenth in range(1, 200):
        answer(slow, tenth / 10, 0.01)
        answer(fast, tenth / 10, 0.02)
    assert shares(balancer, endpoints, 20.0) == [0.0, 1.0]
    for tenth in range(200, 700):
        answer(slow, tenth / 10, 0.01)
        answer(fast, tenth / 10, 0.02)
    assert shares(balancer, endpoints, 70.0) == [1.0, 0.0]


def test_what_is_in_flight_counts_for_its_weight() -> None:
    """Equally fast, three requests at weight 4 are less than one at weight 1."""
    balancer, endpoints = peak_ewma(), service(4, 1)
    endpoints[0].in_flight, endpoints[1].in_flight = 3, 1
    assert shares(balancer, endpoints, 0.0) == [1.0, 0.0]
    endpoints[0].in_flight = 9
    assert shares(balancer, endpoints, 0.0) == [0.0, 1.0]


@pytest.mark.parametrize("status", [0, 429])
def test_failing_and_refusing_are_slow_however_fast_they_are(status: int) -> None:
    """A failure, and a 429, after a millisecond: within a second the endpoint costs more than one that takes 100 ms."""
    balancer, endpoints = peak_ewma(), service(1, 1)
    meet(balancer, endpoints)
    answer(endpoints[0], 0.0, 0.001)
    answer(endpoints[1], 0.0, 0.1)
    for hundredth in range(1, 100):
        if status:
            answer(endpoints[0], hundredth / 100, 0.001, status=status)
        else:
            fail(endpoints[0], hundredth / 100)
    answer(endpoints[1], 1.0, 0.1)
    assert shares(balancer, endpoints, 1.0) == [0.0, 1.0]


def test_one_failure_in_a_thousand_is_no_sentence() -> None:
    """Among answers every ten milliseconds it makes an endpoint of 10 ms look like one of less than 20."""
    balancer, endpoints = peak_ewma(), service(1, 1)
    meet(balancer, endpoints)
    answer(endpoints[1], 10.0, 0.02)
    for hundredth in range(1000):
        answer(endpoints[0], hundredth / 100, 0.01)
    fail(endpoints[0], 10.0)
    assert shares(balancer, endpoints, 10.0) == [1.0, 0.0]


def test_a_timeout_is_as_slow_as_it_was() -> None:
    """Two seconds in vain are two seconds, at once."""
    balancer, endpoints = peak_ewma(), service(1, 1)
    meet(balancer, endpoints)
    answer(endpoints[0], 0.0, 0.01)
    answer(endpoints[1], 0.0, 1.9)
    fail(endpoints[0], 0.0, 2.0)
    assert shares(balancer, endpoints, 0.0) == [0.0, 1.0]


def test_a_slow_endpoint_is_asked_again_after_a_while_of_silence() -> None:
    """What nobody has said anything about sinks; the others are heard of and stay where they are."""
    balancer, endpoints = peak_ewma(), service(1, 1)
    meet(balancer, endpoints)
    answer(endpoints[0], 0.0, 1.0)
    answer(endpoints[1], 20.0, 0.02)
    assert shares(balancer, endpoints, 20.0)[0] == 0.0
    answer(endpoints[1], 60.0, 0.02)
    assert shares(balancer, endpoints, 60.0)[0] == 1.0


def test_a_new_endpoint_is_taken_to_be_as_fast_as_the_others() -> None:
    """Among endpoints of 1 ms it would otherwise get nothing for half a minute, among those of 1 s all of it."""
    for usual in (0.001, 1.0):
        balancer, endpoints = peak_ewma(), service(1, 1, 1)
        meet(balancer, endpoints)
        for endpoint in endpoints:
            answer(endpoint, 0.0, usual, 50)
        joined = [*endpoints, Endpoint("z", 80)]
        assert 0.1 < shares(balancer, joined, 0.0)[3] < 0.6
