"""The circuit breaker of an endpoint; numbers are those of the user's integration patterns, through the defaults."""

from __future__ import annotations

import msgspec
import pytest

from sidecar.model import Endpoint
from sidecar.resilience.breaker import CLOSED, HALF_OPEN, NAMES, OPEN, Breaker, Settings


def fail(breaker: Breaker, *instants: float) -> None:
    for now in instants:
        breaker.failure(now, breaker.begin(now))


def succeed(breaker: Breaker, *instants: float) -> None:
    for now in instants:
        breaker.success(now, breaker.begin(now))


def tripped(at: float = 0.0, settings: Settings | None = None) -> Breaker:
    breaker = Breaker(settings or Settings())
    fail(breaker, *[at] * breaker.settings.failures)
    assert breaker.state == OPEN
    return breaker


def half_open(settings: Settings | None = None) -> Breaker:
    """A breaker that tripped at 0 and turned half-open at 30."""
    breaker = tripped(0.0, settings)
    assert breaker.admits(30.0)
    assert breaker.state == HALF_OPEN
    return breaker


def test_a_breaker_is_what_an_endpoint_holds() -> None:
    """It fits the slot that the model has for it, and starts closed."""
    endpoint = Endpoint("10.0.0.1", 80)
    endpoint.breaker = Breaker(Settings())
    assert endpoint.breaker.state == CLOSED
    assert endpoint.breaker.admits(0.0)


def test_five_failures_in_ten_seconds_trip_and_four_do_not() -> None:
    """The user's threshold."""
    breaker = Breaker(Settings())
    fail(breaker, 0.0, 2.0, 4.0, 6.0)
    assert breaker.state == CLOSED
    fail(breaker, 8.0)
    assert breaker.state == OPEN
    assert breaker.opened_at == 8.0
    assert not breaker.admits(8.0)


@pytest.mark.parametrize(("fifth", "state"), [(9.999, OPEN), (10.0, OPEN), (10.001, CLOSED)])
def test_the_five_must_lie_within_exactly_ten_seconds(fifth: float, state: int) -> None:
    """The window rolls with the failures: no fixed interval, no slot's rounding decides."""
    breaker = Breaker(Settings())
    fail(breaker, 0.0, 9.0, 9.1, 9.2, fifth)
    assert breaker.state == state


def test_a_burst_across_the_edge_of_any_interval_is_seen() -> None:
    """Failures at 9.8 to 10.2 trip as well as those at 1.0 to 1.4."""
    breaker = Breaker(Settings())
    succeed(breaker, 0.0)
    fail(breaker, 9.8, 9.9, 10.0, 10.1, 10.2)
    assert breaker.state == OPEN


def test_slow_drips_of_failures_never_trip() -> None:
    """A failure every three seconds is four in ten seconds, for ever."""
    breaker = Breaker(Settings())
    fail(breaker, *(float(second) for second in range(0, 3000, 3)))
    assert breaker.state == CLOSED


@pytest.mark.parametrize(("successes", "state"), [(20, OPEN), (21, CLOSED)])
def test_the_failures_must_also_be_a_fifth_of_the_outcomes(successes: int, state: int) -> None:
    """5 of 25 trips, 5 of 26 does not."""
    breaker = Breaker(Settings())
    succeed(breaker, *[1.0] * successes)
    fail(breaker, 1.1, 1.2, 1.3, 1.4, 1.5)
    assert breaker.state == state


def test_the_share_is_taken_of_the_failures_that_the_count_has_seen() -> None:
    """The first of the five is exactly ten seconds old, gone from the rolling count; it is still one of 25."""
    breaker = Breaker(Settings())
    fail(breaker, 0.0)
    succeed(breaker, *[5.0] * 20)
    fail(breaker, 9.9, 9.9, 9.9, 10.0)
    assert breaker.state == OPEN


def test_a_busy_endpoint_with_few_failures_stays_closed_and_trips_when_they_become_many() -> None:
    """At 100 calls a second, one failure in ten is borne for a minute; one in two is not."""
    breaker = Breaker(Settings())
    now = 0.0
    for call in range(6000):
        now = call / 100
        (fail if call % 10 == 0 else succeed)(breaker, now)
    assert breaker.state == CLOSED
    calls = 0
    while breaker.state == CLOSED:
        now += 0.01
        (fail if calls % 2 else succeed)(breaker, now)
        calls += 1
    assert 200 < calls < 600


def test_successes_older_than_the_window_do_not_hold_the_breaker_closed() -> None:
    """A thousand good calls a while ago say nothing about now."""
    breaker = Breaker(Settings())
    succeed(breaker, *[0.0] * 1000)
    fail(breaker, *[11.0] * 5)
    assert breaker.state == OPEN


def test_an_open_breaker_refuses_for_exactly_thirty_seconds() -> None:
    """The user's open period, from the trip on."""
    breaker = tripped(at=100.0)
    assert not breaker.admits(100.0)
    assert not breaker.admits(129.999)
    assert breaker.state == OPEN
    assert breaker.admits(130.0)
    assert breaker.state == HALF_OPEN


def test_retry_after_counts_down_to_the_test() -> None:
    """Seconds left while open, nothing otherwise."""
    breaker = tripped(at=100.0)
    assert [breaker.retry_after(now) for now in (100.0, 110.0, 130.0, 140.0)] == [30.0, 20.0, 0.0, 0.0]
    assert Breaker(Settings()).retry_after(5.0) == 0.0


def test_half_open_lets_one_probe_through_at_a_time() -> None:
    """Asking reserves nothing, beginning does, any end frees it."""
    breaker = half_open()
    assert breaker.admits(30.0)
    ticket = breaker.begin(30.0)
    assert not breaker.admits(30.0)
    assert not breaker.admits(1000.0)
    breaker.success(31.0, ticket)
    assert breaker.admits(31.0)
    ticket = breaker.begin(31.0)
    assert not breaker.admits(31.0)
    breaker.ignored(32.0, ticket)
    assert breaker.state == HALF_OPEN
    assert breaker.admits(32.0)


def test_the_number_of_concurrent_probes_can_be_set() -> None:
    """With probes = 2, two may be in flight and no third."""
    breaker = half_open(Settings(probes=2))
    breaker.begin(30.0)
    assert breaker.admits(30.0)
    breaker.begin(30.0)
    assert not breaker.admits(30.0)


def test_three_consecutive_successes_close() -> None:
    """The user's success threshold; an ignored result between them neither counts nor breaks the row."""
    breaker = half_open()
    succeed(breaker, 30.0, 30.1)
    breaker.ignored(30.2, breaker.begin(30.2))
    assert breaker.state == HALF_OPEN
    succeed(breaker, 30.3)
    assert breaker.state == CLOSED
    assert breaker.admits(30.3)


def test_one_failure_in_half_open_opens_for_the_same_time_again() -> None:
    """Exactly thirty seconds more, not longer each time, and the row of successes starts over."""
    breaker = half_open()
    succeed(breaker, 30.0, 30.1)
    fail(breaker, 30.2)
    assert breaker.state == OPEN
    assert breaker.opened_at == 30.2
    assert not breaker.admits(60.1)
    assert breaker.admits(60.2)
    succeed(breaker, 60.2, 60.3)
    assert breaker.state == HALF_OPEN
    succeed(breaker, 60.4)
    assert breaker.state == CLOSED


def test_a_closed_breaker_has_forgotten_what_tripped_it() -> None:
    """After a reset it takes five new failures to trip."""
    breaker = half_open(Settings(window=100.0))
    succeed(breaker, 30.0, 30.0, 30.0)
    fail(breaker, 31.0, 31.0, 31.0, 31.0)
    assert breaker.state == CLOSED
    fail(breaker, 31.0)
    assert breaker.state == OPEN


def test_results_of_attempts_begun_before_the_trip_change_nothing() -> None:
    """Late successes do not close, late failures do not open again, and none of them frees a probe."""
    breaker = Breaker(Settings())
    old = [breaker.begin(0.0) for _ in range(6)]
    fail(breaker, *[1.0] * 5)
    breaker.failure(20.0, old[0])
    assert breaker.opened_at == 1.0
    assert breaker.admits(31.0)
    probe = breaker.begin(31.0)
    breaker.success(31.1, old[1])
    breaker.success(31.1, old[2])
    breaker.success(31.1, old[3])
    breaker.ignored(31.1, old[4])
    breaker.failure(31.1, old[5])
    assert breaker.state == HALF_OPEN
    assert not breaker.admits(31.1)
    breaker.success(31.2, probe)
    assert breaker.admits(31.2)


def test_an_attempt_begun_while_open_holds_no_probe() -> None:
    """It was picked before the trip and began after it: its result is as old as the others."""
    breaker = tripped()
    late = breaker.begin(0.1)
    assert breaker.admits(30.0)
    probe = breaker.begin(30.0)
    breaker.success(30.1, late)
    assert not breaker.admits(30.1)
    breaker.failure(30.2, probe)
    assert breaker.state == OPEN


def test_probes_of_an_earlier_test_do_not_count_in_a_later_one() -> None:
    """Two probes, the first fails: the second, ending in the next half-open, neither counts nor frees."""
    breaker = half_open(Settings(probes=2))
    first, second = breaker.begin(30.0), breaker.begin(30.0)
    breaker.failure(31.0, first)
    assert breaker.admits(61.0)
    breaker.begin(61.0)
    breaker.begin(61.0)
    breaker.ignored(61.5, second)
    assert not breaker.admits(61.5)


def test_a_probe_still_running_when_the_breaker_closes_counts_as_an_ordinary_call() -> None:
    """Its failure is the first of five, and leaves the breaker closed."""
    breaker = half_open(Settings(probes=2))
    slow = breaker.begin(30.0)
    succeed(breaker, 30.1, 30.2, 30.3)
    assert breaker.state == CLOSED
    breaker.failure(31.0, slow)
    fail(breaker, 31.0, 31.0, 31.0)
    assert breaker.state == CLOSED
    fail(breaker, 31.0)
    assert breaker.state == OPEN


def test_transitions_are_counted_by_the_state_entered() -> None:
    """Two trips, two tests, one reset."""
    breaker = half_open()
    fail(breaker, 30.0)
    assert breaker.admits(60.0)
    succeed(breaker, 60.0, 60.0, 60.0)
    assert breaker.transitions[OPEN] == 2
    assert breaker.transitions[HALF_OPEN] == 2
    assert breaker.transitions[CLOSED] == 1


def test_new_settings_keep_the_state_and_rule_from_then_on() -> None:
    """A reload does not let an open endpoint go, but its new open time counts from the old trip."""
    breaker = tripped(at=0.0)
    breaker.adopt(Settings(open=5.0, failures=2))
    assert not breaker.admits(4.9)
    assert breaker.admits(5.0)
    succeed(breaker, 5.0, 5.0, 5.0)
    fail(breaker, 6.0, 6.0)
    assert breaker.state == OPEN


def test_one_line_says_all() -> None:
    """The repr names the state and what it waits for."""
    breaker = Breaker(Settings())
    fail(breaker, 0.0, 0.0)
    assert repr(breaker) == "<Breaker closed, 2/5 latest failures, tripped 0 times>"
    fail(breaker, 1.5, 1.5, 1.5)
    assert repr(breaker) == "<Breaker open, since 1.500 for 30 s, tripped 1 times>"
    breaker.admits(40.0)
    succeed(breaker, 40.0)
    breaker.begin(40.0)
    assert repr(breaker) == "<Breaker half-open, 1/3 successes, 1/1 probes, tripped 1 times>"


def test_states_have_the_numbers_and_names_of_the_metric() -> None:
    """0 closed, 1 half-open, 2 open."""
    assert [NAMES[state] for state in (0, 1, 2)] == ["closed", "half-open", "open"]
    assert (CLOSED, HALF_OPEN, OPEN) == (0, 1, 2)


@pytest.mark.parametrize("bad", [{"failures": 0}, {"failure_rate": 1.5}, {"probes": 0}, {"successes": 0}, {"opn": 1.0}])
def test_settings_that_make_no_sense_are_refused(bad: dict[str, float]) -> None:
    """A breaker that could never close, or a misspelt key, is an error at load."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(bad, Settings)
