"""What keeps retries from multiplying.

When everything fails, five retries a call turn an overload into six times the overload, and every layer of services
multiplies it again. So retries are paid for: each first attempt deposits a fraction of one, a small allowance is there
for services that are hardly called, and both expire. What fails now and then is retried freely; an outage adds
no more than a fifth to the load. (The idea is Finagle's; Gateway API's GEP-3388 uses the same three numbers.)

The promise is kept for *every* span of ``ttl`` seconds: first attempts are forgotten a little early, retries a little
late.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from sidecar.model import Duration
from sidecar.resilience.window import Window

_SLOTS = 10


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Over the last ``ttl``: retries ≤ ``ratio`` x first attempts + ``min_per_second`` x ``ttl``."""

    ratio: Annotated[float, msgspec.Meta(ge=0, description="Retries per first attempt.")] = 0.2
    min_per_second: Annotated[
        float, msgspec.Meta(ge=0, description="Retries per second that need no first attempts.")
    ] = 3
    ttl: Annotated[Duration, msgspec.Meta(description="The span of time that is counted.")] = 10.0


class Budget:
    """The budget of one service, shared by all its routes."""

    __slots__ = ("_allowance", "_firsts", "_ratio", "_retries", "deposit")

    def __init__(self, settings: Settings) -> None:
        self._ratio = settings.ratio
        self._allowance = settings.min_per_second * settings.ttl
        self._firsts = Window(settings.ttl, _SLOTS)
        self.deposit = self._firsts.add
        """``deposit(now)``: a first attempt was made. Once per request, hence without a call in between."""
        self._retries = Window(settings.ttl * (_SLOTS + 1) / _SLOTS, _SLOTS + 1)

    def left(self, now: float) -> float:
        """How many retries could be paid for now; less than 0 when first attempts have expired before retries."""
        return self._ratio * self._firsts.total(now) + self._allowance - self._retries.total(now)

    def withdraw(self, now: float) -> bool:
        """Pay for one retry; False, and nothing taken, if there is not enough."""
        if self.left(now) < 1:
            return False
        self._retries.add(now)
        return True
