"""Time that passes only when there is nothing else to do."""

from __future__ import annotations

import asyncio


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time goes to the next timer as soon as nothing else is left to do."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        due = [handle.when() for handle in self._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
        if not self._ready and due:  # type: ignore[attr-defined]
            # Not the head of the heap: a timer that was cancelled would let the loop sleep in earnest until the next one.
            self.now = max(self.now, min(due))
        super()._run_once()  # type: ignore[misc]
