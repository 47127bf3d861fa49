"""Leave an endpoint alone that keeps failing, and find out with care whether it has recovered.

*Closed*, calls flow and their outcomes are counted. *Open*, the endpoint is not picked at all: its callers get a quick
answer from a healthy one, and it gets the quiet that it may need to recover. After ``open`` seconds the breaker is
*half-open*: a few real calls, never more than ``probes`` at a time, test the endpoint. Enough successes in a row reset
the breaker; one failure opens it again for the same time.

There is one breaker per endpoint, not per service: that one address is broken is the common case, and a shared
breaker would either hide it among the healthy ones or cut these off with it.

It takes a count *and* a rate to trip. The count alone would trip on any busy endpoint, where five failures in ten
seconds may be one call in ten thousand; the rate alone would trip on the first failed call of a quiet one. The
count is exact, by the instants of the last failures, and so a burst that lies across the edge of some fixed interval is
seen; for the rate, rolling counts are good enough.

Calls overlap with transitions: one that was begun before the breaker tripped says nothing about the endpoint that is
now being tested. So each attempt carries a *ticket*, the breaker's epoch when it began, and a result with an old
ticket is dropped: it is not counted, and it frees no probe, because it held none.

(M. Nygard, "Release It!", chapter 5, describes the pattern.)
"""

from __future__ import annotations

from collections import deque
from typing import Annotated

import msgspec

from sidecar.model import Duration
from sidecar.resilience.window import Window

CLOSED, HALF_OPEN, OPEN = 0, 1, 2
NAMES = ("closed", "half-open", "open")
"""The states for people; the numbers are also the metric's values."""


NO_TICKET = -1
"""Held by an attempt that began without a breaker: should there be one when it ends, it is told nothing."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When to trip, for how long, and what it takes to reset."""

    failures: Annotated[
        int, msgspec.Meta(ge=1, description="Failures within `window` that trip it, together with `failure_rate`.")
    ] = 5
    failure_rate: Annotated[
        float, msgspec.Meta(ge=0, le=1, description="Share of the window's outcomes that must have failed, too.")
    ] = 0.2
    window: Annotated[Duration, msgspec.Meta(description="What is counted lies at most this far back.")] = 10.0
    open: Annotated[Duration, msgspec.Meta(description="How long it refuses.")] = 30.0
    successes: Annotated[int, msgspec.Meta(ge=1, description="In a row, half-open, to close again.")] = 3
    probes: Annotated[int, msgspec.Meta(ge=1, description="Concurrent attempts while half-open.")] = 1
    slow: Annotated[
        Duration, msgspec.Meta(description="An attempt given up after this long is a failure, whoever gave it up.")
    ] = 5.0


class Breaker:
    """The breaker of one endpoint. Every ``begin`` is followed by exactly one of success, failure and ignored."""

    __slots__ = (
        "_epoch",
        "_failed",
        "_latest",
        "_probing",
        "_streak",
        "_succeeded",
        "opened_at",
        "settings",
        "state",
        "transitions",
    )

    def __init__(self, settings: Settings) -> None:
        self.state = CLOSED
        self.transitions = [0, 0, 0]
        """How often each state was entered, by its number."""
        self.opened_at = 0.0
        """When it tripped last (monotonic seconds); 0 before the first time."""
        self._epoch = 0
        self._probing = 0
        self._streak = 0
        self.adopt(settings)

    def adopt(self, settings: Settings) -> None:
        """Go by these settings from now on, as after a reload: the state stays, the window starts empty."""
        self.settings = settings
        self._forget()

    def admits(self, now: float) -> bool:
        """Whether the endpoint may be picked. Reserves nothing; an open breaker whose time is up turns half-open."""
        if self.state == CLOSED:
            return True
        if self.state == OPEN:
            if now < self.opened_at + self.settings.open:
                return False
            self._enter(HALF_OPEN)
        return self._probing < self.settings.probes

    def begin(self, now: float) -> int:
        """An attempt starts: its ticket. In half-open it takes one of the probes."""
        if self.state == HALF_OPEN:
            self._probing += 1
        return self._epoch

    def success(self, now: float, ticket: int) -> None:
        """The attempt went well."""
        if ticket != self._epoch:
            return
        if self.state == CLOSED:
            self._succeeded.add(now)
        elif self.state == HALF_OPEN:
            self._probing -= 1
            self._streak += 1
            if self._streak >= self.settings.successes:
                self._enter(CLOSED)

    def failure(self, now: float, ticket: int) -> None:
        """The attempt failed (``resilience.outcome`` says what that is)."""
        if ticket != self._epoch:
            return
        if self.state == CLOSED:
            self._failed.add(now)
            self._latest.append(now)
            if self._too_many(now):
                self._trip(now)
        elif self.state == HALF_OPEN:
            self._trip(now)

    def ignored(self, now: float, ticket: int) -> None:
        """The attempt ended in a way that says nothing about the endpoint."""
        if ticket == self._epoch and self.state == HALF_OPEN:
            self._probing -= 1

    def retry_after(self, now: float) -> float:
        """Seconds until the endpoint may be tested; 0 unless open."""
        if self.state != OPEN:
            return 0.0
        return max(0.0, self.opened_at + self.settings.open - now)

    def failures(self, now: float) -> int:
        """Failures of the last ``window`` that count towards tripping; 0 unless closed."""
        return self._failed.total(now)

    def _too_many(self, now: float) -> bool:
        settings, latest = self.settings, self._latest
        if len(latest) < settings.failures or now - latest[0] > settings.window:
            return False
        # The rolling count may have forgotten failures that the exact one has just seen within the window.
        failed = max(settings.failures, self._failed.total(now))
        return failed / (failed + self._succeeded.total(now)) >= settings.failure_rate

    def _trip(self, now: float) -> None:
        self.opened_at = now
        self._forget()
        self._enter(OPEN)

    def _enter(self, state: int) -> None:
        self.state = state
        self.transitions[state] += 1
        if state != CLOSED:
            # Probes that are still running when the breaker closes are ordinary calls from there on: they keep theirs.
            self._epoch += 1
        self._probing = 0
        self._streak = 0

    def _forget(self) -> None:
        self._latest: deque[float] = deque(maxlen=self.settings.failures)
        self._failed = Window(self.settings.window)
        self._succeeded = Window(self.settings.window)

    def __repr__(self) -> str:
        settings = self.settings
        if self.state == OPEN:
            what = f"since {self.opened_at:.3f} for {settings.open:g} s"
        elif self.state == HALF_OPEN:
            what = f"{self._streak}/{settings.successes} successes, {self._probing}/{settings.probes} probes"
        else:
            what = f"{len(self._latest)}/{settings.failures} latest failures"
        return f"<Breaker {NAMES[self.state]}, {what}, tripped {self.transitions[OPEN]} times>"
