"""What a pick costs, by algorithm and number of endpoints: ``python -m bench.picks``, or the scenario ``picks``.

Each pick is told of its answer, as by an exchange, so that what measuring costs is in it. *A third open*: the breakers of
every third endpoint. *Change*: the first pick from a set that has one endpoint less, all that the loop waits for when
one comes or goes. Figures are the fastest of several rounds.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from bench.balancing import ALGORITHMS, Service
from bench.figures import Figure, Quantity
from bench.table import Report
from bench.workplace import Workplace
from sidecar.balance import Balancer
from sidecar.balance.make import Algorithm, make
from sidecar.clock import Random
from sidecar.config.schema import Policies
from sidecar.model import Endpoint
from sidecar.resilience import breaker

COUNTS: Final = (10, 1000, 10_000)
CALLS: Final = 2000
ROUNDS: Final = 5

_PICK = Quantity("pick", "µs", noise=0.2)
_CHANGE = Quantity("change of the set", "ms", noise=0.3)


def picks(work: Workplace) -> Report:
    """For every algorithm."""
    work.say("picks")
    return report()


def report() -> Report:
    headings = ["algorithm, endpoints", "pick µs", "a third open µs", "change ms"]
    found = Report("picks", "Picks: microseconds of one, with what it is told", headings)
    lines: list[tuple[str, Algorithm, tuple[int, ...]]] = [(algorithm, algorithm, (1,)) for algorithm in ALGORITHMS]
    lines.insert(1, ("round_robin, weights 3 2 1 1", "round_robin", (3, 2, 1, 1)))
    for name, algorithm, weights in lines:
        for count in COUNTS:
            pick, barred, change = measured(algorithm, count, weights)
            variant = f"{name}, {count:,}"
            found.rows.append([variant, f"{pick:.1f}", f"{barred:.1f}", f"{change:.2f}"])
            found.figures.append(Figure("picks", "sidecar", _PICK, [pick], variant))
            found.figures.append(Figure("picks", "sidecar", _CHANGE, [change], variant))
    return found


def measured(algorithm: Algorithm, count: int, weights: Sequence[int]) -> tuple[float, float, float]:
    """Microseconds of a pick and of one with a third of the endpoints open, milliseconds of a change. ``weights`` recur."""
    endpoints = tuple(
        Endpoint(f"10.0.{number >> 8}.{number & 255}", 80, weights[number % len(weights)]) for number in range(count)
    )
    balancer = make(Policies(balance=algorithm), "", Service(endpoints), Random(1))
    balancer.pick(endpoints, 0.0, (), 1)
    healthy = _fastest(balancer, endpoints)
    change = min(_change(balancer, endpoints) for _ in range(ROUNDS))
    for endpoint in endpoints[::3]:
        endpoint.breaker = tripped = breaker.Breaker(breaker.Settings(failures=1, failure_rate=0.0, open=3600.0))
        tripped.failure(0.0, tripped.begin(0.0))
    return healthy, _fastest(balancer, endpoints), change


def _fastest(balancer: Balancer, endpoints: Sequence[Endpoint]) -> float:
    random = Random(2)
    keys = [random.getrandbits(64) for _ in range(CALLS)]
    best = float("inf")
    for round_ in range(ROUNDS):
        at = 1.0 + round_
        began = time.perf_counter()
        for key in keys:
            choice = balancer.pick(endpoints, at, (), key)
            if choice is not None and choice.load is not None:
                choice.load.responded(at, 0.02, 200)
        best = min(best, time.perf_counter() - began)
    return best / CALLS * 1e6


def _change(balancer: Balancer, endpoints: Sequence[Endpoint]) -> float:
    fewer = (*endpoints[:5], *endpoints[6:])
    began = time.perf_counter()
    balancer.pick(fewer, 1.0, (), 1)
    taken = time.perf_counter() - began
    balancer.pick(endpoints, 1.0, (), 1)
    return taken * 1e3


if __name__ == "__main__":
    print(report())
