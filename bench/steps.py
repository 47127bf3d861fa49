"""Where the Python part of an exchange goes, step by step: ``python -m bench.steps``.

One exchange after the other runs over the doubles of the tests, without a socket. Both halves of it are timed as they
are, and the steps that can be called by themselves once more alone; what is left of a half is the rest between them. Each figure
is the shortest of many rounds, which is what a busy machine disturbs least.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sidecar.clock import Random
from sidecar.exchange.labels import read_labels
from sidecar.http.h1 import request, response
from sidecar.http.head import Settings
from sidecar.telemetry.trace import Settings as TraceSettings
from sidecar.telemetry.trace import Tracer
from tests.exchange.test_call_count import ELEVEN, FEW
from tests.support import world
from tests.support.world import TWO_ENDPOINTS, Peer, World

RESPONSE_HEAD = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 18:00:00 GMT\r\n"
    b"Content-Type: application/octet-stream\r\nContent-Length: 1024\r\nLast-Modified: Mon, 23 Nov 2026 17:00:00 GMT\r\n"
    b'Connection: keep-alive\r\nETag: "6743-400"\r\nAccept-Ranges: bytes\r\n\r\n'
)
BODY = b"x" * 1024
ROUNDS = 400
CALLS = 200
STEPS = (
    "request head: match the grammar, find the special fields, authority, framing",
    "labels: trace id, request id, deadline",
    "route, deadline, limits, balancer, breaker, budget, pool",
    "request head: leave out, add ours, write",
    "response head: match the grammar, find the special fields, framing",
    "outcome, breaker, record, back to the pool, timers",
    "response head: leave out, add ours, write",
)


class Sink(Peer):
    """A peer that takes what is written and remembers only who wrote last."""

    latest: Peer

    def write(self, data: bytes) -> None:
        Sink.latest = self


class RealTime(world.Now):
    def monotonic(self) -> float:
        return time.monotonic()


def shortest(step: Callable[[], object]) -> float:
    """Microseconds of one call, by the fastest of all rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(CALLS):
            step()
        best = min(best, time.perf_counter() - began)
    return best / CALLS * 1e6


def halves(client: Peer, data: bytes) -> tuple[float, float]:
    """Microseconds of an exchange's two halves: from the request to the endpoint, and from its response to the client."""
    now = time.perf_counter
    answer = RESPONSE_HEAD + BODY
    best = [float("inf"), float("inf")]
    for _ in range(ROUNDS):
        there = back = 0.0
        for _ in range(CALLS):
            began = now()
            client.protocol.data_received(data)
            between = now()
            Sink.latest.protocol.data_received(answer)
            there += between - began
            back += now() - between
        best = [min(best[0], there), min(best[1], back)]
    stopwatch = shortest(now)
    return best[0] / CALLS * 1e6 - stopwatch, best[1] / CALLS * 1e6 - stopwatch


def measured(data: bytes) -> list[float]:
    """Microseconds of each of ``STEPS`` for the request ``data``."""
    here = World(TWO_ENDPOINTS)
    client = here.client()
    for _ in range(2):
        client.protocol.data_received(data)
        here.accept().protocol.data_received(RESPONSE_HEAD + BODY)
    there, back = halves(client, data)
    limits, tracer = Settings(), Tracer(TraceSettings(), Random(1))
    (plan,) = [plan for plan in here.sidecar.assembly.plans if plan.service.name == "orders"]
    asked = request.parse(data, limits)
    labels = read_labels(asked, tracer)
    answered = response.parse(RESPONSE_HEAD, False, limits)
    sink = Sink()

    def send() -> None:
        lines = labels.lines(plan, tracer.span(), 1030.0, 1000.0, 1)
        sink.write(asked.render(plan.dropped, lines, True))

    def answer() -> None:
        sink.write(answered.render(True, b"x-request-id: %b\r\n" % labels.request_id) + BODY)

    read, label, sent = (
        shortest(lambda: request.parse(data, limits)),
        shortest(lambda: read_labels(asked, tracer)),
        shortest(send),
    )
    heard, told = shortest(lambda: response.parse(RESPONSE_HEAD, False, limits)), shortest(answer)
    return [read, label, there - read - label - sent, sent, heard, back - heard - told, told]


def main() -> None:
    world.Peer = Sink  # type: ignore[misc]
    world.Now = RealTime  # type: ignore[misc]
    few, eleven = measured(FEW), measured(ELEVEN)
    print("| step | µs, few | µs, eleven |\n|---|---|---|")
    for step, one, other in zip(STEPS, few, eleven, strict=True):
        print(f"| {step} | {one:.1f} | {other:.1f} |")
    print(f"| **all of it** | **{sum(few):.1f}** | **{sum(eleven):.1f}** |")


if __name__ == "__main__":
    main()
