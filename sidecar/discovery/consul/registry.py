"""Consul as a source: our entry there, and the instances of the services that are called."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from sidecar.clock import Clock, Random
from sidecar.discovery.consul.agent import Agent, Reading, Trouble, token_of
from sidecar.discovery.consul.outage import Outage
from sidecar.discovery.consul.registration import Registration
from sidecar.discovery.consul.settings import Settings
from sidecar.discovery.consul.watch import Watches
from sidecar.discovery.source import Instance, State, Told

RETURN_SECONDS: Final = 60.0
"""How often the first agent is tried while another one is asked."""


class Agents:
    """Those that can be asked for others: the first, and while that fails the next one."""

    def __init__(self, clock: Clock, agents: Sequence[Agent]) -> None:
        self._clock = clock
        self._agents = agents
        self._current = 0
        self._left_at = 0.0
        """When the first one was tried last."""
        self._moving = asyncio.Lock()
        self._tries = 0
        self._none = ""
        """Why the last try found none that answers."""

    async def instances(self, service: str, index: int, wait: float) -> Reading:
        """As ``Agent.instances``."""
        if self._current and self._clock.now() - self._left_at >= RETURN_SECONDS:
            self._left_at = self._clock.now()  # Of all questions that come now, one tries.
            with suppress(Trouble):
                await self.reach()
        current = self._current
        try:
            return await self._agents[current].instances(service, index, wait)
        except Trouble:
            if len(self._agents) == 1:
                raise
            tries = self._tries
            async with self._moving:
                # Another question may have failed as ours has, and tried for both.
                if current == self._current and tries == self._tries:
                    await self.reach()
                elif self._none:
                    raise Trouble(self._none) from None
            return await self._agents[self._current].instances(service, 0, 0.0)

    async def reach(self) -> None:
        """Goes over to the first agent that answers. Raises ``Trouble`` if none does."""
        troubles = []
        self._left_at = self._clock.now()
        for number, agent in enumerate(self._agents):
            try:
                await agent.reach()
            except Trouble as error:
                troubles.append(str(error))
            else:
                self._current = number
                break
        self._none = "; ".join(troubles) if len(troubles) == len(self._agents) else ""
        self._tries += 1
        if self._none:
            raise Trouble(self._none)


class ConsulRegistry:
    """A source (``discovery.source``). Has to be made on a running loop; ``OSError`` if its TLS files are no good."""

    certain = False

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock, random: Random, settings: Settings) -> None:
        token = token_of(settings.token_file)
        self._all = [Agent(url, settings, token) for url in (settings.address, *settings.agents)]
        self._agents = agents = Agents(clock, self._all)
        self._loop = loop
        self._first_steps: list[asyncio.Task[None]] = []
        self._outage = Outage(loop, clock, random, agents.reach)
        self._registration = Registration(loop, clock, random, self._all[0], settings)
        self._told: dict[str, Told] = {}
        self._watches = Watches(loop, clock, random, agents, self._outage, settings.watches, self._tell)
        self._started = False

    def subscribe(self, service: str, told: Told) -> None:
        self._told[service] = told
        if self._started:
            self._watches.add(service)

    def unsubscribe(self, service: str) -> None:
        self._told.pop(service, None)
        self._watches.remove(service)

    def register(self, instance: Instance) -> None:
        self._registration.want(instance)

    def announce(self, service: str, admin: str, listeners: Mapping[str, str]) -> None:
        """Commands find a sidecar by its configuration."""

    async def deregister(self) -> None:
        await self._registration.withdraw()

    def state(self) -> State:
        return State(
            seen=self._outage.answered,
            stale_since=self._outage.since,
            registered=self._registration.registered,
            trouble=self._outage.trouble or self._registration.trouble,
        )

    async def start(self) -> None:
        self._started = True
        for service in self._told:
            self._watches.add(service)
        # Tasks of their own: whoever waits for us may give up, and all of it has to go on.
        self._first_steps = [
            self._loop.create_task(step)
            for step in (self._registration.start(), self._watches.first_answers(), self._first())
        ]
        await asyncio.wait(self._first_steps)

    async def _first(self) -> None:
        """Where no service is followed yet, nobody else finds out whether there is a registry at all."""
        try:
            await self._agents.reach()
        except Trouble as error:
            self._outage.begin(error)
        else:
            self._outage.answered = True

    async def close(self) -> None:
        for step in self._first_steps:
            step.cancel()
        self._watches.close()
        self._outage.close()
        try:
            await self._registration.close()
        finally:  # Whoever waits for us may give up before the agent has answered.
            for agent in self._all:
                await agent.close()

    def _tell(self, service: str, instances: Sequence[Instance]) -> None:
        told = self._told.get(service)
        if told is not None:
            told(instances)
