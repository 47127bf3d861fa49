"""The application as ``run -- COMMAND`` starts it: a process group of its own, from the first fork to the exit code.

COMMAND is started when the listeners are bound, so that its first call finds its sidecar. It is led to it by its
environment (``variables``). What becomes of it is this process's own: we are the subreaper of everything that it leaves
behind (Linux), so nothing is handed to the machine's init, and a sidecar that is itself process 1 of a container
reaps what a process 1 must. Nobody else in this process may wait for children: it is all done here.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from sidecar import guard, marks
from sidecar.clock import Clock

NOT_FOUND = 127
NOT_EXECUTABLE = 126
FORWARDED = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)
"""Signals that mean nothing to us and are passed on to COMMAND."""
LAST_WORDS_SECONDS = 1.0
"""How long the terminal may take for the last output."""
NO_PROXY = ("localhost", "127.0.0.1", "::1")
_POLL_SECONDS = 0.01
_PR_SET_CHILD_SUBREAPER = 36

log = logging.getLogger("sidecar")


class Command:
    """COMMAND and its process group. Forks the guardian, so it must be made before there is a thread.

    ``port`` is where the application is expected; ``reserved`` keeps that port from others until COMMAND is started.
    Raises ``OSError`` where no process can be had.
    """

    def __init__(
        self, arguments: Sequence[str], port: int, reserved: socket.socket | None = None, clock: Clock | None = None
    ) -> None:
        self._arguments = arguments
        self._port = port
        self._reserved = reserved
        self._clock = clock or Clock()
        # Ours is about to be raised; programs that use select() count on the usual one.
        self._files = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._guard = guard.Guard()
        self._guarded = True
        self._process: subprocess.Popen[bytes] | None = None
        self._carriers: list[threading.Thread] = []
        self._never_started = 0
        """The exit code for a COMMAND that could not be started."""
        self.stopping = False
        """Whether its end is what we want: then to end by SIGTERM is a success."""
        self._on_exit: Callable[[], None] = lambda: None
        self.running = False
        become_subreaper()

    # Start

    def start(
        self, loop: asyncio.AbstractEventLoop, listening: Mapping[str, tuple[str, int]], on_exit: Callable[[], None]
    ) -> None:
        """Starts COMMAND beside listeners that are bound. ``on_exit`` is called when it has ended, be it at once."""

        def child_changed(number: int, frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(self._reap)

        self._on_exit = on_exit
        # uvloop keeps add_signal_handler(SIGCHLD) for itself, and uses it only for processes that it starts.
        signal.signal(signal.SIGCHLD, child_changed)
        for number in FORWARDED:
            loop.add_signal_handler(number, self._send, number)
        loop.add_signal_handler(signal.SIGTSTP, self._pause)
        if self._reserved is not None:
            self._reserved.close()
        ours = resource.getrlimit(resource.RLIMIT_NOFILE)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, self._files)
            self._process = self._spawn(variables(os.environ, self._port, listening))
        except (OSError, ValueError) as error:  # ValueError: an argument with a NUL
            self._never_started, why = self._reason(error)
            log.error("cannot start %s: %s", self._arguments[0], why)
            on_exit()
            return
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, ours)
        self.running = True
        for pipe, target in ((self._process.stdout, 1), (self._process.stderr, 2)):
            if pipe is not None:
                self._carriers.append(marks.carry_over(os.dup(pipe.fileno()), target))
                pipe.close()
        # Not with its arguments: they may be secrets.
        log.info("application: %s started as process %d, PORT=%d", self._arguments[0], self._process.pid, self._port)

    def _spawn(self, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._arguments,
            # In the background of a terminal, who reads from it is stopped.
            stdin=subprocess.DEVNULL if os.isatty(0) else None,
            stdout=subprocess.PIPE if os.isatty(1) else None,
            stderr=subprocess.PIPE if os.isatty(2) else None,
            env=environ,
            process_group=self._guard.group,
        )

    def _reason(self, error: OSError | ValueError) -> tuple[int, str]:
        """The exit code that shells have for it, and a sentence for people."""
        name = self._arguments[0]
        if not isinstance(error, OSError):
            return NOT_EXECUTABLE, str(error)
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            if shutil.which(name) is not None:
                return NOT_EXECUTABLE, "the interpreter that its first line names is not there"
            return NOT_FOUND, _where_it_may_be(name)
        if error.errno == errno.EACCES:
            if Path(name).is_dir():
                return NOT_EXECUTABLE, "it is a directory"
            return NOT_EXECUTABLE, f"it is not executable; try chmod +x {name}, or start its interpreter with it"
        if error.errno == errno.ENOEXEC:
            return NOT_EXECUTABLE, "it is no program for this machine; a script needs a first line such as #!/bin/sh"
        return NOT_EXECUTABLE, error.strerror or str(error)

    # Signals

    def stop(self) -> None:
        """Asks COMMAND, and nobody else of its group, to end, as a supervisor of containers does."""
        self._send(signal.SIGTERM)

    def _send(self, number: signal.Signals) -> None:
        # Popen.send_signal would look first whether the process has ended, and take its status from us.
        if self.running and self._process is not None:
            with suppress(PermissionError):  # It has become somebody else.
                os.kill(self._process.pid, number)

    def _pause(self) -> None:
        """Ctrl-Z pauses both, and both go on together."""
        if self.running:
            guard.send(self._guard.group, signal.SIGTSTP)
        os.kill(os.getpid(), signal.SIGSTOP)
        if self.running:
            guard.send(self._guard.group, signal.SIGCONT)

    # End

    async def ended(self, seconds: float) -> bool:
        """Waits for the end of COMMAND, ``seconds`` at most; whether it has ended."""
        end = self._clock.now() + seconds
        while self.running and self._clock.now() < end:
            await asyncio.sleep(_POLL_SECONDS)
        return not self.running

    async def end(self, patience: float) -> None:
        """Ends whoever is left of the application: by SIGTERM, and after ``patience`` seconds by SIGKILL."""
        group = self._guard.group
        end = self._clock.now() + patience
        if patience <= 0 and self._process is not None:
            guard.send(group, signal.SIGKILL)
        elif self._guarded:
            self._guard.end(patience)
        else:
            await asyncio.to_thread(guard.end_group, group, patience)
        # What was sent SIGKILL is gone in a moment, unless the kernel itself cannot let go of it.
        while (self.running or self._guarded) and self._clock.now() < end + 1.0:
            self._reap()
            await asyncio.sleep(_POLL_SECONDS)
        await self._end_adopted(end)
        # Who ends from now on would be told to a loop that may be closed.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    async def _end_adopted(self, end: float) -> None:
        """The same for those who have left the group: being orphans, they have become our children."""
        told: set[int] = set()
        while (left := children()) and self._clock.now() < end + 1.0:
            late = self._clock.now() >= end
            for pid in left:
                if late or pid not in told:
                    with suppress(OSError):
                        os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
            told.update(left)
            await asyncio.sleep(_POLL_SECONDS)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._guard.group:
                self._guarded = False
                if self.running and not self.stopping:
                    log.warning("the guardian was killed: should the sidecar be too, the application outlives it")
            elif self._process is not None and pid == self._process.pid:
                code = self._process.returncode = os.waitstatus_to_exitcode(status)
                self.running = False
                how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
                log.log(logging.INFO if code == 0 or self.stopping else logging.ERROR, "application: ended: %s", how)
                self._on_exit()

    def exit_code(self) -> int:
        """COMMAND's own, 128 + n if signal n ended it, and 0 if it was to end and SIGTERM ended it."""
        if self._process is None:
            return self._never_started
        code = self._process.returncode
        if code is None:
            return 128 + signal.SIGKILL
        if self.stopping and code in (-signal.SIGTERM, 128 + signal.SIGTERM):
            return 0
        return code if code >= 0 else 128 - code

    # The terminal

    def marked(self, form: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
        """``form`` of log lines, with a mark where they stand among the application's: on a terminal."""
        if not os.isatty(2):
            return form
        return marks.marked(form, marks.mark("mesh", os.environ, sys.stderr.encoding).encode(sys.stderr.encoding))

    def last_words(self) -> None:
        """Waits until what it has written has reached the terminal, so far as anybody reads there."""
        end = self._clock.now() + LAST_WORDS_SECONDS
        for carrier in self._carriers:
            carrier.join(max(0.0, end - self._clock.now()))


def reserve_port() -> socket.socket:
    """A free port of the loopback that nobody else gets until the socket is closed."""
    reserved = socket.socket()
    reserved.bind(("127.0.0.1", 0))
    return reserved


def variables(environ: Mapping[str, str], port: int, listening: Mapping[str, tuple[str, int]]) -> dict[str, str]:
    """COMMAND's environment: ours, and where to listen and whom to call.

    ``listening`` has the bound addresses of the listeners; for one that is missing nothing is set.
    """
    ours = {"PORT": str(port)}
    for name in ("outbound", "admin"):
        if name in listening:
            ours[f"SIDECAR_{name.upper()}_URL"] = _url(*listening[name])
    if "outbound" in listening:
        for proxy, exempt, other in (("HTTP_PROXY", "NO_PROXY", "no_proxy"), ("http_proxy", "no_proxy", "NO_PROXY")):
            ours[proxy] = ours["SIDECAR_OUTBOUND_URL"]
            ours[exempt] = _exempting(environ.get(exempt) or environ.get(other, ""))
    # Those of a sidecar around us would name somebody else's listeners.
    inherited = {name: value for name, value in environ.items() if name not in _OURS}
    return inherited | ours


_OURS = frozenset({"SIDECAR_OUTBOUND_URL", "SIDECAR_ADMIN_URL"})


def _exempting(written: str) -> str:
    """``written`` with our own addresses, which must not go through the proxy."""
    if written.strip() == "*":
        return written
    hosts = [host.strip() for host in written.split(",") if host.strip()]
    return ",".join(hosts + [host for host in NO_PROXY if host not in hosts])


def _url(host: str, port: int) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _where_it_may_be(name: str) -> str:
    if "/" in name:
        return "there is no such file; look at its path, which begins at the directory that the sidecar is started in"
    if Path(name).is_file():
        return f"it is not in PATH, but in this directory: write ./{name}"
    return "it is not in PATH; install it, or write the path to it"


def become_subreaper() -> None:
    """Orphans among COMMAND's descendants become our children. Linux alone has this."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> list[int]:
    """The processes whose parent we are, where there is a /proc to find them in."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The name before it is in parentheses, and may have some of its own.
            state, parent = stat.read_text(errors="replace").rpartition(")")[2].split()[:2]
            if int(parent) == os.getpid() and state != "Z":
                found.append(int(stat.parent.name))
    return found
