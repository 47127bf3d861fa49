"""Of two endpoints drawn at random, the one that is less busy.

Looking at all to find the least busy one costs more with each endpoint, and sends every caller to the same one at the
same time. Two random choices come close to the best at a fixed price (M. Mitzenmacher, "The Power of Two Choices in
Randomized Load Balancing", 2001). Busy is what is in flight, this attempt included, for each unit of weight; so
weights show under load, and an idle service sends to the heavier of the two.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sidecar.balance import DRAWS, candidates, fit
from sidecar.clock import Random
from sidecar.model import Endpoint


class LeastRequest:
    """Remembers nothing: what it goes by is on the endpoints."""

    __slots__ = ("_random",)

    def __init__(self, random: Random) -> None:
        self._random = random

    def pick(
        self, endpoints: Sequence[Endpoint], now: float, tried: Collection[Endpoint], key: int | None
    ) -> Endpoint | None:
        """See ``Balancer``."""
        if not endpoints:
            return None
        for _ in range(DRAWS):
            better, other = self._draw(endpoints)
            if fit(better, now, tried):
                return better
            if fit(other, now, tried):
                return other
        choices = candidates(endpoints, now, tried)
        return self._draw(choices)[0] if choices else None

    def _draw(self, choices: Sequence[Endpoint]) -> tuple[Endpoint, Endpoint]:
        count = len(choices)
        if count == 1:
            return choices[0], choices[0]
        draw = self._random.random
        first = int(draw() * count)
        second = int(draw() * (count - 1))
        if second >= first:
            second += 1
        a, b = choices[first], choices[second]
        # (in_flight + 1) / weight, compared without dividing.
        if (b.in_flight + 1) * a.weight < (a.in_flight + 1) * b.weight:
            return b, a
        return a, b
