"""Which sidecars run here, for commands that ask one of them."""

from __future__ import annotations

from contextlib import suppress

from sidecar.clock import Clock
from sidecar.discovery.local.announcement import Announcement, prefix_of, read
from sidecar.discovery.local.directory import Directory, place
from sidecar.discovery.local.owner import Processes
from sidecar.discovery.local.view import EXPIRY_SECONDS


def running(path: str | None = None, clock: Clock | None = None) -> list[Announcement]:
    """Those that have announced themselves in the directory ``path``, or in that of this user; by service and age.

    Changes nothing. Raises ``OSError`` if the directory cannot be read or is not ours alone.
    """
    wall = (clock or Clock()).wall()
    processes = Processes()
    found: list[Announcement] = []
    try:
        directory = Directory(place(path), create=False)
    except FileNotFoundError:
        return found
    try:
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
    finally:
        directory.close()
    return sorted(found, key=lambda one: (one.service, one.owner.started, one.written))
