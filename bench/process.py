"""Children on one core that cannot be left behind.

A benchmark that dies half way and leaves five proxies running spoils the next one's figures. Each child leads a process
group of its own, which is killed as a whole when its ``with`` block ends; and the kernel is asked to kill it should
this process end without getting that far.
"""

from __future__ import annotations

import ctypes
import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.machine import ROOT

PYTHON = sys.executable

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class Failed(Exception):
    """Something that a measurement needs did not work; the message is for the reader of the tables."""


def _free_ports() -> Iterator[int]:
    # Below the range from which the kernel takes outgoing ports: thousands of those are in use during a run.
    candidates = list(range(20000, 32000))
    random.shuffle(candidates)
    for port in candidates:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        yield port
    raise Failed("no free port left between 20000 and 32000")


_ports = _free_ports()


def free_port() -> int:
    """A loopback port that nobody listens on, never the same one twice in a run."""
    return next(_ports)


@contextmanager
def running(command: Sequence[str], core: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``command`` on ``core`` with its output in ``log``; kill it and its children when the block ends."""

    def settle_in() -> None:
        os.sched_setaffinity(0, {core})
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    with log.open("wb") as output:
        child = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # Affinity must be set before the first thread of the child exists: later ones inherit it.
            preexec_fn=settle_in,
        )
    try:
        yield child
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def last_words(log: Path, lines: int = 3) -> str:
    """The end of a child's output, on one line."""
    return " | ".join(log.read_text(errors="replace").strip().splitlines()[-lines:]) or "it said nothing"


def get(port: int, path: str, host: str = "origin", timeout: float = 2.0) -> tuple[int, bytes]:
    """One GET to ``127.0.0.1:port``; status and body. Raises ``OSError`` or ``HTTPException``."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Host": host})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def wait_until_ready(child: subprocess.Popen[bytes], log: Path, port: int, path: str, timeout: float = 30.0) -> None:
    """Return when ``GET path`` is answered with 200; raise `Failed` if the child ends first or time runs out."""

    def problem() -> str:
        try:
            status, _ = get(port, path)
        except (OSError, http.client.HTTPException) as error:
            return str(error)
        return "" if status == 200 else f"status {status}"

    wait_until(child, log, problem, timeout)


def wait_until(child: subprocess.Popen[bytes], log: Path, problem: Callable[[], str], timeout: float) -> None:
    """Return when there is no ``problem`` any more; raise `Failed` if the child ends first or time runs out."""
    give_up = time.monotonic() + timeout
    answer = "no answer"
    while time.monotonic() < give_up:
        if child.poll() is not None:
            raise Failed(f"ended with status {child.returncode}: {last_words(log)}")
        if not (answer := problem()):
            return
        time.sleep(0.05)
    raise Failed(f"not ready after {timeout:.0f} s ({answer}): {last_words(log)}")
