"""Services that only the registry names are forgotten when nobody has called them for a while.

Each of them keeps a question to the registry open, and plans, counters and connections in memory. Calls are not
stamped for this: once a minute it is looked at who has had any. The next call finds the service anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from sidecar.clock import Clock
from sidecar.timing.wheel import Wheel

LOOK_SECONDS: Final = 60.0
IDLE_SECONDS: Final = 600.0


class Idle:
    """``calls`` gives how many requests each of those services has had so far, None while some run; ``forget`` is told the
    names of those that had none for ten minutes."""

    __slots__ = ("_calls", "_clock", "_forget", "_seen", "_timer")

    def __init__(
        self,
        wheel: Wheel,
        clock: Clock,
        calls: Callable[[], Mapping[str, int | None]],
        forget: Callable[[str], None],
    ) -> None:
        self._clock = clock
        self._calls = calls
        self._forget = forget
        self._seen: dict[str, tuple[int | None, float]] = {}
        """Each service's calls, and since when there are so many."""
        self._timer = wheel.timer(self)

    def start(self) -> None:
        self._timer.set(self._clock.now() + LOOK_SECONDS)

    def on_timer(self, now: float) -> None:
        calls = self._calls()
        seen = self._seen
        self._seen = {
            name: seen[name] if count is not None and name in seen and seen[name][0] == count else (count, now)
            for name, count in calls.items()
        }
        for name, (_, since) in tuple(self._seen.items()):
            if now - since >= IDLE_SECONDS:
                del self._seen[name]
                self._forget(name)
        self._timer.set(now + LOOK_SECONDS)

    def stop(self) -> None:
        self._timer.cancel()
