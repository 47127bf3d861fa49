"""Coarse timers, made for timers that are nearly always moved and hardly ever fire.

A busy connection pushes its idle time ahead with every request, and a deadline is nearly always met. Asking the
event loop for a timer each time would cost an allocation, a heap operation and a cancelled entry per request. Here
every owner keeps one ``Timer`` for life and *remembers* when it is due; the wheel holds at most one *entry* for it.
Moving a timer to later leaves the entry where it is: when the entry's tick comes, the wheel sees that the timer is
not due yet and files it again. So a connection that is busy for an hour with a deadline of 30 s files 120 entries,
whatever its number of requests.

What is promised: a timer never fires early, and at most one resolution late; it fires once for each ``set``. Entries
share ticks (a dict of tick to timers, a heap of the ticks in it), so the heap stays small where timers are many.

The wheel does not know the loop. It says when it wants to be advanced (``next_at``), and says so again when something
earlier comes in (``on_earlier``); whoever owns a clock does the rest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from math import ceil, inf
from typing import Protocol

_UNFILED = -1
_ROUNDING = 1e-6
"""In ticks: keeps ``advance(next_at())``, and a due that lies on a tick, from missing it by a rounding error."""
_SLACK = 64
"""Ticks without timers that the heap may hold, beyond as many as it has with timers, before it is made anew."""


class TimerOwner(Protocol):
    """Whom a timer calls. ``now`` is the instant that the wheel was advanced to, in monotonic seconds."""

    def on_timer(self, now: float) -> None: ...


class Timer:
    """One owner's timer. ``due``: when it is to fire, ``at``: when its entry will be looked at (both inf for never)."""

    __slots__ = ("_wheel", "at", "due", "owner", "tick")

    def __init__(self, wheel: Wheel, owner: TimerOwner) -> None:
        self._wheel = wheel
        self.owner = owner
        self.due = inf
        self.at = inf
        self.tick = _UNFILED

    def set(self, due: float) -> None:
        """Fire at ``due`` (monotonic seconds), no longer when it was due before; in the past means next tick."""
        self.due = due
        if due < self.at:
            self._wheel.file(self)

    def off(self) -> None:
        """Do not fire. The entry stays until its tick comes, so that turning on again is free."""
        self.due = inf

    def cancel(self) -> None:
        """Do not fire, and let the wheel forget timer and owner now: for an owner that ends."""
        self.due = inf
        self._wheel.unfile(self)


class Wheel:
    """All timers of one loop; ``resolution`` in seconds."""

    __slots__ = ("_buckets", "_now", "_passed", "_queue", "_rate", "_ticks", "_wake", "on_earlier")

    def __init__(self, resolution: float = 0.01) -> None:
        self._rate = 1.0 / resolution
        self._buckets: dict[int, dict[Timer, None]] = {}
        self._ticks: list[int] = []
        self._queue: deque[Timer] = deque()
        self._now = -inf
        self._passed = _UNFILED
        self._wake: float = inf
        self.on_earlier: Callable[[float], None] | None = None
        """Told the new ``next_at`` when an entry becomes the earliest; silent during ``advance``: ask after it."""

    def __len__(self) -> int:
        """How many timers have an entry."""
        return sum(map(len, self._buckets.values())) + len(self._queue)

    def timer(self, owner: TimerOwner) -> Timer:
        """A timer for ``owner``, not set."""
        return Timer(self, owner)

    def next_at(self) -> float:
        """The instant at which ``advance`` will have something to look at, inf if there are no entries."""
        if self._queue:
            return self._now
        ticks = self._ticks
        while ticks and ticks[0] not in self._buckets:
            heappop(ticks)
        return ticks[0] / self._rate if ticks else inf

    def advance(self, now: float) -> None:
        """Fire what is due at ``now``.

        Owners may set, turn off and cancel any timer meanwhile; what they set for ``now`` or before fires with the next
        tick, so that an owner cannot hold the loop. An owner's exception comes out here; the timers behind it keep
        their turn, and ``next_at`` asks for the next ``advance`` at once.
        """
        self._now = now
        self._passed = int(now * self._rate + _ROUNDING)
        ticks, queue = self._ticks, self._queue
        while ticks and ticks[0] <= self._passed:
            for timer in self._buckets.pop(heappop(ticks), ()):
                timer.at = inf
                timer.tick = _UNFILED
                queue.append(timer)
        try:
            while queue:
                timer = queue.popleft()
                if timer.due <= now:
                    timer.due = inf
                    timer.owner.on_timer(now)
                elif timer.due < inf:
                    self.file(timer)
        finally:
            self._wake = self.next_at()

    def file(self, timer: Timer) -> None:
        """Move a timer's entry to where it is due; for ``Timer`` only."""
        self.unfile(timer)
        due = timer.due
        tick = ceil(due * self._rate - _ROUNDING) if due > self._now else 0
        if tick <= self._passed:
            tick = self._passed + 1
        bucket = self._buckets.get(tick)
        if bucket is None:
            self._buckets[tick] = {timer: None}
            heappush(self._ticks, tick)
        else:
            bucket[timer] = None
        timer.tick = tick
        timer.at = due
        at = tick / self._rate
        if at < self._wake:
            self._wake = at
            if self.on_earlier is not None:
                self.on_earlier(at)

    def unfile(self, timer: Timer) -> None:
        """Drop a timer's entry, if it has one; for ``Timer`` only."""
        bucket = self._buckets.get(timer.tick)
        if bucket is None:
            return
        del bucket[timer]
        if not bucket:
            # Connections that come and go with a long idle time would otherwise leave a tick each for an hour.
            del self._buckets[timer.tick]
            if len(self._ticks) > 2 * len(self._buckets) + _SLACK:
                self._ticks[:] = self._buckets
                heapify(self._ticks)
        timer.tick = _UNFILED
        timer.at = inf
