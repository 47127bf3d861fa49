"""The end of a sidecar, second by second: finish what runs, take nothing new, and lose no request on the way.

1. Not ready, but accepting as before, so that whoever watches readiness sends no more (``drain.delay``).
2. Inbound finishes what runs and takes nothing new.
3. Outbound serves the application until that is idle; or, if it is ours (``run -- COMMAND``), is told to end now, and is
   served until it has ended.

All of it within ``delay`` + ``grace``. The first two can be had alone: then outbound serves on, until the rest is due.

A connection that seems idle may have a request on its way, and closing it would lose that request. So none is closed
the moment a drain gets to it: for ``LAST_REQUEST_SECONDS`` it may bring one more, whose response says that it is the
last. Nor is a request over when its response is written: it is when the peer has taken the last byte.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from sidecar.app import Sidecar
from sidecar.clock import Clock
from sidecar.proxy.listener import LAST_REQUEST_SECONDS

if TYPE_CHECKING:  # Whoever has no COMMAND does without all that it needs.
    from sidecar.command import Command

QUIET_SECONDS: Final = 1.0
"""How long nothing may have begun for outbound to count as idle."""
COMMAND_SECONDS: Final = 5.0
"""How long COMMAND has at least from its SIGTERM on; a quarter of ``grace`` where that is less."""
ALONE_SECONDS: Final = 2.0
"""How long we go on when COMMAND has ended by itself."""
POLL_SECONDS: Final = 0.05

log = logging.getLogger("sidecar")


class Drain:
    """The end of one sidecar. ``command`` is its application, if we have started that."""

    def __init__(self, sidecar: Sidecar, clock: Clock, command: Command | None = None) -> None:
        self._sidecar = sidecar
        self._clock = clock
        self._command = command
        self._begun: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """The first two steps, of its own accord; twice is the same as once."""
        if self._begun is None:
            settings = self._sidecar.config.drain
            end = self._clock.now() + settings.delay + settings.grace
            self._begun = asyncio.get_running_loop().create_task(self._take_nothing_new(settings.delay, end))

    async def run(self, delay: float) -> None:
        """All of it. What ``begin`` has begun is gone on with, unless there is to be no ``delay``."""
        command = self._command
        end = self._clock.now() + delay + self._sidecar.config.drain.grace
        if command is not None and not command.running:
            end = self._clock.now() + ALONE_SECONDS
        if self._begun is not None and delay:
            await asyncio.wait((self._begun,), timeout=end - self._clock.now())
        else:
            await self._take_nothing_new(delay, end)
        if command is None:
            await self._serve_until_quiet(end)
        else:
            command.stop()
            await command.ended(end - self._clock.now())
        self._say_what_is_cut_off()
        if command is not None:
            await command.end(end - self._clock.now())

    def close(self) -> None:
        if self._begun is not None:
            self._begun.cancel()

    async def _take_nothing_new(self, delay: float, end: float) -> None:
        """Not ready, and after ``delay`` inbound lets those that stand have their answers, until ``end``."""
        sidecar, command, clock = self._sidecar, self._command, self._clock
        sidecar.draining = True
        last_request = LAST_REQUEST_SECONDS
        application = asyncio.sleep(delay) if command is None else command.ended(delay)
        _, ended = await asyncio.gather(sidecar.registries.deregister(), application)
        if ended:
            # Nobody is there to answer a request that is still on its way.
            last_request = 0.0
            end = min(end, clock.now() + ALONE_SECONDS)
        elif command is not None:
            end -= min(COMMAND_SECONDS, sidecar.config.drain.grace / 4)
        await self._finish_inbound(end, last_request)

    async def _finish_inbound(self, end: float, last_request: float) -> None:
        sidecar, clock = self._sidecar, self._clock
        for listener in sidecar.serving("inbound"):
            listener.end()
            listener.accepting = False
        patience = min(end, clock.now() + last_request)
        while any(one.connections for one in sidecar.serving("inbound")) and clock.now() < patience:
            await asyncio.sleep(POLL_SECONDS)
        for listener in sidecar.serving("inbound"):
            listener.close_idle()
        while sidecar.owing("inbound") and clock.now() < end:
            await asyncio.sleep(POLL_SECONDS)

    async def _serve_until_quiet(self, end: float) -> None:
        """Serves the application until it asks for nothing more.

        It may connect as often as it likes, but no connection is kept: it never finds one closed that it counts on.
        """
        sidecar, clock = self._sidecar, self._clock
        if not sidecar.serving("outbound"):
            return
        for listener in sidecar.serving("outbound"):
            listener.end()
        ended = sidecar.ended_outbound()
        quiet_since = clock.now()
        while clock.now() < end and (sidecar.owing("outbound") or clock.now() < quiet_since + QUIET_SECONDS):
            await asyncio.sleep(POLL_SECONDS)
            if sidecar.ended_outbound() != ended:
                ended = sidecar.ended_outbound()
                quiet_since = clock.now()

    def _say_what_is_cut_off(self) -> None:
        left = self._sidecar.owing("inbound") + self._sidecar.owing("outbound")
        if left:
            log.warning("requests that did not end in time and are cut off: %d", left)
