"""What happened between two snapshots, in numbers."""

from __future__ import annotations

from typing import NamedTuple

from sidecar.admin.figures import quantile
from sidecar.cli.stat import Counts
from sidecar.demo.readings import NOTHING, Reading, Snapshot


class Figures(NamedTuple):
    """Rate, share of success (``None`` without requests), percentiles in seconds, and retries."""

    rate: float
    success: float | None
    p50: float | None
    p95: float | None
    p99: float | None
    retries: int


class Interval(NamedTuple):
    """Counts of what was served, by instance, and of calls, by caller and service."""

    seconds: float
    served: dict[str, Counts]
    calls: dict[tuple[str, str], Counts]

    def figures(self, counts: Counts) -> Figures:
        success = 1 - counts.failures / counts.requests if counts.requests else None
        p50, p95, p99 = (quantile(counts.durations, share) for share in (0.5, 0.95, 0.99))
        return Figures(counts.requests / max(self.seconds, 0.001), success, p50, p95, p99, counts.retries)


def between(before: Snapshot, after: Snapshot) -> Interval:
    """Whoever did not answer at the end is left out; whoever has been started anew counts from there."""
    served: dict[str, Counts] = {}
    calls: dict[tuple[str, str], Counts] = {}
    for name, reading in after.readings.items():
        former = same(before, name, reading)
        served[name] = reading.served.since(former.served)
        for service, counts in reading.calls.items():
            calls[name, service] = counts.since(former.calls.get(service, NOTHING))
    return Interval(after.at - before.at, served, calls)


def same(before: Snapshot, name: str, reading: Reading) -> Reading:
    """The former reading of the same process; an empty one if there is none."""
    former = before.readings.get(name)
    return former if former is not None and former.pid == reading.pid else Reading(reading.pid)
