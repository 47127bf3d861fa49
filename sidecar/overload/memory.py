"""How much of the memory that we could have we hold already.

The kernel ends whatever runs in a cgroup that reaches its limit, and nobody is warned. So usage and limit are read from
the cgroup's own files, of version 2 or 1. What the kernel holds there without need, the pages of files that nobody has
touched lately, counts as free: it is dropped before anybody is ended.

A cgroup may be shared: ``sidecar run -- COMMAND`` in a container has its application there, and an application that
fills its container to 98 % on purpose (a Java heap) must not make us refuse requests, which would free nothing. So the
pressure is *ours / (ours + free)*. Alone in a cgroup that is its usage over its limit; beside others it says how much
of what they leave we hold; and with nothing free it is 1 for all.

(https://docs.kernel.org/admin-guide/cgroup-v2.html#memory, https://docs.kernel.org/admin-guide/cgroup-v1/memory.html)
"""

from __future__ import annotations

import gc
import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from io import FileIO
from math import inf
from pathlib import Path
from typing import Final

CGROUPS: Final = Path("/sys/fs/cgroup")
PROCESS: Final = Path("/proc/self")
UNLIMITED: Final = 1 << 60
"""Bytes from which on a limit is none; version 1 writes a number near 2**63."""
VERSION_2: Final = ("memory.current", "memory.max", b"inactive_file")
VERSION_1: Final = ("memory.usage_in_bytes", "memory.limit_in_bytes", b"total_inactive_file")
"""The files of usage and limit, and what ``memory.stat`` calls the pages of files that are not in use."""
PAGE: Final = resource.getpagesize()
LONGEST: Final = 16384
"""Bytes; longer than any of the files."""


class Cgroup:
    """One cgroup that has a limit. Its files stay open: they are needed most when none can be opened any more."""

    __slots__ = ("_limit", "_stat", "_usage", "_word")

    def __init__(self, directory: Path, usage: str, limit: str, inactive: bytes) -> None:
        """Raises ``OSError`` if it has no such files."""
        self._word = inactive
        self._usage = FileIO(directory / usage)
        self._limit = FileIO(directory / limit)
        self._stat = FileIO(directory / "memory.stat")

    def limit(self) -> float:
        """Bytes, inf for none. Read each time: a container may be resized while it runs."""
        text = _content(self._limit.fileno()).strip()
        limit = int(text) if text != b"max" else UNLIMITED
        return limit if limit < UNLIMITED else inf

    def free(self) -> float:
        """Bytes until the limit, inf without one. Raises ``OSError`` when the cgroup is gone."""
        limit = self.limit()
        if limit == inf:
            return inf
        droppable = 0
        for line in _content(self._stat.fileno()).splitlines():
            word, _, count = line.partition(b" ")
            if word == self._word:
                droppable = int(count)
        used = max(0, int(_content(self._usage.fileno())) - droppable)
        return max(0.0, limit - used)

    def close(self) -> None:
        for file in (self._usage, self._limit, self._stat):
            file.close()


class Memory:
    """This process's memory and what bounds it: the cgroups that it is in, and ``ceiling`` (bytes, ``None`` for none)."""

    __slots__ = ("_cgroups", "_own", "ceiling")

    def __init__(self, ceiling: int | None = None, cgroups: Path = CGROUPS, process: Path = PROCESS) -> None:
        self.ceiling = ceiling
        self._own: FileIO | None = None
        self._cgroups: list[Cgroup] = []
        with suppress(OSError, ValueError):  # Where there is no such /proc nothing is known, and no pressure.
            self._own = FileIO(process / "statm")
            self._cgroups = [one for one in _cgroups(process, cgroups) if _is_limited(one)]

    def pressure(self) -> float:
        """0 to 1, or above if we are beyond the ceiling; 0 where nothing bounds us."""
        own = self.resident()
        if not own:
            return 0.0
        pressure = own / self.ceiling if self.ceiling is not None else 0.0
        with suppress(OSError, ValueError):
            free = min((cgroup.free() for cgroup in self._cgroups), default=inf)
            pressure = max(pressure, own / (own + free))
        return pressure

    def resident(self) -> int:
        """Bytes of this process that are in memory, 0 where that cannot be known."""
        return int(_content(self._own.fileno()).split()[1]) * PAGE if self._own is not None else 0

    def close(self) -> None:
        for cgroup in self._cgroups:
            cgroup.close()
        if self._own is not None:
            self._own.close()


def give_back() -> None:
    """Returns to the kernel what is held for later use. Without this a process that was large once stays so, and would
    be taken for one that is still under pressure."""
    import ctypes  # Takes memory itself, so not before it is needed.

    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # Of glibc alone.
    if trim is not None:
        trim(0)


def _cgroups(process: Path, root: Path) -> Iterator[Cgroup]:
    """Ours and all around it, as far as they can be seen from here: each of them may have a limit."""
    for line in (process / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top, names = root, VERSION_2
        elif "memory" in controllers.split(","):
            top, names = root / "memory", VERSION_1
        else:
            continue
        here = top / path.lstrip("/")
        if not here.is_dir():
            here = top  # A container that sees its own cgroup as the root, but is told its name outside.
        for directory in (here, *here.parents):
            if not directory.is_relative_to(top):
                break
            with suppress(OSError):  # The root of all has no limit, and no files for it.
                yield Cgroup(directory, *names)


def _is_limited(cgroup: Cgroup) -> bool:
    """Whether it is worth keeping; one without a limit is closed."""
    if cgroup.limit() < inf:
        return True
    cgroup.close()
    return False


def _content(descriptor: int) -> bytes:
    return os.pread(descriptor, LONGEST, 0)
