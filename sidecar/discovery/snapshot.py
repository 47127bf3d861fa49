"""What a registry has told, in a file: for the start of a sidecar while its registry is away.

A sidecar that runs keeps what it knows in memory. One that starts during an outage would know nobody, and restarts tend to
come with outages. So what is told is written down, seldom and beside the loop, and read once at the start; it is gone by
only as long as the registry has not answered. The file is replaced as a whole, belongs to us alone, and if it makes no
sense it is as if it were not there.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from sidecar.clock import Clock
from sidecar.discovery.source import Instance
from sidecar.timing.wheel import Wheel

SCHEMA: Final = 1
WRITE_SECONDS: Final = 10.0
"""News wait so long for others before the file is written."""
MOST_BYTES: Final = 64 << 20

log = logging.getLogger("sidecar.discovery")


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema: int
    services: Mapping[str, Sequence[Instance]]


class Snapshot:
    """The file at ``path``."""

    __slots__ = ("_clock", "_loop", "_path", "_services", "_task", "_timer", "known")

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock, wheel: Wheel, path: str) -> None:
        self._loop = loop
        self._clock = clock
        self._path = path
        self._timer = wheel.timer(self)
        self._task: asyncio.Task[None] | None = None
        self.known: Mapping[str, Sequence[Instance]] = _read(path)
        """What was told when the file was written."""
        self._services: dict[str, Sequence[Instance]] = {}

    def note(self, service: str, instances: Sequence[Instance]) -> None:
        """The registry tells of these; without any, the service is left out."""
        if instances:
            self._services[service] = instances
        else:
            self._services.pop(service, None)
        self._timer.set(min(self._timer.due, self._clock.now() + WRITE_SECONDS))

    def on_timer(self, now: float) -> None:
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._write())
        else:
            self._timer.set(now + WRITE_SECONDS)

    async def close(self) -> None:
        """What has not been written yet is written now."""
        due = self._timer.due
        self._timer.cancel()
        if self._task is not None:
            await self._task
        if due <= self._clock.now() + WRITE_SECONDS:
            await self._write()

    async def _write(self) -> None:
        # A copy of the table: the thread must not meet a service that is just being added.
        services = dict(self._services)
        try:
            await asyncio.to_thread(_replace, self._path, services)
        except OSError as error:
            log.warning("cannot write what the registry tells to %s: %s", self._path, error.strerror or error)


def _replace(path: str, services: Mapping[str, Sequence[Instance]]) -> None:
    data = msgspec.json.encode(_File(SCHEMA, services))
    new = f"{path}.{os.getpid()}.new"
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
        os.replace(new, path)
    except OSError:
        with suppress(OSError):
            os.unlink(new)
        raise


def _read(path: str) -> Mapping[str, Sequence[Instance]]:
    try:
        with open(path, "rb") as file:
            read = msgspec.json.decode(file.read(MOST_BYTES), type=_File)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        log.warning("ignoring %s, which should hold what the registry told: %s", path, error)
        return {}
    if read.schema != SCHEMA:
        log.warning("ignoring %s: it was written by another version", path)
        return {}
    return read.services
