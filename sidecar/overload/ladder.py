"""What is done, step by step, as memory runs out: each step costs callers more than the one before and frees more.

| from | step     | measure                                                                                      |
|------|----------|----------------------------------------------------------------------------------------------|
| 0.85 | HURRYING | idle connections of callers close sooner, the sooner the nearer 0.95 is: then after 2 s      |
| 0.92 | CLOSING  | every response is its connection's last, and idle connections to endpoints close             |
| 0.95 | REFUSING | requests are refused (503 ``overloaded``); probes, metrics and admin are served as ever      |

A step is left only when the pressure is ``SLACK`` below where it began: the measures work, and would else be taken and
given up several times a second. All of it is off the path of a request. What a request meets are values that it looks
at anyway: whether its listener keeps connections, and what the routing table answers.

(The thresholds are those that Envoy recommends for a proxy at the edge.)
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Annotated, Final, Protocol

import msgspec

from sidecar.clock import Clock
from sidecar.errors import Failure
from sidecar.model import Size
from sidecar.timing.wheel import Wheel

CALM: Final = 0
HURRYING: Final = 1
CLOSING: Final = 2
REFUSING: Final = 3
NAMES: Final = ("calm", "hurrying", "closing", "refusing")

FROM: Final = (0.0, 0.85, 0.92, 0.95)
"""The pressure at which each step begins."""
SLACK: Final = 0.03
LOOK_SECONDS: Final = 0.5
GIVE_BACK_SECONDS: Final = 10.0
"""How often memory is given back to the kernel while we are CLOSING or REFUSING; it holds the loop for some milliseconds."""

TAKEN: Final = (
    "no measures are taken any more",
    "idle connections are closed sooner",
    "connections are closed after each response",
    "requests are refused until less is in use",
)

log = logging.getLogger("sidecar.overload")


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[overload]``, in bytes."""

    memory: Annotated[
        Size | None, msgspec.Meta(description='What this process may have; `"none"`: what its cgroups allow.')
    ] = None


class Sparing(Protocol):
    """A listener, as far as it can do with less memory."""

    def spare_memory(self, haste: float, last: bool) -> None: ...


class Refusing(Protocol):
    """Where requests can be refused, all of them."""

    def refuse(self, failure: Failure | None) -> None: ...


class Ladder:
    """Looks at ``pressure()`` every ``LOOK_SECONDS`` from ``start`` on, and does what the step asks for.

    ``listeners`` and ``scopes`` are asked for anew each time, for a reload replaces them; ``close_idle`` closes idle
    connections to endpoints, ``give_back`` returns unused memory to the kernel.
    """

    __slots__ = ("_clock", "_close_idle", "_give_back", "_give_back_at", "_listeners", "_read", "_scopes", "_timer",
                 "pressure", "step")  # fmt: skip

    def __init__(
        self,
        pressure: Callable[[], float],
        wheel: Wheel,
        clock: Clock,
        listeners: Callable[[], Iterable[Sparing]],
        scopes: Callable[[], Iterable[Refusing]],
        close_idle: Callable[[], None],
        give_back: Callable[[], None],
    ) -> None:
        self._read = pressure
        self._clock = clock
        self._listeners = listeners
        self._scopes = scopes
        self._close_idle = close_idle
        self._give_back = give_back
        self._give_back_at = 0.0
        self._timer = wheel.timer(self)
        self.pressure = 0.0
        """As it was last looked at."""
        self.step = CALM

    def start(self) -> None:
        self.on_timer(self._clock.now())

    def stop(self) -> None:
        self._timer.cancel()

    def on_timer(self, now: float) -> None:
        self._timer.set(now + LOOK_SECONDS)
        self.pressure = self._read()
        before = self.step
        self._climb()
        if self.step != before:
            tell = log.warning if self.step > before else log.info
            tell("memory: %.0f %% of what we can have is in use: %s", self.pressure * 100, TAKEN[self.step])
        if self.step or before:
            self._act(now)

    def _climb(self) -> None:
        """Up at once; down only with some slack."""
        while self.step < REFUSING and self.pressure >= FROM[self.step + 1]:
            self.step += 1
        while self.step > CALM and self.pressure < FROM[self.step] - SLACK:
            self.step -= 1

    def _act(self, now: float) -> None:
        step = self.step
        span = FROM[REFUSING] - FROM[HURRYING]
        haste = min(1.0, max(0.0, (self.pressure - FROM[HURRYING]) / span)) if step else 0.0
        for scope in self._scopes():
            scope.refuse(Failure.OVERLOADED if step == REFUSING else None)
        for listener in self._listeners():
            listener.spare_memory(haste, step >= CLOSING)
        if step >= CLOSING:
            self._close_idle()
            if now >= self._give_back_at:
                self._give_back_at = now + GIVE_BACK_SECONDS
                self._give_back()
