"""Files that nobody will come back for: of services that nobody here calls, or never finished."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from sidecar.clock import Clock
from sidecar.discovery.local.announcement import SUFFIX, prefix_of, read
from sidecar.discovery.local.directory import UNFINISHED, Directory, Stamp
from sidecar.discovery.local.owner import Processes

SWEEP_SECONDS: Final = 60.0
_AT_ONCE: Final = 50


class Sweep:
    """Goes through the directory once a minute, a few files at each look. What it does not understand it leaves alone: it
    may be of a version to come, or not of us at all."""

    __slots__ = ("_clock", "_former", "_left", "_next", "_processes", "_seen")

    def __init__(self, clock: Clock, processes: Processes) -> None:
        self._clock = clock
        self._processes = processes
        self._next = clock.now()
        self._left: list[str] = []
        self._former: dict[str, Stamp] = {}
        self._seen: dict[str, Stamp] = {}

    def go_on(self, directory: Directory) -> None:
        """The next few files. Raises ``OSError`` if the directory cannot be listed."""
        now = self._clock.now()
        if not self._left:
            if now < self._next:
                return
            self._next = now + SWEEP_SECONDS
            self._left = directory.names()
            self._former, self._seen = self._seen, {}
        for name in self._left[-_AT_ONCE:]:
            with suppress(OSError, ValueError):
                self._judge(name, directory)
        del self._left[-_AT_ONCE:]

    def _judge(self, name: str, directory: Directory) -> None:
        """Removes the file if its owner is dead, or if nothing has moved it for a round and its owner cannot be asked."""
        if name.endswith(SUFFIX + UNFINISHED):
            if prefix_of(name[1 : -len(UNFINISHED)]) is None:
                return
            stamp, known = directory.stamp(name), False
        elif prefix_of(name) is not None:
            announcement, stamp = read(directory, name)
            known = self._processes.knows(announcement.owner)
            if known and self._processes.alive(announcement.owner):
                return
        else:
            return
        if known or self._former.get(name) == stamp:
            directory.remove(name, stamp)
        else:
            self._seen[name] = stamp
