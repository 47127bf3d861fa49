"""Reading a page as a newcomer does: files are written as they are shown, commands are run, and what they print is compared.

A page is followed from top to bottom. A block of TOML or Python belongs into the file that the text before it names last;
a block without one is only an example. Of a console block each ``$ `` line is run in a shell, and must end as the page
lets expect: with exit code 0, or another if what is shown is a failure (``FAILURES``). Where the text before a block says
"in a first terminal" (second, third) the block's last command stays there, running, until all is over or ``stop`` ends it.

Output is compared loosely: every line that is shown has to come, in that order; others may come between. ``…`` stands
for anything, and numbers, times and ids for others of their kind. Ports are not those of the page but free ones.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, Self

from tests.support.live import PATIENCE, ROOT, free_port, until

FENCE = re.compile(r"^```(\w*)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"`([\w-]+\.(?:toml|py))`")
TERMINAL = re.compile(r"\bin a (first|second|third|fourth|fifth) terminal\b", re.IGNORECASE)
PORT = re.compile(r"(?<![\w.-])(?:15|8|9)\d{3}(?![\w.])")
"""Of an application or a listener, as pages choose them."""
LISTENERS = {"inbound": 15006, "outbound": 15001, "admin": 15000, "probes": 15020}
READS_ONLY = ("cat ", "grep ", "jq ", "tail ", "sidecar stat", "sidecar endpoints", "sidecar breakers")
"""Commands that may be repeated until they show what is expected: it may come a moment later."""
FAILURES = ("Error:", "The configuration that ran goes on")
LOOSE = {
    "anything": (r"\s*(?:\.\.\.|[0-9a-f]*…)", r".*"),
    "time": (r"\d{4}-\d{2}-\d{2}T[\d:.]+Z", r"[\d:.TZ-]+"),
    "id": (r"\b[0-9a-f]{16,}\b", r"[0-9a-f]+"),
    "number": (r"\d+(?:\.\d+)*", r"\d+(?:\.\d+)*"),
    "blanks": (r"\s+", r"\s+"),
}
"""What may differ, and what stands for it."""
TOKEN = re.compile("|".join(f"(?P<{name}>{exact})" for name, (exact, _) in LOOSE.items()) + "|.")


class Block(NamedTuple):
    """``before`` is all text since the last console block, or the section's beginning."""

    language: str
    text: str
    before: str


def section(text: str, heading: str | None) -> str:
    """What stands under a heading, up to the next one of its rank; all of the page without one."""
    if heading is None:
        return text
    found = re.search(rf"^(#+) {re.escape(heading)}\n", text, re.MULTILINE)
    assert found is not None, f"there is no heading {heading!r}"
    rest = text[found.end() :]
    end = re.search(rf"^#{{1,{len(found[1])}}} ", FENCE.sub(lambda block: " " * len(block[0]), rest), re.MULTILINE)
    return rest[: end.start()] if end is not None else rest


def blocks(text: str) -> Iterator[Block]:
    before, at = "", 0
    for found in FENCE.finditer(text):
        before += text[at : found.start()]
        at = found.end()
        yield Block(found[1], found[2], " ".join(before.split()))
        if found[1] == "console":
            before = ""


def commands(block: str) -> Iterator[tuple[str, list[str]]]:
    """Each command of a console block, and the lines that it is said to print."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, *shown = part.splitlines()
        while command.endswith("\\"):
            command = command[:-1] + shown.pop(0).strip()
        yield command, [line for line in shown if line.strip()]


def pattern(line: str) -> str:
    """The expression for a line of output, without its ends."""
    tokens = TOKEN.finditer(line.strip())
    return "".join(LOOSE[token.lastgroup][1] if token.lastgroup else re.escape(token[0]) for token in tokens)


def missing(shown: list[str], output: str) -> str | None:
    """The first line of the page that the output has not, after those before it; ``None`` if it has all."""
    at, broken_off = 0, False
    for line in shown:
        begin = r"\s*" if broken_off else r"^\s*"
        broken_off = line.endswith(",")
        found = re.compile(begin + pattern(line) + ("" if broken_off else r"\s*?$"), re.MULTILINE).search(output, at)
        if found is None:
            return line
        at = found.end()
    return None


def listens(port: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(port))) == 0


class Terminal:
    """A command in a shell; it and all that it has started are a process group, of which nothing is left at the end."""

    def __init__(self, command: str, directory: Path, env: Mapping[str, str], output: IO[bytes]) -> None:
        self.command = command
        self._output = output
        self._process = subprocess.Popen(
            ["sh", "-c", command],
            cwd=directory,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def text(self) -> str:
        return os.pread(self._output.fileno(), 1 << 20, 0).decode()

    def code(self) -> int | None:
        """The exit code, once there is one. The process is left to ``close``, so that its group's number stays its own."""
        ended = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return ended.si_status if ended is not None else None

    def shows(self, lines: list[str]) -> bool:
        assert self.code() is None, f"$ {self.command}\n{self.text()}"
        return missing(lines, self.text()) is None

    def close(self) -> None:
        # A sidecar has the group of its COMMAND ended when it is itself.
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._output.close()


class Reader:
    """Somebody who does what pages say, in a directory of their own. Leaving ends all that was started.

    ``moves``: the sidecars of the page find ports by themselves, so they are not told free ones.
    """

    def __init__(self, directory: Path, moves: bool = False) -> None:
        self._directory = directory
        self._moves = moves
        self._ports: dict[str, str] = {}
        self._terminals: dict[str, Terminal] = {}
        run = directory / "run"
        run.mkdir(mode=0o700)
        self._bin = directory / "bin"
        self._bin.mkdir()
        for name, arguments in {"sidecar": " -m sidecar", "python3": "", "python": ""}.items():
            # Not the one that is installed: the one that is tested.
            script = f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable}{arguments} "$@"\n'
            (self._bin / name).write_text(script)
            (self._bin / name).chmod(0o755)
        self._env = {name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY")}
        self._env |= {"PATH": f"{self._bin}:{os.environ['PATH']}", "XDG_RUNTIME_DIR": str(run), "PYTHONUNBUFFERED": "1"}
        # As on a terminal, where curl shows no progress.
        (directory / ".curlrc").write_text("silent\nshow-error\n")
        self._env["CURL_HOME"] = str(directory)
        self.ran: list[str] = []
        """Every command line so far, as it stands on its page."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for name in tuple(self._terminals):
            self.stop(name)

    def follow(
        self, page: str, heading: str | None = None, acts: Mapping[str, Callable[[], object]] | None = None
    ) -> None:
        """Does all that a page, or the section of it, shows. ``acts``: what the text asks for in words, to be done before
        the block that follows it."""
        text = section((ROOT / page).read_text(), heading)
        self._settle_ports(text)
        waiting = dict(acts or {})
        for block in blocks(text):
            for words in [words for words in waiting if words in block.before]:
                waiting.pop(words)()
            if block.language == "console":
                self._run(block)
            elif block.language in ("toml", "python") and (names := FILE_NAME.findall(block.before)):
                self._write(names[-1], block.text)
        assert not waiting, f"{page} does not say {', '.join(waiting)}"

    def put(self, name: str, program: str) -> None:
        """A command that the reader has installed before."""
        (self._bin / name).symlink_to(program)

    def begin(self, file: str, text: str, command: str) -> None:
        """Writes a file, and starts what goes on until all is over."""
        self._settle_ports(text)
        self._write(file, text)
        self._stay(command, command, [])

    def look_up(self, page: str, left_out: Sequence[str] = (), headings_only: bool = False) -> None:
        """Runs what a page of reference shows, beside what runs already, but for commands that begin like those
        ``left_out``. ``headings_only``: of what is shown, the first line is compared, since the rest tells of other days."""
        for block in blocks((ROOT / page).read_text()):
            if block.language == "console":
                for command, shown in commands(block.text):
                    if not f"{command}\n".startswith(tuple(left_out)):
                        self._expect(command, shown[:1] if headings_only else shown)

    def run(self, command: str) -> str:
        """What a command prints, without a look at it."""
        return self._finish(command)[1]

    def stop(self, terminal: str) -> None:
        self._terminals.pop(terminal).close()

    def _settle_ports(self, text: str) -> None:
        for port in [*PORT.findall(text), *map(str, LISTENERS.values())]:
            if port not in self._ports:
                self._ports[port] = str(free_port())
        for name, number in LISTENERS.items():
            variable = f"SIDECAR_LISTEN__{name.upper()}"
            self._env.pop(variable, None)
            # An address that a page writes into a file is replaced there, and "none" stays what it is.
            if not self._moves and re.search(rf'^{name} = "', text, re.MULTILINE) is None:
                self._env[variable] = f"127.0.0.1:{self._ports[str(number)]}"

    def _translated(self, text: str) -> str:
        return PORT.sub(lambda port: self._ports[port[0]], text)

    def _write(self, name: str, text: str) -> None:
        new = self._directory / f"{name}.new"
        new.write_text(self._translated(text))
        new.rename(self._directory / name)

    def _run(self, block: Block) -> None:
        steps = list(commands(block.text))
        stays = TERMINAL.findall(block.before)
        for number, (command, shown) in enumerate(steps, 1):
            self.ran.append(command)
            if stays and number == len(steps):
                self._stay(stays[-1], command, shown)
            else:
                self._expect(command, shown)

    def _stay(self, name: str, command: str, shown: list[str]) -> None:
        output = (self._directory / f"{name}.output").open("wb+")
        terminal = self._terminals[name] = Terminal(self._translated(command), self._directory, self._env, output)
        ports = [port for port in re.findall(r"\d{4,5}", self._translated(command)) if port in self._ports.values()]
        until(lambda: terminal.shows(shown) and all(map(listens, ports)), f"$ {command} shows {shown}")

    def _expect(self, command: str, shown: list[str]) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            code, output = self._finish(command)
            line = missing(shown, output)
            if line is None or not command.startswith(READS_ONLY) or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        said = "\n".join(f"[{name}]\n{terminal.text()}" for name, terminal in self._terminals.items())
        assert line is None, f"$ {command}\nshould show  {line}\nbut shows\n{output[-4000:]}\n{said}"
        fails = any(one.startswith(FAILURES) for one in shown)
        assert (code != 0) == fails, f"$ {command}\nends with {code}\n{output}\n{said}"

    def _finish(self, command: str) -> tuple[int, str]:
        """Exit code and output of a command that ends."""
        with (self._directory / "output").open("wb+") as output:
            terminal = Terminal(self._translated(command), self._directory, self._env, output)
            try:
                until(
                    lambda: terminal.code() is not None,
                    f"$ {command} ends, or the page says in which terminal it stays",
                    20,
                )
                return terminal.code() or 0, terminal.text()
            finally:
                terminal.close()
