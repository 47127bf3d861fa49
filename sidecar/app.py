"""The only place that constructs and connects parts.

Requests come in on a listener (``proxy/listener``), one connection each (``proxy/downstream``), become exchanges
(``exchange/machine``), which go by a plan (``routing/plan``) to an endpoint (``proxy/upstream``). The plans are those of
an assembly, which is all that a reload replaces; listeners, services and connections live on.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from sidecar.admin.actions import Actions
from sidecar.answers import Answers
from sidecar.assembly import Assembly
from sidecar.checks import Checks
from sidecar.clock import Clock, Random
from sidecar.config.schema import Config, ServiceConfig
from sidecar.config.schema import Service as OwnService
from sidecar.config.units import Address
from sidecar.discovery.address import own_address
from sidecar.discovery.idle import Idle
from sidecar.discovery.registries import Registries
from sidecar.discovery.source import Instance, Source
from sidecar.discovery.static import Written
from sidecar.exchange.local import Handler, LocalExchange
from sidecar.exchange.machine import Exchange
from sidecar.exchange.scope import Scope
from sidecar.exchange.seams import Downstream
from sidecar.http.head import Request
from sidecar.model import Endpoint
from sidecar.overload.guards import Guards
from sidecar.proxy.dialer import SocketDialer
from sidecar.proxy.listener import Listener
from sidecar.proxy.loop_timer import LoopTimer
from sidecar.proxy.outbox import Outbox
from sidecar.proxy.pool import Dialer, Pools
from sidecar.routing.plan import Service
from sidecar.telemetry.export.install import open_access_log
from sidecar.telemetry.export.writer import Writer
from sidecar.telemetry.http2 import Http2Stats
from sidecar.telemetry.stats import Stats
from sidecar.telemetry.trace import Settings as TraceSettings
from sidecar.telemetry.trace import Tracer
from sidecar.timing.wheel import Wheel

RESERVED_FILES = 64
"""File descriptors that no connection of a listener may take: for probes, and for callers that are told to go away."""
OWN_CONNECTIONS = 100
"""How many connections may ask a sidecar about itself, on each of the listeners that serve that."""
OWN_SHARE = 0.5
"""How much of them one address may take: whoever holds connections to the probes must not keep the kubelet out."""

TROUBLE_LENGTH = 200
"""Characters of what is wrong with the application that others are told."""

log = logging.getLogger("sidecar")


class Draining(Exception):
    """A sidecar that drains takes no new configuration: it would open what is being closed."""


class Sidecar:
    """One sidecar: everything that it is made of, and ``start``, ``reload`` and ``close``."""

    def __init__(
        self,
        config: Config,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        random: Random,
        wheel: Wheel | None = None,
        dialer: Dialer | None = None,
        source: Source | None = None,
        writer: Writer | None = None,
        actions: Actions | None = None,
    ) -> None:
        """``wheel``: if others have timers on it already. ``dialer`` makes the connections to endpoints; the tests bring
        their own. ``source``: the registry that is asked for endpoints that the configuration does not have; ``writer``:
        where access is logged; ``actions``: what the admin API can do to whoever runs us."""
        self.draining = False
        self.reload_successful = True
        """Whether the configuration that was read last is the one that runs."""
        self.entries: Callable[[Callable[[Sequence[tuple[str, str, str]]], None]], None] = lambda told: told(())
        """Tells ``told`` the configuration as the admin API lists it: key, value as TOML text, origin."""
        self._loop = loop
        self._clock = clock
        self._random = random
        self._writer = writer
        self._identity = b"%016x" % random.getrandbits(64)
        self.wheel = wheel or Wheel()
        self._timer = LoopTimer(self.wheel, clock, loop)
        self._sockets = SocketDialer(loop)
        self._outbox = Outbox(loop.call_soon)
        self._pools = Pools(self.wheel, clock, config.limits, dialer or self._sockets, self._review, self._outbox)
        self.registries = Registries(
            loop,
            clock,
            self.wheel,
            source,
            config.registry.grace,
            self._publish,
            lambda name: self.assembly.discover(name),
        )
        # With DNS nobody registers, so nobody has to show a sign of life.
        implied = source is not None and not source.certain and config.registry.kind != "dns"
        self.checks = Checks(loop, clock, random, self.wheel, implied, self._review, self._register)
        self._idle = Idle(self.wheel, clock, lambda: self.assembly.calls(), self._forget)
        self._changing = asyncio.Lock()
        """Held by the start and by each reload: SIGHUP may come while listeners are still being bound."""
        self._leaving: dict[Listener, asyncio.Task[None]] = {}
        """Listeners that a reload has replaced, until their last connection has gone."""
        self.guards = Guards(self.wheel, clock, self.exchanging, lambda: self._scopes.values(), self._pools.close)
        self.assembly = self._assemble(config)
        self._answers = Answers(self, clock, actions, writer, self._new_request_id)
        self._handlers: dict[str, Handler] = {"probes": self._answers.probes}
        self._scopes: dict[str, Scope] = {}
        self._http2: dict[str, Http2Stats] = {}
        """Of each direction, one however often its listener is replaced: no sum may fall."""
        self.listeners = {name: self._new_listener(name, self.assembly) for name in self._addresses(config)}
        self._take_over(self.assembly)

    def _assemble(self, config: Config, former: Assembly | None = None) -> Assembly:
        of = self.registries
        return Assembly(config, self._random, self._identity, self._pools.forget, of.find, former, of.owns)

    @property
    def config(self) -> Config:
        return self.assembly.config

    # Listeners

    def _addresses(self, config: Config) -> dict[str, Address]:
        """Where each listener belongs, in the order in which they are bound."""
        listen = config.listen
        all_ = {"inbound": listen.inbound, "outbound": listen.outbound, "probes": listen.probes, "admin": listen.admin}
        return {name: address for name, address in all_.items() if address is not None}

    def _new_listener(self, name: str, assembly: Assembly) -> Listener:
        if name == "admin" and name not in self._handlers:
            self._handlers[name] = self._answers.new_admin()
        handler = self._handlers.get(name)
        if handler is not None:
            answering = partial(self._begin_local, handler)
            stats = Stats(name, "", "")
            return Listener(name, answering, self.wheel, self._clock, stats, self._new_request_id, self._outbox)
        scope = self._scopes.get(name)
        if scope is None:
            scope = self._scopes[name] = Scope(self._pools, self._clock, assembly.unrouted[name])
        exchanging = partial(Exchange, scope)
        http2 = self._http2.setdefault(name, Http2Stats())
        return Listener(
            name, exchanging, self.wheel, self._clock, scope.unrouted, self._new_request_id, self._outbox, http2
        )

    def _begin_local(self, handler: Handler, head: Request, connection: Downstream) -> LocalExchange:
        return LocalExchange(head, connection, handler, self._clock, self._loop.call_soon)

    def _take_over(self, assembly: Assembly) -> None:
        """From here on everything goes by ``assembly``."""
        config = assembly.config
        self.assembly = assembly
        assembly.settle()
        self._pools.limits = config.limits
        self.guards.follow(config.overload)
        self._tracer = Tracer(TraceSettings(config.trace.sample), self._random)
        writer = self._writer
        access_log = open_access_log(config.access_log, self._random, writer) if writer is not None else None
        for name, scope in self._scopes.items():
            if name in assembly.tables:
                scope.follow(assembly.tables[name].find, self._tracer, assembly.source(name), access_log)
        for name, listener in self.listeners.items():
            if name in self._handlers:
                listener.follow(assembly.source(name), config.limits, OWN_CONNECTIONS, OWN_SHARE, ())
            else:
                # The callers of outbound are one: the application.
                inbound = name == "inbound"
                listener.access_log = access_log
                share, trusted = (config.inbound.share_per_address, config.inbound.trusted) if inbound else (1.0, None)
                listener.follow(assembly.source(name), config.limits, self._max_connections(config), share, trusted)
        self.checks.follow(assembly, "inbound" in self.listeners)
        self.registries.follow({name: _written(policy) for name, policy in config.services.items()})

    def exchanging(self) -> list[Listener]:
        """The listeners whose requests become exchanges."""
        return [listener for name, listener in self.listeners.items() if name in self._scopes]

    def _max_connections(self, config: Config) -> int:
        """Never above half of what the system lets us open: the other half is for endpoints."""
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - RESERVED_FILES
        return max(1, min(config.inbound.max_connections, files // 2))

    def _new_request_id(self) -> bytes:
        return self._tracer.new_trace()[0]

    # Registries

    def _publish(self, name: str, endpoints: Sequence[Endpoint]) -> None:
        service = self.assembly.services[name]
        for gone in set(service.listed) - set(endpoints):
            self._pools.forget(gone)
        if service.list(endpoints):
            _tell_panic(service)
        self.checks.publish(self.assembly, name, endpoints)

    def _forget(self, name: str) -> None:
        """Nobody has called a service for long that no configuration names."""
        self.registries.forget(name)
        self.assembly.forget(name)
        self.checks.forget(name)

    def _review(self, name: str) -> None:
        """The standing of an endpoint of service ``name`` has changed."""
        service = self.assembly.services.get(name)
        if service is not None and service.review():
            _tell_panic(service)

    def _register(self) -> None:
        """Tells others where we are, once we know."""
        service, bound = self.config.service, self.bound()
        near = self.config.registry.kind == "local"
        inbound = bound.get("inbound") if not self.draining else None
        instance = _instance(service, *inbound, near, self.checks.trouble) if inbound is not None else None
        listeners = {name: str(Address(*address)) for name, address in bound.items()}
        self.registries.register(instance, service.name, listeners)

    # Life

    def bound(self) -> dict[str, tuple[str, int]]:
        """Host and port of each listener, as bound."""
        return {name: listener.address for name, listener in self.listeners.items() if listener.address is not None}

    def serving(self, name: str) -> list[Listener]:
        """The listener of that name, and those that a reload has replaced by it, as long as they have connections."""
        return [listener for listener in (*self.listeners.values(), *self._leaving) if listener.name == name]

    def owing(self, name: str) -> int:
        """How many connections that came in on the listeners of that name have an answer due."""
        return sum(listener.owing() for listener in self.serving(name))

    def ended_outbound(self) -> int:
        """How many requests of the application have ended so far, whatever they asked for."""
        stats = self.assembly.all_stats()
        return sum(sum(one.requests.values()) for one in stats if one.direction == "outbound")

    async def start(self) -> None:
        """Binds every listener and learns the endpoints. Raises ``OSError``, and ``Unusable`` for the registry."""
        async with self._changing:
            for name, address in self._addresses(self.config).items():
                await self._open(name, address)
                await self.listeners[name].serve()
            self._know_own_addresses()
            self.guards.start(self.config.overload)
            self._register()
            self._idle.start()
            self.checks.start()
            await self.registries.start()

    async def _open(self, name: str, address: Address) -> None:
        """Where nobody has written which port it is to be, it may be another one."""
        listener = self.listeners[name]
        try:
            await listener.open(address.host, address.port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or name not in self.config.movable:
                raise
            await listener.open(address.host, 0)

    def _know_own_addresses(self) -> None:
        """The dialer knows where we listen: a connection to ourselves would be a loop."""
        bound = self.bound()
        inbound = bound.pop("inbound", None)
        self._sockets.own_addresses(tuple(bound.values()), inbound, self.assembly.app)

    async def reload(self, config: Config) -> None:
        """Goes by ``config`` from here on. Raises ``OSError`` if a new address cannot be bound, and :class:`Draining`; then
        nothing has changed.

        Requests that run keep the plans that they began with, and services, endpoints, breakers, connections and
        counters live on. A listener whose address has changed is opened anew before the old one takes no more.
        """
        async with self._changing:
            await self._reload(config)

    async def _reload(self, config: Config) -> None:
        assembly = await asyncio.to_thread(self._assemble, config, self.assembly)
        await self.registries.learn({name: _written(policy) for name, policy in config.services.items()})
        fresh = await self._open_changed(assembly)
        if self.draining:  # Asked last: from here on nobody else has a turn before all is as it shall be.
            await _close(fresh.values())
            raise Draining
        kept = self._addresses(config)
        old = [listener for name, listener in self.listeners.items() if name in fresh or name not in kept]
        self.listeners = {name: fresh.get(name) or self.listeners[name] for name in kept}
        self._take_over(assembly)
        self.registries.resolve()  # At once: what is found for a service that is gone would find nobody.
        for name, listener in fresh.items():
            await listener.serve()
            log.info("%s: %s on %s", config.service.name, name, Address(*self.bound()[name]))
        self._know_own_addresses()
        self._register()
        for listener in old:
            self._leave(listener)

    async def _open_changed(self, assembly: Assembly) -> dict[str, Listener]:
        """Listeners for the addresses that ``assembly`` has and we have not, bound but not serving yet."""
        fresh: dict[str, Listener] = {}
        try:
            for name, address in self._addresses(assembly.config).items():
                if name not in self.listeners or self._addresses(self.config)[name] != address:
                    fresh[name] = self._new_listener(name, assembly)
                    await fresh[name].open(address.host, address.port)
        except BaseException:  # Being cancelled is among them: nobody else knows of these yet.
            await _close(fresh.values())
            raise
        return fresh

    def _leave(self, listener: Listener) -> None:
        task = self._leaving[listener] = self._loop.create_task(listener.retire())
        task.add_done_callback(lambda done: self._leaving.pop(listener))

    async def close(self) -> None:
        self.guards.stop()
        self._idle.stop()
        self.checks.close()
        for task in self._leaving.values():
            task.cancel()
        await _close((*self.listeners.values(), *self._leaving))
        await self.registries.close()
        self._sockets.close()
        self._pools.close()
        self._timer.close()


async def _close(listeners: Iterable[Listener]) -> None:
    for listener in listeners:
        await listener.close()


def _tell_panic(service: Service) -> None:
    if service.panicking:
        log.warning("%s: most endpoints are held ill at the same time, so all are used (panic)", service.name)
    else:
        log.warning("%s: enough endpoints are well again; panic is over", service.name)


def _written(policy: ServiceConfig) -> list[Written]:
    return [Written(one.host, one.port, one.weight, one.zone) for one in policy.endpoints]


def _instance(service: OwnService, host: str, port: int, near: bool, trouble: str) -> Instance:
    """How others call the application, whose inbound listener is at ``host`` and ``port``; ``near``: from this machine."""
    everywhere = host in ("0.0.0.0", "::")
    return Instance(
        service=service.name,
        host=service.address or (("127.0.0.1" if near else own_address()) if everywhere else host),
        port=port,
        weight=service.weight,
        zone=service.zone,
        tags=service.tags,
        meta=service.meta,
        version=service.version,
        trouble=trouble[:TROUBLE_LENGTH],
    )
