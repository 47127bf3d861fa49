"""Asking by a program: it says by its exit code whether somebody is well.

The program is the child of a process of ours that does nothing but wait for it and report. So its exit code reaches us
whoever collects our own children: with ``run -- COMMAND`` that is somebody else. Both are a session of their own, which
is killed as a whole when the time is up, and when nobody waits for the answer any more: a sidecar that ends must not be
held up by a question, nor leave it behind.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from sidecar.clock import Clock
from sidecar.health.monitor import Probe

MOST_BYTES: Final = 4096
"""Of what it prints; the first line of that is part of the reason."""

_REPORTER: Final = """
import os, sys
report = int(sys.argv[1])
os.set_inheritable(report, False)
try:
    pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
    said = "exit code %d" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
except OSError as error:
    said = "cannot be run: %s" % error.strerror
os.write(report, said.encode())
"""


def command(arguments: Sequence[str], timeout: float) -> Probe:
    """Runs the program with its arguments, without a shell; ``timeout`` in seconds."""

    async def probe() -> str:
        run = _Run()
        try:
            # In a thread, which ends with the program.
            return await asyncio.to_thread(run, arguments, timeout)
        finally:
            run.stop()

    return probe


class _Run:
    """One run of the program, in a thread, and what ends it from another one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        """Held only to look at what follows, or to kill: the loop may wait for it."""
        self._running: int | None = None
        """The session, as long as nobody has collected the process that it is named after."""
        self._stopped = False

    def stop(self) -> None:
        """It ends at once, if it has not yet."""
        with self._lock:
            self._stopped = True
            self._kill()

    def _kill(self) -> None:
        if self._running is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._running, signal.SIGKILL)

    def __call__(self, arguments: Sequence[str], timeout: float) -> str:
        read, write = os.pipe()
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _REPORTER, str(write), *arguments],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                start_new_session=True, pass_fds=(write,),
            )  # fmt: skip
        except OSError as error:
            os.close(read)
            return f"cannot be run: {error.strerror}"
        finally:
            os.close(write)
        with self._lock:
            self._running = process.pid
            if self._stopped:
                self._kill()
        assert process.stdout is not None
        with process.stdout as output, open(read, "rb", buffering=0) as report:
            try:
                said, report_text = _listen(output.fileno(), report.fileno(), timeout)
            finally:
                with self._lock:
                    # Also when it has ended in time: what it has started and left behind must not add up.
                    self._kill()
                    self._running = None
                process.wait()
        if not report_text:
            return f"has not ended within {timeout:g} s"
        if report_text == b"exit code 0":
            return ""
        return f"{_printable(report_text)}{f': {_printable(said)}' if said.strip() else ''}"


def _listen(output: int, report: int, timeout: float) -> tuple[bytes, bytes]:
    """What it has printed until its report came, and the report; none if the time was up before. It may print without
    end: all of it is read, and little of it kept."""
    clock = Clock()
    end = clock.now() + timeout
    said = b""
    poll = select.poll()
    poll.register(report, select.POLLIN)
    poll.register(output, select.POLLIN)
    while (left := end - clock.now()) > 0:
        ready = {file for file, _ in poll.poll(left * 1000)}
        if output in ready:
            data = os.read(output, 65536)
            said += data[: MOST_BYTES - len(said)]
            if not data:
                poll.unregister(output)
        if report in ready:  # Also if there is more to read: others may go on printing.
            return said, os.read(report, 200)
    return said, b""


def _printable(text: bytes) -> str:
    """The first line of it."""
    lines = text.decode("utf-8", "replace").strip().splitlines()
    return "".join(char if char.isprintable() else " " for char in lines[0][:120]) if lines else ""
