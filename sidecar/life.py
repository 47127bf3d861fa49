"""The life of the process: from its first listener, through signals, to its exit.

SIGTERM and the admin API's ``shutdown`` begin the drain (``drain`` tells it second by second), SIGINT begins it without
its delay, and a second one of them ends at once. SIGHUP reads the configuration again. With a COMMAND the application's
life is ours as well: it starts when the listeners are bound, and its end, whenever it comes, is our own.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import uvloop

from sidecar.app import Sidecar
from sidecar.clock import Clock, Random
from sidecar.config.load import Loaded
from sidecar.config.units import Address
from sidecar.config.watch import Watch
from sidecar.discovery.registries import Unusable
from sidecar.drain import Drain
from sidecar.reload import FIXED, TOLD, Reloader
from sidecar.sources import new_source
from sidecar.telemetry.export.install import install, new_writer
from sidecar.telemetry.export.writer import Writer
from sidecar.telemetry.log import Settings as LogSettings
from sidecar.timing.wheel import Wheel

if TYPE_CHECKING:  # Whoever has no COMMAND does without all that it needs.
    from sidecar.command import Command

log = logging.getLogger("sidecar")


def run(loaded: Loaded, read: Callable[[], Loaded], watch: Watch | None, command: Command | None = None) -> int:
    """Runs a sidecar until a signal, or the end of its application, ends it; the exit status.

    ``read`` reads the configuration again, whose file, if it has one, is watched by ``watch``.
    """
    clock = Clock()
    writer = new_writer(clock)

    def log_by(settings: LogSettings) -> None:
        install(settings, clock, writer)
        if command is not None:
            writer.process.format = command.marked(writer.process.format)

    log_by(loaded.config.log)
    writer.start()
    _raise_descriptor_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        status = runner.run(_live(loaded, read, watch, command, clock, writer, log_by))
    if command is not None:
        command.last_words()
    return status


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _live(
    loaded: Loaded,
    read: Callable[[], Loaded],
    watch: Watch | None,
    command: Command | None,
    clock: Clock,
    writer: Writer,
    log_by: Callable[[LogSettings], None],
) -> int:
    life = Life()
    config, random = loaded.config, Random()
    wheel = Wheel()
    try:
        source = new_source(config, life.loop, clock, random, wheel)
    except Unusable as error:
        log.error("the registry cannot be used: %s", error)
        return 1
    sidecar = Sidecar(config, life.loop, clock, random, wheel, source=source, writer=writer, actions=life)
    life.reloader = Reloader(sidecar, loaded, read, log_by, FIXED if command is None else FIXED + TOLD)
    sidecar.entries = life.reloader.entries
    life.drainer = Drain(sidecar, clock, command)
    try:
        try:
            await sidecar.start()
        except OSError as error:
            what = error.strerror or error
            log.error("cannot listen: %s; choose another address with --inbound, --outbound, --admin or --probes", what)
            return 1
        except Unusable as error:
            log.error("the registry cannot be used: %s", error)
            return 1
        say_where(sidecar)
        if watch is not None:
            life.reloader.follow(watch)
        # What has been made until now lives as long as the process: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        if command is not None and life.stops.empty():
            command.start(life.loop, sidecar.bound(), life.application_ended)
        await life.until_the_end(command)
    finally:
        life.reloader.close()
        life.drainer.close()
        await sidecar.close()
    log.info("bye")
    return 0 if command is None else command.exit_code()


class Life:
    """What may happen to a sidecar from outside: signals, the admin API's actions, the end of its application."""

    reloader: Reloader
    drainer: Drain

    def __init__(self) -> None:
        loop = self.loop = asyncio.get_running_loop()
        self.stops: asyncio.Queue[signal.Signals] = asyncio.Queue()
        """Why to end, SIGCHLD for the end of the application."""
        self._shut_down = False
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stops.put_nowait, number)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up, os.isatty(2))

    def reload(self, done: Callable[[Sequence[str]], None]) -> None:
        self.reloader.request("the admin API", done)

    def drain(self) -> None:
        log.info("the admin API: draining, and staying")
        self.drainer.begin()

    def shutdown(self) -> None:
        if not self._shut_down:
            self._shut_down = True
            self.stops.put_nowait(signal.SIGTERM)

    def application_ended(self) -> None:
        self.stops.put_nowait(signal.SIGCHLD)

    def _hang_up(self, on_terminal: bool) -> None:
        """SIGHUP means "read your configuration again" and never "die", unless the terminal that we were on is no more."""
        if on_terminal and not os.isatty(2):
            self.stops.put_nowait(signal.SIGINT)
        else:
            self.reloader.request("SIGHUP")

    async def until_the_end(self, command: Command | None) -> None:
        """Waits for a reason to end, and ends; at once if there is a second one."""
        first = await self.stops.get()
        log.info("%s: draining", first.name if first is not signal.SIGCHLD else "the application has ended")
        if command is not None:
            command.stopping = first is not signal.SIGCHLD
        delay = self.reloader.loaded.config.drain.delay if first is signal.SIGTERM else 0.0
        drain = self.loop.create_task(self.drainer.run(delay))
        second = self.loop.create_task(self._next_stop(self._shut_down))
        await asyncio.wait((drain, second), return_when=asyncio.FIRST_COMPLETED)
        if second.done():
            drain.cancel()
            log.warning("%s: ending at once", second.result().name)
            if command is not None:
                await command.end(0)
        else:
            drain.result()
        second.cancel()

    async def _next_stop(self, shut_down: bool) -> signal.Signals:
        """A reason to end at once. The end of the application is what a drain waits for; and a supervisor whose hook has
        called ``shutdown`` sends its first SIGTERM afterwards."""
        while True:
            number = await self.stops.get()
            if number is signal.SIGTERM and shut_down:
                shut_down = False
            elif number is not signal.SIGCHLD:
                return number


_OTHERS: Final = {"local": "those of this machine", "static": ""}
"""Services that the configuration does not name, by the kind of registry that knows them."""


def say_where(sidecar: Sidecar) -> None:
    """Tells where each listener is, and what is behind it."""
    config = sidecar.config
    count, others = len(config.services), _OTHERS.get(config.registry.kind, f"those of {config.registry.kind}")
    written = f"{count} service{'s' * (count != 1)}"
    behind = {
        "inbound": str(config.service.app),
        "outbound": " and ".join(filter(None, (written if count or not others else "", others))),
    }
    for listener, address in sidecar.bound().items():
        to = f" -> {behind[listener]}" if listener in behind else ""
        log.info("%s: %s on %s%s", config.service.name, listener, Address(*address), to)
