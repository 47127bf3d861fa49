"""The retry budget."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sidecar.resilience.budget import Budget, Settings


def spend(budget: Budget, now: float) -> int:
    """Withdraw until refused; how many there were."""
    taken = 0
    while budget.withdraw(now):
        taken += 1
    return taken


def test_a_quiet_service_may_retry_three_times_a_second() -> None:
    """Without any first attempt, the allowance of ten seconds is there: thirty."""
    assert spend(Budget(Settings()), 0.0) == 30


def test_a_fifth_of_the_first_attempts_is_added() -> None:
    """A thousand first attempts pay for two hundred retries on top of the allowance."""
    budget = Budget(Settings())
    for _ in range(1000):
        budget.deposit(0.0)
    assert spend(budget, 0.0) == 230


def test_a_fraction_of_a_retry_is_not_a_retry() -> None:
    """Four deposits pay for nothing, the fifth for one."""
    budget = Budget(Settings(min_per_second=0))
    for _ in range(4):
        budget.deposit(0.0)
    assert not budget.withdraw(0.0)
    budget.deposit(0.0)
    assert budget.withdraw(0.0)
    assert not budget.withdraw(0.0)


def test_deposits_expire_after_ten_seconds() -> None:
    """What was paid in before ``ttl`` pays for nothing."""
    budget = Budget(Settings(min_per_second=0))
    for _ in range(1000):
        budget.deposit(0.0)
    assert not budget.withdraw(10.0)


def test_withdrawals_expire_too() -> None:
    """A spent budget is whole again a little after ten seconds, and not before."""
    budget = Budget(Settings())
    assert spend(budget, 0.0) == 30
    assert spend(budget, 9.99) == 0
    assert spend(budget, 11.01) == 30


def test_an_outage_adds_no_more_than_a_fifth_to_the_load() -> None:
    """A hundred calls a second that all fail and all want five retries, for a minute."""
    budget = Budget(Settings())
    retries = 0
    for call in range(6000):
        now = call / 100
        budget.deposit(now)
        retries += sum(budget.withdraw(now) for _ in range(5))
    assert 0.8 * (0.2 * 6000) < retries < 0.2 * 6000 + 3 * 60 + 60


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(0, 20), st.integers(0, 40)), max_size=40))
def test_the_promise_holds_for_every_span(steps: list[tuple[float, int, int]]) -> None:
    """At each retry granted, the last ten seconds hold no more than a fifth of their first attempts plus thirty."""
    budget = Budget(Settings())
    now = 0.0
    firsts: list[float] = []
    retries: list[float] = []
    for gap, calls, wanted in steps:
        now += gap
        for _ in range(calls):
            budget.deposit(now)
            firsts.append(now)
        for _ in range(wanted):
            if budget.withdraw(now):
                retries.append(now)
                recent = sum(now - instant < 10.0 - 1e-6 for instant in retries)
                assert recent <= 0.2 * sum(now - instant < 10.0 + 1e-6 for instant in firsts) + 30
