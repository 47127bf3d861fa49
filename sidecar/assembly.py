"""What a configuration compiles to: services, and for each direction the table that finds a request's plan.

An assembly is made whole, beside the one that runs, and takes its place at once. Plans and tables are new each time.
What lives on between two assemblies is a :class:`Service`, one object for each name however often the configuration
changes: its endpoints with their breakers and connections, its balancer, limits and retry budget. Making an assembly
changes nothing that runs, so that a reload can do it in a thread; :meth:`Assembly.settle` is the part that has to be done
on the loop: from there on the services that live on go by their new settings.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import msgspec

from sidecar.balance import make
from sidecar.balance.round_robin import RoundRobin
from sidecar.clock import Random
from sidecar.config.schema import Config, RouteConfig, ServiceConfig
from sidecar.config.units import Address
from sidecar.http.head import Request
from sidecar.model import Dial, Endpoint
from sidecar.resilience import budget as budgets
from sidecar.resilience.breaker import Breaker
from sidecar.resilience.budget import Budget
from sidecar.resilience.limits import Limits
from sidecar.resilience.retry import Retry
from sidecar.routing.affinity import key_of
from sidecar.routing.match import Match
from sidecar.routing.plan import Direction, RoutePlan, Service, compile_plan
from sidecar.routing.table import Lookup, Route, Table
from sidecar.telemetry.stats import Stats

PASSTHROUGH_HOSTS = 256
"""How many hosts that are no service of ours are remembered with their connections and breakers."""

_HTTP2: Final = {"auto": None, "http1": False, "http2": True}


class _Terms(NamedTuple):
    """What a service goes by, beside its plans."""

    policy: ServiceConfig
    budget: budgets.Settings | None
    zone: str = ""
    """Our own, where it matters."""

    @property
    def balancing(self) -> tuple[object, ...]:
        """What a balancer is made from: while it is the same, so is the balancer."""
        policy = self.policy
        settings = {"weighted": policy.weighted, "peak_ewma": policy.peak_ewma, "ring_hash": policy.ring_hash}
        zone = self.zone if policy.prefer_zone else ""
        return policy.balance, settings.get(policy.balance), zone, policy.slow_start


class Assembly:
    """One configuration, compiled.

    ``forget`` is told of endpoints that will be called no more, ``look_up`` asks whether there is a service of a name that
    no configuration has, and ``owns`` whether one with a dot in it could be. ``identity`` marks requests that passed here;
    ``former`` is the assembly that runs.
    """

    def __init__(
        self,
        config: Config,
        random: Random,
        identity: bytes,
        forget: Callable[[Endpoint], None],
        look_up: Callable[[str], Lookup | None],
        former: Assembly | None = None,
        owns: Callable[[str], bool] = lambda name: False,
    ) -> None:
        self.config = config
        self._owns = owns
        self._random = random
        self._identity = identity
        self._forget = forget
        self._look_up = look_up
        self._former = former
        self._terms: dict[Service, _Terms] = {}
        # Exchanges that go by a former plan count to its end, and no sum may fall: a series outlives its plan by one reload.
        self._stats: dict[tuple[str, str, str], Stats] = {} if former is None else former.used_stats()
        self._used: set[tuple[str, str, str]] = set()
        self.unrouted = {way: self._stats_of(way, "", "") for way in ("inbound", "outbound")}
        """What counts requests that never got a plan, by direction."""
        # One series for all hosts that pass through: metrics must not name what only a request has named.
        self._passed = self._stats_of("outbound", Direction.PASSTHROUGH.value, "")
        self._passing: OrderedDict[tuple[str, int], RoutePlan] = OrderedDict()
        self._inbound: Service | None = None
        self.plans: list[RoutePlan] = []
        """Every plan but those of passthrough."""
        self.discovered: set[str] = former.discovered - config.services.keys() if former is not None else set()
        """Names of services that only the registry knows."""
        self.services = {name: self._service(self._policy(name)) for name in (*config.services, *self.discovered)}
        """What is called by name."""
        self.tables: dict[str, Table] = {}
        """By direction; a direction without a listener has none."""
        if config.listen.inbound is not None and config.service.app is not None:
            self.tables["inbound"] = self._inbound_table(config.service.app)
        if config.listen.outbound is not None:
            self.tables["outbound"] = self._outbound_table()

    # Services

    def _policy(self, name: str) -> ServiceConfig:
        policy = self.config.services.get(name)
        return policy if policy is not None else msgspec.structs.replace(self.config.defaults, name=name)

    def _service(self, policy: ServiceConfig) -> Service:
        """The service of that name: the one that there is, which goes by its new terms once we settle, or a new one."""
        terms = _Terms(policy, self._budget(policy), self.config.service.zone)
        former = self._former.services.get(policy.name) if self._former is not None else None
        service = former or self._new_service(terms)
        self._terms[service] = terms
        return service

    def _new_service(self, terms: _Terms) -> Service:
        policy, budget, _ = terms
        service = Service(
            policy.name,
            (),
            RoundRobin(self._random),
            Limits(policy.limits),
            Budget(budget) if budget is not None else None,
            policy.breaker,
            _dial(policy),
            panic_threshold=policy.panic_threshold,
        )
        self._balance(service, terms)
        return service

    def _balance(self, service: Service, terms: _Terms) -> None:
        """Some balancers ask their service what they have to know."""
        service.balancer = make.make(terms.policy, terms.zone, service, self._random)
        service.key = key_of(terms.policy.ring_hash) if terms.policy.balance == "ring_hash" else None

    def _budget(self, policy: ServiceConfig) -> budgets.Settings | None:
        """One budget a service: its own, or that of the first route that retries where the service does not."""
        routes = (route.policies.get(policy.name) for route in self.config.routes)
        retries = [one.retry for one in (policy, *routes) if one is not None and one.retry is not None]
        return retries[0].budget if retries else None

    # Plans

    def _stats_of(self, direction: str, service: str, route: str) -> Stats:
        """The counters of a route: one object, however many plans and assemblies there have been."""
        key = (direction, service, route)
        self._used.add(key)
        return self._stats.setdefault(key, Stats(*key))

    def used_stats(self) -> dict[tuple[str, str, str], Stats]:
        """The counters that this configuration asks for, without those that it keeps for its former's sake."""
        return {key: self._stats[key] for key in self._used}

    def source(self, listener: str) -> str:
        """What answers of a listener's own give as theirs."""
        return f"{self.config.service.name}/{listener}"

    def _plan(self, direction: Direction, service: Service, policy: ServiceConfig, stats: Stats) -> RoutePlan:
        return compile_plan(
            direction,
            service,
            stats,
            timeout=policy.timeout,
            attempt_timeout=policy.attempt_timeout,
            stall_timeout=policy.stall_timeout,
            idle_timeout=self.config.limits.idle_timeout,
            retry=Retry(policy.retry, self._random) if policy.retry is not None else None,
            slow=policy.breaker.slow if policy.breaker is not None else None,
            identity=self._identity,
            source=self.source("inbound" if direction is Direction.INBOUND else "outbound"),
        )

    def _listed(self, direction: Direction, service: Service, policy: ServiceConfig, route: str = "") -> RoutePlan:
        plan = self._plan(direction, service, policy, self._stats_of(direction.value, service.name, route))
        self.plans.append(plan)
        return plan

    def _inbound_table(self, address: Address) -> Table:
        """Inbound there is one place to go to, and nothing to choose, repeat or break."""
        config = self.config
        policy = ServiceConfig(
            name=config.service.name,
            protocol=config.inbound.protocol,
            timeout=config.inbound.timeout,
            retry=None,
            connect_timeout=config.defaults.connect_timeout,
            stall_timeout=config.defaults.stall_timeout,
            breaker=None,
            limits=config.defaults.limits,
        )
        terms = _Terms(policy, None)
        app = Endpoint(address.host, address.port)
        service = self._former._inbound if self._former is not None else None
        if service is None or service.name != policy.name or service.listed[0].label != app.label:
            service = self._new_service(terms)
            service.list((app,))
        self._terms[service] = terms
        self._inbound = service
        plan = self._listed(Direction.INBOUND, service, policy)
        return Table((), {}, lambda head: plan, b"\0", lambda name: None)

    def _outbound_table(self) -> Table:
        plans = {
            name: self._listed(Direction.OUTBOUND, service, self._policy(name))
            for name, service in self.services.items()
        }
        routes = [self._route(route) for route in self.config.routes]
        return Table(routes, plans, self._pass_through, self._identity, self._look_up, self._owns)

    def discover(self, name: str) -> None:
        """The registry has a service ``name``: it can be called from here on."""
        table = self.tables.get("outbound")
        if table is not None and name not in self.services:
            self.discovered.add(name)
            policy = self._policy(name)
            service = self.services[name] = self._service(policy)
            table.add(name, self._listed(Direction.OUTBOUND, service, policy))

    def forget(self, name: str) -> None:
        """Nobody calls that service any more, which only the registry knows."""
        if name in self.discovered:
            self.discovered.discard(name)
            service = self.services.pop(name)
            self.tables["outbound"].remove(name)
            self.plans = [plan for plan in self.plans if plan.service is not service]
            del self._terms[service]
            self._retire(service)

    def calls(self) -> dict[str, int | None]:
        """Of each service that only the registry knows, how many requests have ended; ``None`` while some run."""
        counts: dict[str, int | None] = {}
        for name in self.discovered:
            requests = self._stats_of(Direction.OUTBOUND.value, name, "").requests
            counts[name] = None if self.services[name].limits.in_flight else sum(requests.values())
        return counts

    def _route(self, route: RouteConfig) -> Route:
        asked = route.match
        match = Match(asked.path, asked.path_prefix, asked.methods, asked.headers)
        split = [
            (self._listed(Direction.OUTBOUND, self.services[name], self.config.policy(name, route), route.name), weight)
            for name, weight in route.split
        ]
        return Route(asked.host, match, split, self._random)

    def _pass_through(self, head: Request) -> RoutePlan | None:
        """The plan for a host that is no service of ours, if such are let through at all."""
        allowed = self.config.outbound.passthrough
        if allowed == "none" or not head.host or (allowed == "proxy" and not head.absolute):
            return None
        address = (head.host.strip("[]"), head.port or 80)
        plan = self._passing.get(address)
        if plan is None:
            service = self._new_service(self._passing_terms())
            service.list((Endpoint(*address),))
            plan = self._pass_to(address, service)
            if len(self._passing) > PASSTHROUGH_HOSTS:
                _, oldest = self._passing.popitem(last=False)
                del self._terms[oldest.service]
                self._retire(oldest.service)
        self._passing.move_to_end(address)
        return plan

    def _passing_terms(self) -> _Terms:
        policy = self.config.passthrough
        return _Terms(policy, policy.retry.budget if policy.retry is not None else None)

    def _pass_to(self, address: tuple[str, int], service: Service) -> RoutePlan:
        terms = self._terms[service] = self._passing_terms()
        plan = self._passing[address] = self._plan(Direction.PASSTHROUGH, service, terms.policy, self._passed)
        return plan

    # Taking over

    def settle(self) -> None:
        """On the loop, as this assembly takes its former's place: the services that live on go by their new terms."""
        former, self._former = self._former, None
        if former is None:
            return
        # What has been discovered and forgotten while this assembly was made.
        for name in former.discovered - self.services.keys():
            self.discover(name)
        for name in self.discovered - former.discovered:
            self.forget(name)
        if self.config.outbound.passthrough != "none":
            for address, plan in former._passing.items():
                self._pass_to(address, plan.service)
        for service, was in former._terms.items():
            terms = self._terms.get(service)
            if terms is None:
                self._retire(service)
            elif terms != was:
                self._adopt(service, terms, was)

    def _adopt(self, service: Service, terms: _Terms, was: _Terms) -> None:
        policy, budget, _ = terms
        service.limits.settings = policy.limits
        service.dial = _dial(policy)
        service.panic_threshold = policy.panic_threshold
        service.review()
        if terms.balancing != was.balancing:
            self._balance(service, terms)
            for endpoint in service.listed:
                endpoint.load = None  # What another balancer measured means nothing to this one.
        if budget != was.budget:
            service.budget = Budget(budget) if budget is not None else None
        if policy.breaker != was.policy.breaker:
            service.breaker_settings = policy.breaker
            for endpoint in service.listed:
                if policy.breaker is None:
                    endpoint.breaker = None
                elif isinstance(endpoint.breaker, Breaker):
                    endpoint.breaker.adopt(policy.breaker)

    def _retire(self, service: Service) -> None:
        for endpoint in service.listed:
            self._forget(endpoint)

    # What others ask

    @property
    def app(self) -> Endpoint | None:
        """The application, as an endpoint of its own service."""
        return self._inbound.listed[0] if self._inbound is not None else None

    def all_stats(self) -> Iterator[Stats]:
        """Of every route, of what passes through, and of requests that found no plan."""
        yield from self._stats.values()

    def all_services(self) -> Iterator[tuple[str, Service]]:
        """Direction and service."""
        if self._inbound is not None:
            yield "inbound", self._inbound
        for service in self.services.values():
            yield "outbound", service

    def passing(self) -> Iterator[Service]:
        """Hosts that are no service of ours, and were called lately."""
        for plan in self._passing.values():
            yield plan.service


def _dial(policy: ServiceConfig) -> Dial:
    return Dial(policy.connect_timeout, policy.limits.max_connections, _HTTP2[policy.protocol])
