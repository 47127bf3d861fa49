"""Our own file: there as long as we want it to be, whoever deletes it."""

from __future__ import annotations

import msgspec

from sidecar.clock import Clock
from sidecar.discovery.local.announcement import Announcement, encode
from sidecar.discovery.local.directory import Directory, Stamp

HEARTBEAT_SECONDS = 5.0


class Post:
    """At most one announcement at a time. What raises ``OSError`` has not been done and is to be tried again."""

    __slots__ = ("_beaten", "_clock", "_inode", "posted")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.posted: Announcement | None = None
        """What others can read, as far as we know."""
        self._inode = 0
        self._beaten = 0.0

    def keep(self, wanted: Announcement | None, directory: Directory) -> None:
        """Sees to it that ``wanted`` is what others find in ``directory``, and that they see that we live."""
        now, wall = self._clock.now(), self._clock.wall()
        if self.posted is not None and (wanted is None or wanted.file != self.posted.file):
            self.remove(directory)
        if wanted is None:
            return
        if wanted != self.posted or not self._stands(directory):
            self.posted = None
            written = directory.write(wanted.file, encode(msgspec.structs.replace(wanted, written=wall)), wall)
            self.posted, self._inode, self._beaten = wanted, written.inode, now
        elif now - self._beaten >= HEARTBEAT_SECONDS:
            directory.touch(wanted.file, wall)
            self._beaten = now

    def remove(self, directory: Directory) -> None:
        if self.posted is not None:
            directory.remove(self.posted.file)
            self.posted = None

    def _stands(self, directory: Directory) -> bool:
        if self.posted is None:
            return False
        try:
            found: Stamp = directory.stamp(self.posted.file)
        except FileNotFoundError:
            return False
        return found.inode == self._inode
