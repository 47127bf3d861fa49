"""The load: wrk, or a Python program where wrk is missing or a steady rate is wanted.

wrk keeps a fixed number of connections busy, each sending its next request when the answer is there. That finds what a
proxy can do at most, but hides waiting: while an answer is late nothing new is sent. The question about latency
therefore goes to the Python generator, which can send at a given rate whatever happens, and counts from the instant
at which a request was due even if no connection was free then.

Run as ``python -m bench.load JSON`` with the fields of `Job`, it prints the fields of `Result` as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import uvloop

from bench.machine import find, first_line
from bench.process import PYTHON, Failed, last_words, running


@dataclass(frozen=True, slots=True)
class Job:
    """What to send and for how long. ``rate`` is requests per second over all connections, 0 for as many as go."""

    port: int
    path: str
    headers: dict[str, str]
    connections: int
    seconds: float
    rate: float = 0.0


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
    log = directory / "load.log"
    with running(command, core, log) as child:
        status = child.wait(timeout=job.seconds + 30)
    if status:
        raise Failed(f"load generator ended with status {status}: {last_words(log)}")
    return Result(**json.loads(log.read_text().strip().splitlines()[-1]))


class _Generator:
    """All connections of a job and what they have seen."""

    def __init__(self, job: Job) -> None:
        head = "".join(f"{name}: {value}\r\n" for name, value in job.headers.items())
        self.request = f"GET {job.path} HTTP/1.1\r\n{head}\r\n".encode()
        self.job = job
        self.latencies = array("d")
        self.errors = 0
        self.over = False
        self.idle: list[_Connection] = []
        self.waiting: deque[float] = deque()

    async def run(self) -> Result:
        loop = asyncio.get_running_loop()
        for _ in range(self.job.connections):
            await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self.job.port)
        began = time.perf_counter()
        if self.job.rate:
            await self._send_steadily(began)
        else:
            for connection in self.idle:
                connection.send(began)
            await asyncio.sleep(self.job.seconds)
        self.over = True
        took = time.perf_counter() - began
        ordered = sorted(self.latencies) or [0.0]
        p50, p99 = (ordered[int(len(ordered) * share)] * 1e6 for share in (0.5, 0.99))
        return Result(len(self.latencies), took, p50, p99, self.errors + len(self.waiting))

    async def _send_steadily(self, began: float) -> None:
        sent = 0
        while (now := time.perf_counter()) < began + self.job.seconds:
            while began + sent / self.job.rate <= now:
                sent += 1
                # Counted from now, not from the schedule: timers are coarse, and their lateness is not the proxy's.
                if self.idle:
                    self.idle.pop().send(now)
                else:
                    self.waiting.append(now)
            await asyncio.sleep(0.001)

    def answered(self, connection: _Connection, latency: float, good: bool) -> None:
        if self.over:
            return
        self.latencies.append(latency)
        self.errors += not good
        if not self.job.rate:
            connection.send(time.perf_counter())
        elif self.waiting:
            connection.send(self.waiting.popleft())
        else:
            self.idle.append(connection)

    def lost(self, connection: _Connection) -> None:
        if self.over:
            return
        self.errors += 1
        if connection in self.idle:
            self.idle.remove(connection)


class _Connection(asyncio.Protocol):
    """One connection with one request at a time. It reads bodies by length and leaves them unread otherwise."""

    transport: asyncio.Transport

    def __init__(self, generator: _Generator) -> None:
        self.generator = generator
        self.buffer = b""
        self.missing = 0
        self.good = False
        self.sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of `asyncio.Transport` without being one.
        self.transport = cast(asyncio.Transport, transport)
        self.generator.idle.append(self)

    def send(self, due: float) -> None:
        self.sent = due
        self.transport.write(self.generator.request)

    def data_received(self, data: bytes) -> None:
        if self.missing:
            self.missing -= len(data)
        else:
            self.buffer += data
            head, end, body = self.buffer.partition(b"\r\n\r\n")
            if not end:
                return
            length = head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
            if not length:
                self.transport.abort()
                return
            self.good = head[9:10] == b"2"
            self.missing = int(length) - len(body)
            self.buffer = b""
        if not self.missing:
            self.generator.answered(self, time.perf_counter() - self.sent, self.good)

    def connection_lost(self, exc: Exception | None) -> None:
        self.generator.lost(self)


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(_Generator(Job(**json.loads(sys.argv[1]))).run()))))
