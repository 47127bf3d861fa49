"""Counters of exchanges as plain integers: one ``Stats`` a route and service, made when the configuration loads.

Everything is counted once, at an exchange's end. prometheus-client only formats them, at scrape (``admin/metrics.py``).
"""

from __future__ import annotations

from bisect import bisect_left

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the duration histogram's buckets, in seconds."""

METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT"))


class Stats:
    """What happened on one route to one service, in one direction."""

    __slots__ = ("buckets", "direction", "grpc", "requests", "retries", "route", "seconds", "service")

    def __init__(self, direction: str, service: str, route: str) -> None:
        self.direction = direction
        self.service = service
        self.route = route
        self.requests: dict[tuple[bytes, int, str], int] = {}
        """By method (``OTHER`` if unknown), status and reason (empty on success)."""
        self.grpc: dict[tuple[int, str, int], int] = {}
        """Of these the gRPC calls, by the status of gRPC, reason and the status of HTTP."""
        self.retries: dict[str, int] = {}
        """By what made them necessary: a reason, ``5xx``, or the name of a gRPC status."""
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def record(self, method: bytes, status: int, reason: str, seconds: float) -> None:
        key = (method if method in METHODS else b"OTHER", status, reason)
        try:
            self.requests[key] += 1  # hot: all but the first of a kind are there.
        except KeyError:
            self.requests[key] = 1
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds

    def record_grpc(self, status: int, reason: str, http: int = 200) -> None:
        """Beside ``record``: the request was a gRPC call. ``http`` is what ``record`` was told, so that nobody takes one
        failure for two: a response that is not gRPC's has another status than 200, and one of gRPC that is made of it."""
        key = (status, reason, http)
        try:
            self.grpc[key] += 1  # hot
        except KeyError:
            self.grpc[key] = 1

    def retried(self, cause: str) -> None:
        self.retries[cause] = self.retries.get(cause, 0) + 1
