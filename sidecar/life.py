"""The life of the process: from its first listener, through signals, to its exit.

SIGTERM begins a drain, second by second: first we are not ready but accept as before, so that whoever watches readiness
sends no more (``drain.delay``); then inbound finishes what runs and takes nothing new; then outbound serves the
application until it is idle. All of it within ``delay`` + ``grace``. SIGINT skips the first part, a second signal all.

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
from collections.abc import Callable
from functools import partial

import uvloop

from sidecar.app import Sidecar
from sidecar.clock import Clock, Random
from sidecar.config.load import Loaded
from sidecar.proxy.listener import LAST_REQUEST_SECONDS, Listener
from sidecar.reload import Reloader
from sidecar.telemetry.export.install import install, new_writer
from sidecar.telemetry.export.writer import Writer

QUIET_SECONDS = 1.0
"""How long nothing may have begun for outbound to count as idle."""
POLL_SECONDS = 0.05

log = logging.getLogger("sidecar")


def run(loaded: Loaded, read: Callable[[], Loaded], path: str | None) -> int:
    """Runs a sidecar until a signal ends it; the exit status."""
    clock = Clock()
    writer = new_writer(clock)
    install(loaded.config.log, clock, writer)
    writer.start()
    _raise_descriptor_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_live(loaded, read, path, clock, writer))


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _live(loaded: Loaded, read: Callable[[], Loaded], path: str | None, clock: Clock, writer: Writer) -> int:
    config = loaded.config
    loop = asyncio.get_running_loop()
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number)
    sidecar = Sidecar(config, loop, clock, Random(), writer=writer)
    try:
        await sidecar.start()
    except OSError as error:
        log.error(
            "cannot listen: %s; choose another address with --inbound, --outbound or --probes", error.strerror or error
        )
        await sidecar.close()
        return 1
    _say_where(sidecar)
    reloader = Reloader(sidecar, loaded, read, partial(install, clock=clock, writer=writer))
    loop.add_signal_handler(signal.SIGHUP, reloader.request, "SIGHUP")
    watching = [loop.create_task(reloader.watch(path))] if path is not None else []
    # What has been made until now lives as long as the process: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    try:
        first = await signals.get()
        log.info("%s: draining", first.name)
        drain = loop.create_task(_drain(sidecar, clock, config.drain.delay if first is signal.SIGTERM else 0.0))
        second = loop.create_task(signals.get())
        await asyncio.wait((drain, second), return_when=asyncio.FIRST_COMPLETED)
        if second.done():
            log.warning("%s: ending at once", second.result().name)
        else:
            drain.result()
        second.cancel()
        drain.cancel()
    finally:
        for task in watching:
            task.cancel()
        await sidecar.close()
    log.info("bye")
    return 0


def _say_where(sidecar: Sidecar) -> None:
    app = sidecar.config.service.app
    for name, listener in sidecar.listeners.items():
        if listener.address is not None:
            to = {"inbound": f" -> {app}", "outbound": f" -> {len(sidecar.assembly.services)} services"}.get(name, "")
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
    left = sum(listener.owing() for listener in (inbound, outbound) if listener is not None)
    if left:
        log.warning("requests that did not end in time and are cut off: %d", left)


async def _finish(listener: Listener, clock: Clock, end: float) -> None:
    """Takes no new connection, and lets those that stand have their answers."""
    listener.end()
    listener.accepting = False
    patience = min(end, clock.now() + LAST_REQUEST_SECONDS)
    while listener.connections and clock.now() < patience:
        await asyncio.sleep(POLL_SECONDS)
    listener.close_idle()
    while listener.owing() and clock.now() < end:
        await asyncio.sleep(POLL_SECONDS)


async def _serve_until_quiet(sidecar: Sidecar, outbound: Listener, clock: Clock, end: float) -> None:
    """Serves the application until it asks for nothing more, or until ``end``.

    It may connect as often as it likes, but no connection is kept: it never finds one closed that it counts on.
    """
    outbound.end()
    ended = sidecar.ended_outbound()
    quiet_since = clock.now()
    while clock.now() < end and (outbound.owing() or clock.now() < quiet_since + QUIET_SECONDS):
        await asyncio.sleep(POLL_SECONDS)
        if sidecar.ended_outbound() != ended:
            ended = sidecar.ended_outbound()
            quiet_since = clock.now()
