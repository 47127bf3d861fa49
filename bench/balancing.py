"""``python -m bench.balancing``: how the balancers behave when something happens to an endpoint.

A simulation in virtual time, without sockets and with everything drawn from a seed, so that the same call gives the same
figures on every machine. Requests come at random at a fixed rate, whatever becomes of those before them. A balancer
picks an endpoint, and what it is told of the outcome is what an exchange would tell it. An endpoint serves so many at a
time, takes a random time for each, and lets the others wait.

There are no retries, and breakers only if asked for: what is shown is what an algorithm does by itself. ``--plots
DIRECTORY`` draws it (``bench.panels``).
"""

from __future__ import annotations

import argparse
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b
from heapq import heappop, heappush
from math import log
from pathlib import Path
from typing import Final

from bench.table import markdown
from sidecar.balance import Balancer
from sidecar.balance.make import Algorithm, make
from sidecar.clock import Random
from sidecar.config.schema import Policies
from sidecar.model import Endpoint
from sidecar.resilience import limits
from sidecar.resilience.breaker import Breaker
from sidecar.resilience.breaker import Settings as BreakerSettings

ALGORITHMS: Final[tuple[Algorithm, ...]] = (
    "round_robin", "random", "weighted", "least_request", "least_connections", "peak_ewma", "ring_hash",
)  # fmt: skip
RATE: Final = 300.0
"""Requests a second."""
SECONDS: Final = 60
BEGIN, END = 10.0, 30.0
"""Between these something is amiss."""
SERVICE_SECONDS: Final = 0.02
"""Mean, exponentially distributed."""
WORKERS: Final = 16
SLOWER: Final = 10.0
GIVEN_UP: Final = 1.0
"""Seconds until an attempt that gets no answer is given up."""
FAST: Final = 0.001
USERS: Final = 2000
"""How many different keys requests have."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """Endpoint 0 is the one that something happens to."""

    name: str
    weights: tuple[int, ...] = (1,) * 10
    slower: Callable[[float], float] = lambda now: 1.0
    """By how much its answers take longer."""
    fails: str = ""
    """``fast``: at once; ``silent``: by never answering."""
    joins: bool = False
    """Whether it is there only from ``BEGIN`` on."""
    workers: int = WORKERS
    """How many requests an endpoint serves at a time."""


def amiss(now: float) -> bool:
    return BEGIN <= now < END


def cold(now: float) -> float:
    """Evenly from ``SLOWER`` to 1, from ``BEGIN`` to ``END``."""
    return max(1.0, SLOWER - (SLOWER - 1) * (now - BEGIN) / (END - BEGIN))


SCENARIOS: Final = {
    scenario.name: scenario
    for scenario in (
        Scenario("steady"),
        Scenario("weights", weights=(3, 2, 1) * 2),
        Scenario("slow", slower=lambda now: SLOWER if amiss(now) else 1.0),
        Scenario("failing", fails="fast"),
        Scenario("silent", fails="silent"),
        Scenario("new", slower=cold, joins=True),
        Scenario("busy", slower=lambda now: 2.0, workers=1),
    )
}


@dataclass(slots=True)
class Run:
    """What came of it. ``picks``: by endpoint and second; ``latencies`` and ``failures``: by the second of the request."""

    picks: list[list[int]]
    latencies: list[list[float]] = field(default_factory=lambda: [[] for _ in range(SECONDS)])
    failures: list[int] = field(default_factory=lambda: [0] * SECONDS)

    def share(self, endpoint: int, begin: float, end: float) -> float:
        """Of all picks between two seconds."""
        seconds = slice(int(begin), int(end))
        return sum(self.picks[endpoint][seconds]) / sum(sum(picks[seconds]) for picks in self.picks)

    def percentile(self, share: float, begin: float, end: float) -> float:
        """Seconds within which that share of the requests made between two seconds was answered."""
        found = sorted(latency for second in self.latencies[int(begin) : int(end)] for latency in second)
        return found[int(share * (len(found) - 1))]

    def failed(self, begin: float, end: float) -> float:
        """The share of those requests that failed."""
        seconds = slice(int(begin), int(end))
        return sum(self.failures[seconds]) / sum(sum(picks[seconds]) for picks in self.picks)


class Service:
    """What a balancer may know of its service."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self.listed = endpoints
        self.limits = limits.Limits(limits.Settings())


class Place:
    """An endpoint, and the requests that it serves and lets wait."""

    __slots__ = ("endpoint", "served", "waiting")

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.served = 0
        self.waiting: deque[float] = deque()


@cache
def run(algorithm: Algorithm, name: str, slow_start: float | None = None, breakers: bool = False, seed: int = 1) -> Run:
    """One algorithm in one scenario; ``slow_start`` in seconds, ``breakers`` with their defaults."""
    return _Simulation(SCENARIOS[name], Policies(balance=algorithm, slow_start=slow_start), breakers, seed).run()


class _Simulation:
    def __init__(self, scenario: Scenario, policies: Policies, breakers: bool, seed: int) -> None:
        self._scenario = scenario
        self._random = Random(seed)
        self._places = [
            Place(Endpoint(f"10.0.0.{number}", 80, weight)) for number, weight in enumerate(scenario.weights)
        ]
        endpoints = tuple(place.endpoint for place in self._places)
        if breakers:
            for endpoint in endpoints:
                endpoint.breaker = Breaker(policies.breaker or BreakerSettings())
        self._service = Service(endpoints)
        self._balancer: Balancer = make(policies, "", self._service, Random(seed + 1))
        self._position = {endpoint: number for number, endpoint in enumerate(endpoints)}
        self._events: list[tuple[float, int, int, float]] = []
        """When, which in turn, at which endpoint, and since when it was waited for; negative: a failure."""
        self._turn = 0
        self._tickets: dict[tuple[int, float], int] = {}
        self._result = Run([[0] * SECONDS for _ in endpoints])

    def run(self) -> Run:
        random = self._random.random
        everybody = self._service.listed
        at_first = everybody[1:]
        arrival = 0.0
        while arrival < SECONDS:
            arrival -= log(1 - random()) / RATE
            while self._events and self._events[0][0] <= arrival:
                self._end(*heappop(self._events))
            if arrival < SECONDS:
                self._arrive(arrival, at_first if self._scenario.joins and arrival < BEGIN else everybody)
        return self._result

    def _arrive(self, now: float, endpoints: Sequence[Endpoint]) -> None:
        total = self._service.limits
        total.in_flight += 1
        user = int(self._random.random() * USERS)
        endpoint = self._balancer.pick(endpoints, now, (), KEYS[user])
        assert endpoint is not None
        number = self._position[endpoint]
        self._result.picks[number][int(now)] += 1
        endpoint.in_flight += 1
        if endpoint.breaker is not None:
            self._tickets[number, now] = endpoint.breaker.begin(now)
        place = self._places[number]
        if self._scenario.fails and number == 0 and amiss(now):
            self._later(now + (FAST if self._scenario.fails == "fast" else GIVEN_UP), number, -now)
        elif place.served < self._scenario.workers:
            self._serve(number, now, now)
        else:
            place.waiting.append(now)

    def _serve(self, number: int, now: float, since: float) -> None:
        self._places[number].served += 1
        slower = self._scenario.slower(now) if number == 0 else 1.0
        self._later(now - log(1 - self._random.random()) * SERVICE_SECONDS * slower, number, since)

    def _later(self, when: float, number: int, since: float) -> None:
        self._turn += 1
        heappush(self._events, (when, self._turn, number, since))

    def _end(self, now: float, turn: int, number: int, since: float) -> None:
        self._service.limits.in_flight -= 1
        place = self._places[number]
        load = place.endpoint.load
        place.endpoint.in_flight -= 1
        breaker = place.endpoint.breaker
        if breaker is not None:
            (breaker.failure if since < 0 else breaker.success)(now, self._tickets.pop((number, abs(since))))
        if since < 0:
            self._result.failures[int(-since)] += 1
            if load is not None:
                load.failed(now, now + since)
            return
        self._result.latencies[int(since)].append(now - since)
        if load is not None:
            load.responded(now, now - since, 200)
        place.served -= 1
        if place.waiting:
            self._serve(number, now, place.waiting.popleft())


KEYS: Final = [int.from_bytes(blake2b(b"user %d" % user, digest_size=8).digest()) for user in range(USERS)]


def table() -> str:
    """All of it in figures, as Markdown."""
    rows = []
    for name in SCENARIOS:
        for algorithm in ALGORITHMS:
            result = run(algorithm, name)
            during = f"{result.share(0, BEGIN, END):.1%}"
            last = f"{result.share(0, END - 10, END):.1%}"
            after = f"{result.share(0, SECONDS - 10, SECONDS):.1%}"
            p50, p99 = (f"{result.percentile(share, BEGIN, END) * 1000:.0f} ms" for share in (0.5, 0.99))
            rows.append((name, algorithm, during, last, after, p50, p99, f"{result.failed(BEGIN, END):.2%}"))
    headings = ("scenario", "algorithm", "share", "last 10 s", "afterwards", "p50", "p99", "failed")
    return markdown(headings, rows)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.balancing", description="Balancers, simulated.")
    parser.add_argument("--plots", type=Path, metavar="DIRECTORY", help="where to write the pictures of the pages")
    args = parser.parse_args(arguments)
    if args.plots is None:
        print(table())
        return 0
    from bench.panels import pictures

    for name, picture in pictures().items():
        (args.plots / name).write_text(picture)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
