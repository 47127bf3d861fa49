"""What the application needs beside services of the mesh: databases, brokers, somebody else's API.

Nobody calls them through us, so all that we do is ask whether they are well, say so, and, where somebody has asked for it,
be not ready while they are not. A breaker stands before the question: a database that is down is not knocked at by every
sidecar every few seconds while it tries to come up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from sidecar.clock import Clock, Random
from sidecar.health.making import new_probe
from sidecar.health.monitor import Counts, Monitor, NotAsked, Probe
from sidecar.health.pool import Pool
from sidecar.health.settings import Dependency as Settings
from sidecar.health.verdict import Verdict
from sidecar.resilience.breaker import Breaker

LEFT_ALONE: Final = "left alone by its breaker"


class Dependency:
    """One of them. ``told`` is called when the verdict on it has changed."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        random: Random,
        pool: Pool,
        told: Callable[[Dependency], None],
    ) -> None:
        self.name = name
        self.settings = settings
        self._clock = clock
        self._told = told
        self.breaker = Breaker(settings.breaker) if settings.breaker is not None else None
        self.since = clock.now()
        """Since when it has been well, or ill (monotonic seconds)."""
        host, _, port = (settings.address or ":0").rpartition(":")
        self._probe: Probe = new_probe(loop, pool, settings, host.strip("[]"), int(port))
        self.counts = Counts()
        self.verdict = Verdict(settings.unhealthy_after, settings.healthy_after)
        self.monitor = Monitor(
            loop, clock, random, settings, self._ask, self.verdict, self._heard, self.counts, eager=True
        )
        self._well: bool | None = None

    def inherit(self, former: Dependency) -> None:
        """Of the same name, as it was configured before; if it is the same place or program, its verdict stays."""
        if (former.settings.address, former.settings.command) == (self.settings.address, self.settings.command):
            self.verdict.inherit(former.verdict)
            self._well, self.since = former.verdict.well, former.since

    @property
    def address(self) -> str:
        """Where it is, or the program that asks it."""
        return self.settings.address or (self.settings.command[0] if self.settings.command else "")

    def gate(self) -> tuple[bool, str]:
        """Whether it keeps us from being ready, and why."""
        verdict = self.verdict
        if verdict.well is None:
            return False, f"{self.name} has not been asked yet"
        return verdict.well, verdict.reason if not verdict.well else f"{self.name} is well"

    async def _ask(self) -> str:
        breaker = self.breaker
        # What starts together with us is asked quickly, and must not be left alone for that.
        if breaker is None or self.monitor.hurrying:
            return await self._probe()
        now = self._clock.now()
        if not breaker.admits(now):
            raise NotAsked(self.verdict.reason or LEFT_ALONE)
        ticket = breaker.begin(now)
        reason = "the check was broken off"
        try:
            reason = await self._probe()
        finally:
            # A check that ran out of time is broken off here.
            end = self._clock.now()
            if reason:
                breaker.failure(end, ticket)
            else:
                breaker.success(end, ticket)
        return reason

    def _heard(self) -> None:
        if self.verdict.well != self._well:
            self._well = self.verdict.well
            self.since = self._clock.now()
        self._told(self)
