"""The health of our own application, which decides whether others are sent to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sidecar.clock import Clock, Random
from sidecar.health.making import new_probe
from sidecar.health.monitor import Counts, Monitor
from sidecar.health.pool import Pool
from sidecar.health.settings import Application as Settings
from sidecar.health.settings import Settings as Basic
from sidecar.health.verdict import Verdict

IMPLIED = Settings(kind="tcp", interval=5.0, timeout=1.0)
"""How an application is asked of which nobody has said how: whether it takes connections."""


class Application:
    """``told`` is called when the verdict has changed; ``asked_for``: somebody has configured it, and not we."""

    def __init__(
        self,
        settings: Settings,
        place: tuple[str, int],
        asked_for: bool,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        random: Random,
        pool: Pool,
        told: Callable[[Application], None],
    ) -> None:
        self.settings: Basic = settings
        self.place = place
        self.asked_for = asked_for
        self.counts = Counts()
        self.verdict = Verdict(settings.unhealthy_after, settings.healthy_after)
        probe = new_probe(loop, pool, settings, *place)
        self.monitor = Monitor(
            loop, clock, random, settings, probe, self.verdict, lambda: told(self), self.counts, eager=True
        )

    @property
    def trouble(self) -> str:
        """Why others should not be sent to it, empty if they may be."""
        if self.verdict.well is None:
            return "the application has not answered yet"
        return f"the application {self.verdict.reason}" if self.verdict.reason else ""

    def gate(self) -> tuple[bool, str]:
        """For readiness."""
        return bool(self.verdict.well), self.trouble or "the application is well"
