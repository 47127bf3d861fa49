"""``sidecar demo`` as somebody starts it, breaks it and ends it: real processes, signals and a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.support.live import ROOT, until

FIGURES = re.compile(r"^ *(\d+) s \| customers +([0-9.]+)/s +([0-9.]+|-) % ok", re.MULTILINE)
SEEN = re.compile(r"^  (\S+) +\S+ +(\d+)  http://", re.MULTILINE)
PATIENCE = 30.0
"""For whatever needs several processes to start."""


class Demo:
    """The demo in a process, with its temporary files below ``directory``, on a terminal of its own if asked to. ``output``
    is all that it has said, ``command`` another program for the interpreter."""

    def __init__(
        self, directory: Path, *args: str, terminal: bool = False, command: Sequence[str] = (), **environ: str
    ) -> None:
        self._directory = directory
        self._command = command or ("-m", "sidecar", "demo", *args)
        self._terminal = terminal
        self._environ = {**os.environ, "TMPDIR": str(directory), "TERM": "xterm", "PYTHONUTF8": "1"} | environ
        self._said = bytearray()

    def __enter__(self) -> Self:
        ours, theirs = pty.openpty() if self._terminal else os.pipe()
        self.file = ours
        if self._terminal:
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
            self.before = termios.tcgetattr(theirs)
        self.process = subprocess.Popen(
            [sys.executable, *self._command],
            cwd=ROOT,
            env=self._environ,
            stdin=theirs if self._terminal else subprocess.PIPE,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=(lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)) if self._terminal else None,  # type: ignore[arg-type,return-value]
        )
        self.theirs = theirs if self._terminal else -1
        if not self._terminal:
            os.close(theirs)
        self._stop, self._stopped = os.pipe()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def _read(self) -> None:
        with suppress(OSError):  # A terminal that nobody has open any more.
            while self._stop not in select.select((self.file, self._stop), (), ())[0]:
                data = os.read(self.file, 65536)
                if not data:
                    return
                self._said += data

    def leave(self) -> None:
        """Nobody reads any more."""
        os.close(self._stopped)
        self._reader.join()
        os.close(self._stop)
        os.close(self.file)
        self.file = -1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # It ends the others by itself when asked; nothing but a hanging demo is left to the guardian.
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.file >= 0:
            self.leave()
        if self.theirs >= 0:
            os.close(self.theirs)
        if self.process.stdin is not None:
            self.process.stdin.close()

    @property
    def output(self) -> str:
        return self._said.decode(errors="replace")

    def until(self, text: str, since: int = 0) -> int:
        """Returns when it has said ``text``; the position behind it, for what is to come later."""
        until(lambda: text in self.output[since:] or self.process.poll() is not None, repr(text), PATIENCE)
        assert text in self.output[since:], self.output
        return self.output.index(text, since) + len(text)

    def runs(self) -> int:
        """Returns when it has shown that all is well; how much it has said by then."""
        until(lambda: self._all_well() or self.process.poll() is not None, "all requests succeed", PATIENCE)
        assert self._all_well(), self.output
        return len(self.output)

    def _all_well(self) -> bool:
        return any(share == "100.0" for _, _, share in FIGURES.findall(self.output))

    def shares(self, since: int = 0) -> list[str]:
        """Per cent of the customers' requests that succeeded, second by second."""
        return [share for _, _, share in FIGURES.findall(self.output[since:])]

    def pids(self) -> dict[str, int]:
        """The sidecars' process ids, as the demo has told them at its start."""
        return {name: int(pid) for name, pid in SEEN.findall(self.output)}

    def wish(self, text: str) -> None:
        """A line, or keys."""
        if self._terminal:
            os.write(self.file, text.encode())
        else:
            assert self.process.stdin is not None
            self.process.stdin.write(f"{text}\n".encode())
            self.process.stdin.flush()

    def ended(self) -> int:
        """The exit code, when it has ended."""
        code = self.process.wait(PATIENCE)
        self._reader.join(1.0)
        return code


def left(directory: Path) -> list[str]:
    """Who still runs of those who were started by a demo with its files below ``directory``, and the files."""
    found = [str(file) for file in directory.iterdir()]
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"TMPDIR={directory}\0".encode() in (process / "environ").read_bytes() and not _zombie(process):
                found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


def _zombie(process: Path) -> bool:
    return (process / "stat").read_text().rpartition(") ")[2].startswith("Z")


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def below(sidecar: int) -> tuple[int, int]:
    """The guardian, which is a fork of the sidecar, and the application."""
    guardian, app = sorted(children(sidecar), key=lambda child: _command(child) != _command(sidecar))
    return guardian, app


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.fixture
def without_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PATH in which there is no Node."""
    yield str(tmp_path_factory.mktemp("empty"))


needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")


@needs_proc
def test_whoever_is_killed_is_missed_by_nobody_or_back_in_a_moment(tmp_path: Path, without_node: str) -> None:
    """SIGKILL for a sidecar, an application and a guardian of payments: the customers notice nothing. For the only orders:
    half of the shop goes on, and in the end all of it; then Ctrl-C leaves no process and no file."""
    with Demo(tmp_path, PATH=without_node) as demo:
        since = demo.runs()
        assert "there is no node in PATH: catalog is a WSGI application" in demo.output
        pids = demo.pids()
        assert list(pids) == ["customers", "web", "orders", "payments-1", "payments-2", "catalog"]

        guardian, app = below(pids["payments-1"])
        os.kill(guardian, signal.SIGKILL)
        os.kill(pids["payments-2"], signal.SIGKILL)
        demo.until("the sidecar of payments-2 was ended by SIGKILL", since)
        demo.until("payments-2 has left the registry, and orders knows: calls go to payments-1", since)
        demo.until("payments-2 is started again", since)
        demo.until("payments-2 is in the registry, and orders calls it from now on", since)

        second = len(demo.output)
        os.kill(app, signal.SIGKILL)
        demo.until("the application of payments-1 was ended by SIGKILL: its sidecar has ended with it", second)
        demo.until("payments-1 has left the registry", second)
        assert set(demo.shares(since)) == {"100.0"}, demo.output
        os.kill(pids["orders"], signal.SIGKILL)
        demo.until("orders has left the registry, and web knows: there is no orders any more", second)
        failing = demo.until("calls of customers to web failed", second)
        demo.until("payments-1 is started again", failing)
        demo.until("orders is started again", failing)
        demo.until("calls of customers to web succeed again", failing)
        good = len(demo.output)
        until(lambda: demo.shares(good)[1:2], "two seconds after it", PATIENCE)
        assert set(demo.shares(good)) == {"100.0"}, demo.output

        demo.process.send_signal(signal.SIGINT)
        assert demo.ended() == 0
    assert demo.output.endswith("All processes have ended; nothing is left.\n"), demo.output
    assert left(tmp_path) == []


@needs_proc
def test_what_one_wishes_is_done_and_the_mesh_makes_up_for_it(tmp_path: Path) -> None:
    """What is written to its standard input is done and told: a breaker opens and closes, and the customers notice nothing.
    Then the catalog's guardian and sidecar are killed, so that its application is nobody's, and the demo's guardian: on SIGTERM
    nothing is left all the same."""
    with Demo(tmp_path) as demo:
        since = demo.runs()
        demo.wish("fail payments-1")
        demo.until("you made payments-1 fail", since)
        demo.until("payments-1 failed 5 times in 10 s: orders' breaker is open for 8 s, calls go to payments-2", since)
        demo.wish("restore payments-1")
        demo.wish("dance web")
        demo.until("dance is not understood: write kill, delay, fail, restore and a name, or quit", since)
        demo.until("payments-1 answered orders 3 times in a row: breaker closed", since)
        assert set(demo.shares(since)) == {"100.0"}, demo.output
        catalog = demo.pids()["catalog"]
        os.kill(below(catalog)[0], signal.SIGKILL)
        os.kill(catalog, signal.SIGKILL)
        demo.until("the sidecar of catalog was ended by SIGKILL", since)
        guardian = next(child for child in children(demo.process.pid) if _command(child) == _command(demo.process.pid))
        os.kill(guardian, signal.SIGKILL)
        demo.until("the demo's guardian was killed")
        demo.process.send_signal(signal.SIGTERM)
        assert demo.ended() == 0
    assert left(tmp_path) == []


@needs_proc
def test_if_the_demo_itself_is_killed_its_guardian_leaves_nothing(tmp_path: Path) -> None:
    """SIGKILL amid the traffic: within seconds there is no process and no file."""
    with Demo(tmp_path) as demo:
        demo.runs()
        demo.process.kill()
        demo.process.wait()
        until(lambda: not left(tmp_path), "nothing is left", PATIENCE)


@needs_proc
@pytest.mark.parametrize("at", ["directory", "registry"])
def test_ctrl_c_during_the_start_leaves_nothing(tmp_path: Path, at: str) -> None:
    """However little has been started by then."""
    with Demo(tmp_path) as demo:
        wanted = "sidecar-demo-*" if at == "directory" else "sidecar-demo-*/registry/web@*"
        until(lambda: list(tmp_path.glob(wanted)) or demo.process.poll() is not None, "it has begun", PATIENCE)
        demo.process.send_signal(signal.SIGINT)
        assert demo.ended() == 0, demo.output
    assert left(tmp_path) == []


@needs_proc
def test_when_nobody_reads_any_more_it_ends(tmp_path: Path) -> None:
    """The other end of the pipe is closed, as ``head`` does: no complaint, nothing left."""
    with Demo(tmp_path) as demo:
        demo.runs()
        demo.leave()
        assert demo.ended() == 0
    assert left(tmp_path) == []


@needs_proc
def test_a_service_that_dies_at_the_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    """A Node that cannot start: who, how it ended, what it said; exit code 1, and nothing is left."""
    node = tmp_path / "bin" / "node"
    node.parent.mkdir()
    node.write_text("#!/bin/sh\necho no shelf to put anything on >&2\nexit 3\n")
    node.chmod(0o755)
    files = tmp_path / "files"
    files.mkdir()
    with Demo(files, PATH=f"{node.parent}:{os.environ['PATH']}") as demo:
        assert demo.ended() == 1
    assert re.search(r"catalog \(process \d+\) ended with exit code 3 at the start", demo.output), demo.output
    assert "    no shelf to put anything on\n" in demo.output
    assert left(files) == []


@needs_proc
@pytest.mark.parametrize("end", ["q", "\x03"])
def test_on_a_terminal_it_draws_heeds_keys_and_puts_the_terminal_back(tmp_path: Path, end: str) -> None:
    """The services, the calls and what happened are drawn; ``k`` kills the chosen instance; on every way out the terminal is
    as it was, with its own screen and cursor."""
    pytest.importorskip("rich")
    with Demo(tmp_path, terminal=True, NO_COLOR="1") as demo:
        demo.until("orders > payments")
        for shown in ("SERVES", "BREAKERS", "1:closed 2:closed", "k kill"):
            demo.until(shown)
        if end == "q":
            demo.wish("4k")
            demo.until("you killed payments-1")
            demo.until("dead, ")
            fcntl.ioctl(demo.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 10, 40, 0, 0))
        assert termios.tcgetattr(demo.theirs) != demo.before
        demo.wish(end)
        assert demo.ended() == 0
        assert termios.tcgetattr(demo.theirs) == demo.before
    _, _, after = demo.output.rpartition("\x1b[?1049l")
    assert "\x1b[?1049h" not in after and "nothing is left" in after
    assert "\x1b[?25h" in demo.output[demo.output.rindex("\x1b[?25l") :]
    assert not _colours(demo.output)
    assert left(tmp_path) == []


def test_the_terminal_is_put_back_although_something_went_wrong(tmp_path: Path) -> None:
    """An exception while the view is drawn passes through it, and the terminal is as it was."""
    pytest.importorskip("rich")
    script = (
        "from sidecar.demo.topology import shop\n"
        "from sidecar.demo.view import View\n"
        "with View(shop(), 'web') as view:\n"
        "    view.say('something')\n"
        "    raise RuntimeError('went wrong')\n"
    )
    with Demo(tmp_path, terminal=True, command=("-c", script)) as demo:
        assert demo.ended() == 1
        assert termios.tcgetattr(demo.theirs) == demo.before
    drawn, _, after = demo.output.rpartition("\x1b[?1049l")
    assert "something" in drawn and "RuntimeError: went wrong" in after


def _colours(output: str) -> Sequence[str]:
    return [found for found in re.findall(r"\x1b\[([0-9;]*)m", output) if re.search(r"\b(3[0-7]|9[0-7]|38)\b", found)]
