"""Which sidecars run here, for commands that ask one of them."""

from __future__ import annotations

from contextlib import suppress

from sidecar.clock import Clock
from sidecar.discovery.local.announcement import Announcement, prefix_of, read
from sidecar.discovery.local.directory import Directory, places
from sidecar.discovery.local.owner import Processes
from sidecar.discovery.local.view import EXPIRY_SECONDS


def running(path: str | None = None, clock: Clock | None = None) -> list[Announcement]:
    """Those that have announced themselves in the directory ``path``, or wherever sidecars of this user do so; by service
    and age.

    Changes nothing. Raises ``OSError`` if a directory cannot be read or is not ours alone.
    """
    found: list[Announcement] = []
    for place in places(path):
        with suppress(FileNotFoundError):
            directory = Directory(place, create=False)
            try:
                found += _living(directory, (clock or Clock()).wall())
            finally:
                directory.close()
    return sorted(found, key=lambda one: (one.service, one.owner.started, one.written))


def _living(directory: Directory, wall: float) -> list[Announcement]:
    processes = Processes()
    found: list[Announcement] = []
    for name in directory.names():
        # What makes no sense is for those who run to complain of.
        with suppress(OSError, ValueError):
            if prefix_of(name) is None:
                continue
            announcement, stamp = read(directory, name)
            if processes.knows(announcement.owner):
                lives = processes.alive(announcement.owner)
            else:
                lives = abs(wall - stamp.mtime_ns / 1e9) < EXPIRY_SECONDS
            if lives:
                found.append(announcement)
    return found
