"""Time that passes only when there is nothing else to do."""

from __future__ import annotations

import asyncio
from heapq import heappop
from typing import Any


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time goes to the next timer as soon as nothing else is left to do."""

    _scheduled: Any
    _ready: Any
    _timer_cancelled_count: int

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready:
            # A timer that was cancelled would let the loop sleep in earnest until the one behind it.
            while self._scheduled and self._scheduled[0].cancelled():
                self._timer_cancelled_count -= 1
                heappop(self._scheduled)._scheduled = False
            if self._scheduled:
                self.now = max(self.now, self._scheduled[0].when())
        super()._run_once()  # type: ignore[misc]
