"""What is done while the agent is in trouble: all wait, one asks.

However many services are watched, an agent that is down is asked by one of us at a time, at growing distances, and all
go on when it has answered. The distance grows to ten seconds and not further: a registry that was away for an hour should
not be out of date for a minute longer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from sidecar.clock import Clock, Random
from sidecar.discovery.consul.agent import Trouble

FIRST_SECONDS: Final = 0.5
LONGEST_SECONDS: Final = 10.0
REPEAT_SECONDS: Final = 60.0
"""How often trouble that lasts is told again."""

log = logging.getLogger("sidecar.discovery")


class Outage:
    """``reach`` asks the agent whether it is back (``Trouble``)."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        random: Random,
        reach: Callable[[], Awaitable[object]],
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._random = random
        self._reach = reach
        self._over = asyncio.Event()
        self._over.set()
        self._task: asyncio.Task[None] | None = None
        self._told_at = 0.0
        self.answered = False
        """Whether there has been an answer at all."""
        self.since: float | None = None
        """Since when it cannot be asked (monotonic seconds)."""
        self.trouble = ""

    async def over(self) -> None:
        """Returns when the agent can be asked; at once if nothing speaks against it."""
        await self._over.wait()

    async def wait(self, error: Trouble) -> None:
        """``error`` has just come up; returns when the agent answers again."""
        self.begin(error)
        await self.over()

    def begin(self, error: Trouble) -> None:
        """``error`` has just come up: asks until there is an answer."""
        self.trouble = str(error)
        if self.since is None:
            self.since = self._clock.now()
            self._over.clear()
            self._tell()
            self._task = self._loop.create_task(self._ask())

    async def _ask(self) -> None:
        seconds = FIRST_SECONDS
        while True:
            await asyncio.sleep(seconds * self._random.uniform(0.5, 1.0))
            seconds = min(2 * seconds, LONGEST_SECONDS)
            try:
                await self._reach()
            except Trouble as error:
                self.trouble = str(error)
                if self._clock.now() - self._told_at >= REPEAT_SECONDS:
                    self._tell()
            except Exception:  # Everybody waits for this; it must not end before the trouble does.
                log.exception("a defect in asking whether the registry is back; going on")
            else:
                break
        self.answered = True
        self.since = None
        self.trouble = ""
        log.info("the registry answers again")
        self._over.set()

    def _tell(self) -> None:
        self._told_at = self._clock.now()
        log.warning("%s; keeping what is known and trying again", self.trouble)

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
