"""At random, in proportion to weight: no state to share, and no two sidecars in step.

The weights are summed up once for each set of endpoints; a pick is one random number and a binary search.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Sequence
from itertools import accumulate

from sidecar.balance import DRAWS, candidates, fit
from sidecar.clock import Random
from sidecar.model import Endpoint


class RandomChoice:
    """Remembers the sums of the weights of the endpoints that it saw last."""

    __slots__ = ("_known", "_random", "_sums")

    def __init__(self, random: Random) -> None:
        self._random = random
        self._known: Sequence[Endpoint] = ()
        self._sums: list[int] = []

    def pick(
        self, endpoints: Sequence[Endpoint], now: float, tried: Collection[Endpoint], key: int | None
    ) -> Endpoint | None:
        """See ``Balancer``."""
        if endpoints is not self._known:
            self._known = endpoints
            self._sums = _sums(endpoints)
        if self._sums and self._sums[-1]:
            for _ in range(DRAWS):
                choice = self._draw(endpoints, self._sums)
                if fit(choice, now, tried):
                    return choice
        choices = candidates(endpoints, now, tried)
        return self._draw(choices, _sums(choices)) if choices else None

    def _draw(self, choices: Sequence[Endpoint], sums: list[int]) -> Endpoint:
        return choices[bisect_right(sums, int(self._random.random() * sums[-1]))]


def _sums(endpoints: Sequence[Endpoint]) -> list[int]:
    return list(accumulate(endpoint.weight for endpoint in endpoints))
