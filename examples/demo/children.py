"""Processes that are ended together, and whose last words are told when one of them ends by itself."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parents[2]
END_SECONDS = 5.0
"""How long a process may take to end when it is asked to."""


class Failed(Exception):
    """The mesh cannot run (on); the message is for whoever started it."""


class Children:
    """A group of Python programs, for a ``with`` block: all that were started in it are gone after it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        # Variables of a sidecar that is configured on this machine would lie over the files of these.
        self._environ = {name: value for name, value in os.environ.items() if not name.startswith("SIDECAR_")}

    def __enter__(self) -> Children:
        return self

    def start(self, name: str, module: str, *args: str) -> int:
        """Run ``python -m module args``; the process id. What it says goes to ``NAME.log``."""
        with self._log(name).open("wb") as log:
            # In a group of its own: Ctrl-C is for the demo, which then ends the others in their order.
            child = subprocess.Popen(
                [sys.executable, "-m", module, *args],
                cwd=ROOT,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        self._started[name] = child
        return child.pid

    def check(self) -> None:
        """Raises ``Failed`` if one has ended."""
        for name, child in self._started.items():
            if child.poll() is not None:
                words = self._log(name).read_text(errors="replace").strip() or "(nothing)"
                raise Failed(
                    f"{name} (pid {child.pid}) ended with status {child.returncode}. What it said:\n\n{words}\n\n"
                    "If a port was taken in the meantime, start the demo again: it looks for free ones each time.\n"
                    "If a module is missing, set up the environment: make clean run"
                )

    def _log(self, name: str) -> Path:
        return self._directory / f"{name.replace(' ', '-')}.log"

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for child in self._started.values():
            child.terminate()
        give_up = time.monotonic() + END_SECONDS
        for child in self._started.values():
            try:
                child.wait(max(0.0, give_up - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def answers(port: int, path: str) -> bool:
    """Whether ``GET path`` on loopback is answered with 200."""
    connection = HTTPConnection("127.0.0.1", port, timeout=1.0)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
