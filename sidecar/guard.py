"""Whoever dies first, nobody of the application's process group is left behind.

A process that is killed with SIGKILL can clean up nothing, so somebody else must. The guardian is a fork of the sidecar
that does nothing but read from a pipe whose other end only the sidecar holds: when the sidecar is gone, however that
came about, the read ends, and the guardian ends the group. When the sidecar ends in order it ends the read itself and
says with it how long the group may take.

The guardian is the group's leader and the first in it. So the group exists before COMMAND does, COMMAND is in it from
its first instruction, and as long as the guardian lives the group's number is nobody else's.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from contextlib import suppress

from sidecar.clock import Clock

ORPHAN_SECONDS = 1.0
"""How long a group whose sidecar is dead may take to heed SIGTERM."""
POLL_SECONDS = 0.01


class Guard:
    """The guardian as the sidecar sees it: a child process that leads the process group ``group``.

    ``afterwards`` is what the guardian does last, when the group is gone. Forks, so it must be made before there is a
    thread. Raises ``OSError`` where no process can be had.
    """

    __slots__ = ("_pipe", "group")

    def __init__(self, afterwards: Callable[[], None] = lambda: None) -> None:
        ours, theirs = os.pipe()
        # Blocked signals are as good as ignored: nothing that is sent to the group ends or stops the guardian.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            child = os.fork()
            if child == 0:
                _guard(ours, afterwards)
            self.group = child
            self._pipe = theirs
            # The child does it as well: whoever comes first, neither goes on before it is so.
            os.setpgid(child, child)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(ours)

    def end(self, patience: float) -> None:
        """Has the guardian end the group, by SIGTERM and after ``patience`` seconds by SIGKILL, and then itself."""
        if self._pipe >= 0:
            with suppress(BrokenPipeError):  # It was killed.
                os.write(self._pipe, b"%f" % patience)
            os.close(self._pipe)
            self._pipe = -1


def _guard(pipe: int, afterwards: Callable[[], None]) -> None:
    try:
        os.setpgid(0, 0)
        _let_go_of_everything_but(pipe)
        patience = float(os.read(pipe, 64) or ORPHAN_SECONDS)
        group = os.getpid()
        with suppress(OSError):
            _leave()
        end_group(group, patience)
        afterwards()
    finally:
        os._exit(0)


def _let_go_of_everything_but(pipe: int) -> None:
    """Somebody may wait for the end of a pipe that we would else hold open."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    try:
        files = [int(name) for name in os.listdir("/dev/fd")]
    except OSError:  # In a root without /dev or /proc.
        files = list(range(1024))
    for file in files:
        if file > 2 and file != pipe:
            with suppress(OSError):
                os.close(file)


def _leave() -> None:
    """Leaves the group that we lead, so that it can become empty, for one that a child leads until we are in it."""
    child = os.fork()
    if child == 0:
        while True:
            signal.pause()
    try:
        os.setpgid(child, child)
        os.setpgid(0, child)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def end_group(group: int, patience: float) -> None:
    """SIGTERM for the group, and SIGKILL for whoever is still in it ``patience`` seconds later. Blocks that long."""
    clock = Clock()
    end = clock.now() + patience
    send(group, signal.SIGTERM)
    send(group, signal.SIGCONT)  # Who is stopped could not heed it.
    while clock.now() < end and send(group, 0):
        select.select((), (), (), POLL_SECONDS)
    send(group, signal.SIGKILL)


def send(group: int, number: int) -> bool:
    """Signals a process group; whether there was anybody."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # macOS refuses a group of which only zombies are left.
        return False
    return True
