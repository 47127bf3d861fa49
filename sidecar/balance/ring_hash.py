"""Requests with the same key go to the same endpoint, whichever sidecar they pass, and as few as can be move.

Endpoints have points on a ring of 64 bits, by a hash of their addresses. A key is looked up at ``PROBES`` places that
follow from it, and belongs to the point that lies nearest behind any of them (B. Appleton, M. O'Reilly, "Multi-Probe
Consistent Hashing", 2015). So a few points each make even shares (of a hundred endpoints, the fullest has a sixth more
than the mean; one probe takes some 160 points for that), and the ring of ten thousand endpoints stays small. Nothing in
it depends on how many there are: an endpoint that comes takes its keys from the others, one that goes leaves its own to
them, and no other key moves.

*Bounded loads* (V. Mirrokni, M. Thorup, M. Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2016): an endpoint
that has more than ``load`` times its share of what is in flight passes on what it would get, as if it had no points: to
many others, for each key to the same one. So does one that may not be picked or was tried.

A request without a key is drawn by weight.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from hashlib import blake2b
from struct import unpack
from typing import Final, Protocol

from sidecar.balance import candidates, fit
from sidecar.balance.random_choice import RandomChoice
from sidecar.balance.settings import RingHash as Settings
from sidecar.clock import Random
from sidecar.model import Endpoint

POINTS: Final = 8
"""For each unit of weight: what one hash yields."""
PROBES: Final = 8
MOST_POINTS: Final = 100_000
"""Weights that need more are halved, all of them, until they do not."""
FEW: Final = 4
"""So little in flight is no load: with five requests in a service of ten, one would be more than its share."""
STEPS: Final = 64
"""How far a probe goes on behind points that are of no use."""
DEAR: Final = 64
"""What a point costs that is put in or taken out, in points of a ring that is built anew."""
_MASK: Final = (1 << 64) - 1
_MIXER: Final = 0x9E3779B97F4A7C15
"""2^64 by the golden ratio: what it multiplies is spread evenly (D. Knuth, TAOCP 6.4)."""


class InFlight(Protocol):
    """Who knows how much a service has in flight, with what is being picked for."""

    in_flight: int


class RingHash:
    """Remembers the ring, and who has how many units of points on it."""

    __slots__ = ("_known", "_load", "_owners", "_points", "_total", "_units", "_unkeyed", "_weight")

    def __init__(self, settings: Settings, random: Random, total: InFlight) -> None:
        self._load = settings.load
        self._total = total
        self._unkeyed = RandomChoice(random)
        self._known: Sequence[Endpoint] = ()
        self._points: list[int] = []
        self._owners: list[Endpoint] = []
        self._units: dict[Endpoint, int] = {}
        self._weight = 0

    def pick(
        self, endpoints: Sequence[Endpoint], now: float, tried: Collection[Endpoint], key: int | None
    ) -> Endpoint | None:
        """See ``Balancer``."""
        if endpoints is not self._known:
            self._meet(endpoints)
        if key is None:
            return self._unkeyed.pick(endpoints, now, tried, None)
        owners = self._owners
        if not owners:
            return None
        room = self._load * max(1, self._total.in_flight) / self._weight
        places = self._places(key)
        # hot: nearly always the first one is it.
        place = min(places)[1]
        endpoint = owners[place]
        busy = endpoint.in_flight
        if (busy < FEW or busy < room * endpoint.weight) and fit(endpoint, now, tried):
            return endpoint
        return self._pass_on(places, now, tried, room) or self._any(key, candidates(endpoints, now, tried))

    def _pass_on(
        self, places: Sequence[tuple[int, int]], now: float, tried: Collection[Endpoint], room: float
    ) -> Endpoint | None:
        """The owner as if those that are full or may not be picked had no points; one that is full if all others are."""
        points, owners = self._points, self._owners
        count = len(owners)
        found: Endpoint | None = None
        full: Endpoint | None = None
        nearest = nearest_full = _MASK + 1
        for distance, place in places:
            probe = points[place] - distance
            # From the ring's end backwards, as Python counts, so that it closes by itself.
            for at in range(place - count, min(place, place - count + STEPS)):
                distance = points[at] - probe & _MASK
                if distance >= nearest:
                    break
                endpoint = owners[at]
                if not fit(endpoint, now, tried):
                    continue
                busy = endpoint.in_flight
                if busy < FEW or busy < room * endpoint.weight:
                    found, nearest = endpoint, distance
                    break
                if distance < nearest_full:
                    full, nearest_full = endpoint, distance
        return found or full

    def _any(self, key: int, choices: Sequence[Endpoint]) -> Endpoint | None:
        return choices[key * len(choices) >> 64] if choices else None

    def _places(self, key: int) -> list[tuple[int, int]]:
        """For each probe how far behind it the next point lies, and which it is."""
        points = self._points
        stride = key * _MIXER & _MASK | 1
        places = []
        probe = key
        for _ in range(PROBES):
            at = bisect_left(points, probe)
            if at == len(points):
                at = 0
            places.append((points[at] - probe & _MASK, at))
            probe = probe + stride & _MASK
        return places

    def _meet(self, endpoints: Sequence[Endpoint]) -> None:
        self._known = endpoints
        self._weight = sum([endpoint.weight for endpoint in endpoints])
        halved = 0
        while (self._weight >> halved) * POINTS > MOST_POINTS:
            halved += 1
        units = {endpoint: endpoint.weight >> halved or 1 for endpoint in endpoints if endpoint.weight}
        former, self._units = self._units, units
        gone = [endpoint for endpoint, count in former.items() if units.get(endpoint) != count]
        come = [endpoint for endpoint, count in units.items() if former.get(endpoint) != count]
        changed = sum([former[endpoint] for endpoint in gone]) + sum([units[endpoint] for endpoint in come])
        if changed * DEAR > sum(units.values()):
            self._build()
            return
        for endpoint in gone:
            self._take_out(endpoint, former[endpoint])
        for endpoint in come:
            self._put_in(endpoint, units[endpoint])

    def _build(self) -> None:
        owner = {point: endpoint for endpoint, count in self._units.items() for point in points_of(endpoint, count)}
        self._points = sorted(owner)
        self._owners = [owner[point] for point in self._points]

    def _put_in(self, endpoint: Endpoint, units: int) -> None:
        for point in points_of(endpoint, units):
            at = bisect_left(self._points, point)
            self._points.insert(at, point)
            self._owners.insert(at, endpoint)

    def _take_out(self, endpoint: Endpoint, units: int) -> None:
        for point in points_of(endpoint, units):
            at = bisect_left(self._points, point)
            # Two endpoints may, once in the age of the world, share a point.
            if at < len(self._points) and self._points[at] == point and self._owners[at] is endpoint:
                del self._points[at], self._owners[at]


def points_of(endpoint: Endpoint, units: int) -> list[int]:
    """Where an endpoint stands on the ring: the same in every process, and a larger weight adds to a smaller one's."""
    label = endpoint.label.encode()
    return [point for unit in range(units) for point in unpack("<8Q", blake2b(b"%d %b" % (unit, label)).digest())]
