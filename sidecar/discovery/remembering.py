"""A source that starts from what it was told the last time, while its registry does not answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import partial

from sidecar.discovery.snapshot import Snapshot
from sidecar.discovery.source import Instance, Selective, Source, State, Told

log = logging.getLogger("sidecar.discovery")


class Remembering:
    """``source``, and a snapshot of what it tells. As soon as the registry has answered for a service, that counts."""

    def __init__(self, loop: asyncio.AbstractEventLoop, source: Source, snapshot: Snapshot) -> None:
        self.certain = source.certain
        self._loop = loop
        self._source = source
        self._snapshot = snapshot
        self._told: dict[str, Told] = {}
        self._heard_of: set[str] = set()
        self._waited = False
        """Whether the registry has had its time to answer first."""

    def subscribe(self, service: str, told: Told) -> None:
        self._told[service] = told
        self._heard_of.discard(service)
        self._source.subscribe(service, partial(self._heard, service))
        if self._waited:
            self._loop.call_soon(self._remember, service)

    def unsubscribe(self, service: str) -> None:
        self._told.pop(service, None)
        self._source.unsubscribe(service)

    def register(self, instance: Instance) -> None:
        self._source.register(instance)

    def announce(self, service: str, admin: str, listeners: Mapping[str, str]) -> None:
        self._source.announce(service, admin, listeners)

    async def deregister(self) -> None:
        await self._source.deregister()

    def state(self) -> State:
        return self._source.state()

    async def start(self) -> None:
        try:
            await self._source.start()
        finally:  # Whoever waits for us may have waited long enough.
            self._waited = True
            for service in self._told:
                self._loop.call_soon(self._remember, service)

    async def close(self) -> None:
        await self._source.close()
        await self._snapshot.close()

    def _heard(self, service: str, instances: Sequence[Instance]) -> None:
        told = self._told.get(service)
        if told is not None:
            self._heard_of.add(service)
            self._snapshot.note(service, instances)
            told(instances)

    def _remember(self, service: str) -> None:
        told, known = self._told.get(service), self._snapshot.known.get(service)
        trouble = self._source.state()
        away = not trouble.seen or trouble.stale_since is not None
        if told is not None and known and away and service not in self._heard_of:
            log.warning("the registry does not answer: calling %s where it was when it last did", service)
            told(known)


class SelectiveRemembering(Remembering):
    """The same of one that knows by a name whether it could be one of its services."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, source: Source, snapshot: Snapshot, selective: Selective
    ) -> None:
        super().__init__(loop, source, snapshot)
        self.owns = selective.owns


def remembering(loop: asyncio.AbstractEventLoop, source: Source, snapshot: Snapshot) -> Source:
    """``source`` with a memory; it is ``Selective`` if the source is, and not if it is not."""
    if isinstance(source, Selective):
        return SelectiveRemembering(loop, source, snapshot, source)
    return Remembering(loop, source, snapshot)
