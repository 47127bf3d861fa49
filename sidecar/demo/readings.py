"""What the sidecars say of themselves, read where anybody can read it: two questions to the admin API of each.

Everything that the demo shows comes from here. A reading holds what was counted since the sidecar's start; what happened
in between is the difference of two (``interval``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from typing import Any, NamedTuple

from sidecar.cli.stat import Counts
from sidecar.telemetry.stats import BOUNDS

PATIENCE = 0.5
"""Seconds that an answer may take."""
NOTHING = Counts(0, 0, 0, (0,) * (len(BOUNDS) + 1))


class Breaker(NamedTuple):
    """One breaker: how it stands, the seconds until it lets a probe through, and how often it has become what."""

    state: str
    retry_after: float = 0.0
    opened: int = 0
    half_opened: int = 0
    closed: int = 0


class Reading(NamedTuple):
    """One sidecar at one moment. Counts start anew with its process, hence the id."""

    pid: int
    served: Counts = NOTHING
    calls: Mapping[str, Counts] = {}
    """By service."""
    breakers: Mapping[str, Mapping[str, Breaker]] = {}
    """By service and endpoint, which is an instance's name as far as it is known."""


class Snapshot(NamedTuple):
    """All who answered, by name, and when in monotonic seconds."""

    at: float
    readings: Mapping[str, Reading]


class Readers:
    """Asks many sidecars at once, so that one that stands still holds up nobody. For one caller at a time."""

    def __init__(self, most: int) -> None:
        self._pool = ThreadPoolExecutor(most, "reader")

    def read(self, admins: Mapping[str, tuple[int, str]], names: Mapping[str, str]) -> dict[str, Reading]:
        """The readings of those who answer. ``admins`` has process id and address by name, ``names`` the instances'
        names by the addresses at which they are called."""
        asked = {name: self._pool.submit(_read, pid, admin, names) for name, (pid, admin) in admins.items()}
        found = {name: answer.result() for name, answer in asked.items()}
        return {name: reading for name, reading in found.items() if reading is not None}

    def ready(self, admin: str) -> bool:
        """Whether the sidecar says that it is ready."""
        return _answers(admin, "/health/ready")

    def serves(self, inbound: str) -> bool:
        """Whether the application answers, asked through its sidecar."""
        return _answers(inbound, "/health")

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def _answers(address: str, path: str) -> bool:
    try:
        return _get(address, path)[0] == 200
    except (OSError, HTTPException):
        return False


def _get(address: str, path: str) -> tuple[int, bytes]:
    connection = HTTPConnection(address, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _rows(address: str, path: str) -> list[dict[str, Any]]:
    status, body = _get(address, f"/api/v1/{path}?size=1000")
    if status != 200:
        raise ValueError(f"{path} is answered with {status}")
    return [row["attributes"] for row in json.loads(body)["data"]]


def _read(pid: int, admin: str, names: Mapping[str, str]) -> Reading | None:
    try:
        return reading(pid, _rows(admin, "routes"), _rows(admin, "breakers"), names)
    except (OSError, HTTPException, ValueError):
        return None  # It has just ended, or stands still.


def reading(
    pid: int, routes: list[dict[str, Any]], breakers: list[dict[str, Any]], names: Mapping[str, str]
) -> Reading:
    """What the rows of ``/api/v1/routes`` and ``/api/v1/breakers`` say."""
    served, calls = NOTHING, dict[str, Counts]()
    for row in routes:
        counts = Counts(row["requests"], row["failures"], row["retries"], tuple(row["durations"]["counts"]))
        if row["direction"] == "inbound":
            served = together(served, counts)
        elif counts.requests:
            calls[row["service"]] = together(calls.get(row["service"], NOTHING), counts)
    seen: dict[str, dict[str, Breaker]] = {}
    for row in breakers:
        changes = row["transitions"]
        seen.setdefault(row["service"], {})[names.get(row["endpoint"], row["endpoint"])] = Breaker(
            row["state"], row["retryAfterSeconds"], changes["open"], changes["halfOpen"], changes["closed"]
        )
    return Reading(pid, served, calls, seen)


def together(one: Counts, other: Counts) -> Counts:
    durations = tuple(map(sum, zip(one.durations, other.durations, strict=True)))
    return Counts(one.requests + other.requests, one.failures + other.failures, one.retries + other.retries, durations)
