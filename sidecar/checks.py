"""Whom a sidecar asks whether they are well: what the configuration says about that, handed to ``health``, if it says any.

Whoever asks after nobody does without all of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sidecar.assembly import Assembly
from sidecar.clock import Clock, Random
from sidecar.model import Endpoint
from sidecar.proxy.dialer import SocketDialer
from sidecar.proxy.outbox import Outbox
from sidecar.proxy.pool import Pools
from sidecar.timing.wheel import Wheel

if TYPE_CHECKING:
    from sidecar.health.health import Health


class Checks:
    """``review`` is told a service of which an endpoint is held ill or well now, ``register`` is called when the
    application's health is another. ``implied``: the registry needs a sign of life from the application."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        random: Random,
        wheel: Wheel,
        implied: bool,
        review: Callable[[str], None],
        register: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._random = random
        self._wheel = wheel
        self._implied = implied
        self._review = review
        self._register = register
        self._pools: Pools | None = None
        self._started = False
        self.health: Health | None = None
        """``None`` as long as nobody is asked after."""

    @property
    def trouble(self) -> str:
        """Why others should not be sent to our application, empty if they may be."""
        return self.health.trouble if self.health is not None else ""

    def follow(self, assembly: Assembly, serving: bool) -> None:
        """Asks after those whom the configuration of ``assembly`` names; ``serving``: others can call the application."""
        config = assembly.config
        policies = (config.defaults, *config.services.values())
        asked = config.service.health is not None or config.dependencies or any(one.health for one in policies)
        if self.health is None and not asked and not (self._implied and serving):
            return
        health = self.health = self.health or self._new_health(assembly)
        app = config.service.app
        place = (app.host, app.port) if app is not None and serving else None
        health.follow_application(config.service.health, self._implied, place)
        health.follow_dependencies(config.dependencies)
        for name in health.peers.followed() - assembly.services.keys():
            self.forget(name)
        for name, service in assembly.services.items():
            self.publish(assembly, name, service.listed)
        if self._started:
            health.start()

    def _new_health(self, assembly: Assembly) -> Health:
        from sidecar.health.health import Health

        # Checks have connections of their own: they are no traffic, and what they find is told by their verdicts.
        dialer = SocketDialer(self._loop)
        pools = self._pools = Pools(
            self._wheel, self._clock, assembly.config.limits, dialer, lambda name: None, Outbox(self._loop.call_soon)
        )
        return Health(self._loop, self._clock, self._random, pools, self._review, self._changed)

    def publish(self, assembly: Assembly, name: str, listed: Sequence[Endpoint]) -> None:
        """These are all endpoints of service ``name``."""
        if self.health is not None:
            self.health.follow_peers(name, assembly.config.policy(name).health, listed)

    def forget(self, name: str) -> None:
        """Nobody calls that service any more."""
        if self.health is not None:
            self.health.follow_peers(name, None, ())

    def start(self) -> None:
        self._started = True
        if self.health is not None:
            self.health.start()

    def close(self) -> None:
        if self.health is not None:
            self.health.close()
        if self._pools is not None:
            self._pools.close()

    def _changed(self) -> None:
        if self._started:
            self._register()
