"""The same message again and again: a few of it are written, the others counted, and a summary tells how many.

Whatever fails once a request fails a thousand times a second, and each time it says so. Messages are the same if they
have the same key, whatever their arguments. For one key, ``FIRST`` of a window are written, so that different arguments
are seen; the next window begins with the first message after the end of this one.

What is remembered is bounded. When there are more keys than that, new ones share one: somebody builds messages from what
peers send.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from math import inf
from typing import Final

FIRST: Final = 5
"""How many messages of one key are written in a window."""
WINDOW_SECONDS: Final = 10.0
REMEMBERED: Final = 256


class Seen:
    """Messages of one key within its window."""

    __slots__ = ("began", "level", "logger", "message", "more", "written")

    def __init__(self, began: float) -> None:
        self.began = began
        self.written = 0
        self.more = 0
        """How many were counted and not written."""
        self.logger = ""
        self.level = ""
        self.message = ""
        """The last one that was written; whoever writes it says so here."""


class Repeats:
    """``admit`` decides over each message; ``ended`` gives what there is to sum up. Times in monotonic seconds."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        # In the order in which the windows began and will end.
        self._seen: dict[Hashable, Seen] = {}

    def admit(self, key: Hashable, now: float) -> Seen | None:
        """The message is to be written, and remembered in what is returned; ``None``: it was only counted.

        Asks for ``ended(now)`` first: no window is open that should have ended.
        """
        seen = self._seen.get(key)
        if seen is None:
            if len(self._seen) >= REMEMBERED:
                key = None
            seen = self._seen.get(key)
            if seen is None:
                seen = self._seen[key] = Seen(now)
        if seen.written < FIRST:
            seen.written += 1
            return seen
        seen.more += 1
        return None

    def ended(self, now: float) -> Iterator[Seen]:
        """Forgets windows that are over; gives those in which something was not written."""
        while self._seen and self.next_end() <= now:
            seen = self._seen.pop(next(iter(self._seen)))
            if seen.more:
                yield seen

    def next_end(self) -> float:
        """When the next window ends; inf if none is open."""
        first = next(iter(self._seen.values()), None)
        return first.began + WINDOW_SECONDS if first is not None else inf
