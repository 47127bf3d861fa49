"""The only place that constructs and connects parts.

Requests come in on a listener (``proxy/listener``), one connection each (``proxy/downstream``), become exchanges
(``exchange/machine``), which go by a plan (``routing/plan``) to an endpoint (``proxy/upstream``).
"""

from __future__ import annotations

import asyncio
import logging
import resource
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import partial

import sidecar
from sidecar.admin.health import Probes
from sidecar.admin.metrics import Sources
from sidecar.balance import Balancer
from sidecar.balance.least_request import LeastRequest
from sidecar.balance.random_choice import RandomChoice
from sidecar.balance.round_robin import RoundRobin
from sidecar.clock import Clock, Random
from sidecar.config.schema import Config, RouteConfig, ServiceConfig
from sidecar.config.units import Address
from sidecar.discovery.static import StaticRegistry, Written
from sidecar.exchange.local import LocalExchange
from sidecar.exchange.machine import Exchange
from sidecar.exchange.scope import Scope
from sidecar.http.h1.request import RequestHead
from sidecar.model import Dial, Endpoint
from sidecar.proxy.dialer import SocketDialer
from sidecar.proxy.downstream import DownstreamConnection
from sidecar.proxy.listener import Listener, Network
from sidecar.proxy.loop_timer import LoopTimer
from sidecar.proxy.pool import Dialer, Pools
from sidecar.resilience.budget import Budget
from sidecar.resilience.limits import Limits
from sidecar.resilience.retry import Retry
from sidecar.routing.match import Match
from sidecar.routing.plan import Direction, RoutePlan, Service, compile_plan
from sidecar.routing.table import Route, Table
from sidecar.telemetry.export.install import open_access_log
from sidecar.telemetry.export.writer import Writer
from sidecar.telemetry.stats import Stats
from sidecar.telemetry.trace import Settings as TraceSettings
from sidecar.telemetry.trace import Tracer
from sidecar.timing.wheel import Wheel

BALANCERS: dict[str, type[RoundRobin] | type[LeastRequest] | type[RandomChoice]] = {
    "round_robin": RoundRobin,
    "least_request": LeastRequest,
    "random": RandomChoice,
}
PASSTHROUGH_HOSTS = 256
"""How many hosts that are no service of ours are remembered with their connections and breakers."""
RESERVED_FILES = 64
"""File descriptors that no connection of a listener may take: for probes, and for callers that are told to go away."""
FIRST_RESOLUTION_SECONDS = 3.0
"""How long the start waits for the names of endpoints."""

log = logging.getLogger("sidecar")


class Sidecar:
    """One sidecar: everything that it is made of, and ``start`` and ``close``."""

    def __init__(
        self,
        config: Config,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        random: Random,
        dialer: Dialer | None = None,
        writer: Writer | None = None,
    ) -> None:
        """``dialer`` makes the connections to endpoints; the tests bring their own. ``writer``: where access is logged."""
        self.config = config
        self._clock = clock
        self._random = random
        self._loop = loop
        self.draining = False
        wheel = self.wheel = Wheel()
        self._timer = LoopTimer(wheel, clock, loop)
        self._tracer = Tracer(TraceSettings(config.trace.sample), random)
        self._sockets = SocketDialer(loop)
        self._pools = Pools(wheel, clock, config.limits, dialer or self._sockets)
        self._writer = writer
        self._access_log = open_access_log(config.access_log, random, writer) if writer is not None else None
        self._identity = b"%016x" % random.getrandbits(64)
        self._registries: dict[str, StaticRegistry] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._passthrough: OrderedDict[tuple[str, int], RoutePlan] = OrderedDict()
        self._app: Endpoint | None = None
        # One series for all hosts: metrics must not name what only a request has named.
        self._passed_through = Stats("outbound", Direction.PASSTHROUGH.value, "")

        self.services = {name: self._service(policy) for name, policy in config.services.items()}
        self.plans: list[RoutePlan] = []
        """Every plan but those of passthrough."""
        self.listeners: dict[str, Listener] = {}
        self._unrouted: list[Stats] = []
        if config.listen.inbound is not None and config.service.app is not None:
            self._add("inbound", self._inbound_scope(config.service.app), wheel, config.inbound.trusted)
        if config.listen.outbound is not None:
            self._add("outbound", self._outbound_scope(), wheel, None)
        if config.listen.probes is not None:
            self._add_probes(wheel)

    # Services and plans

    def _service(self, policy: ServiceConfig) -> Service:
        """A service with its live parts; its endpoints come from the registry."""
        balancer: Balancer = BALANCERS[policy.balance](self._random)
        service = Service(
            policy.name,
            (),
            balancer,
            Limits(policy.limits),
            Budget(policy.retry.budget) if policy.retry is not None else None,
            policy.breaker,
            Dial(policy.connect_timeout, policy.limits.max_connections),
        )

        def publish(endpoints: Sequence[Endpoint]) -> None:
            for gone in set(service.endpoints) - set(endpoints):
                self._pools.forget(gone)
            service.endpoints = endpoints

        if policy.endpoints:
            written = [Written(one.host, one.port, one.weight, one.zone) for one in policy.endpoints]
            registry = self._registries[policy.name] = StaticRegistry(written, publish)
            registry.publish()
        return service

    def _plan(
        self, direction: Direction, service: Service, policy: ServiceConfig, stats: Stats | None = None
    ) -> RoutePlan:
        plan = compile_plan(
            direction,
            service,
            stats or Stats(direction.value, service.name, ""),
            timeout=policy.timeout,
            attempt_timeout=policy.attempt_timeout,
            stall_timeout=policy.stall_timeout,
            idle_timeout=self.config.limits.idle_timeout,
            retry=Retry(policy.retry, self._random) if policy.retry is not None else None,
            identity=self._identity,
            source=self._source("inbound" if direction is Direction.INBOUND else "outbound"),
        )
        if policy.retry is not None and service.budget is None:
            service.budget = Budget(policy.retry.budget)  # A route may retry where its service does not.
        if direction is not Direction.PASSTHROUGH:
            self.plans.append(plan)
        return plan

    def _source(self, direction: str) -> str:
        return f"{self.config.service.name}/{direction}"

    def _scope(self, direction: str, table: Table) -> Scope:
        return Scope(
            table.find, self._pools, self._tracer, self._clock, self._count_unrouted(direction), self._source(direction)
        )

    def _count_unrouted(self, direction: str) -> Stats:
        stats = Stats(direction, "", "")
        self._unrouted.append(stats)
        return stats

    def _inbound_scope(self, app: Address) -> Scope:
        """Inbound there is one place to go to, and nothing to choose, repeat or break."""
        config = self.config
        policy = config.defaults
        self._app = Endpoint(app.host, app.port)
        service = Service(
            config.service.name,
            (self._app,),
            RoundRobin(self._random),
            Limits(policy.limits),
            None,
            None,
            Dial(policy.connect_timeout, policy.limits.max_connections),
        )
        plan = compile_plan(
            Direction.INBOUND,
            service,
            Stats("inbound", service.name, ""),
            timeout=config.inbound.timeout,
            attempt_timeout=None,
            stall_timeout=policy.stall_timeout,
            idle_timeout=config.limits.idle_timeout,
            retry=None,
            identity=self._identity,
            source=self._source("inbound"),
        )
        self.plans.append(plan)
        return self._scope("inbound", Table((), {}, lambda head: plan, b"\0"))

    def _outbound_scope(self) -> Scope:
        config = self.config
        plans = {
            name: self._plan(Direction.OUTBOUND, service, config.policy(name))
            for name, service in self.services.items()
        }
        routes = [self._route(route) for route in config.routes]
        return self._scope("outbound", Table(routes, plans, self._pass_through, self._identity))

    def _route(self, route: RouteConfig) -> Route:
        asked = route.match
        match = Match(asked.path, asked.path_prefix, asked.methods, asked.headers)
        split = [
            (
                self._plan(
                    Direction.OUTBOUND,
                    self.services[name],
                    self.config.policy(name, route),
                    Stats("outbound", name, route.name),
                ),
                weight,
            )
            for name, weight in route.split
        ]
        return Route(asked.host, match, split, self._random)

    def _pass_through(self, head: RequestHead) -> RoutePlan | None:
        """The plan for a host that is no service of ours, if such are let through at all."""
        allowed = self.config.outbound.passthrough
        if allowed == "none" or not head.host or (allowed == "proxy" and not head.absolute):
            return None
        address = (head.host.strip("[]"), head.port or 80)
        plan = self._passthrough.get(address)
        if plan is None:
            service = self._service(self.config.passthrough)
            service.endpoints = (Endpoint(*address),)
            plan = self._plan(Direction.PASSTHROUGH, service, self.config.passthrough, self._passed_through)
            self._passthrough[address] = plan
            if len(self._passthrough) > PASSTHROUGH_HOSTS:
                _, oldest = self._passthrough.popitem(last=False)
                self._pools.forget(oldest.service.endpoints[0])
        self._passthrough.move_to_end(address)
        return plan

    # Listeners

    def _add(self, name: str, scope: Scope, wheel: Wheel, trusted: Sequence[Network] | None) -> None:
        self.listeners[name] = Listener(
            name,
            scope.source,
            partial(Exchange, scope),
            wheel,
            self._clock,
            self.config.limits,
            scope.unrouted,
            self._max_connections(),
            trusted,
            self._new_request_id,
        )
        self.listeners[name].access_log = scope.access_log = self._access_log

    def _add_probes(self, wheel: Wheel) -> None:
        probes = self._probes()

        def begin(head: RequestHead, connection: DownstreamConnection) -> LocalExchange:
            return LocalExchange(head, connection, probes.handle, self._clock, self._loop.call_soon)

        self.listeners["probes"] = Listener(
            "probes",
            self._source("probes"),
            begin,
            wheel,
            self._clock,
            self.config.limits,
            Stats("probes", "", ""),
            100,
            (),
            self._new_request_id,
        )

    def _max_connections(self) -> int:
        """Never above half of what the system lets us open: the other half is for endpoints."""
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - RESERVED_FILES
        return max(1, min(self.config.inbound.max_connections, files // 2))

    def _new_request_id(self) -> bytes:
        return self._tracer.new_trace()[0]

    # What probes and metrics are told

    def _probes(self) -> Probes:
        return Probes(
            Sources(
                stats=self._stats,
                services=self._all_services,
                connections=self._connections,
                reload_successful=lambda: True,
                log_lines_dropped=self._writer.dropped if self._writer is not None else tuple,
            ),
            {"configuration": lambda: (True, "loaded"), "listeners": self._bound, "registry": self._seen},
            {"drain": lambda: (not self.draining, "draining" if self.draining else "not draining")},
            self._clock,
            self.config.service.name,
            sidecar.__version__,
            self._source("probes"),
            self._new_request_id,
        )

    def _bound(self) -> tuple[bool, str]:
        missing = [name for name, listener in self.listeners.items() if listener.address is None]
        return not missing, f"waiting for {', '.join(missing)}" if missing else "bound"

    def _seen(self) -> tuple[bool, str]:
        missing = [name for name, registry in self._registries.items() if not registry.complete]
        # A name that does not resolve today must not keep everything else from being served.
        return True, f"not resolved yet: {', '.join(missing)}" if missing else "all endpoints are known"

    def _stats(self) -> Iterator[Stats]:
        yield from self._unrouted
        for plan in self.plans:
            yield plan.stats
        yield self._passed_through

    def _all_services(self) -> Iterator[tuple[str, Service]]:
        for plan in self.plans:
            if plan.direction is Direction.INBOUND:
                yield "inbound", plan.service
        for service in self.services.values():
            yield "outbound", service

    def _connections(self) -> Iterator[tuple[str, str, int]]:
        for name, listener in self.listeners.items():
            if name != "probes":
                yield "downstream", name, len(listener.connections)
        for direction in (Direction.INBOUND, Direction.OUTBOUND):
            services = {plan.service for plan in self.plans if plan.direction is direction}
            if direction is Direction.OUTBOUND:
                services.update(plan.service for plan in self._passthrough.values())
            open_ = sum(e.pool.open for service in services for e in service.endpoints if e.pool is not None)
            yield "upstream", direction.value, open_

    # Life

    def ended_outbound(self) -> int:
        """How many requests of the application have ended so far, whatever they asked for."""
        return sum(sum(one.requests.values()) for one in self._stats() if one.direction == "outbound")

    async def start(self) -> None:
        """Binds every listener and learns the endpoints. Raises ``OSError``."""
        listen = self.config.listen
        for name, address in (("inbound", listen.inbound), ("outbound", listen.outbound), ("probes", listen.probes)):
            listener = self.listeners.get(name)
            if listener is not None and address is not None:
                await listener.open(address.host, address.port)
        bound = {name: listener.address for name, listener in self.listeners.items() if listener.address is not None}
        inbound = bound.pop("inbound", None)
        self._sockets.own_addresses(tuple(bound.values()), inbound, self._app)
        named = [registry for registry in self._registries.values() if registry.has_names]
        self._tasks = [self._loop.create_task(registry.run()) for registry in named]
        try:
            async with asyncio.timeout(FIRST_RESOLUTION_SECONDS):
                for registry in named:
                    await registry.asked.wait()
        except TimeoutError:
            log.warning("%s; starting without", self._seen()[1])

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for listener in self.listeners.values():
            await listener.close()
        self._sockets.close()
        self._pools.close()
        self._timer.close()
