"""The timer wheel: never early, hardly late, and free to re-arm."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.timing.wheel import Timer, Wheel


class Owner:
    """Remembers when it was called, and does ``then`` on each call."""

    def __init__(self, then: Callable[[float], None] = lambda now: None) -> None:
        self.fired: list[float] = []
        self.then = then

    def on_timer(self, now: float) -> None:
        self.fired.append(now)
        self.then(now)


def armed(wheel: Wheel, due: float, owner: Owner | None = None) -> tuple[Timer, Owner]:
    owner = owner or Owner()
    timer = wheel.timer(owner)
    timer.set(due)
    return timer, owner


def run(wheel: Wheel, until: float) -> None:
    """What the loop hook does: advance to each instant that the wheel asks for."""
    while wheel.next_at() <= until:
        wheel.advance(wheel.next_at())


def test_a_timer_fires_once_when_its_time_has_come_and_not_before() -> None:
    """A timer for 1.0 is silent at 0.99, fires at 1.0 and never again."""
    wheel = Wheel()
    timer, owner = armed(wheel, 1.0)
    wheel.advance(0.99)
    assert owner.fired == []
    wheel.advance(1.0)
    wheel.advance(2.0)
    assert owner.fired == [1.0]
    assert timer.due == timer.at == wheel.next_at() == inf


def test_a_timer_that_was_never_set_does_not_fire() -> None:
    """Making a timer files nothing."""
    wheel = Wheel()
    timer = wheel.timer(Owner())
    wheel.advance(1e9)
    assert (timer.due, wheel.next_at(), len(wheel)) == (inf, inf, 0)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.sampled_from([0.01, 0.05, 0.001]))
def test_no_timer_fires_early_or_more_than_one_resolution_late(dues: list[float], resolution: float) -> None:
    """Advanced whenever it asks for it, the wheel fires each timer within one resolution after its due, in order."""
    wheel = Wheel(resolution)
    made = [armed(wheel, due) for due in dues]
    run(wheel, inf if wheel.next_at() == inf else 2e6)
    for due, (_, owner) in zip(dues, made, strict=True):
        assert len(owner.fired) == 1
        assert due <= owner.fired[0] <= due + resolution * 1.001


def test_advancing_to_the_instant_asked_for_always_gets_there() -> None:
    """Ticks that binary fractions cannot hold, such as 0.57, do not keep the caller asking for the same instant."""
    wheel = Wheel()
    owners = [armed(wheel, hundredths / 100)[1] for hundredths in range(1, 2000)]
    steps = 0
    while wheel.next_at() < inf:
        wheel.advance(wheel.next_at())
        steps += 1
    assert steps == 1999
    assert [owner.fired for owner in owners] == [[hundredths / 100] for hundredths in range(1, 2000)]


def test_moving_a_timer_to_later_leaves_its_entry_alone() -> None:
    """Re-arming to later touches no entry; at the old tick the timer is filed anew, and fires at the last due."""
    wheel = Wheel()
    timer, owner = armed(wheel, 1.0)
    told: list[float] = []
    wheel.on_earlier = told.append
    for step in range(1000):
        timer.set(1.0 + step / 100)
    assert (timer.at, timer.tick, len(wheel), wheel.next_at(), told) == (1.0, 100, 1, 1.0, [])
    wheel.advance(1.0)
    assert owner.fired == []
    assert wheel.next_at() == pytest.approx(10.99)
    wheel.advance(11.0)
    assert owner.fired == [11.0]


def test_moving_a_timer_to_earlier_moves_its_entry() -> None:
    """A timer brought forward fires at the new time, once, and leaves nothing at the old one."""
    wheel = Wheel()
    timer, owner = armed(wheel, 5.0)
    timer.set(1.0)
    assert len(wheel) == 1
    run(wheel, 10.0)
    assert owner.fired == [1.0]


def test_a_timer_turned_off_keeps_its_entry_for_the_next_set_and_is_forgotten_at_its_tick() -> None:
    """off() then set() to later costs no filing; off() alone ends in nothing."""
    wheel = Wheel()
    timer, owner = armed(wheel, 1.0)
    timer.off()
    assert (timer.at, len(wheel)) == (1.0, 1)
    timer.set(2.0)
    assert timer.at == 1.0
    timer.off()
    wheel.advance(1.0)
    assert (owner.fired, len(wheel), wheel.next_at()) == ([], 0, inf)
    timer.set(3.0)
    wheel.advance(3.0)
    assert owner.fired == [3.0]


def test_a_cancelled_timer_does_not_fire_and_its_owner_is_let_go_at_once() -> None:
    """After cancel() the wheel holds no reference, however far away the tick was; cancelling twice is harmless."""
    wheel = Wheel()
    timer, owner = armed(wheel, 3600.0)
    gone = weakref.ref(owner)
    timer.cancel()
    timer.cancel()
    del timer, owner
    gc.collect()
    assert gone() is None
    assert (len(wheel), wheel.next_at()) == (0, inf)


def test_timers_that_come_and_go_do_not_fill_the_heap() -> None:
    """Ten thousand short-lived timers with distinct far ticks leave next to nothing behind."""
    wheel = Wheel()
    for number in range(10_000):
        armed(wheel, 3600.0 + number / 50)[0].cancel()
    assert len(wheel._ticks) < 200
    _, owner = armed(wheel, 1.0)
    assert wheel.next_at() == 1.0
    wheel.advance(1.0)
    assert owner.fired == [1.0]


def test_an_owner_may_set_its_own_timer_while_it_fires() -> None:
    """A timer that re-arms itself for now fires with the next tick, not again in the same advance."""
    wheel = Wheel()
    timer: Timer
    owner = Owner(lambda now: timer.set(now))
    timer, _ = armed(wheel, 1.0, owner)
    wheel.advance(1.0)
    assert owner.fired == [1.0]
    wheel.advance(1.0)
    assert owner.fired == [1.0]
    assert wheel.next_at() == 1.01
    wheel.advance(1.01)
    assert owner.fired == [1.0, 1.01]


@pytest.mark.parametrize("what", ["off", "cancel", "later"])
def test_an_owner_may_silence_another_timer_of_the_same_tick(what: str) -> None:
    """A timer that is due in this very advance, but stopped or moved by one before it, does not fire now."""
    wheel = Wheel()
    victim = Owner()
    other: Timer

    def silence(now: float) -> None:
        if what == "off":
            other.off()
        elif what == "cancel":
            other.cancel()
        else:
            other.set(5.0)

    armed(wheel, 1.0, Owner(silence))
    other, _ = armed(wheel, 1.0, victim)
    wheel.advance(1.0)
    assert victim.fired == []
    run(wheel, 10.0)
    assert victim.fired == ([5.0] if what == "later" else [])
    assert len(wheel) == 0


def test_an_owner_may_bring_another_timer_forward_while_it_fires() -> None:
    """A timer filed far away and set to an earlier instant from a callback fires there, once."""
    wheel = Wheel()
    other, late = armed(wheel, 9.0)
    armed(wheel, 1.0, Owner(lambda now: other.set(2.0)))
    run(wheel, 20.0)
    assert late.fired == [2.0]


def test_an_owner_that_raises_costs_no_other_timer_its_turn() -> None:
    """The exception comes out, the wheel asks to be advanced again at once, and the rest of the tick fires."""

    def fail(now: float) -> None:
        raise RuntimeError("owner")

    wheel = Wheel()
    owners = [armed(wheel, 1.0)[1], armed(wheel, 1.0, Owner(fail))[1], armed(wheel, 1.0)[1], armed(wheel, 2.0)[1]]
    with pytest.raises(RuntimeError):
        wheel.advance(1.0)
    assert wheel.next_at() == 1.0
    run(wheel, 5.0)
    assert [owner.fired for owner in owners] == [[1.0], [1.0], [1.0], [2.0]]


def test_the_loop_is_told_when_the_earliest_tick_becomes_earlier_and_only_then() -> None:
    """on_earlier hears of the first entry and of each that comes before all others, not of later ones."""
    wheel = Wheel()
    told: list[float] = []
    wheel.on_earlier = told.append
    armed(wheel, 5.0)
    armed(wheel, 7.0)
    timer, _ = armed(wheel, 3.0)
    armed(wheel, 3.0)
    timer.set(4.0)
    timer.set(1.0)
    assert told == [5.0, 3.0, 1.0]


def test_the_loop_is_not_told_during_an_advance_but_again_after_it() -> None:
    """What callbacks and re-filing put in is found by next_at; a later, earlier entry is told of as before."""
    wheel = Wheel()
    told: list[float] = []
    timer: Timer
    timer, _ = armed(wheel, 1.0, Owner(lambda now: timer.set(now + 1.0)))
    wheel.on_earlier = told.append
    wheel.advance(1.0)
    assert (told, wheel.next_at()) == ([], 2.0)
    armed(wheel, 1.5)
    assert told == [1.5]


def test_a_hundred_thousand_busy_timers_are_filed_once_and_fire_once() -> None:
    """At size: each timer is moved ten times, none of which files, and all fire at their last due and no other."""
    wheel = Wheel()
    made = [armed(wheel, 10.0 + number % 1000 / 100) for number in range(100_000)]
    entries = [timer.at for timer, _ in made]
    for step in range(1, 11):
        for timer, _ in made:
            timer.set(timer.due + step / 10)
    assert [timer.at for timer, _ in made] == entries
    assert len(wheel) == 100_000
    dues = [timer.due for timer, _ in made]
    run(wheel, 100.0)
    assert all(
        len(owner.fired) == 1 and due <= owner.fired[0] <= due + 0.0101
        for due, (_, owner) in zip(dues, made, strict=True)
    )
    assert len(wheel) == 0
