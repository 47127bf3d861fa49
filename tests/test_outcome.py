"""What counts as a failure."""

from __future__ import annotations

import pytest

from sidecar.errors import Failure
from sidecar.resilience.breaker import Settings
from sidecar.resilience.outcome import CONDITIONS, Outcome, classify, is_failure_status

SLOW = Settings().slow


def test_5xx_are_failures_save_three_and_4xx_are_not() -> None:
    """Every status from 100 to 599: 501, 505 and 508 are answers about the request, not failures."""
    failures = {status for status in range(100, 700) if is_failure_status(status)}
    assert failures == set(range(500, 600)) - {501, 505, 508}


@pytest.mark.parametrize("failure", list(CONDITIONS))
def test_what_breaks_between_us_and_the_endpoint_is_its_failure(failure: Failure) -> None:
    """However short the attempt was."""
    assert classify(failure, 0.0, SLOW, callers_deadline=False) is Outcome.FAILURE


def test_the_reasons_that_count_are_these() -> None:
    """Connect failure, reset, protocol error, attempt timeout, own deadline; no reason of the caller's or our own."""
    assert {failure.reason for failure in CONDITIONS} == {
        "connect_failed",
        "connect_timeout",
        "app_unreachable",
        "upstream_reset",
        "upstream_protocol",
        "deadline_exceeded",
        "stalled",
    }


@pytest.mark.parametrize(
    ("waited", "outcome"), [(0.0, Outcome.IGNORED), (4.99, Outcome.IGNORED), (5.0, Outcome.FAILURE)]
)
def test_a_caller_who_left_counts_only_after_five_seconds(waited: float, outcome: Outcome) -> None:
    """The default measure of slow is five seconds."""
    assert classify(Failure.CLIENT_GONE, waited, SLOW, callers_deadline=False) is outcome


@pytest.mark.parametrize(("waited", "outcome"), [(0.2, Outcome.IGNORED), (5.0, Outcome.FAILURE)])
def test_a_callers_own_short_deadline_counts_only_after_five_seconds(waited: float, outcome: Outcome) -> None:
    """An impatient caller does not trip the breaker of a healthy endpoint."""
    assert classify(Failure.DEADLINE_EXCEEDED, waited, SLOW, callers_deadline=True) is outcome


def test_a_reset_is_a_failure_whoever_set_the_deadline() -> None:
    """The caller's deadline excuses only what the deadline ended."""
    assert classify(Failure.UPSTREAM_RESET, 0.2, SLOW, callers_deadline=True) is Outcome.FAILURE


@pytest.mark.parametrize("failure", [Failure.FILTER_FAILED, Failure.BODY_TOO_LARGE, Failure.INTERNAL])
def test_what_we_or_the_caller_broke_is_not_the_endpoints_affair(failure: Failure) -> None:
    """Neither for nor against it."""
    assert classify(failure, 60.0, SLOW, callers_deadline=False) is Outcome.IGNORED
