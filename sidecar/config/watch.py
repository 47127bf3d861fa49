"""Whether a file has changed: by looking at it now and then, which works on every file system.

A ConfigMap is changed by swapping a symbolic link in the path, an editor writes a new file and renames it, ``echo >`` empties
the file first: what counts is what the path leads to. A change is told when two looks in a row have seen the same, so that
nobody reads what is half written.
"""

from __future__ import annotations

import os

Seen = tuple[int, int, int, int]


class Watch:
    """One path. A file that is missing is no change; the one that comes back is. Made before the file is read, it misses
    nothing that is written afterwards."""

    __slots__ = ("_last", "_told", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._told = self._last = self._look()

    def changed(self) -> bool:
        """Whether the file is another one than at the last change, and has come to rest; true once for each change."""
        now = self._look()
        at_rest = now is not None and now == self._last
        self._last = now
        if not at_rest or now == self._told:
            return False
        self._told = now
        return True

    def _look(self) -> Seen | None:
        try:
            stat = os.stat(self.path)
        except (OSError, ValueError):  # ValueError: a path with a NUL
            return None
        return stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size
