"""A steady load: requests that are due at fixed instants, whatever becomes of those before them.

A generator that sends its next request when the last one is answered sends none while the proxy hangs: it asks least
when asking would hurt most, and the one long wait it sees drowns among the short ones ("coordinated omission"). Callers
do not wait for each other. So here request number n is due at ``began + n / rate``, and its latency counts from that
instant: through the wait for a free connection if all are taken, and to the end of the run if it is never answered.

Instants are fixed, not drawn: each proxy gets the same load, and no burst of the generator's own gets into the figures.

Counting from the schedule makes every lateness of the generator look like the proxy's. So it measures its own: ``lag``
is how long after its instant it noticed that a request was due. Who uses a result looks at it first.

Run as ``python -m bench.steady JSON`` with the fields of `Job`, it prints the fields of `Result` as JSON.
"""

from __future__ import annotations

import ctypes
import gc
import select
import socket
import sys
import time
from array import array
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from bench.figures import percentile
from bench.load import Answer, printed, request
from bench.process import PYTHON, Failed

C = TypeVar("C")

PATIENCE = 10.0
"""How long what is under way at the end may still take, seconds."""

_PR_SET_TIMERSLACK = 29


class Job(msgspec.Struct, frozen=True):
    """What to send: ``rate`` requests a second over all ``connections``, for ``seconds``."""

    port: int
    path: str
    headers: dict[str, str]
    connections: int
    seconds: float
    rate: float


class Result(msgspec.Struct, frozen=True):
    """What came back. Latencies and lags in microseconds; ``errors``: lost, unanswered, or answered with other than 2xx."""

    requests: int
    p50: float
    p90: float
    p99: float
    p999: float
    max: float
    lag_p99: float
    lag_max: float
    errors: int


class OpenModel(Generic[C]):
    """Which request is due when, which connection takes it, and how long it took. Knows neither sockets nor the time.

    ``send`` puts the request on a connection. Whoever owns the connections says which are free, answered or lost.
    """

    def __init__(self, began: float, rate: float, total: int, send: Callable[[C], None]) -> None:
        self.began = began
        self.rate = rate
        self.total = total
        self.latencies = array("d")
        self.lags = array("d")
        self.errors = 0
        self.in_flight: dict[C, float] = {}
        self._send = send
        self._noticed = 0
        self._idle: list[C] = []
        self._waiting: deque[float] = deque()

    @property
    def next_due(self) -> float | None:
        """The instant of the next request, ``None`` after the last one."""
        return self.began + self._noticed / self.rate if self._noticed < self.total else None

    @property
    def over(self) -> bool:
        """Whether every request was sent and has come to its end."""
        return self.next_due is None and not self._waiting and not self.in_flight

    def tick(self, now: float) -> None:
        """Send what is due; what finds no free connection waits for one."""
        while (due := self.next_due) is not None and due <= now:
            self._noticed += 1
            self.lags.append(now - due)
            if self._idle:
                self._begin(self._idle.pop(), due)
            else:
                self._waiting.append(due)

    def free(self, connection: C) -> None:
        """``connection`` can take a request: the one that has waited longest, or one to come."""
        if self._waiting:
            self._begin(connection, self._waiting.popleft())
        else:
            self._idle.append(connection)

    def answered(self, connection: C, now: float, good: bool) -> None:
        """The request on ``connection`` is answered, and the connection free again."""
        self.latencies.append(now - self.in_flight.pop(connection))
        self.errors += not good
        self.free(connection)

    def lost(self, connection: C, now: float) -> None:
        """``connection`` is gone, and with it the request that it carried, if any: failed after the time it took."""
        if connection in self.in_flight:
            self._fail(self.in_flight.pop(connection), now)
        else:
            self._idle.remove(connection)

    def give_up(self, now: float) -> None:
        """Whatever has no answer now has failed, and took at least until now."""
        for due in (*self.in_flight.values(), *self._waiting):
            self._fail(due, now)
        self.in_flight.clear()
        self._waiting.clear()

    def _begin(self, connection: C, due: float) -> None:
        self.in_flight[connection] = due
        self._send(connection)

    def _fail(self, due: float, now: float) -> None:
        self.latencies.append(now - due)
        self.errors += 1

    def result(self) -> Result:
        latencies, lags = ([second * 1e6 for second in sorted(seconds)] for seconds in (self.latencies, self.lags))
        return Result(
            requests=len(latencies),
            p50=percentile(latencies, 0.5),
            p90=percentile(latencies, 0.9),
            p99=percentile(latencies, 0.99),
            p999=percentile(latencies, 0.999),
            max=percentile(latencies, 1.0),
            lag_p99=percentile(lags, 0.99),
            lag_max=percentile(lags, 1.0),
            errors=self.errors,
        )


def steady(job: Job, core: int, directory: Path) -> Result:
    """This file as a process of its own on ``core``; raises `Failed`."""
    command = [PYTHON, "-m", "bench.steady", msgspec.json.encode(job).decode()]
    output = printed(command, job.seconds + PATIENCE + 30, core, directory)
    result = msgspec.json.decode(output, type=Result)
    if not result.requests:
        raise Failed("nothing was sent")
    return result


class _Connection:
    """A socket with one request at a time, and the answer as far as it has come."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.answer = Answer()

    def fileno(self) -> int:
        return self.socket.fileno()


def run(job: Job) -> Result:
    """Send all of ``job`` from this process."""
    message = request(job.path, job.headers)

    def send(connection: _Connection) -> None:
        try:
            connection.socket.sendall(message)
        except OSError:
            # Its end is there to be read, and is told from there.
            pass

    connections = [_Connection(job.port) for _ in range(job.connections)]
    total = round(job.rate * job.seconds)
    model = OpenModel(time.perf_counter() + 0.01, job.rate, total, send)
    for connection in connections:
        model.free(connection)
    give_up = model.began + job.seconds + PATIENCE
    while not model.over and (now := time.perf_counter()) < give_up:
        model.tick(now)
        due = give_up if model.next_due is None else model.next_due
        # Not a loop of asyncio, nor epoll: their timers know whole milliseconds, a request is due at each of them.
        for connection in select.select(connections, (), (), max(0.0, due - time.perf_counter()))[0]:
            try:
                data = connection.socket.recv(262144)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            try:
                complete = bool(data) and connection.answer.feed(data)
            except ValueError:
                data = b""
            if not data:
                model.lost(connection, time.perf_counter())
                connections.remove(connection)
                connection.socket.close()
                connections.append(_Connection(job.port))
                model.free(connections[-1])
            elif complete:
                model.answered(connection, time.perf_counter(), connection.answer.good)
    model.give_up(time.perf_counter())
    for connection in connections:
        connection.socket.close()
    return model.result()


if __name__ == "__main__":
    # The kernel may wake a sleeper 50 µs late to save power, which is what a proxy adds; and a collection takes as long.
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1)
    gc.disable()
    print(msgspec.json.encode(run(msgspec.json.decode(sys.argv[1], type=Job))).decode())
