"""One after the other, and with weights in proportion, spread as evenly as can be.

Equal weights need no more than an index. Unequal ones use nginx's smooth rule: with every pick each endpoint gains its
weight, the one that has most is picked and pays the sum of all. Weights 5, 1, 1 give
a a b a c a a and not a a a a a b c, so that the heavy endpoint does not get its share in one burst. This takes a step
for each endpoint, so beyond ``SMOOTH`` of them a queue does nearly the same (``balance.turns``).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain
from typing import Final

from sidecar.balance import DRAWS, candidates, fit
from sidecar.balance.turns import Turns
from sidecar.clock import Random
from sidecar.model import Endpoint

SMOOTH: Final = 32


class RoundRobin:
    """Starts at a random endpoint: a fleet of sidecars that starts together must not call the first one together."""

    __slots__ = ("_gained", "_known", "_last", "_random", "_turns")

    def __init__(self, random: Random) -> None:
        self._random = random
        self._known: Sequence[Endpoint] | None = None
        self._last = -1
        self._gained: dict[Endpoint, int] = {}
        self._turns: Turns | None = None

    def pick(
        self, endpoints: Sequence[Endpoint], now: float, tried: Collection[Endpoint], key: int | None
    ) -> Endpoint | None:
        """See ``Balancer``."""
        if endpoints is not self._known:
            self._meet(endpoints)
        if self._turns is not None:
            return self._due(self._turns, endpoints, now, tried)
        if tried:
            return self._other(endpoints, now, tried)
        if self._gained:
            choice = self._smooth(endpoints)
            if fit(choice, now, tried):
                return choice
            self._undo(endpoints, choice)
            choices = candidates(endpoints, now, tried)
            return self._smooth(choices) if choices else None
        position = self._last + 1
        if position >= len(endpoints):
            position = 0
            if not endpoints:
                return None
        endpoint = endpoints[position]
        breaker = endpoint.breaker
        # hot: what ``fit`` asks of the next in turn, without the calls.
        if endpoint.not_before <= now and endpoint.weight and (breaker is None or breaker.state == 0):
            self._last = position
            return endpoint
        return self._from(position, endpoints, now)

    def _from(self, position: int, endpoints: Sequence[Endpoint], now: float) -> Endpoint | None:
        """The first fit one at or behind ``position``. Remembering where it was found, not where the search began,
        keeps the neighbour of an open endpoint from getting the share of both."""
        for at in chain(range(position, len(endpoints)), range(position)):
            endpoint = endpoints[at]
            if fit(endpoint, now, ()):
                self._last = at
                return endpoint
        choices = candidates(endpoints, now, ())
        return choices[0] if choices else None

    def _other(self, endpoints: Sequence[Endpoint], now: float, tried: Collection[Endpoint]) -> Endpoint | None:
        """For a retry: any of the rest, by weight. The rotation stands still: a retry that took the turn of a first
        attempt would, with one bad endpoint of two, send every first attempt to the bad one."""
        if endpoints and not self._gained:
            for _ in range(DRAWS):
                endpoint = self._random.choice(endpoints)
                if fit(endpoint, now, tried):
                    return endpoint
        return self._any(candidates(endpoints, now, tried))

    def _any(self, choices: Sequence[Endpoint]) -> Endpoint | None:
        if len(choices) < 2:
            return choices[0] if choices else None
        return self._random.choices(choices, [endpoint.weight for endpoint in choices])[0]

    def _meet(self, endpoints: Sequence[Endpoint]) -> None:
        if not self._known:
            self._last = int(self._random.random() * len(endpoints))
        self._known = endpoints
        unequal = len({endpoint.weight for endpoint in endpoints if endpoint.weight}) > 1
        few = len(endpoints) <= SMOOTH
        self._gained = dict.fromkeys(endpoints, 0) if unequal and few else {}
        self._turns = Turns(endpoints, self._turns, self._random) if unequal and not few else None

    def _due(
        self, turns: Turns, endpoints: Sequence[Endpoint], now: float, tried: Collection[Endpoint]
    ) -> Endpoint | None:
        """The first fit one in the order of turns. One that is not fit loses its turn, and the others share it. Among so
        many a retry takes a turn like others: it shifts nothing."""
        for _ in range(DRAWS):
            endpoint = turns.next()
            if fit(endpoint, now, tried):
                return endpoint
        return self._any(candidates(endpoints, now, tried))

    def _smooth(self, choices: Sequence[Endpoint]) -> Endpoint:
        gained = self._gained
        best = choices[0]
        most = total = 0
        for endpoint in choices:
            weight = endpoint.weight
            total += weight
            gain = gained[endpoint] = gained[endpoint] + weight
            if gain > most:
                most = gain
                best = endpoint
        gained[best] = most - total
        return best

    def _undo(self, choices: Sequence[Endpoint], choice: Endpoint) -> None:
        # Left in place, a step whose pick was refused would shift the shares of the others.
        gained = self._gained
        for endpoint in choices:
            weight = endpoint.weight
            gained[endpoint] -= weight
            gained[choice] += weight
