"""``run -- COMMAND`` on a terminal: who says what, Ctrl-C, Ctrl-Z, and a window that is closed."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.live.test_command import PID, runs
from tests.support.live import ROOT, Client, until

APP, MESH = " app │ ", "mesh │ "
LISTEN = ["--inbound", "none", "--outbound", "none", "--admin", "none", "--probes", "127.0.0.1:0"]


PROBES = re.compile(r"probes on 127\.0\.0\.1:(\d+)")


class Terminal:
    """A sidecar and its application on a terminal of their own; ``shown()`` is all that has appeared on it.

    Where ``log`` names a file, stderr goes there.
    """

    def __init__(self, *command: str, log: Path | None = None, **environ: str) -> None:
        self._command = command
        self._log = log
        self._environ = {**os.environ, "NO_COLOR": "1", "TERM": "xterm", "PYTHONUTF8": "1"} | environ
        self._shown = bytearray()
        self.received = 0
        self.reads = threading.Event()
        self.reads.set()
        self.keep = True

    def __enter__(self) -> Self:
        self._master, terminal = pty.openpty()
        attributes = termios.tcgetattr(terminal)
        attributes[1] &= ~termios.OPOST
        termios.tcsetattr(terminal, termios.TCSANOW, attributes)
        log = self._log.open("wb") if self._log is not None else None
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sidecar", "run", *LISTEN, "--", *self._command],
            cwd=ROOT,
            env=self._environ,
            stdin=terminal,
            stdout=terminal,
            stderr=log or terminal,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(terminal)
        if log is not None:
            log.close()
        self._stop, self._stopped = os.pipe()
        self._reader = threading.Thread(target=self._read, args=(self._master,), daemon=True)
        self._reader.start()
        return self

    def _read(self, master: int) -> None:
        try:
            # A close does not count while a read is going on, so none may be where there is nothing to read.
            while self._stop not in select.select((master, self._stop), (), ())[0]:
                data = os.read(master, 65536)
                self.received += len(data)
                self.reads.wait()
                if self.keep:
                    self._shown += data
        except OSError:  # Nobody has the terminal open any more.
            pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        self.hang_up()

    def shown(self) -> str:
        return bytes(self._shown).decode(errors="surrogateescape")

    def lines(self, mark: str) -> list[str]:
        return [line.removeprefix(mark) for line in self.shown().split("\n") if line.startswith(mark)]

    def probes(self) -> int:
        """The port that the log tells of."""
        until(lambda: PROBES.search(self.shown()), "the log says where the probes are")
        found = PROBES.search(self.shown())
        assert found is not None
        return int(found[1])

    def type(self, key: bytes) -> None:
        os.write(self._master, key)

    def hang_up(self) -> None:
        """The window is closed."""
        if self._master >= 0:
            self.reads.set()
            os.close(self._stopped)
            self._reader.join(10)
            os.close(self._stop)
            os.close(self._master)
            self._master = -1

    def exit_code(self) -> int:
        code = self.process.wait(10)
        self._reader.join(10)
        return code

    def pids(self, *names: str) -> dict[str, int]:
        """Whoever has said who it is, when ``names`` have."""
        found: dict[str, int] = {}

        def all_found() -> bool:
            text = "\n".join(self.lines(APP))
            found.update((name, int(pid)) for name, pid in PID.findall(text))
            return set(names) <= found.keys()

        until(all_found, f"{names} have begun")
        return found


def state(pid: int) -> str:
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return done.stdout.strip()[:1]


def test_every_line_says_whose_it_is() -> None:
    """Both of its outputs, whole lines only, any bytes, and the last one although its end is missing."""
    script = r"printf 'one\n\n\377\200two\n'; printf 'three\n' >&2; printf fo; sleep 0.1; printf 'ur\nlast'"
    with Terminal("sh", "-c", script) as terminal:
        assert terminal.exit_code() == 0
        assert sorted(terminal.lines(APP)) == sorted(["one", "", "\udcff\udc80two", "four", "three", "last"])
        assert any("application: ended: exit code 0" in line for line in terminal.lines(MESH))
        unmarked = [line for line in terminal.shown().split("\n") if line and not line.startswith((APP, MESH))]
        assert unmarked == []


@pytest.mark.parametrize(("environ", "coloured"), [({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False)])
def test_marks_are_coloured_unless_colour_is_refused(environ: dict[str, str], coloured: bool) -> None:
    """NO_COLOR counts when it is not empty."""
    with Terminal("echo", "hello", **environ) as terminal:
        assert terminal.exit_code() == 0
        assert ("\x1b[36m app │\x1b[0m hello\n" in terminal.shown()) is coloured
        assert ("\x1b[" in terminal.shown()) is coloured


def test_a_program_that_reads_from_the_terminal_finds_nothing_there() -> None:
    """In the background of a terminal it would be stopped, and nobody would know why."""
    with Terminal("sh", "-c", "if read line; then echo read; else echo nothing; fi") as terminal:
        assert terminal.exit_code() == 0
        assert terminal.lines(APP) == ["nothing"]


def test_ctrl_c_reaches_the_application_as_an_orderly_end() -> None:
    """The terminal signals the sidecar only, which passes it on as SIGTERM when the time has come."""
    script = "trap 'echo interrupted; exit 1' INT; trap 'echo ended; exit 0' TERM; echo command=$$; while :; do sleep 0.01; done"
    with Terminal("sh", "-c", script) as terminal:
        terminal.pids("command")
        terminal.type(b"\x03")
        assert terminal.exit_code() == 0
        assert f"{APP}ended\n" in terminal.shown()  # Behind ^C, as the terminal shows the key.
        assert "interrupted" not in terminal.lines(APP)


def test_ctrl_z_stops_both_and_both_go_on() -> None:
    """An application that went on alone would fill a pipe that nobody reads."""
    with Terminal("sh", "-c", "echo command=$$; exec sleep 1000") as terminal:
        command = terminal.pids("command")["command"]
        guardian = os.getpgid(command)
        terminal.type(b"\x1a")
        until(lambda: state(terminal.process.pid) == "T" and state(command) == "T", "both are stopped")
        assert state(guardian) == "S"
        terminal.process.send_signal(signal.SIGCONT)
        until(lambda: state(terminal.process.pid) == "S" and state(command) == "S", "both run")
        terminal.type(b"\x03")
        assert terminal.exit_code() == 0


def test_a_window_that_is_closed_ends_both() -> None:
    """It comes as SIGHUP, but there is nobody left who could have meant a reload."""
    with Terminal("sh", "-c", "trap '' HUP; echo command=$$; exec sleep 1000") as terminal:
        command = terminal.pids("command")["command"]
        terminal.hang_up()
        assert terminal.process.wait(10) == 0
        assert not runs(command)


def test_a_hangup_with_the_window_open_is_a_reload() -> None:
    """As it is without a terminal."""
    with Terminal("sh", "-c", "echo command=$$; exec sleep 1000") as terminal:
        command = terminal.pids("command")["command"]
        terminal.process.send_signal(signal.SIGHUP)
        until(lambda: any("SIGHUP" in line for line in terminal.lines(MESH)), "the sidecar has got it")
        assert runs(command)
        terminal.type(b"\x03")
        assert terminal.exit_code() == 0


FILLS = """
import os, pathlib, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
print(f"command={os.getpid()}", flush=True)
signal.sigwait([signal.SIGUSR1])
os.set_blocking(1, False)
try:
    while True:
        os.write(1, b"x" * 99 + b"\\n")
except BlockingIOError:
    pathlib.Path(sys.argv[1]).touch()
os.set_blocking(1, True)
while True:
    os.write(1, b"x" * 99 + b"\\n")
"""


def test_a_terminal_that_is_paused_holds_up_the_application_alone(tmp_path: Path) -> None:
    """Ctrl-S is meant for who writes; whoever calls the application through us is served."""
    full = tmp_path / "full"
    with Terminal(sys.executable, "-c", FILLS, str(full)) as terminal:
        terminal.pids("command")
        port = terminal.probes()
        terminal.reads.clear()
        terminal.process.send_signal(signal.SIGUSR1)
        until(full.exists, "the application can write no more")
        with Client(port) as client:
            for _ in range(10):
                assert client.get("sidecar", "/health/live").status == 200
        terminal.reads.set()
        terminal.type(b"\x03")
        assert terminal.exit_code() == 0


def test_the_last_words_of_an_application_are_waited_for(tmp_path: Path) -> None:
    """It has ended, and so has its sidecar but for this: what it wrote is not on the terminal yet."""
    log = tmp_path / "log"
    script = (
        "echo command=$$; trap 'got=1' USR1; while [ -z $got ]; do sleep 0.01; done; head -c 100000 /dev/zero; exit 4"
    )
    with Terminal("sh", "-c", script, log=log) as terminal:
        terminal.pids("command")
        terminal.reads.clear()
        terminal.process.send_signal(signal.SIGUSR1)
        until(lambda: b"bye" in log.read_bytes(), "the sidecar is about to end")
        assert b"mesh" not in log.read_bytes()
        terminal.reads.set()
        assert terminal.exit_code() == 4
        assert terminal.shown().count("\0") == 100000


def test_a_hundred_megabytes_do_not_hold_up_the_loop_or_fill_the_memory() -> None:
    """Probes are answered while they pass, and all of them arrive."""
    line = "x" * 99
    script = f"import os; block = b'{line}\\n' * 10000; [os.write(1, block) for _ in range(100)]"
    with Terminal(sys.executable, "-c", script) as terminal:
        until(lambda: terminal.received > 10_000_000, "output passes")
        terminal.keep = False
        port = terminal.probes()
        with Client(port) as client:
            for _ in range(10):
                assert client.get("sidecar", "/health/live").status == 200
        status = Path(f"/proc/{terminal.process.pid}/status").read_text()
        peak = int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0])
        assert peak < 60_000
        assert terminal.exit_code() == 0
        assert terminal.received >= 1_000_000 * (99 + 1 + len(APP.encode()))
