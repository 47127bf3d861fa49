"""Of two endpoints drawn at random the one that promises the earlier answer.

What an endpoint costs is its latency times what it has in flight, this attempt included, for each unit of weight. Its
latency is a moving average with a memory for the worst: a response that is slower than the average *is* the new
average, at once; faster ones bring it down with time. It also sinks while nothing is heard, so that an endpoint that was
slow is asked again. Finagle and Linkerd choose like that, with the same defaults (30 ms, 10 s).

A failure is not an answer, and failing fast must not attract traffic: it counts as one that took ``penalty``. The same
holds for 429, by which an endpoint says that it wants less. Penalties are averaged in and do not become the average at
once, unlike slow answers. Where one call in a thousand fails, the endpoint that it happened to would otherwise get
nothing for a minute; thus it costs as much more as it fails more often, and one that only fails is out within a second.

A new endpoint is taken to be as fast as most answers lately. Were it taken for 30 ms among others of 1 ms, it would get
nothing until that has sunk.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import exp
from typing import Final

from sidecar.balance import DRAWS, candidates, fit
from sidecar.balance.settings import PeakEwma as Settings
from sidecar.clock import Random
from sidecar.model import Endpoint

TOO_MANY_REQUESTS: Final = 429
USUAL_SHARE: Final = 0.05
"""How much of what is usual each answer makes up."""


class PeakEwma:
    """Remembers what is usual; the rest is on the endpoints."""

    __slots__ = ("_random", "settings", "usual")

    def __init__(self, settings: Settings, random: Random) -> None:
        self._random = random
        self.settings = settings
        self.usual: float | None = None
        """Seconds that most answers took lately, whoever gave them; ``None`` until the first."""

    def pick(
        self, endpoints: Sequence[Endpoint], now: float, tried: Collection[Endpoint], key: int | None
    ) -> Endpoint | None:
        """See ``Balancer``."""
        if not endpoints:
            return None
        for _ in range(DRAWS):
            better, other = self._draw(endpoints, now)
            if fit(better, now, tried):
                return better
            if fit(other, now, tried):
                return other
        choices = candidates(endpoints, now, tried)
        return self._draw(choices, now)[0] if choices else None

    def _draw(self, choices: Sequence[Endpoint], now: float) -> tuple[Endpoint, Endpoint]:
        count = len(choices)
        draw = self._random.random
        first = int(draw() * count)
        second = int(draw() * (count - 1))
        if second >= first and count > 1:
            second += 1
        a, b = choices[first], choices[second]
        # cost / weight, compared without dividing.
        if self._cost(b, now) * a.weight < self._cost(a, now) * b.weight:
            return b, a
        return a, b

    def _cost(self, endpoint: Endpoint, now: float) -> float:
        load = endpoint.load
        if not isinstance(load, Latency):
            usual = self.usual
            load = endpoint.load = Latency(self, now, self.settings.default_rtt if usual is None else usual)
        return load.at(now) * (endpoint.in_flight + 1)


class Latency:
    """How slow an endpoint is, in seconds."""

    __slots__ = ("_balancer", "_heard", "_stamp", "_value")

    def __init__(self, balancer: PeakEwma, now: float, value: float) -> None:
        self._balancer = balancer
        self._heard = False
        self._stamp = now
        self._value = value

    def at(self, now: float) -> float:
        if not self._heard:
            return self._value  # An assumption does not get better with time.
        return self._value * exp((self._stamp - now) / self._balancer.settings.decay)

    def describe(self, now: float) -> str:
        """See ``Load``."""
        heard = "" if self._heard else ", which is assumed"
        return f"counts as one that answers in {self.at(now) * 1000:.0f} ms{heard}"

    def responded(self, now: float, seconds: float, status: int) -> None:
        """See ``Load``."""
        if status == TOO_MANY_REQUESTS:
            self.failed(now, seconds)
            return
        balancer = self._balancer
        usual = balancer.usual
        balancer.usual = seconds if usual is None else usual + USUAL_SHARE * (seconds - usual)
        kept = exp((self._stamp - now) / balancer.settings.decay) if self._heard else 0.0
        value = self._value * kept
        self._value = seconds if seconds > value else value + seconds * (1 - kept)
        self._stamp = now
        self._heard = True

    def failed(self, now: float, seconds: float) -> None:
        """See ``Load``."""
        settings = self._balancer.settings
        kept = exp((self._stamp - now) / settings.decay)
        averaged = self._value * kept + max(settings.penalty, seconds) * (1 - kept)
        self._value = max(averaged, seconds)  # So long it was waited for, whatever came of it.
        self._stamp = now
        self._heard = True
