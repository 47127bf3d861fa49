"""The load that finds what a proxy can do at most: wrk, or a Python program where wrk is missing.

Both keep a fixed number of connections busy, each sending its next request when the answer is there, or, with
``Connection: close`` among the headers, opening the next connection then. While an answer is late nothing new is sent:
this load hides waiting, and the question about latency goes to ``steady``.

Run as ``python -m bench.load JSON`` with the fields of `Job`, it prints the fields of `Result` as JSON.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from array import array
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import uvloop

from bench.figures import percentile
from bench.machine import find, first_line
from bench.process import PYTHON, Failed, last_words, running


@dataclass(frozen=True, slots=True)
class Job:
    """What to send, over how many connections at a time, and for how many seconds."""

    port: int
    path: str
    headers: dict[str, str]
    connections: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Result:
    """What came back. Latencies in microseconds; ``errors`` are socket errors, timeouts and answers other than 2xx."""

    requests: int
    seconds: float
    p50: float
    p99: float
    errors: int


Load = Callable[[Job, int, Path], Result]
"""Runs a job on a core with its files in a directory."""

_WRK_REPORT = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\n{"requests": %d, "seconds": %f, "p50": %f, "p99": %f, "errors": %d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


def version() -> str | None:
    """wrk's version, ``None`` where it is missing."""
    binary = find("wrk")
    return None if binary is None else first_line(binary, "-v").partition(" [")[0]


def wrk(job: Job, core: int, directory: Path) -> Result:
    """One thread of wrk. It counts whole seconds only."""
    script = directory / "report.lua"
    script.write_text(_WRK_REPORT)
    binary = find("wrk")
    assert binary is not None
    command = [binary, "-t1", f"-c{job.connections}", f"-d{max(1, round(job.seconds))}s", "-s", str(script)]
    for name, value in job.headers.items():
        command += ["-H", f"{name}: {value}"]
    return _run([*command, f"http://127.0.0.1:{job.port}{job.path}"], job, core, directory)


def python(job: Job, core: int, directory: Path) -> Result:
    """This file as a process of its own."""
    return _run([PYTHON, "-m", "bench.load", json.dumps(asdict(job))], job, core, directory)


def _run(command: list[str], job: Job, core: int, directory: Path) -> Result:
    return Result(**json.loads(printed(command, job.seconds + 30, core, directory)))


def printed(command: list[str], patience: float, core: int, directory: Path) -> str:
    """The last line that ``command`` prints within ``patience`` seconds; raises `Failed`."""
    return output(command, patience, core, directory).strip().splitlines()[-1]


def output(command: list[str], patience: float, core: int, directory: Path) -> str:
    """All that ``command`` prints within ``patience`` seconds; raises `Failed`."""
    log = directory / "load.log"
    with running(command, core, log) as child:
        try:
            status = child.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            raise Failed(f"load generator not ready after {patience:.0f} s: {last_words(log)}") from None
    if status:
        raise Failed(f"load generator ended with status {status}: {last_words(log)}")
    return log.read_text()


def request(path: str, headers: dict[str, str]) -> bytes:
    """A GET of ``path`` as bytes."""
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"GET {path} HTTP/1.1\r\n{head}\r\n".encode()


class Answer:
    """A response as it comes in. It knows bodies by length and no others, as all that is asked for has one."""

    __slots__ = ("_buffer", "_missing", "good")

    def __init__(self) -> None:
        self._buffer = b""
        self._missing = 0
        self.good = False
        """Whether the status of the last head was 2xx."""

    def feed(self, data: bytes) -> bool:
        """Whether the response is complete with ``data``, and the next one begins; `ValueError` without a length."""
        if self._missing:
            self._missing -= len(data)
        else:
            self._buffer += data
            head, end, body = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return False
            self._missing = int(head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]) - len(body)
            self.good = head[9:10] == b"2"
            self._buffer = b""
        return not self._missing


class _Generator:
    """All connections of a job and what they have seen."""

    def __init__(self, job: Job) -> None:
        self.request = request(job.path, job.headers)
        self.job = job
        self.latencies = array("d")
        self.errors = 0
        self.over = False
        self.opening: set[asyncio.Task[None]] = set()
        self.reuses = job.headers.get("Connection") != "close"

    async def run(self) -> Result:
        for _ in range(self.job.connections):
            await self._connect()
        self.latencies = array("d")
        self.errors = 0
        began = time.perf_counter()
        await asyncio.sleep(self.job.seconds)
        self.over = True
        took = time.perf_counter() - began
        ordered = sorted(self.latencies)
        p50, p99 = (percentile(ordered, share) * 1e6 for share in (0.5, 0.99))
        return Result(len(ordered), took, p50, p99, self.errors)

    async def _connect(self) -> None:
        try:
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self.job.port)
        except OSError:
            self.errors += 1

    def answered(self, connection: _Connection, latency: float, good: bool) -> None:
        if self.over:
            return
        self.latencies.append(latency)
        self.errors += not good
        if self.reuses:
            connection.send()
        else:
            connection.transport.abort()

    def lost(self, in_flight: bool) -> None:
        """A connection has ended, as every one does after its answer where none is reused; another takes its place."""
        if self.over:
            return
        self.errors += in_flight
        task = asyncio.get_running_loop().create_task(self._connect())
        self.opening.add(task)
        task.add_done_callback(self.opening.discard)


class _Connection(asyncio.Protocol):
    """One connection with one request at a time."""

    transport: asyncio.Transport

    def __init__(self, generator: _Generator) -> None:
        self.generator = generator
        self.answer = Answer()
        self.sent: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of `asyncio.Transport` without being one.
        self.transport = cast(asyncio.Transport, transport)
        self.send()

    def send(self) -> None:
        self.sent = time.perf_counter()
        self.transport.write(self.generator.request)

    def data_received(self, data: bytes) -> None:
        try:
            complete = self.answer.feed(data)
        except ValueError:
            self.transport.abort()
            return
        if complete and self.sent is not None:
            latency, self.sent = time.perf_counter() - self.sent, None
            self.generator.answered(self, latency, self.answer.good)

    def connection_lost(self, exc: Exception | None) -> None:
        self.generator.lost(self.sent is not None)


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(_Generator(Job(**json.loads(sys.argv[1]))).run()))))
