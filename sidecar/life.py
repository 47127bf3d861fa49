"""The life of the process: from its first listener, through signals, to its exit.

SIGTERM begins a drain, second by second: first we are not ready but accept as before, so that whoever watches readiness
sends no more (``drain.delay``); then inbound finishes what runs and takes nothing new; then outbound serves the
application until it is idle. All of it within ``delay`` + ``grace``. SIGINT skips the first part, a second signal all.

With a COMMAND the application's life is ours as well. It is told to end when inbound has finished, outbound serves it
until it has ended, and its end, whenever it comes, is our own.

A connection that seems idle may have a request on its way, and closing it would lose that request. So none is closed
the moment a drain gets to it: for ``LAST_REQUEST_SECONDS`` it may bring one more, whose response says that it is the
last. Nor is a request over when its response is written: it is when the peer has taken the last byte.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING

import uvloop

from sidecar.app import Sidecar
from sidecar.clock import Clock, Random
from sidecar.config.schema import Config
from sidecar.proxy.listener import Listener

if TYPE_CHECKING:  # Whoever has no COMMAND does without all that it needs.
    from sidecar.command import Command

QUIET_SECONDS = 1.0
"""How long nothing may have begun for outbound to count as idle."""
LAST_REQUEST_SECONDS = 1.0
"""How long an idle connection may still bring a request while inbound drains."""
COMMAND_SECONDS = 5.0
"""How long COMMAND has at least from its SIGTERM on; a quarter of ``grace`` where that is less."""
ALONE_SECONDS = 2.0
"""How long we go on when COMMAND has ended by itself."""
POLL_SECONDS = 0.05

log = logging.getLogger("sidecar")


def run(config: Config, command: Command | None = None) -> int:
    """Runs a sidecar until a signal, or the end of its application, ends it; the exit status."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if command is not None:
        command.mark_log()
    _raise_descriptor_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        status = runner.run(_live(config, command))
    if command is not None:
        command.last_words()
    return status


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _live(config: Config, command: Command | None) -> int:
    loop = asyncio.get_running_loop()
    clock = Clock()
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number)
    loop.add_signal_handler(signal.SIGHUP, _hang_up, signals, sys.stderr.isatty())
    sidecar = Sidecar(config, loop, clock, Random())
    try:
        await sidecar.start()
    except OSError as error:
        log.error(
            "cannot listen: %s; choose another address with --inbound, --outbound or --probes", error.strerror or error
        )
        await sidecar.close()
        return 1
    _say_where(sidecar)
    # What has been made until now lives as long as the process: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    if command is not None and signals.empty():
        bound = {name: one.address for name, one in sidecar.listeners.items() if one.address is not None}
        command.start(loop, bound, partial(signals.put_nowait, signal.SIGCHLD))
    try:
        first = await signals.get()
        log.info("%s: draining", first.name if first is not signal.SIGCHLD else "the application has ended")
        delay = config.drain.delay if first is signal.SIGTERM else 0.0
        if command is None:
            drain = loop.create_task(_drain(sidecar, clock, delay))
        else:
            command.stopping = first is not signal.SIGCHLD
            drain = loop.create_task(_drain_with(command, sidecar, clock, delay))
        second = loop.create_task(_next_stop(signals))
        await asyncio.wait((drain, second), return_when=asyncio.FIRST_COMPLETED)
        if second.done():
            drain.cancel()
            log.warning("%s: ending at once", second.result().name)
            if command is not None:
                await command.end(0)
        else:
            drain.result()
        second.cancel()
        drain.cancel()
    finally:
        await sidecar.close()
    log.info("bye")
    return 0 if command is None else command.exit_code()


def _hang_up(signals: asyncio.Queue[signal.Signals], on_terminal: bool) -> None:
    """SIGHUP means "read your configuration again" and never "die", unless the terminal that we were on is no more."""
    if on_terminal and not sys.stderr.isatty():
        signals.put_nowait(signal.SIGINT)
    else:
        log.warning("SIGHUP: a configuration is read at the start only; restart to change it")


async def _next_stop(signals: asyncio.Queue[signal.Signals]) -> signal.Signals:
    while (number := await signals.get()) is signal.SIGCHLD:  # In a drain, that is what we are waiting for.
        pass
    return number


def _say_where(sidecar: Sidecar) -> None:
    app = sidecar.config.service.app
    for name, listener in sidecar.listeners.items():
        if listener.address is not None:
            to = {"inbound": f" -> {app}", "outbound": f" -> {len(sidecar.services)} services"}.get(name, "")
            host, port = listener.address
            log.info(
                "%s: %s on %s:%d%s", sidecar.config.service.name, name, f"[{host}]" if ":" in host else host, port, to
            )


async def _drain(sidecar: Sidecar, clock: Clock, delay: float) -> None:
    sidecar.draining = True
    end = clock.now() + delay + sidecar.config.drain.grace
    await asyncio.sleep(delay)
    inbound = sidecar.listeners.get("inbound")
    outbound = sidecar.listeners.get("outbound")
    if inbound is not None:
        await _finish(inbound, clock, end)
    if outbound is not None:
        await _serve_until_quiet(sidecar, outbound, clock, end)
    _say_what_is_cut_off(sidecar)


async def _drain_with(command: Command, sidecar: Sidecar, clock: Clock, delay: float) -> None:
    """The same with COMMAND, which outbound serves, its connections kept, until it and all its processes have ended."""
    sidecar.draining = True
    grace = sidecar.config.drain.grace
    end = clock.now() + delay + grace
    await command.ended(delay)
    inbound = sidecar.listeners.get("inbound")
    if not command.running:
        end = min(end, clock.now() + ALONE_SECONDS)
        if inbound is not None:
            await _finish(inbound, clock, end, last_request=0.0)
    elif inbound is not None:
        await _finish(inbound, clock, end - min(COMMAND_SECONDS, grace / 4))
    command.stop()
    await command.ended(end - clock.now())
    _say_what_is_cut_off(sidecar)
    await command.end(end - clock.now())


def _say_what_is_cut_off(sidecar: Sidecar) -> None:
    left = sum(listener.owing() for name, listener in sidecar.listeners.items() if name in ("inbound", "outbound"))
    if left:
        log.warning("requests that did not end in time and are cut off: %d", left)


async def _finish(listener: Listener, clock: Clock, end: float, last_request: float = LAST_REQUEST_SECONDS) -> None:
    """Takes no new connection, and lets those that stand have their answers."""
    listener.closing = True
    listener.accepting = False
    patience = min(end, clock.now() + last_request)
    while listener.connections and clock.now() < patience:
        await asyncio.sleep(POLL_SECONDS)
    listener.close_idle()
    while listener.owing() and clock.now() < end:
        await asyncio.sleep(POLL_SECONDS)


async def _serve_until_quiet(sidecar: Sidecar, outbound: Listener, clock: Clock, end: float) -> None:
    """Serves the application until it asks for nothing more, or until ``end``.

    It may connect as often as it likes, but no connection is kept: it never finds one closed that it counts on.
    """
    outbound.closing = True
    ended = sidecar.ended_outbound()
    quiet_since = clock.now()
    while clock.now() < end and (outbound.owing() or clock.now() < quiet_since + QUIET_SECONDS):
        await asyncio.sleep(POLL_SECONDS)
        if sidecar.ended_outbound() != ended:
            ended = sidecar.ended_outbound()
            quiet_since = clock.now()
