"""The small mesh of ``make run``, as somebody would start it and end it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from examples.demo.__main__ import Stop, wait_until_ready
from examples.demo.children import Children, Failed
from examples.demo.topology import plan_mesh

ROOT = Path(__file__).resolve().parent.parent
REPORT = re.compile(r"^ *(?:\d+ s|total) +(\d+) requests, +([0-9.]+) % ok, .* paid by +(\d+) \+ +(\d+), ", re.MULTILINE)
PIDS = re.compile(r"/metrics +([0-9, ]+)$", re.MULTILINE)


@contextmanager
def demo(directory: Path, *args: str) -> Iterator[subprocess.Popen[str]]:
    """The demo as a process, with ``directory`` as the place for its temporary files."""
    with subprocess.Popen(
        [sys.executable, "-m", "examples.demo", *args],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(directory)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            # It ends its children by itself when asked; nothing but a hanging demo is left to this.
            process.terminate()


def pids(output: str) -> list[int]:
    """Every process that the first lines name."""
    return [int(pid) for line in PIDS.findall(output) for pid in line.split(",")]


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_every_request_succeeds_although_payments_fails_and_nothing_is_left(tmp_path: Path) -> None:
    """Both instances take payments and the shop sees no failure; at the end processes and files are gone."""
    with demo(tmp_path, "--seconds", "3") as process:
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    *_, (requests, good, first, second) = REPORT.findall(output)
    assert len(REPORT.findall(output)) == 4, output
    assert (int(requests), good) == (60, "100.0"), output
    assert int(first) > 0 < int(second), output
    assert re.search(r"^ total .* retries [1-9]", output, re.MULTILINE), output
    assert len(pids(output)) == 7, output
    assert not any(map(runs, pids(output)))
    assert not list(tmp_path.iterdir())


def test_it_ends_cleanly_when_it_is_told_to(tmp_path: Path) -> None:
    """SIGTERM amid the traffic: exit code 0, no process and no file left."""
    with demo(tmp_path) as process:
        assert process.stdout is not None
        output = ""
        for line in process.stdout:
            output += line
            if REPORT.match(line):
                break
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert rest.endswith("Nothing is left.\n")
    assert len(pids(output)) == 7
    assert not any(map(runs, pids(output)))
    assert not list(tmp_path.iterdir())


def test_a_process_that_dies_at_the_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    """The message has the name, what was said on standard error, and what to do."""
    with Children(tmp_path) as children:
        children.start("orders", "examples.demo.orders", "no port")
        with pytest.raises(Failed, match=r"(?s)orders .* ended with status 1.*Error.*start the demo again"):
            wait_until_ready(plan_mesh(), Stop(), children)
