"""Whose turn it is among many of unequal weights: whoever is due first, and each is due again ``1 / weight`` later.

This is the earliest deadline first of schedulers, which spreads turns nearly as evenly as nginx's smooth rule and takes,
where that looks at every endpoint, as many steps as their number has binary digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heapreplace

from sidecar.clock import Random
from sidecar.model import Endpoint


class Turns:
    """A queue of all endpoints that have a weight; time in it is counted in rounds."""

    __slots__ = ("_queue",)

    def __init__(self, endpoints: Sequence[Endpoint], former: Turns | None, random: Random) -> None:
        """Whoever had a turn in ``former`` keeps it; others begin anywhere in their first round."""
        dues = {endpoint: due for due, _, endpoint in former._queue} if former is not None else {}
        began = former._queue[0][0] if former is not None and former._queue else 0.0
        self._queue: list[tuple[float, int, Endpoint]] = [
            (dues.get(endpoint) or began + random.random() / endpoint.weight, number, endpoint)
            for number, endpoint in enumerate(endpoints)
            if endpoint.weight
        ]
        heapify(self._queue)

    def next(self) -> Endpoint:
        """Takes the turn of whoever is due. There must be somebody."""
        due, number, endpoint = self._queue[0]
        heapreplace(self._queue, (due + 1 / endpoint.weight, number, endpoint))
        return endpoint
