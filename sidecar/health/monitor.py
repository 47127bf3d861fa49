"""Asking one subject again and again, and telling when the verdict on it has changed.

The first times come quickly, each half as far again from the last as the one before, until there is a good answer: an
application is callable a moment after it listens, however long it takes to start, and one that takes minutes is not
pestered.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from sidecar.clock import Clock, Random
from sidecar.health.settings import Settings
from sidecar.health.verdict import Verdict

FIRST_SECONDS: Final = 0.1
GROWTH: Final = 1.5

Probe = Callable[[], Awaitable[str]]
"""Asks once, for as long as it is let; why the subject is not well, in words, or nothing."""


class NotAsked(Exception):
    """Raised by a probe that had better not ask; its text counts as a bad answer all the same."""


log = logging.getLogger("sidecar.health")


class Counts:
    """How many answers were good and how many bad, of all monitors that share it."""

    __slots__ = ("bad", "good")

    def __init__(self) -> None:
        self.good = 0
        self.bad = 0


class Monitor:
    """``told`` is called when verdict or reason have changed. ``few`` bounds how many are asked at a time."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        random: Random,
        settings: Settings,
        probe: Probe,
        verdict: Verdict,
        told: Callable[[], None],
        counts: Counts,
        *,
        jitter: float = 0.0,
        eager: bool = False,
        few: asyncio.Semaphore | None = None,
    ) -> None:
        """``eager``: ask quickly until there is a good answer, unless it counts as well already; else the first time comes
        somewhere in the first interval."""
        self._loop = loop
        self._clock = clock
        self._random = random
        self._settings = settings
        self._probe = probe
        self._told = told
        self._counts = counts
        self._jitter = jitter
        self.hurrying = eager
        """Whether it is asked quickly, because it has not been well yet."""
        self._few = few
        self._task: asyncio.Task[None] | None = None
        self.verdict = verdict
        self.latency: float | None = None
        """Seconds that the last answer took; ``None`` before the first."""

    def start(self) -> None:
        if self._task is None:
            self._task = self._loop.create_task(self._run())

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        interval = self._settings.interval
        seconds = FIRST_SECONDS
        self.hurrying = self.hurrying and not self.verdict.well
        if not self.hurrying:
            await asyncio.sleep(interval * self._random.random())
        while True:
            reason = await self._ask()
            if not reason:
                self.hurrying = False
            if self.verdict.hear(reason):
                self._told()
            self.hurrying = self.hurrying and seconds < interval
            if self.hurrying:
                await asyncio.sleep(seconds)
                seconds *= GROWTH
            else:
                await asyncio.sleep(interval * (1.0 + self._jitter * self._random.uniform(-1.0, 1.0)))

    async def _ask(self) -> str:
        if self._few is None:
            return await self._answer()
        async with self._few:
            return await self._answer()

    async def _answer(self) -> str:
        timeout = self._settings.timeout
        began = self._clock.now()
        try:
            async with asyncio.timeout(timeout):
                reason = await self._probe()
        except NotAsked as why:
            return str(why)
        except TimeoutError:
            reason = f"gives no answer within {timeout:g} s"
        except Exception:  # A probe that is wrong must not pass for a subject that is well, nor end the asking.
            log.exception("a bug in a health check; it counts as a bad answer")
            reason = "the check itself failed; the log tells more"
        self.latency = self._clock.now() - began
        if reason:
            self._counts.bad += 1
        else:
            self._counts.good += 1
        return reason
