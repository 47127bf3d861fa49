"""Which endpoint gets the next attempt: one algorithm a file, and here what they agree on.

All of them prefer in the same order: an endpoint that is free to be picked and has not been tried for this exchange;
failing that one that was tried; failing that the one whose ``Retry-After`` ends soonest (the caller sees its
``not_before`` and waits). An endpoint whose breaker does not admit it, or whose weight is 0, is never picked.

Algorithms differ only in how they choose among equals. With everything healthy they look at a few endpoints, however
many there are: each makes its first choice as if all were free, and asks ``fit`` about that one alone. If the answer is
no it chooses again, ``DRAWS`` times in all, and only then goes through them all: with a third of ten thousand endpoints
barred by their breakers that is once in thousands of picks. A set of endpoints is recognised by its identity: it is
replaced, never changed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import inf
from typing import Final, Protocol

from sidecar.model import Endpoint

DRAWS: Final = 8
"""How often an algorithm draws before it goes through all endpoints."""


class Balancer(Protocol):
    """An algorithm with what it remembers, one for each service."""

    def pick(
        self, endpoints: Sequence[Endpoint], now: float, tried: Collection[Endpoint], key: int | None
    ) -> Endpoint | None:
        """The endpoint for the next attempt at ``now``, None if no endpoint may be picked at all.

        Requests with the same ``key`` belong to the same endpoint, where an algorithm cares for that (64 bits, evenly
        spread)."""


def open_to(endpoint: Endpoint, now: float) -> bool:
    """Whether an endpoint may be picked at all: it has a weight, and its breaker admits it."""
    breaker = endpoint.breaker
    # The state 0 is closed: the common case is spared the call.
    return endpoint.weight > 0 and (breaker is None or not breaker.state or breaker.admits(now))


def fit(endpoint: Endpoint, now: float, tried: Collection[Endpoint]) -> bool:
    """Whether an endpoint is as good as any: nothing speaks against it."""
    return endpoint.not_before <= now and endpoint not in tried and open_to(endpoint, now)


def candidates(endpoints: Sequence[Endpoint], now: float, tried: Collection[Endpoint]) -> list[Endpoint]:
    """The best that there are: the fit ones, else those tried before, else the one that is bound most shortly."""
    fresh: list[Endpoint] = []
    again: list[Endpoint] = []
    bound: list[Endpoint] = []
    soonest = inf
    for endpoint in endpoints:
        if not open_to(endpoint, now):
            continue
        if endpoint.not_before > now:
            if endpoint.not_before < soonest:
                soonest = endpoint.not_before
                bound = [endpoint]
        elif endpoint in tried:
            again.append(endpoint)
        else:
            fresh.append(endpoint)
    return fresh or again or bound
