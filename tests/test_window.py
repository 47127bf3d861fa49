"""The rolling count."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sidecar.resilience.window import Window


def test_what_was_just_added_is_counted() -> None:
    """Events of the running slot and of finished ones are summed."""
    window = Window(10.0)
    for second in range(5):
        window.add(float(second))
        window.add(float(second))
    assert window.total(5.0) == 10


def test_events_older_than_the_span_are_forgotten_slot_by_slot() -> None:
    """One event a second over a span of ten: the total follows as they age, and ends at nothing."""
    window = Window(10.0)
    for second in range(10):
        window.add(second + 0.5)
    assert [window.total(float(now)) for now in (10, 12, 15, 19)] == [10, 8, 5, 1]
    assert window.total(20.5) == 0


def test_a_long_silence_empties_the_window_at_once() -> None:
    """After hours of nothing the count starts anew, without a step for each slot that went by."""
    window = Window(10.0)
    window.add(0.0)
    assert window.total(1e9) == 0
    window.add(1e9)
    assert window.total(1e9) == 1


@given(st.lists(st.floats(0, 3), max_size=80), st.floats(0, 12), st.sampled_from([2, 5, 10]))
def test_nothing_older_than_the_span_and_everything_younger_than_it_by_a_slot(
    gaps: list[float], wait: float, slots: int
) -> None:
    """The total lies between the exact counts over the span less one slot and over the whole span."""
    window = Window(10.0, slots)
    now = 0.0
    events = []
    for gap in gaps:
        now += gap
        window.add(now)
        events.append(now)
    now += wait
    surely = sum(now - event < 10.0 - 10.0 / slots - 1e-6 for event in events)
    perhaps = sum(now - event < 10.0 + 1e-6 for event in events)
    assert surely <= window.total(now) <= perhaps
