"""The order in which connections of HTTP/2 write.

What is read from one connection leads to frames on others, and the loop reads from several before it comes to anything
else. So frames are not written one by one, nor reading by reading: a connection that has something to say is noted
here, and writes all of it once the loop has read what there was to read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Writer(Protocol):
    def write(self) -> None:
        """Writes all that there is to write."""
        ...


class Outbox:
    """Connections with something to write."""

    __slots__ = ("_call_soon", "_waiting")

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._call_soon = call_soon
        self._waiting: dict[Writer, None] = {}

    def add(self, connection: Writer) -> None:
        if not self._waiting:
            self._call_soon(self._flush)
        self._waiting[connection] = None

    def _flush(self) -> None:
        waiting = self._waiting
        try:
            while waiting:
                waiting.popitem()[0].write()
        finally:
            if waiting:
                # One has failed. The others must not wait for somebody to begin a new round: nobody would.
                self._call_soon(self._flush)
