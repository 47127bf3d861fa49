"""Our own zone first, and others for what it cannot bear.

While enough of the zone's endpoints may be picked, every request stays in the zone. Enough is a share of ``1 / SPARE`` of
those that are listed, by weight: what is left has that much to spare, as Envoy assumes with its overprovisioning factor.
Below that the zone gets as much as it can bear and the other zones get the rest, gradually more as it gets worse. With
none of its endpoints to be had, all goes elsewhere.

The set that is handed in has no endpoints that are ill; those that their breakers bar are counted here, ``COUNT_SECONDS``
apart, since a breaker changes without a set being replaced. The two groups have a balancer each.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from math import inf
from typing import Final, Protocol

from sidecar.balance import Balancer, open_to
from sidecar.clock import Random
from sidecar.model import Endpoint

SPARE: Final = 1.4
COUNT_SECONDS: Final = 1.0


class Listing(Protocol):
    """Who knows all endpoints of a service, those included that may not be picked."""

    @property
    def listed(self) -> Sequence[Endpoint]: ...


class ZoneFirst:
    """Remembers the two groups, and which share of the requests stays in the zone."""

    __slots__ = ("_due", "_elsewhere", "_here", "_known", "_listing", "_local", "_others", "_random", "_share", "_zone")

    def __init__(self, zone: str, listing: Listing, make: Callable[[], Balancer], random: Random) -> None:
        self._zone = zone
        self._listing = listing
        self._random = random
        self._here = make()
        self._elsewhere = make()
        self._known: Sequence[Endpoint] | None = None
        self._local: Sequence[Endpoint] = ()
        self._others: Sequence[Endpoint] = ()
        self._share = 1.0
        self._due = -inf

    def pick(
        self, endpoints: Sequence[Endpoint], now: float, tried: Collection[Endpoint], key: int | None
    ) -> Endpoint | None:
        """See ``Balancer``."""
        if endpoints is not self._known:
            self._meet(endpoints)
        if not self._local:
            return self._elsewhere.pick(self._others, now, tried, key)
        if now >= self._due:
            self._due = now + COUNT_SECONDS
            self._share = self._bearable(now)
        if self._share >= 1 or self._random.random() < self._share:
            first = self._here.pick(self._local, now, tried, key)
            second = self._elsewhere, self._others
        else:
            first = self._elsewhere.pick(self._others, now, tried, key)
            second = self._here, self._local
        if first is not None and first.not_before <= now and first not in tried:
            return first
        other = second[0].pick(second[1], now, tried, key)
        if first is None or other is None:
            return other or first
        return min(first, other, key=lambda endpoint: (max(endpoint.not_before, now), endpoint in tried))

    def _meet(self, endpoints: Sequence[Endpoint]) -> None:
        self._known = endpoints
        self._local = tuple(endpoint for endpoint in endpoints if endpoint.zone == self._zone)
        self._others = tuple(endpoint for endpoint in endpoints if endpoint.zone != self._zone)
        self._due = -inf

    def _bearable(self, now: float) -> float:
        """How much of all requests the zone's endpoints can bear; 1 is all."""
        there = sum(endpoint.weight for endpoint in self._listing.listed if endpoint.zone == self._zone)
        left = sum(endpoint.weight for endpoint in self._local if open_to(endpoint, now))
        return SPARE * left / there if there else 1.0
