"""How many in the last so many seconds, for the price of an addition.

Time is cut into slots. Only the current slot is written; the sum of the finished ones is kept beside it and touched
when a slot ends. Whole slots are forgotten at once, so an event is counted for at least ``span`` less one slot and
never for longer than ``span``. Who needs the opposite bias asks for a span that is one slot longer.
"""

from __future__ import annotations

from math import inf


class Window:
    """A rolling count over ``span`` seconds in ``slots`` steps (at least 2)."""

    __slots__ = ("_current", "_finished", "_index", "_past", "_span", "_until", "_width")

    def __init__(self, span: float, slots: int = 10) -> None:
        self._span = span
        self._width = span / slots
        self._past = [0] * (slots - 1)
        self._index = 0
        self._finished = 0
        self._current = 0
        self._until = -inf

    def add(self, now: float) -> None:
        """Count one event."""
        if now >= self._until:
            self._roll(now)
        self._current += 1

    def total(self, now: float) -> int:
        """Events of the last ``span`` seconds, none older, perhaps without those of the span's first slot."""
        if now >= self._until:
            self._roll(now)
        return self._finished + self._current

    def _roll(self, now: float) -> None:
        past = self._past
        if now >= self._until + self._span:
            self._past = [0] * len(past)
            self._finished = 0
            self._current = 0
            self._until = now + self._width
            return
        while now >= self._until:
            index = self._index
            self._finished += self._current - past[index]
            past[index] = self._current
            self._current = 0
            self._index = (index + 1) % len(past)
            self._until += self._width
