"""The gRPC scenarios of the bench: what passes for a call, what h2load's report means, and what is said without h2load."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from bench import grpc, grpc_streams, h2, machine
from bench.process import Failed
from bench.proxies import ALL, ENVOY
from bench.proxies_h2 import speaking
from bench.slow_calls import _Serving, slow_calls
from bench.table import NOT_MEASURED, Report
from bench.workplace import Workplace

ROOT = Path(__file__).resolve().parent.parent

GOOD = """
[  0.000] recv (stream_id=1) :status: 200
[  0.000] recv (stream_id=1) content-type: application/grpc
[  0.000] recv HEADERS frame <length=107, flags=0x04, stream_id=1>
[  0.000] recv DATA frame <length=1000, flags=0x00, stream_id=1>
[  0.000] recv DATA frame <length=24, flags=0x00, stream_id=1>
[  0.000] recv (stream_id=1) grpc-status: 0
[  0.000] recv HEADERS frame <length=12, flags=0x05, stream_id=1>
"""
REFUSED = """
[  0.000] recv (stream_id=1) :status: 200
[  0.000] recv (stream_id=1) content-type: application/grpc
[  0.000] recv (stream_id=1) grpc-status: 14
[  0.000] recv (stream_id=1) grpc-message: no endpoint
[  0.000] recv HEADERS frame <length=107, flags=0x05, stream_id=1>
"""
REPORT = """
finished in 1.50s, 1324.50 req/s, 1.51MB/s
requests: 100 total, 100 started, 100 done, 99 succeeded, 1 failed, 0 errored, 0 timeout
status codes: 99 2xx, 0 3xx, 0 4xx, 1 5xx
traffic: 1.17KB (111111) total, 107B (107) headers (space savings 41.85%), 1.00KB ({data}) data
                     min         max         mean         sd        +/- sd
time for request:      200us      1.20ms      {mean}       200us   100.00%
time for connect:      234us       234us       234us         0us   100.00%
"""

needs_nghttp2 = pytest.mark.skipif(
    bool(h2.missing()), reason="nghttp2 (Debian: nghttp2-client, nghttp2-server) is missing"
)


@pytest.fixture
def core() -> int:
    return min(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("seen", "wrong"),
    [
        (GOOD, ""),
        ("", "no answer"),
        (REFUSED, "grpc-status 14 and 0 bytes instead of 1024 no endpoint"),
        (GOOD.replace(": 200", ": 503"), "status 503"),
        (GOOD.replace("=24,", "=23,"), "grpc-status 0 and 1023 bytes instead of 1024"),
        (GOOD.replace("grpc-status: 0", "x: y"), "grpc-status None and 1024 bytes instead of 1024"),
        (GOOD.replace("application/grpc", "text/plain"), "content-type text/plain"),
        ("[0] recv (stream_id=1) grpc-status: 0" + GOOD.replace("grpc-status: 0", "x: y"), "grpc-status before"),
    ],
)
def test_a_call_is_a_message_and_then_its_status(seen: str, wrong: str) -> None:
    """A 200 is not enough: what gRPC refuses is a 200 too, and a status in front of the message is none."""
    found = h2.shape(seen, 1024)
    assert found.startswith(wrong) if wrong else found == ""


@pytest.mark.parametrize(("data", "answered"), [(99 * 1024, 99), (99 * 1024 - 1, 98), (0, 0)])
def test_a_call_without_its_message_is_an_error(data: int, answered: int) -> None:
    """h2load counts statuses; so many messages came as there are bytes for."""
    result = h2.parsed(REPORT.format(data=data, mean="1.05ms"), 1024)
    assert (result.calls, result.errors) == (answered, 100 - answered)
    assert (result.seconds, result.mean) == (1.5, 1050.0)
    assert h2.parsed(REPORT.format(data=data, mean="90us"), 1024).mean == 90.0


def test_what_is_no_report_of_h2load_is_not_taken_for_one() -> None:
    """A load that could not begin says why."""
    with pytest.raises(Failed, match="could not resolve"):
        h2.parsed("could not resolve host", 1024)


def test_those_that_speak_http_2_are_configured_to() -> None:
    """The same proxies under the same names, in the order in which they were chosen; aiohttp cannot."""
    assert [proxy.name for proxy in speaking(ALL)] == ["sidecar", "Envoy", "HAProxy", "nginx"]
    assert [proxy.name for proxy in speaking([ENVOY])] == ["Envoy"]


@needs_nghttp2
def test_origin_and_load_make_calls_of_each_other(tmp_path: Path, core: int) -> None:
    """As many as were asked for, whole, up and down; and where nobody listens, none."""
    with h2.nghttpd(tmp_path, core) as behind:
        for call in (h2.UNARY, h2.Call(metadata=grpc.REAL, varied=True), h2.Call("10m", "128"), h2.Call("128", "10m")):
            assert h2.problem(behind.ports[1], call, tmp_path) == ""
            result = h2.h2load(h2.Job(behind.ports[0], call, 2, 2, times=8), core, tmp_path)
            assert (result.calls, result.errors) == (8, 0)
    assert h2.problem(behind.ports[0], h2.UNARY, tmp_path) == "no answer"


@needs_nghttp2
def test_the_slow_origin_holds_a_call_and_then_answers_it(tmp_path: Path, core: int) -> None:
    """All calls are open at once, on one connection: they take as long as one of them."""
    with slow_calls(tmp_path, core) as behind:
        result = h2.h2load(h2.Job(behind.ports[0], h2.UNARY, 1, 200, times=200), core, tmp_path)
    assert (result.calls, result.errors) == (200, 0)
    assert 1.0 <= result.seconds < 5.0


class Pipe:
    """What is written, frame by frame."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False

    def frames(self) -> list[tuple[int, int, int]]:
        """Kind, stream and length of what was written since the last time."""
        found, rest = [], self.written
        while rest:
            high, low, kind, _, stream = struct.unpack_from("!BHBBL", rest)
            found.append((kind, stream, (high << 16) + low))
            rest = rest[9 + (high << 16) + low :]
        self.written = b""
        return found


def test_the_slow_origin_sends_no_more_than_its_window() -> None:
    """The 64th message of 1 KiB has no room in the 65,535 bytes that a connection begins with: it waits for an update."""
    serving, pipe = _Serving(), Pipe()
    serving.connection_made(pipe)  # type: ignore[arg-type]
    pipe.frames()
    for stream in range(1, 129, 2):
        serving._finish(stream)
    assert [(stream, length) for kind, stream, length in pipe.frames() if kind == 0] == [
        (stream, 1024) for stream in range(1, 127, 2)
    ]
    update = b"\0\0\x04\x08\0\0\0\0\0\0\0\x04\0"
    for octet in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + update:
        serving.data_received(bytes([octet]))
    assert [(kind, stream) for kind, stream, _ in pipe.frames()] == [(1, 127), (0, 127), (1, 127)]


@pytest.mark.parametrize("scenario", [grpc.unary, grpc.real, grpc_streams.streams, grpc_streams.many])
def test_without_nghttp2_a_scenario_is_left_out_and_its_goal_not_measured(
    scenario: type, monkeypatch: pytest.MonkeyPatch, core: int, tmp_path: Path
) -> None:
    """Not silently: the report says what is missing, and a gate has nothing to pass it by."""
    monkeypatch.setattr(grpc, "missing", lambda: ["h2load"])
    report: Report = scenario(Workplace(tmp_path, core, core, None, None, ALL, 1, 1.0, 1.0, lambda message: None))  # type: ignore[arg-type]
    assert report.failures == {"load generator": "no h2load (`--install`), so this is left out"}
    assert report.rows == []
    assert [verdict.word for verdict in report.verdicts] in ([], [NOT_MEASURED])


@needs_nghttp2
def test_the_scenario_of_unary_calls_has_a_line_for_envoy(tmp_path: Path) -> None:
    """From the command to the table, with one proxy for the shortest time."""
    command = [sys.executable, "-m", "bench", "--quick", "--seconds", "1", "--scenario", "grpc", "--only", "envoy"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("| Envoy")]
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells[2] == "1.00"
    assert cells[-1] == "0"
    assert "| sidecar" not in done.stdout


def test_every_program_of_the_scenarios_can_be_installed() -> None:
    """`--install` knows the packages that they come in."""
    assert set(h2.TOOLS) <= machine.DEBIAN_TOOLS.keys()
