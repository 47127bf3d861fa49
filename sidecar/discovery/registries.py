"""Who follows which registry: every service that is called has its endpoints from here.

A service whose endpoints are written in the configuration has them from there. All others are asked of the *source*, the
registry that moves by itself, if there is one: those that the configuration names from the start, those that it does not
name when they are first called. Such a call waits for the answer; that there is no such service is remembered for a
while, so that a caller of a wrong name does not wait each time.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import inf
from typing import Final

from sidecar.clock import Clock
from sidecar.discovery.doubt import Doubt
from sidecar.discovery.endpoint_set import EndpointSet
from sidecar.discovery.source import Instance, Selective, Source, State
from sidecar.discovery.static import StaticRegistry, Written
from sidecar.model import Endpoint
from sidecar.timing.wheel import Wheel

FIRST_ANSWER_SECONDS: Final = 3.0
"""How long a start or a reload waits for names that have not been resolved yet, and for the source."""
READY_SECONDS: Final = 5.0
"""After so long we are ready without having seen the registry, and say so."""
CLOSE_SECONDS: Final = 2.0
MISS_SECONDS: Final = 5.0
"""How long it is remembered that there is no such service."""
FOUND_AT_MOST: Final = 1000
"""Services beyond those of the configuration; names come from callers, and must not fill the memory."""

log = logging.getLogger("sidecar.discovery")


class Unusable(Exception):
    """The registry cannot be used, and only a person can change that."""


class Lookup:
    """The question whether there is a service of a name."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[Callable[[], None]] = []

    def wait(self, then: Callable[[], None]) -> None:
        """Calls ``then`` once it is known."""
        self._waiting.append(then)

    def answer(self) -> None:
        for then in self._waiting:
            then()


class Registries:
    """``publish`` gets a service's endpoints whenever they have changed. ``found`` is told that there is a service of a
    name that no configuration has, before its endpoints are published."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        wheel: Wheel,
        source: Source | None,
        grace: float,
        publish: Callable[[str, Sequence[Endpoint]], None],
        found: Callable[[str], None],
    ) -> None:
        """``grace``: how long instances are kept that vanish too suddenly (``doubt``)."""
        self.source = source
        self._grace = 0.0 if source is None or source.certain else grace
        self._doubts: dict[str, Doubt] = {}
        self._settling = wheel.timer(self)
        self._selective = source if isinstance(source, Selective) else None
        self._loop = loop
        self._clock = clock
        self._publish = publish
        self._found = found
        self._static: dict[str, StaticRegistry] = {}
        self._resolving: dict[str, asyncio.Task[None]] = {}
        self._followed: set[str] = set()
        """Services that the source tells of."""
        self._endpoints: dict[str, EndpointSet] = {}
        """By service: whoever tells of them, an address that stays is the same endpoint."""
        self._asked: dict[str, Lookup] = {}
        self._missed: OrderedDict[str, float] = OrderedDict()
        self._began = clock.now()
        self._named: frozenset[str] = frozenset()

    # The configuration

    def follow(self, written: Mapping[str, Sequence[Written]]) -> None:
        """The services of the configuration and the endpoints that it gives them, from here on."""
        for name in self._static.keys() - written.keys():
            del self._static[name]
        for name in self._named - written.keys():
            self.forget(name)
        self._named = frozenset(written)
        for name, endpoints in written.items():
            if endpoints or self.source is None:
                self._unfollow(name)
                self._registry(name).write(endpoints)
                lookup = self._asked.pop(name, None)
                if lookup is not None:
                    lookup.answer()
            else:
                self._static.pop(name, None)
                self._follow(name)

    def _registry(self, name: str) -> StaticRegistry:
        registry = self._static.get(name)
        if registry is None:
            publish = partial(self._publish, name)
            registry = self._static[name] = StaticRegistry((), publish, endpoints=self._set_of(name))
        return registry

    def _set_of(self, name: str) -> EndpointSet:
        return self._endpoints.setdefault(name, EndpointSet(name))

    async def learn(self, written: Mapping[str, Sequence[Written]]) -> None:
        """Resolves the host names that are new in ``written``: no service must be without endpoints when it begins."""
        new = [self._registry(name).learn(endpoints) for name, endpoints in written.items() if endpoints]
        try:
            async with asyncio.timeout(FIRST_ANSWER_SECONDS):
                await asyncio.gather(*new)
        except TimeoutError:
            log.warning("some names of the new configuration are not resolved yet; going by it all the same")

    def resolve(self) -> list[StaticRegistry]:
        """Sees to it that host names, and only they, are resolved again and again; the registries that have some."""
        named = {name: registry for name, registry in self._static.items() if registry.has_names}
        for name in tuple(self._resolving):
            if name not in named or not named[name].complete:
                self._resolving.pop(name).cancel()
        for name, registry in named.items():
            if name not in self._resolving:
                self._resolving[name] = self._loop.create_task(registry.run())
        return list(named.values())

    # The source

    def _follow(self, name: str) -> None:
        if self.source is not None and name not in self._followed:
            self._followed.add(name)
            self.source.subscribe(name, partial(self._told, name))

    def _unfollow(self, name: str) -> None:
        if name in self._followed and self.source is not None:
            self._followed.discard(name)
            self._doubts.pop(name, None)
            self.source.unsubscribe(name)

    def forget(self, name: str) -> None:
        """Nobody calls that service any more."""
        self._unfollow(name)
        self._endpoints.pop(name, None)

    def owns(self, name: str) -> bool:
        """Whether a name with a dot in it could be a service that no configuration has."""
        return self._selective is not None and self._selective.owns(name)

    def find(self, name: str) -> Lookup | None:
        """The question whether there is a service ``name``, if it is worth waiting for an answer."""
        if self._selective is not None and not self._selective.owns(name):
            return None
        lookup = self._asked.get(name)
        if lookup is not None or self.source is None or name in self._followed:
            return lookup
        if self._missed.get(name, 0.0) > self._clock.now() or len(self._followed) - len(self._named) >= FOUND_AT_MOST:
            return None
        self._follow(name)
        lookup = self._asked[name] = Lookup()
        return lookup

    def _told(self, name: str, instances: Sequence[Instance]) -> None:
        lookup = self._asked.pop(name, None)
        if lookup is not None and not instances:
            self._unfollow(name)
            self._remember_miss(name)
        elif name in self._followed:
            if lookup is not None:
                self._found(name)
            doubt = self._doubts.get(name)
            if doubt is None:
                doubt = self._doubts[name] = Doubt(self._grace)
            self._update(name, doubt.hear(instances, self._clock.now()))
            self._settling.set(min(self._settling.due, doubt.due()))
        if lookup is not None:
            lookup.answer()

    def _update(self, name: str, instances: Sequence[Instance]) -> None:
        endpoints = self._set_of(name).update(instances)
        if endpoints is not None:
            self._publish(name, endpoints)

    def on_timer(self, now: float) -> None:
        """Some of what has been doubted is due to be believed."""
        believed = self.source is not None and self.source.state().stale_since is None
        for name, doubt in self._doubts.items():
            if doubt.due() <= now:
                self._update(name, doubt.settle(now, believed))
        self._settling.set(min((doubt.due() for doubt in self._doubts.values()), default=inf))

    def _remember_miss(self, name: str) -> None:
        self._missed[name] = self._clock.now() + MISS_SECONDS
        self._missed.move_to_end(name)
        if len(self._missed) > FOUND_AT_MOST:
            self._missed.popitem(last=False)

    # Life

    async def start(self) -> None:
        """Begins, and waits a moment for first answers. Raises ``Unusable``."""
        named = self.resolve()
        try:
            async with asyncio.timeout(FIRST_ANSWER_SECONDS):
                if self.source is not None:
                    await self.source.start()
                for registry in named:
                    await registry.asked.wait()
        except TimeoutError:
            log.warning("%s; starting without", self.seen()[1])
        except OSError as error:
            raise Unusable(error.strerror or str(error)) from error

    def state(self) -> State | None:
        """How the source fares, if there is one."""
        return self.source.state() if self.source is not None else None

    def seen(self) -> tuple[bool, str]:
        """Whether enough is known to be ready, and in words what is not."""
        missing = [name for name, registry in self._static.items() if not registry.complete]
        # A name that does not resolve today must not keep everything else from being served.
        detail = f"not resolved yet: {', '.join(missing)}" if missing else "all endpoints are known"
        if self.source is None:
            return True, detail
        state = self.source.state()
        if not state.seen:
            late = self._clock.now() >= self._began + READY_SECONDS
            return late, "the registry has not answered yet" + (f": {state.trouble}" if state.trouble else "")
        return True, f"stale: {state.trouble}" if state.stale_since is not None else detail

    def register(self, instance: Instance | None, service: str, listeners: Mapping[str, str]) -> None:
        """Others shall find ``instance``, and commands on this machine the ``listeners`` of our ``service``."""
        source = self.source
        if source is None:
            return
        try:
            source.announce(service, listeners.get("admin", ""), listeners)
            if instance is not None:
                source.register(instance)
        except ValueError as error:
            log.error("others will not find us: what [service] says of us cannot be registered: %s", error)

    async def deregister(self) -> None:
        """Others shall find us no more; returns when they know, or after a moment."""
        if self.source is not None:
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self.source.deregister()
            except TimeoutError:
                log.warning("the registry does not answer: others may call us until they see that we are not ready")

    async def close(self) -> None:
        self._settling.cancel()
        for task in self._resolving.values():
            task.cancel()
        if self.source is not None:
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self.source.close()
            except TimeoutError:
                log.warning("the registry does not answer: it will find out by itself that we have ended")
