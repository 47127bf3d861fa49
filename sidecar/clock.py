"""Now and chance, injected everywhere so that tests own both.

This is the only module that may import ``time`` and ``random``.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

Random = random.Random


class Clock:
    """``now()``: monotonic seconds, what every decision is made from. ``wall()``: Unix seconds, only for people."""

    __slots__ = ("now", "wall")

    def __init__(self, now: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self.now = now
        self.wall = wall
