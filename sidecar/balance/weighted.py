"""At random in proportion to weights that follow how the endpoints fare.

An endpoint's share is its configured weight times a factor between ``floor`` and 1. Only who does worse than the others
loses, nobody gains a bonus, so that a service whose endpoints are alike is shared out by the configured weights:

- *Latency*: the geometric mean of its answers beside that of all others. What is up to a quarter slower counts as equal,
  since chance alone makes such differences; beyond that the factor is as much smaller as the endpoint is slower.
- *Failures*: the square of the share that succeeds.
- *Load*: an endpoint that holds more than twice as much as is usual is passed over more often the more it holds. This
  is asked at the pick and not kept, for requests that hang are heard of only when it is too late.

All sums fade with ``decay``, and each is mixed with ``PRIOR`` answers that are as good as the others'. So a few answers
say little, and where nothing is heard the factor goes back to 1 by itself: an endpoint that is well again gets its share
back as smoothly as it lost it. Nothing oscillates, since the share follows averages that change more slowly than the
endpoints react.

A pick and an observation take as many steps as the number of endpoints has binary digits (``balance.shares``).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import exp, inf, log
from typing import Final

from sidecar.balance import DRAWS, candidates, fit
from sidecar.balance.settings import Weighted as Settings
from sidecar.balance.shares import Shares
from sidecar.clock import Random
from sidecar.model import Endpoint

UNIT: Final = 1000
"""Parts of a weight: a factor is as fine as that."""
PRIOR: Final = 5.0
SLACK: Final = log(1.25)
CROWDED: Final = 2.0
USUAL_SHARE: Final = 0.02
"""How much of the usual load each look at an endpoint makes up."""
LOOKS: Final = 20
"""In one ``decay``: how often those are looked at that have less than their weight, heard of or not."""
SHORTEST: Final = 1e-6
"""Seconds: no answer is faster, and a logarithm wants more than nothing."""


class Weighted:
    """Remembers each endpoint's units, and the sum of what it knows of latencies; the rest is on the endpoints."""

    __slots__ = ("_due", "_known", "_random", "_reduced", "_shares", "_usual", "logs", "measured", "settings")

    def __init__(self, settings: Settings, random: Random) -> None:
        self._random = random
        self.settings = settings
        self._known: Sequence[Endpoint] = ()
        self._shares = Shares(())
        self._reduced: dict[Record, None] = {}
        self._due = inf
        """When those that are reduced are looked at again."""
        self._usual = 0.0
        """In flight at an endpoint, for each unit of weight."""
        self.logs = 0.0
        """Sum over the endpoints of the mean logarithm of their latencies."""
        self.measured = 0

    def pick(
        self, endpoints: Sequence[Endpoint], now: float, tried: Collection[Endpoint], key: int | None
    ) -> Endpoint | None:
        """See ``Balancer``."""
        if endpoints is not self._known:
            self._meet(endpoints)
        if now >= self._due:
            self._look_again(now)
        shares = self._shares
        dynamic = self.settings.dynamic
        crowded = None
        if shares.total:
            for _ in range(DRAWS):
                position = shares.find(int(self._random.random() * shares.total))
                endpoint = endpoints[position]
                if not fit(endpoint, now, tried):
                    continue
                if not dynamic:
                    return endpoint
                if endpoint.load is None:
                    endpoint.load = Record(self, position, endpoint.weight, now)
                if not self._crowded(endpoint):
                    return endpoint
                crowded = endpoint
        return crowded or self._any(candidates(endpoints, now, tried))

    def _crowded(self, endpoint: Endpoint) -> bool:
        busy = endpoint.in_flight
        bound = CROWDED * (self._usual * endpoint.weight + 1)
        # An endpoint that hangs must not become the usual.
        self._usual += USUAL_SHARE * (min(busy, bound) / endpoint.weight - self._usual)
        return busy > bound and self._random.random() * busy > bound

    def _any(self, choices: Sequence[Endpoint]) -> Endpoint | None:
        if len(choices) < 2:
            return choices[0] if choices else None
        return self._random.choices(choices, [endpoint.weight for endpoint in choices])[0]

    def _meet(self, endpoints: Sequence[Endpoint]) -> None:
        for endpoint in self._known:
            load = endpoint.load
            if isinstance(load, Record) and load.balancer is self:
                load.position = None  # It may still answer, and has no share.
        self._known = endpoints
        self._reduced.clear()
        self._due = inf
        self.logs, self.measured = 0.0, 0
        units = []
        for position, endpoint in enumerate(endpoints):
            load = endpoint.load
            if not isinstance(load, Record) or load.balancer is not self:
                endpoint.load = None
                units.append(endpoint.weight * UNIT)
            else:
                load.position = position
                load.weight = endpoint.weight
                units.append(load.units())
                self.follow(load)
        self._shares = Shares(units)

    def follow(self, record: Record) -> None:
        """Counts what the record knows among what all know."""
        if record.mean is not None:
            self.logs += record.mean
            self.measured += 1
        if record.factor < 1:
            self._reduced[record] = None
            self._due = min(self._due, record.stamp + self.settings.decay / LOOKS)

    def share(self, record: Record, now: float) -> None:
        """The record's factor has changed."""
        if record.position is not None:
            self._shares.set(record.position, record.units())
            if record.factor < 1:
                self._reduced[record] = None
                if self._due == inf:
                    self._due = now + self.settings.decay / LOOKS
            else:
                self._reduced.pop(record, None)

    def _look_again(self, now: float) -> None:
        """What is not picked is not heard of, and must not stay reduced for that."""
        at_once = max(LOOKS, len(self._reduced) // LOOKS + 1)
        for record in [record for record, _ in zip(self._reduced, range(at_once), strict=False)]:
            del self._reduced[record]
            record.judge(now)
        self._due = now + self.settings.decay / LOOKS if self._reduced else inf


class Record:
    """What was heard of one endpoint, as sums that fade, and the factor that follows from it."""

    __slots__ = ("_answers", "_failures", "_logs", "balancer", "factor", "mean", "position", "stamp", "weight")

    def __init__(self, balancer: Weighted, position: int, weight: int, now: float) -> None:
        self.balancer = balancer
        self.position: int | None = position
        """In the set that is picked from, if it is there."""
        self.weight = weight
        self.factor = 1.0
        self.mean: float | None = None
        """Of the logarithm of its latencies in seconds, once there is one."""
        self.stamp = now
        self._answers = self._logs = self._failures = 0.0

    def units(self) -> int:
        return round(self.weight * UNIT * self.factor)

    def describe(self, now: float) -> str:
        """See ``Load``."""
        attempts = self._answers + self._failures
        failing = self._failures / attempts if attempts else 0.0
        latency = f", answers take {exp(self.mean) * 1000:.0f} ms" if self.mean is not None else ""
        return f"has {self.factor:.0%} of its weight{latency}, {failing:.0%} of the attempts fail"

    def responded(self, now: float, seconds: float, status: int) -> None:
        """See ``Load``."""
        self._fade(now)
        self._answers += 1
        self._logs += log(max(seconds, SHORTEST))
        mean = self._logs / self._answers
        if self.position is not None:
            balancer = self.balancer
            if self.mean is None:
                balancer.measured += 1
                balancer.logs += mean
            else:
                balancer.logs += mean - self.mean
        self.mean = mean
        self.judge(now)

    def failed(self, now: float, seconds: float) -> None:
        """See ``Load``."""
        self._fade(now)
        self._failures += 1
        self.judge(now)

    def _fade(self, now: float) -> None:
        kept = exp((self.stamp - now) / self.balancer.settings.decay)
        self._answers *= kept
        self._logs *= kept
        self._failures *= kept
        self.stamp = now

    def judge(self, now: float) -> None:
        """The factor by what is known at ``now``."""
        if now > self.stamp:
            self._fade(now)
        balancer = self.balancer
        answers, failures = self._answers, self._failures
        good = 1 - failures / (answers + failures + PRIOR)
        factor = good * good
        others = balancer.measured - 1
        if self.mean is not None and others > 0:
            behind = self.mean - (balancer.logs - self.mean) / others
            excess = behind * answers / (answers + PRIOR) - SLACK
            if excess > 0:
                factor *= exp(-excess)
        self.factor = max(balancer.settings.floor, factor)
        balancer.share(self, now)
