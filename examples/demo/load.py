"""The driver: asks for orders through its sidecar, and keeps how each request went until somebody takes it."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from math import ceil

TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: seconds from its start to the end of its response, and which instance took the payment, if any."""

    seconds: float
    paid_by: str | None


class Load:
    """Requests to orders through the outbound listener at ``port``. ``ask`` is called by many threads at once."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._asked: list[Asked] = []

    def ask(self, number: int) -> None:
        started = time.monotonic()
        connection = HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT)
        try:
            connection.request("GET", f"/orders/{number}", headers={"Host": "orders"})
            response = connection.getresponse()
            body = response.read()
            paid_by = json.loads(body)["paid_by"] if response.status == 200 else None
        except (OSError, HTTPException):
            paid_by = None
        finally:
            connection.close()
        self._asked.append(Asked(time.monotonic() - started, paid_by))

    def take(self) -> list[Asked]:
        """What has ended since the last call."""
        taken = self._asked[:]
        # Another thread may append in between: only what was copied is removed.
        del self._asked[: len(taken)]
        return taken


def summary(asked: Sequence[Asked], names: Sequence[str]) -> str:
    """Requests, success and latency on one line, and how many payments each of ``names`` took."""
    if not asked:
        return "  0 requests"
    paid = Counter(one.paid_by for one in asked)
    good = 100.0 * (len(asked) - paid[None]) / len(asked)
    times = sorted(one.seconds for one in asked)
    shares = " + ".join(f"{paid[name]:2d}" for name in names)
    p50, p99 = (1000 * percentile(times, share) for share in (0.5, 0.99))
    return f"{len(asked):3d} requests, {good:5.1f} % ok, p50 {p50:5.1f} ms, p99 {p99:5.1f} ms, paid by {shares}"


def percentile(ordered: Sequence[float], share: float) -> float:
    """The nearest rank: the smallest value that at least this share of all does not exceed."""
    return ordered[max(0, ceil(share * len(ordered)) - 1)]
