"""All that watches over the process, started and stopped together."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable

from sidecar.clock import Clock
from sidecar.overload.ladder import NAMES, Ladder, Refusing, Settings, Sparing
from sidecar.overload.memory import Memory, give_back
from sidecar.overload.stall import Pulse, Watch
from sidecar.timing.wheel import Wheel

log = logging.getLogger("sidecar.overload")


class Guards:
    """The parameters are the Ladder's. To be started and stopped in the loop's thread."""

    __slots__ = ("_clock", "_ladder", "_memory", "_pulse", "_watch", "lag")

    def __init__(
        self,
        wheel: Wheel,
        clock: Clock,
        listeners: Callable[[], Iterable[Sparing]],
        scopes: Callable[[], Iterable[Refusing]],
        close_idle: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._memory: Memory | None = None
        self._watch: Watch | None = None
        self._ladder = Ladder(self._pressure, wheel, clock, listeners, scopes, close_idle, give_back)
        self._pulse = Pulse(wheel)
        self.lag = self._pulse.lag
        """How late the loop has been so far."""

    def start(self, settings: Settings) -> None:
        self.watch_memory(Memory(settings.memory))
        self._pulse.start(self._clock.now())
        self._watch = Watch(self._pulse, self._clock, threading.get_ident())
        self._watch.start()

    def watch_memory(self, memory: Memory) -> None:
        """Keeps ``memory`` within its bounds from here on, and closes it in the end."""
        self._memory = memory
        if memory.ceiling is not None and not memory.resident():
            log.warning("overload.memory has no effect: how much memory this process has cannot be read here")
        self._ladder.start()

    def follow(self, settings: Settings) -> None:
        """Go by these from now on."""
        if self._memory is not None:
            self._memory.ceiling = settings.memory

    def _pressure(self) -> float:
        return self._memory.pressure() if self._memory is not None else 0.0

    def memory(self) -> tuple[float, str]:
        """The pressure as it was last looked at, and the name of the step that it has led to."""
        return self._ladder.pressure, NAMES[self._ladder.step]

    def stop(self) -> None:
        self._ladder.stop()
        self._pulse.stop()
        if self._watch is not None:
            self._watch.stop()
        if self._memory is not None:
            self._memory.close()
