"""Which process a file belongs to, and whether it still lives.

A process id alone does not name a process: it is given out again. Together with the moment at which the process began,
which the system counts from its own start, it does. Both mean something only under the same kernel and in the same
namespace of process ids; of a process elsewhere nothing can be known, which is not the same as that it is dead.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import msgspec
from msgspec import Meta

STAT_STATE = 0
STAT_STARTED = 19
"""Fields of ``/proc/PID/stat`` behind the command's name (proc(5) counts them from 3)."""


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """A process. ``started`` is in clock ticks since the system's start, 0 where that cannot be known; ``system`` names
    the kernel's run and the namespace of process ids, and is empty if they are unknown."""

    pid: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    started: Annotated[int, Meta(ge=0)] = 0
    system: Annotated[str, Meta(max_length=256)] = ""


def ourselves() -> Owner:
    """This process."""
    pid = os.getpid()
    return Owner(pid=pid, started=_began(pid) or 0, system=_system())


def _system() -> str:
    if sys.platform != "linux":
        return sys.platform  # There is but one namespace.
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _began(pid: int) -> int | None:
    """When the process began, 0 if that cannot be known, ``None`` if it is dead, also if nobody has waited for it yet.
    Raises ``OSError`` other than that there is no such process."""
    try:
        file = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None if sys.platform == "linux" else 0
    try:
        stat = os.read(file, 4096)
    except ProcessLookupError:
        return None
    finally:
        os.close(file)
    # The command's name stands in brackets and may hold brackets and spaces itself.
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[STAT_STATE] in (b"Z", b"X") else int(fields[STAT_STARTED])


class Processes:
    """What this process can know about others."""

    __slots__ = ("_system",)

    def __init__(self, system: str | None = None) -> None:
        """``system`` is where we are; the tests are elsewhere."""
        self._system = _system() if system is None else system

    def knows(self, owner: Owner) -> bool:
        """Whether the owner is where we can see it."""
        return owner.system != "" and owner.system == self._system

    def alive(self, owner: Owner, thorough: bool = True) -> bool:
        """Whether an owner that we know lives, a stopped one too. Not ``thorough`` costs a fifteenth, and takes a process
        that nobody has waited for, or that has been given the same id, for it."""
        try:
            os.kill(owner.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # It is somebody's: whose, the moment of its beginning will tell.
        if not thorough:
            return True
        try:
            began = _began(owner.pid)
        except OSError:
            return True  # We are out of descriptors, say; that is no reason to bury anybody.
        return began is not None and (began == owner.started or began == 0 or owner.started == 0)
