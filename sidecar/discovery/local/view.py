"""What we make of the files of others: which sidecars there are, and which are there no more.

Each look costs one question about the directory and a cheap one about each owner. Names are listed again when the
directory has changed, files read again when they have. Owners that the system knows are judged by the system. The others
are judged by their heartbeat, that is by whether the time of their file moves, never by what that time is: clocks jump.
Seconds in which we did not look do not count against anybody, so that a machine that slept misses nobody on waking.

A file that vanishes while its owner lives was deleted by somebody else, since owners say in their file that they can be
called no more before they go. It will be back within a second, and until then nothing has changed.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Final

from sidecar.clock import Clock
from sidecar.discovery.local.announcement import Announcement, prefix, prefix_of, read
from sidecar.discovery.local.directory import Directory, Stamp
from sidecar.discovery.local.owner import Processes
from sidecar.discovery.source import Instance

LOOK_SECONDS: Final = 0.5
EXPIRY_SECONDS: Final = 15.0
"""Without a heartbeat, where only that tells whether an owner lives."""
RESTORE_SECONDS: Final = 2.0
"""How long a deleted file may be missing while its owner lives."""
_MOST_SECONDS: Final = 2 * LOOK_SECONDS
"""What the time between two looks counts at most."""
_ROUND: Final = 2
_AT_ONCE: Final = 100
"""Owners are examined thoroughly within so many looks, or as many more as it takes with so many at once; files that seem
unchanged within ten times as many."""

log = logging.getLogger("sidecar.discovery")


class _File:
    """One file: what it said when it was last read, and since when it is missing or silent (seconds that we looked)."""

    __slots__ = ("announcement", "known", "missing", "proven", "silent", "stamp")

    def __init__(self) -> None:
        self.announcement: Announcement | None = None
        self.known = False
        """Whether the system tells us of its owner."""
        self.proven = False
        """Whether its owner is known to have lived lately."""
        self.missing = 0.0
        self.silent = 0.0
        self.stamp: Stamp | None = None


class View:
    """The instances of some services."""

    __slots__ = (
        "_changed",
        "_clock",
        "_directory",
        "_files",
        "_last",
        "_looks",
        "_names",
        "_processes",
        "_refused",
        "_services",
        "_settled",
    )

    def __init__(self, clock: Clock, processes: Processes) -> None:
        self._clock = clock
        self._processes = processes
        self._services: dict[str, str] = {}
        self._files: dict[str, _File] = {}
        self._names: set[str] = set()
        self._directory: Directory | None = None
        self._changed = 0
        self._settled = False
        self._last = clock.now()
        self._looks = 0
        self._refused: set[str] = set()

    def look(self, services: Collection[str], directory: Directory | None) -> dict[str, tuple[Instance, ...]]:
        """Who can be called now, by service: in the order of their addresses, the latest first where several have the
        same. Without a ``directory`` that can be read, we go by what we have seen before."""
        now = self._clock.now()
        passed = min(now - self._last, _MOST_SECONDS)
        self._last = now
        self._looks += 1
        self._follow(services)
        listed = directory is not None and self._list(directory)
        round_ = max(_ROUND, len(self._files) // _AT_ONCE)
        there: dict[str, list[Announcement]] = {service: [] for service in services}
        for number, (name, file) in enumerate(tuple(self._files.items())):
            turn = self._looks + number
            if directory is not None:
                file.missing = 0.0 if name in self._names else file.missing + passed
            looked = listed or not file.known or turn % (10 * round_) == 0
            fresh = looked and directory is not None and self._read(name, file, directory)
            if self._lives(file, fresh or turn % round_ == 0, passed if directory is not None else 0.0):
                announcement = file.announcement if file.proven else None
                if announcement is not None and announcement.instance is not None:
                    there[announcement.service].append(announcement)
            elif file.missing or self._remove(name, file, directory):
                del self._files[name]
                self._settled = False  # If its owner has come back meanwhile, we see it then.
        return {service: _in_order(found) for service, found in there.items()}

    def suspect(self, host: str, port: int) -> None:
        """Nobody listens there. An owner that the system tells us of is judged by that alone; any other has to prove by
        its next heartbeat that it lives."""
        for file in self._files.values():
            instance = file.announcement.instance if file.announcement is not None else None
            if not file.known and instance is not None and (instance.host, instance.port) == (host, port):
                file.proven = False

    def _follow(self, services: Collection[str]) -> None:
        """Goes by another set of services from here on."""
        if self._services.keys() != set(services):
            self._services = {service: prefix(service) for service in services}
            wanted = set(self._services.values())
            self._files = {name: file for name, file in self._files.items() if prefix_of(name) in wanted}
            self._settled, self._changed = False, 0

    def _list(self, directory: Directory) -> bool:
        """Lists the names if they may have changed; whether that was so."""
        changed = directory.changed_ns()
        if directory is self._directory and changed == self._changed and self._settled:
            return False
        # Two changes in the same instant of a coarse clock look like one, of which we may have seen half: once more.
        settled = directory is self._directory and changed == self._changed
        wanted = set(self._services.values())
        self._names = {name for name in directory.names() if prefix_of(name) in wanted}
        self._directory, self._changed, self._settled = directory, changed, settled
        for name in self._names - self._files.keys():
            self._files[name] = _File()
        self._refused &= self._names
        return True

    def _read(self, name: str, file: _File, directory: Directory) -> bool:
        """Reads the file if it has changed; whether there was something new in it."""
        if file.missing:
            return False
        try:
            seen = directory.stamp(name)
            if seen == file.stamp:
                return False
            announcement, seen = read(directory, name)
        except OSError:
            return False  # It is just going, or we are out of descriptors: at the next look.
        except ValueError as error:
            self._refuse(name, str(error))
            file.stamp, file.announcement = seen, None
            return False
        file.known = self._processes.knows(announcement.owner)
        # Where only the heartbeat tells, the file may be left over from before we came; then nothing will move it.
        fresh = abs(self._clock.wall() - seen.mtime_ns / 1e9) < EXPIRY_SECONDS
        file.proven = file.known or fresh or file.stamp is not None
        file.stamp, file.announcement, file.silent = seen, announcement, 0.0
        return True

    def _refuse(self, name: str, why: str) -> None:
        if name not in self._refused:
            self._refused.add(name)
            log.warning("ignoring %s in the registry's directory: %s", name, why)

    def _lives(self, file: _File, thorough: bool, passed: float) -> bool:
        """Whether the owner lives and its file is there, or about to be again. A file that we cannot read lives until it
        is removed: it may be one of a version to come."""
        if file.missing >= RESTORE_SECONDS:
            return False
        if file.announcement is None:
            return not file.missing
        if file.known:
            return self._processes.alive(file.announcement.owner, thorough)
        file.silent += passed
        return file.silent < EXPIRY_SECONDS

    def _remove(self, name: str, file: _File, directory: Directory | None) -> bool:
        """Removes the file of one who is dead; whether it is gone."""
        if directory is None or file.stamp is None:
            return False
        try:
            directory.remove(name, file.stamp)
        except OSError:
            return False
        return True


def _in_order(found: list[Announcement]) -> tuple[Instance, ...]:
    found.sort(key=lambda one: -one.written)
    instances = [one.instance for one in found if one.instance is not None]
    instances.sort(key=lambda one: (one.host, one.port))
    return tuple(instances)
