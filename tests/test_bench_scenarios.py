"""The scenarios of the bench: what they compute, what they open, and one of them from the command to its file."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from bench.__main__ import SCENARIOS
from bench.idle import CONNECTIONS, connections_within
from bench.latency import added
from bench.load import Answer, Job, python
from bench.results import read
from bench.steady import Result

ROOT = Path(__file__).resolve().parent.parent


def run(p99: float) -> Result:
    return Result(requests=1000, p50=100, p90=200, p99=p99, p999=p99, max=p99, lag_p99=50, lag_max=60, errors=0)


def test_what_a_proxy_adds_is_the_difference_of_a_round() -> None:
    """A slow minute falls on both sides of a difference; a round that one side lacks gives none."""
    direct = [run(1000), run(5000), None, run(1000)]
    through = [run(3000), run(7500), run(9000), None]
    assert added(through, direct, "p99") == pytest.approx(2250)
    assert added(through, direct, "p50") == pytest.approx(0)
    assert added([None], [run(1000)], "p99") is None


@pytest.mark.parametrize(("files", "number"), [(10**6, CONNECTIONS), (20_200, CONNECTIONS), (20_000, 9_900), (64, 1)])
def test_half_of_the_open_files_are_for_connections(files: int, number: int) -> None:
    """A limit that is too low gives a smaller measurement and not a failed one."""
    assert connections_within(files) == number


def test_an_answer_is_complete_with_its_last_byte_and_the_next_one_begins() -> None:
    """Heads and bodies come in any pieces; one without a length is refused, as its end could not be told."""
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"
    answer = Answer()
    for _ in range(2):
        assert [answer.feed(whole[i : i + 1]) for i in range(len(whole))] == [False] * (len(whole) - 1) + [True]
        assert answer.good
    assert answer.feed(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
    assert not answer.good
    with pytest.raises(ValueError, match="invalid literal"):
        answer.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")


@pytest.mark.parametrize(("headers", "reused"), [({}, True), ({"Connection": "close"}, False)])
def test_the_load_opens_a_connection_for_each_request_where_none_is_kept(
    headers: dict[str, str], reused: bool, tmp_path: Path
) -> None:
    """The Python generator, against a server that counts; none of its requests fails either way."""
    requests: list[int] = []

    def serve(connection: socket.socket, number: int) -> None:
        # The generator ends while answers are under way to it.
        with connection, suppress(ConnectionError):
            while data := connection.recv(65536):
                requests.append(number)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                if b"Connection: close" in data:
                    return

    def accept() -> None:
        number = 0
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            number += 1
            threading.Thread(target=serve, args=(connection, number), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        job = Job(listening.getsockname()[1], "/", {"Host": "origin"} | headers, connections=4, seconds=0.3)
        result = python(job, min(os.sched_getaffinity(0)), tmp_path)
        listening.shutdown(socket.SHUT_RDWR)
        accepting.join(5)
    assert result.requests > 8
    assert result.errors == 0
    assert len(set(requests)) == (4 if reused else len(requests))


def test_a_scenario_writes_a_file_with_machine_revision_samples_and_figures(tmp_path: Path) -> None:
    """The command as `make bench` calls it, with the quickest of its questions and one proxy."""
    file = tmp_path / "results.json"
    command = [
        sys.executable,
        "-m",
        "bench",
        "--quick",
        "--scenario",
        "start",
        "--only",
        "sidecar",
        "--json",
        str(file),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    results = read(file)
    assert {"revision", "processor", "memory", "kernel", "python", "sidecar"} <= results.about.keys()
    (figure,) = results.figures
    assert figure.key == ("start", "sidecar", "", "time to start")
    assert [value and value / 1e3 for value in figure.rounds] == pytest.approx(
        results.samples["start"]["sidecar"]["seconds"]
    )
    assert [goal.figure for goal in results.goals] == ["start to /health/startup"]
    assert results.failures == {}


def test_every_scenario_is_in_the_manual_and_old_names_still_work() -> None:
    """Nobody's command breaks: `1000-services` is what `services` was called."""
    manual = (ROOT / "bench" / "README.md").read_text()
    assert [name for name in SCENARIOS if f"| `{name}`" not in manual] == []
    command = [sys.executable, "-m", "bench", "--scenario", "1000-services", "--scenario", "nonsense"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "nonsense" in done.stderr
    assert "1000-services" not in done.stderr
