"""A new endpoint gets little at first: its caches are cold, its connections and code paths have not been used.

New is who joins a set that was there already, or comes back to it after having been ill. Its share grows from
``AT_FIRST`` of what it would get to all of it over the window. Whichever algorithm chooses, a choice that falls on it
stands with that probability, and otherwise the algorithm chooses among the others. If nobody in a set was there
before, everybody is as cold, and nothing is held back.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from sidecar.balance import Balancer
from sidecar.clock import Random
from sidecar.model import Endpoint

AT_FIRST: Final = 0.1


class SlowStart:
    """Remembers who is new, and since when."""

    __slots__ = ("_balancer", "_known", "_random", "_since", "_window")

    def __init__(self, balancer: Balancer, window: float, random: Random) -> None:
        """``window``: seconds."""
        self._balancer = balancer
        self._window = window
        self._random = random
        self._known: Sequence[Endpoint] = ()
        self._since: dict[Endpoint, float] = {}

    def pick(
        self, endpoints: Sequence[Endpoint], now: float, tried: Collection[Endpoint], key: int | None
    ) -> Endpoint | None:
        """See ``Balancer``."""
        if endpoints is not self._known:
            self._meet(endpoints, now)
        choice = self._balancer.pick(endpoints, now, tried, key)
        since = self._since
        if not since or choice not in since:
            return choice
        warmth = (now - since[choice]) / self._window
        if warmth >= 1:
            del since[choice]
        elif self._random.random() >= AT_FIRST + (1 - AT_FIRST) * warmth:
            other = self._balancer.pick(endpoints, now, (*tried, choice), key)
            # No worse one: who was tried or wants to be left alone is no better than who is cold.
            if other is not None and other is not choice and other.not_before <= now and other not in tried:
                return other
        return choice

    def _meet(self, endpoints: Sequence[Endpoint], now: float) -> None:
        former = set(self._known)
        self._known = endpoints
        if former.isdisjoint(endpoints):
            self._since = {}
            return
        since = self._since
        self._since = {
            endpoint: since.get(endpoint, now) for endpoint in endpoints if endpoint in since or endpoint not in former
        }
