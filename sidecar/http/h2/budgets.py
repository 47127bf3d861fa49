"""What a peer may make us do for nothing: frames that cost it little and us something are paid from budgets.

A budget that is used up ends the connection with ENHANCE_YOUR_CALM; whoever sends good requests never gets near. Resets
are paid back by streams that ended well, so that a client that cancels a part of many calls is not taken for one that
does nothing else (CVE-2023-44487); resets of ours that answer a peer's error are paid from the same budget
(CVE-2025-8671). The others are those of CVE-2019-9511 to 9518.
"""

from __future__ import annotations

from typing import Final

RESETS: Final = (100, 10.0)
CONTROL: Final = (1000, 100.0)
"""PING, SETTINGS, PRIORITY and unknown frames, each answered or thrown away. Beside one for each frame of data that we
sent: gRPC in Go asks by PING how far away we are, whenever data comes."""
WINDOW_UPDATES: Final = (1000, 500.0)
"""Beside two for each frame of data that we sent, which is what a receiver needs to let us go on."""
EMPTY_FRAMES: Final = 10
"""Frames of data in a row that neither bring any nor end anything."""
CONTINUATIONS: Final = 64
"""Frames of one field block."""


class Budget:
    """``capacity`` at once, and ``rate`` more a second."""

    __slots__ = ("_capacity", "_earned", "_rate", "left", "since")

    def __init__(self, terms: tuple[int, float], now: float) -> None:
        self._capacity, self._rate = terms
        self.left: float = self._capacity
        self.since = now
        """When it was last taken from."""
        self._earned = 0

    def take(self, now: float, earned: int) -> bool:
        """Whether one more is allowed; ``earned``: what has been paid back so far, since the connection began."""
        more = earned - self._earned + (now - self.since) * self._rate
        self.left = min(self._capacity, self.left + more) - 1
        self.since = now
        self._earned = earned
        return self.left >= 0
