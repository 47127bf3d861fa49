"""The deadline's arithmetic."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.resilience.deadline import earliest, parse_timeout_ms, remaining_ms


@pytest.mark.parametrize(
    ("value", "ms"), [(b"1500", 1500.0), (b"0", 0.0), (b"007", 7.0), (b"9999999999", 9999999999.0)]
)
def test_one_to_ten_digits_are_milliseconds(value: bytes, ms: float) -> None:
    """Zero is a deadline that has passed, not none."""
    assert parse_timeout_ms(value) == ms


@pytest.mark.parametrize(
    "value", [b"", b"-1", b"+1", b"1.5", b"1e3", b"1_000", b" 5", b"12345678901", b"0x10", "٣".encode(), b"none"]
)
def test_anything_else_is_no_deadline(value: bytes) -> None:
    """Signs, fractions, blanks, other digits and over-long numbers are not guessed at."""
    assert parse_timeout_ms(value) is None


def test_the_earlier_of_route_and_caller_rules() -> None:
    """A caller can shorten the route's thirty seconds, not extend them."""
    assert earliest(100.0, 30.0, None) == 130.0
    assert earliest(100.0, 30.0, 2000.0) == 102.0
    assert earliest(100.0, 30.0, 60_000.0) == 130.0
    assert earliest(100.0, None, 2000.0) == 102.0
    assert earliest(100.0, None, None) == inf
    assert earliest(100.0, 30.0, 0.0) == 100.0


def test_whole_milliseconds_less_one_are_sent_on() -> None:
    """Rounded down, and never the caller's own number."""
    assert remaining_ms(102.0, 100.0) == 1999
    assert remaining_ms(100.0109, 100.0) == 9


def test_a_last_moment_is_sent_as_one_and_nothing_left_as_zero() -> None:
    """0 would be refused by the peer as passed while there is still time."""
    assert remaining_ms(100.0004, 100.0) == 1
    assert remaining_ms(100.0, 100.0) == 0
    assert remaining_ms(99.0, 100.0) == 0


@given(st.integers(2, 10**10 - 1), st.floats(0, 1e7))
def test_what_is_sent_on_is_smaller_than_what_came(ms: int, now: float) -> None:
    """Even when no time has passed, and whatever the clock's rounding does."""
    assert 1 <= remaining_ms(earliest(now, None, float(ms)), now) < ms
