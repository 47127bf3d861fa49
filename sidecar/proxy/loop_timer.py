"""The wheel's hook into the event loop: one loop timer, however many timers the wheel holds."""

from __future__ import annotations

import asyncio
from math import inf

from sidecar.clock import Clock
from sidecar.timing.wheel import Wheel


class LoopTimer:
    """Advances ``wheel`` whenever it asks for it."""

    __slots__ = ("_clock", "_handle", "_loop", "_wheel")

    def __init__(self, wheel: Wheel, clock: Clock, loop: asyncio.AbstractEventLoop) -> None:
        self._wheel = wheel
        self._clock = clock
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None
        wheel.on_earlier = self._wake_at

    def _wake_at(self, at: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_later(max(0.0, at - self._clock.now()), self._advance)

    def _advance(self) -> None:
        self._handle = None
        try:
            self._wheel.advance(self._clock.now())
        finally:
            at = self._wheel.next_at()
            if at != inf:
                self._wake_at(at)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._wheel.on_earlier = None
