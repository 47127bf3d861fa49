"""Rate, errors and durations out of what exchanges have counted."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.errors import Failure
from sidecar.resilience.grpc import FAILURE_STATUSES
from sidecar.resilience.outcome import is_failure_status
from sidecar.telemetry.stats import BOUNDS, Stats

_IGNORED = Failure.CLIENT_GONE.reason


def failures(stats: Stats) -> int:
    """How many requests failed: those with a reason, unless it is that the caller left, and those that the application
    answered with a failure of its own (5xx except 501, 505 and 508, or gRPC's statuses of that kind)."""
    requests = sum(
        count
        for (_, status, reason), count in stats.requests.items()
        if (reason != _IGNORED if reason else is_failure_status(status))
    )
    # To HTTP these are a 200 without a reason.
    calls = sum(
        count
        for (status, reason, http), count in stats.grpc.items()
        if http == 200 and not reason and status in FAILURE_STATUSES
    )
    return requests + calls


def quantile(counts: Sequence[int], share: float) -> float | None:
    """Seconds, to the microsecond, within which ``share`` (0 to 1) of the durations lie; ``None`` if there are none.

    ``counts`` are those of the histogram's buckets. Within a bucket durations are taken to be spread evenly, as
    Prometheus' ``histogram_quantile`` does; what lies beyond the last bound counts as that bound.
    """
    total = sum(counts)
    if not total:
        return None
    rank = share * total
    below = 0.0
    for lower, upper, count in zip((0.0, *BOUNDS), BOUNDS, counts, strict=False):
        if count and below + count >= rank:
            return round(lower + (upper - lower) * (rank - below) / count, 6)
        below += count
    return BOUNDS[-1]
