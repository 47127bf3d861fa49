"""Active checks of the endpoints of services, where somebody has asked for them.

Each endpoint has a monitor of its own for as long as it is listed. A new one counts as well until its checks say
otherwise: it has just been registered, and not to use it before its first check would leave a small service without
anybody. Checks of many begin spread over an interval, and few run at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from sidecar.clock import Clock, Random
from sidecar.health.making import new_probe
from sidecar.health.monitor import Counts, Monitor
from sidecar.health.pool import Pool
from sidecar.health.settings import Peers as Settings
from sidecar.health.verdict import Verdict
from sidecar.model import Endpoint
from sidecar.resilience.standing import judge

FEW: Final = 64
"""Checks that run at a time."""


class _Service:
    """The monitors of one service."""

    __slots__ = ("counts", "monitors", "settings")

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.counts = Counts()
        self.monitors: dict[Endpoint, Monitor] = {}


class Peers:
    """``changed`` is told a service of which an endpoint is held ill or well by its checks now."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        random: Random,
        pool: Pool,
        changed: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._random = random
        self._pool = pool
        self._changed = changed
        self._few = asyncio.Semaphore(FEW)
        self._services: dict[str, _Service] = {}
        self._started = False

    def follow(self, name: str, settings: Settings | None, listed: Sequence[Endpoint]) -> None:
        """The endpoints of service ``name``, all of them, and how they are to be checked; ``None``: not at all."""
        service = self._services.get(name)
        if service is not None and service.settings != settings:
            self._drop(name, service)
            service = None
        if settings is None:
            return
        if service is None:
            service = self._services[name] = _Service(settings)
        for endpoint in service.monitors.keys() - set(listed):
            service.monitors.pop(endpoint).close()
        for endpoint in listed:
            if endpoint not in service.monitors:
                service.monitors[endpoint] = self._monitor(name, service, endpoint)

    def _monitor(self, name: str, service: _Service, endpoint: Endpoint) -> Monitor:
        settings = service.settings
        verdict = Verdict(settings.unhealthy_after, settings.healthy_after, well=True)
        monitor = Monitor(
            self._loop,
            self._clock,
            self._random,
            settings,
            new_probe(self._loop, self._pool, settings, endpoint.host, settings.port or endpoint.port),
            verdict,
            partial(self._tell, name, endpoint, verdict),
            service.counts,
            jitter=settings.jitter,
            few=self._few,
        )
        if self._started:
            monitor.start()
        return monitor

    def _tell(self, name: str, endpoint: Endpoint, verdict: Verdict) -> None:
        if judge(endpoint, check=verdict.reason):
            self._changed(name)

    def _drop(self, name: str, service: _Service) -> None:
        """Checked no more: nobody holds them ill any longer."""
        del self._services[name]
        for endpoint, monitor in service.monitors.items():
            monitor.close()
            judge(endpoint, check="")
        self._changed(name)

    def followed(self) -> set[str]:
        """The services of which anybody is checked."""
        return set(self._services)

    def counts(self) -> list[tuple[str, Counts]]:
        """By service."""
        return [(name, service.counts) for name, service in self._services.items()]

    def start(self) -> None:
        self._started = True
        for service in self._services.values():
            for monitor in service.monitors.values():
                monitor.start()

    def close(self) -> None:
        for service in self._services.values():
            for monitor in service.monitors.values():
                monitor.close()
