"""A registry in a file: ``{"orders": ["127.0.0.1:8001", "127.0.0.1:8002"]}``, read again when it changes."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Annotated

import msgspec

from sidecar.discovery.source import Instance, Setup, Source, State, Told
from sidecar.model import Duration


class FileRegistry(Source):
    class Settings(msgspec.Struct, frozen=True):
        """``[registry.options]``."""

        path: str
        every: Annotated[Duration, msgspec.Meta(description="How often the file is looked at.")] = 0.5

    certain = True  # Who is not in the file any more is gone: somebody has written that.

    def __init__(self, setup: Setup[Settings]) -> None:
        self._setup = setup
        self._followers: dict[str, Told] = {}
        self._last: dict[str, list[Instance]] = {}
        self._state = State()
        self._task: asyncio.Task[None] | None = None

    def subscribe(self, service: str, told: Told) -> None:
        self._followers[service] = told
        self._last.pop(service, None)  # The next look tells, whatever it finds.

    def unsubscribe(self, service: str) -> None:
        self._followers.pop(service, None)

    def state(self) -> State:
        return self._state

    async def start(self) -> None:
        self._look()
        self._task = self._setup.loop.create_task(self._run())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._setup.settings.every)
            self._look()

    def _look(self) -> None:
        try:
            with open(os.path.expanduser(self._setup.settings.path)) as file:
                services = {name: [_instance(name, one) for one in some] for name, some in json.load(file).items()}
        except (OSError, ValueError, AttributeError, TypeError) as error:
            since = self._state.stale_since or self._setup.clock.now()
            self._state = State(seen=self._state.seen, stale_since=since, trouble=str(error))
            return  # What was told last stays.
        self._state = State(seen=True)
        for service, told in tuple(self._followers.items()):
            found = services.get(service, [])
            if self._last.get(service) != found:
                self._last[service] = found
                told(found)


def _instance(service: str, address: str) -> Instance:
    host, _, port = address.rpartition(":")
    return Instance(service=service, host=host.strip("[]"), port=int(port))
