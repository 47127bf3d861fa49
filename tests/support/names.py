"""Names for the DNS registry to ask for: a resolver that answers what the test says, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sidecar.clock import Clock, Random
from sidecar.discovery.dns.registry import DnsRegistry
from sidecar.discovery.dns.resolver import Answer, Kind, Record, Trouble
from sidecar.discovery.dns.settings import DnsRegistry as Settings
from sidecar.discovery.source import Instance
from tests.support.virtual import VirtualLoop

NXDOMAIN = Answer(exists=False)


def addresses(*data: str, ttl: int = 30) -> Answer:
    return Answer([Record("", ttl, one) for one in data])


def srv(*targets: tuple[str, int, int, int], ttl: int = 30, **extra: str) -> Answer:
    """``targets``: name, port, priority and weight. ``extra``: addresses that come along, by name."""
    records = [Record("", ttl, name, port, priority, weight) for name, port, priority, weight in targets]
    return Answer(records, [Record(name, ttl, address) for name, address in extra.items()])


class Zone:
    """A resolver: what it ``says`` about a name and a kind, else that there is no such name. An answer takes ``delay``."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.says: dict[tuple[str, Kind], Answer | Trouble] = {}
        self.asked: list[tuple[str, Kind]] = []
        self.times: list[float] = []
        self.delay = 0.001
        self.down: Trouble | None = None
        self.open = 0
        self.most = 0
        """So many questions were open at once."""
        self.closed = False

    async def ask(self, name: str, kind: Kind) -> Answer:
        self.asked.append((name, kind))
        self.times.append(self.loop.time())
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            await asyncio.sleep(self.delay)
        finally:
            self.open -= 1
        said = self.down or self.says.get((name, kind), NXDOMAIN)
        if isinstance(said, Trouble):
            raise said
        return said

    async def close(self) -> None:
        self.closed = True


class Asker:
    """A registry over a zone, and what it has told by service."""

    def __init__(self, loop: VirtualLoop, settings: Settings, zone: Zone | None = None) -> None:
        self.loop = loop
        self.zone = zone or Zone(loop)
        self.told: dict[str, list[Sequence[Instance]]] = {}
        clock = Clock(loop.time, loop.time)
        self.registry = DnsRegistry(loop, clock, Random(7), settings, lambda *about: self.zone)

    def start(self, *services: str) -> None:
        self.watch(*services)
        self.loop.run_until_complete(self.registry.start())

    def watch(self, *services: str) -> None:
        for service in services:
            self.registry.subscribe(service, self.told.setdefault(service, []).append)

    def wait(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def sees(self, service: str) -> list[str]:
        return [f"{one.host}:{one.port}" for one in self.told[service][-1]]
