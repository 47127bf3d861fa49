"""The processes of the demo, and how nothing is left of them.

All sidecars are in one process group, which a guardian leads (``sidecar.guard``): whether the demo ends in order or is
killed, the guardian ends the group and then removes the demo's directory. Each sidecar does the same for its application
by a guardian of its own. So there is one way to the end for all cases, and it runs in processes that do nothing else.

Orphans become our children (Linux), so that the end can be waited for: it is over when there is no child any more.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from sidecar.clock import Clock
from sidecar.command import become_subreaper, children
from sidecar.guard import ORPHAN_SECONDS, Guard, send

PATIENCE = 5.0
"""Seconds that all may take to end when they are asked to."""
STRAY_SECONDS = ORPHAN_SECONDS + 0.5
"""How long orphans may take to be ended by their own guardian, if they have one."""
_POLL_SECONDS = 0.01
_REMOVE_TRIES = 100


class Ended(NamedTuple):
    """A process that has ended; ``code`` is negative if a signal did it (-9), as ``subprocess`` has it."""

    name: str
    pid: int
    code: int


class Crew:
    """Named processes that work in ``directory``. Forks, so it must be made before there is a thread.

    Nobody else in this process may wait for children. Raises ``OSError`` where no process can be had.
    """

    def __init__(self, directory: Path, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        become_subreaper()
        self._guard = Guard(lambda: remove(directory))
        self._guarded = True
        self._alone = False
        """Whether no child is left."""
        self._running: dict[int, tuple[str, subprocess.Popen[bytes]]] = {}

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of those who run, by name."""
        return {name: pid for pid, (name, _) in self._running.items()}

    @property
    def guardian(self) -> int | None:
        """Its process id, as long as it lives."""
        return self._guard.group if self._guarded else None

    def start(self, name: str, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
        """What it says goes to the file of its name. Raises ``OSError``."""
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(
                arguments,
                cwd=self._directory,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=self._guard.group,
            )
        self._running[process.pid] = name, process

    def log(self, name: str) -> Path:
        return self._directory / f"{name}.log"

    def kill(self, name: str) -> None:
        """SIGKILL, if it runs."""
        pid = self.pids.get(name)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)

    def ended(self) -> list[Ended]:
        """Those who have ended since the last call, the guardian too."""
        found = []
        while (child := self._reap()) is not None:
            ended = self._told(*child)
            if ended is not None:
                found.append(ended)
        return found

    def end(self) -> None:
        """Ends all. Takes some seconds at most; the directory is the guardian's, and the caller's, to remove."""
        give_up = self._clock.now() + PATIENCE
        self._guard.end(PATIENCE)
        if not self._guarded:
            send(self._guard.group, signal.SIGTERM)
        while not self._alone and self._clock.now() < give_up + 2.0:
            self.ended()
            if not self._running and not self._guarded:
                give_up = min(give_up, self._clock.now() + STRAY_SECONDS)
            if self._clock.now() >= give_up:
                self._kill_all()
            threading.Event().wait(_POLL_SECONDS)

    def _kill_all(self) -> None:
        """Those of the group, and whoever has been left to us."""
        send(self._guard.group, signal.SIGKILL)
        for pid in children():
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def _reap(self) -> tuple[int, int] | None:
        """The id and exit code of a child that has ended."""
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            self._alone = True
            return None
        return (pid, os.waitstatus_to_exitcode(status)) if pid else None

    def _told(self, pid: int, code: int) -> Ended | None:
        """``None`` for orphans that we have been left."""
        if pid == self._guard.group:
            self._guarded = False
            return Ended("guardian", pid, code)
        if pid not in self._running:
            return None
        name, process = self._running.pop(pid)
        process.returncode = code
        return Ended(name, pid, code)


def remove(directory: Path) -> None:
    """With all that is in it. Whoever dies in this moment may still put something there."""
    for _ in range(_REMOVE_TRIES):
        with suppress(OSError):
            shutil.rmtree(directory)
        if not directory.exists():
            return
        threading.Event().wait(_POLL_SECONDS)


def last_words(log: Path, lines: int = 12) -> str:
    """The end of what a process has said."""
    try:
        said = log.read_text(errors="replace").splitlines()
    except OSError:
        said = []
    return "\n".join(f"    {line}" for line in said[-lines:]) or "    (nothing)"
