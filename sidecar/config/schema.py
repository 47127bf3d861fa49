"""The configuration: first as it is written, table by table, then as it is meant.

What is written (:class:`File`) has defaults, services and routes that say only what differs. What is meant
(:class:`Config`) has every policy of every service and route filled in, so that nobody behind ``config`` knows that
tables inherit. Policies are the parts' own Settings; this module only says where they stand in the file.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from sidecar.balance import settings as balancing
from sidecar.balance.make import Algorithm
from sidecar.config.kinds import (
    Count,
    HeaderName,
    HeaderValue,
    Host,
    Label,
    Listener,
    Method,
    Name,
    Network,
    Options,
    Peer,
    Profile,
    ProfileName,
    Protocol,
    RegistryKind,
    Share,
    Timeout,
    TimeoutClass,
    UrlPath,
    Wait,
    Weight,
)
from sidecar.config.units import Address
from sidecar.discovery.consul.settings import Settings as ConsulSettings
from sidecar.discovery.dns.settings import DnsRegistry
from sidecar.health import settings as health
from sidecar.http.head import Settings as HttpSettings
from sidecar.model import Duration
from sidecar.overload.ladder import Settings as OverloadSettings
from sidecar.resilience.breaker import Settings as BreakerSettings
from sidecar.resilience.limits import Settings as LimitsSettings
from sidecar.resilience.retry import Settings as RetrySettings
from sidecar.telemetry.access_log import Settings as AccessLogSettings
from sidecar.telemetry.log import Settings as LogSettings


def about(sentence: str) -> Meta:
    """What a key is for: the reference and the schema have no other source."""
    return Meta(description=sentence)


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file."""


class Service(Table, frozen=True, kw_only=True):
    """``[service]``."""

    name: Annotated[Name, about("Name of our own service, in reasons and metrics.")] = "app"
    app: Annotated[Peer | None, about('Where the application listens; needed unless `listen.inbound` is `"none"`.')] = (
        None
    )
    version: Annotated[str, about("Version of the application, told to others.")] = ""
    zone: Annotated[str, about("Zone that this instance is in, told to others.")] = ""
    weight: Annotated[Weight, about("Share of the traffic, relative to the other instances.")] = 1
    address: Annotated[Host | None, about("Where others reach this machine.")] = None
    tags: Annotated[tuple[str, ...], about("Free words, told to others.")] = ()
    meta: Annotated[dict[str, str], about("Free keys and texts, told to others.")] = {}
    health: Annotated[
        health.Application | None,
        about("How the application is asked whether it is well; if it is told here, readiness waits for it, too."),
    ] = None


class Listen(Table, frozen=True, kw_only=True):
    """``[listen]``; ``None`` opens no listener."""

    inbound: Annotated[
        Listener | None,
        about('Serves others on the application\'s behalf; `"0.0.0.0:15006"` with another registry than local.'),
    ] = Address("127.0.0.1", 15006)
    outbound: Annotated[Listener | None, about("Serves the local application.")] = Address("127.0.0.1", 15001)
    admin: Annotated[Listener | None, about("What the commands talk to.")] = Address("127.0.0.1", 15000)
    probes: Annotated[
        Listener | None,
        about('Serves `/health/*` and `/metrics`, nothing else; `"0.0.0.0:15020"` with another registry than local.'),
    ] = Address("127.0.0.1", 15020)


class Inbound(Table, frozen=True, kw_only=True):
    """``[inbound]``; ``timeout`` in seconds, ``None``: the caller's."""

    protocol: Annotated[
        Protocol, about("What the application is spoken to in: auto, as the request came, http1, or http2 without TLS.")
    ] = "auto"
    timeout: Annotated[Timeout, about('Bounds calls of the application; `"none"`: what the caller allows.')] = None
    trusted: Annotated[tuple[Network, ...], about("Networks whose forwarded and debug headers are believed.")] = ()
    max_connections: Annotated[Count, about("Connections that a listener accepts at a time.")] = 10000
    share_per_address: Annotated[
        float, Meta(gt=0, le=1, description="How much of `max_connections` one address may take; 1.0: all.")
    ] = 0.5


class Outbound(Table, frozen=True, kw_only=True):
    """``[outbound]``."""

    passthrough: Annotated[
        Literal["proxy", "all", "none"],
        Meta(
            description="Hosts that name no service: proxy lets absolute-form requests pass, all lets every one, none refuses."
        ),
    ] = "proxy"


class LocalRegistry(Table, frozen=True, kw_only=True):
    """``[registry.local]``; ``None``: a directory of this user on this machine."""

    directory: Annotated[
        str | None, about('Where sidecars find each other\'s files; `"none"`: a directory of this user.')
    ] = None


class Registry(Table, frozen=True, kw_only=True):
    """``[registry]``."""

    kind: Annotated[
        RegistryKind,
        about(
            "Where endpoints come from that are not written here; local: sidecars on this machine; static: nowhere; "
            "dns: names; consul: its cluster; or a registry that somebody has installed."
        ),
    ] = "local"
    grace: Annotated[
        Wait,
        about(
            "How long instances are kept that vanish too suddenly, more than half of a service at once; not with local."
        ),
    ] = 60.0
    snapshot: Annotated[
        str | None,
        about("A file in which what the registry tells is kept for a start during its outage; not with local."),
    ] = None
    local: Annotated[LocalRegistry, about("The registry without a server, of one machine.")] = LocalRegistry()
    consul: Annotated[ConsulSettings, about("A Consul cluster, through the agent beside us.")] = ConsulSettings()
    dns: Annotated[DnsRegistry, about("Names, asked for again and again.")] = DnsRegistry()
    options: Annotated[
        Options, about("Keys of a registry that somebody has installed; its documentation has them.")
    ] = {}


class Trace(Table, frozen=True, kw_only=True):
    """``[trace]``; the share is from 0 to 1."""

    sample: Annotated[Share, about("Share of the traces begun here that are recorded.")] = 0.01


class Drain(Table, frozen=True, kw_only=True):
    """``[drain]``, in seconds."""

    delay: Annotated[Wait, about("After SIGTERM: not ready, and still accepting.")] = 5.0
    grace: Annotated[Wait, about("Then this long at most for what still runs.")] = 20.0
    outbound: Annotated[
        Literal["idle", "app-exit"],
        Meta(
            description="What ends the service of our own application: being idle, or the end of the COMMAND of `sidecar run`."
        ),
    ] = "idle"


class Overrides(Table, frozen=True, kw_only=True):
    """The policies that a route may override. Durations in seconds, ``None`` where a policy is switched off."""

    timeout: Annotated[Timeout, about("From the request to the head of its response, retries included.")] = 30.0
    """Never seen unless nothing is configured at all: ``load`` lays ``timeout = "api"`` beneath ``[defaults]``."""
    attempt_timeout: Annotated[Duration | None, about("The same for one attempt.")] = None
    retry: Annotated[RetrySettings | None, about("What is tried again, how often and when.")] = RetrySettings()


class Policies(Overrides, frozen=True, kw_only=True):
    """``[defaults]``, and what a service may say instead."""

    protocol: Annotated[
        Protocol, about("What endpoints are spoken to in: auto, as the request came, http1, or http2 without TLS.")
    ] = "auto"
    balance: Annotated[Algorithm, about("How an endpoint is chosen.")] = "round_robin"
    prefer_zone: Annotated[bool, about("Whether endpoints of our own zone come first, while it can bear that.")] = False
    slow_start: Annotated[Duration | None, about("Until an endpoint that is new gets all of its share.")] = None
    weighted: Annotated[balancing.Weighted, about('With `balance = "weighted"`.')] = balancing.Weighted()
    peak_ewma: Annotated[balancing.PeakEwma, about('With `balance = "peak_ewma"`.')] = balancing.PeakEwma()
    ring_hash: Annotated[balancing.RingHash, about('With `balance = "ring_hash"`.')] = balancing.RingHash()
    connect_timeout: Annotated[Duration, about("Until a connection stands.")] = 1.0
    stall_timeout: Annotated[Duration, about("Without progress on a body that is owed.")] = 60.0
    panic_threshold: Annotated[
        Share,
        about("All endpoints are used where a smaller share than this is well by registry and checks; 0: never."),
    ] = 0.5
    health: Annotated[
        health.Peers | None, about("Asks each endpoint whether it is well; where nothing is said, nobody is asked.")
    ] = None
    breaker: Annotated[BreakerSettings | None, about("Bars an endpoint that fails, each by itself.")] = (
        BreakerSettings()
    )
    limits: Annotated[LimitsSettings, about("Bounds of what goes to a service at a time.")] = LimitsSettings()


class EndpointConfig(Table, frozen=True, kw_only=True):
    """One address of a service; as a text it is the address alone."""

    shorthand: ClassVar[str] = "address"

    address: Annotated[Peer, about("Where it listens.")]
    weight: Annotated[Weight, about("Its share of the calls, relative to the service's other endpoints.")] = 1
    zone: Annotated[str, about("Where it stands.")] = ""

    @property
    def host(self) -> str:
        return self.address.host

    @property
    def port(self) -> int:
        return self.address.port


class ServiceTable(Policies, frozen=True, kw_only=True):
    """``[services.NAME]``."""

    endpoints: Annotated[tuple[EndpointConfig, ...], about("Addresses, as texts or as tables.")] = ()


class ServiceConfig(ServiceTable, frozen=True, kw_only=True):
    """A service with every policy resolved: defaults, then its own, then (from ``Config.policy``) a route's."""

    name: str


class Match(Table, frozen=True, kw_only=True):
    """What a request must have, all of it; an absent key asks nothing."""

    host: Annotated[Host | None, about("Host that is called.")] = None
    path: Annotated[UrlPath | None, about("Exactly this path.")] = None
    path_prefix: Annotated[UrlPath | None, about("A path that begins with this, whole segments.")] = None
    methods: Annotated[tuple[Method, ...], about("One of these methods.")] = ()
    headers: Annotated[
        dict[HeaderName, HeaderValue], about("Headers with exactly these values, by lower-case name.")
    ] = {}


class Split(Table, frozen=True, kw_only=True):
    """One service of a route's split, and its share relative to the others."""

    service: Annotated[Name, about("Name of a service.")]
    weight: Annotated[Weight, about("Its share, relative to the others.")]


class RouteTable(Overrides, frozen=True, kw_only=True):
    """``[[routes]]``."""

    name: Annotated[Label, about("Unique; a label of the metrics.")]
    match: Annotated[Match, about("What a request must have, all of it.")] = Match()
    service: Annotated[Name | None, about("The service that is called.")] = None
    split: Annotated[tuple[Split, ...], about("Several services, each with its share, instead of one.")] = ()


class RouteConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A route with what it means for each service that it may choose."""

    name: str
    match: Match
    split: tuple[tuple[str, int], ...]
    """``(service, weight)``, one pair for a route with a single service; the weights' sum is above 0."""
    policies: dict[str, ServiceConfig]


class Tables(Table, frozen=True, kw_only=True):
    """What a file says, and what a profile may say instead."""

    service: Annotated[Service, about("Who we are, and where our application listens.")] = Service()
    listen: Annotated[Listen, about("Our own addresses. Port 0 takes a free one.")] = Listen()
    inbound: Annotated[Inbound, about("What others may ask of the application.")] = Inbound()
    outbound: Annotated[Outbound, about("Calls of the application to hosts that name no service.")] = Outbound()
    registry: Annotated[Registry, about("Where endpoints come from.")] = Registry()
    defaults: Annotated[Policies, about("Policies of calls to every service.")] = Policies()
    services: Annotated[
        dict[Name, ServiceTable],
        about("Services by name: endpoints, and any key of `[defaults]` that differs."),
    ] = {}
    dependencies: Annotated[
        dict[Name, health.Dependency],
        about("What the application needs beside services: databases, brokers, somebody else's API."),
    ] = {}
    timeouts: Annotated[
        dict[TimeoutClass, Duration], about('Classes of timeouts by name; those of `timeout = "…"`.')
    ] = {}
    routes: Annotated[
        tuple[RouteTable, ...],
        Meta(
            description="The first that matches wins; without one, a request goes to the service that its host names."
        ),
    ] = ()
    limits: Annotated[HttpSettings, about("What a peer may send.")] = HttpSettings()
    overload: Annotated[OverloadSettings, about("What is done as memory runs out.")] = OverloadSettings()
    trace: Annotated[Trace, about("Traces.")] = Trace()
    drain: Annotated[Drain, about("The end of the process.")] = Drain()
    log: Annotated[LogSettings, about("What the sidecar says of itself, on standard error.")] = LogSettings()
    access_log: Annotated[AccessLogSettings, about("A line an exchange, on standard output.")] = AccessLogSettings()


class File(Tables, frozen=True, kw_only=True):
    """The whole file."""

    profiles: Annotated[
        dict[ProfileName, Profile], about("Tables by the name of the profile that lays them over the file.")
    ] = {}


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration as the parts get it, nothing left to inherit."""

    service: Service
    listen: Listen
    inbound: Inbound
    outbound: Outbound
    registry: Registry
    registry_options: Any
    """``[registry.options]`` as the registry that somebody has installed wants it; ``None`` with one of ours."""
    movable: frozenset[str]
    """Listeners that take a free port where theirs is taken: those that nobody has given an address."""
    limits: HttpSettings
    overload: OverloadSettings
    trace: Trace
    drain: Drain
    log: LogSettings
    access_log: AccessLogSettings
    defaults: ServiceConfig
    """For services that are not listed; its name is empty and it has no endpoints."""
    passthrough: ServiceConfig
    """For hosts that name no service: the defaults with the timeout class ``external``."""
    services: dict[str, ServiceConfig]
    dependencies: dict[str, health.Dependency]
    routes: tuple[RouteConfig, ...]

    def policy(self, service: str, route: RouteConfig | None = None) -> ServiceConfig:
        """The policies of a call to ``service``, as ``route`` changes them where one was matched."""
        if route is not None:
            return route.policies[service]
        return self.services.get(service, self.defaults)
