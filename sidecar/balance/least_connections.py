"""The one with the fewest requests in flight for its weight.

Up to ``EXACT`` endpoints all are looked at. Beyond that as many are drawn at random as their number has binary digits,
and the best of those is taken: with so many draws the fullest of n is above the average by no more than a constant
(Y. Azar, A. Broder, A. Karlin, E. Upfal, "Balanced Allocations", 1999: ln ln n / ln d for d draws), and callers who do not
know of each other do not all find the same one.

What is in flight is counted with a random fraction on top. Among equals chance decides by that, so that a quiet service is
shared out too; and an idle light endpoint does not come before each heavy one that has a single request.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import inf
from typing import Final

from sidecar.balance import candidates
from sidecar.clock import Random
from sidecar.model import Endpoint

EXACT: Final = 16


class LeastConnections:
    """Remembers nothing: what it goes by is on the endpoints."""

    __slots__ = ("_random",)

    def __init__(self, random: Random) -> None:
        self._random = random

    def pick(
        self, endpoints: Sequence[Endpoint], now: float, tried: Collection[Endpoint], key: int | None
    ) -> Endpoint | None:
        """See ``Balancer``."""
        count = len(endpoints)
        looked = endpoints if count <= EXACT else self._drawn(endpoints, count.bit_length())
        draw = self._random.random
        least: Endpoint | None = None
        lowest = inf
        for endpoint in looked:
            breaker = endpoint.breaker
            weight = endpoint.weight
            # hot: what ``fit`` asks, without the calls.
            if (
                weight
                and endpoint.not_before <= now
                and (breaker is None or not breaker.state or breaker.admits(now))
                and endpoint not in tried
            ):
                busy = (endpoint.in_flight + draw()) / weight
                if busy < lowest:
                    lowest = busy
                    least = endpoint
        return least or self._least(candidates(endpoints, now, tried))

    def _drawn(self, endpoints: Sequence[Endpoint], count: int) -> list[Endpoint]:
        draw = self._random.random
        whole = len(endpoints)
        return [endpoints[int(draw() * whole)] for _ in range(count)]

    def _least(self, choices: Sequence[Endpoint]) -> Endpoint | None:
        draw = self._random.random
        return min(choices, key=lambda endpoint: (endpoint.in_flight + draw()) / endpoint.weight, default=None)
