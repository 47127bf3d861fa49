"""The configuration: first as it is written, table by table, then as it is meant.

What is written (:class:`File`) has defaults, services and routes that say only what differs. What is meant
(:class:`Config`) has every policy of every service and route filled in, so that nobody behind ``config`` knows that
tables inherit. Policies are the parts' own Settings; this module only says where they stand in the file.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, ClassVar, Final, Literal

import msgspec
from msgspec import Meta

from sidecar.config import units
from sidecar.config.units import Address, matching
from sidecar.config.walk import Parser
from sidecar.http.head import Settings as HttpSettings
from sidecar.model import Duration
from sidecar.overload.ladder import Settings as OverloadSettings
from sidecar.resilience.breaker import Settings as BreakerSettings
from sidecar.resilience.limits import Settings as LimitsSettings
from sidecar.resilience.retry import Settings as RetrySettings
from sidecar.telemetry.access_log import Settings as AccessLogSettings
from sidecar.telemetry.log import Settings as LogSettings

Wait = Annotated[float, Meta(title="wait")]
Timeout = Annotated[float | None, Meta(title="timeout")]
Listener = Annotated[Address, Meta(title="listener")]
Peer = Annotated[Address, Meta(title="peer")]
Host = Annotated[str, Meta(title="host")]
Network = Annotated[IPv4Network | IPv6Network, Meta(title="network")]
Name = Annotated[str, Meta(title="name")]
TimeoutClass = Annotated[str, Meta(title="timeout class")]
Label = Annotated[str, Meta(title="label")]
Method = Annotated[str, Meta(title="method")]
UrlPath = Annotated[str, Meta(title="path")]
HeaderName = Annotated[str, Meta(title="header name")]
HeaderValue = Annotated[str, Meta(title="header value")]
Weight = Annotated[int, Meta(ge=0, le=1_000_000)]
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=1)]

PARSERS: Final[dict[str, Parser]] = {
    "duration": units.parse_positive_duration,
    "wait": units.parse_duration,
    "size": units.parse_size,
    "listener": units.parse_listener,
    "peer": units.parse_peer,
    "host": units.parse_host,
    "network": units.parse_network,
    # Names of services are hosts, header values and metric labels. A name under .mesh would be two services at once.
    "name": matching(
        r"(?!.*\.mesh\Z)(?=.{1,253}\Z)[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?",
        "a service name of lower-case letters, digits, '-', '_' and '.', not under .mesh",
    ),
    "timeout class": matching(r"(?!none\Z)[A-Za-z_][A-Za-z0-9_-]{0,63}", "a class name that begins with a letter"),
    "label": matching(r"[!-~]{1,128}", "1 to 128 visible ASCII characters"),
    "method": matching(r"[A-Z!#$%&'*+.^_`|~0-9-]{1,32}", "a method in capitals, such as GET"),
    "path": matching(r"/(?:(?![?#])[!-~])*", "a path that begins with / and has no query"),
    "header name": matching(r"[a-z0-9!#$%&'*+.^_`|~-]{1,128}", "a header name in lower case"),
    "header value": matching(r"[ -~]*", "printable ASCII characters"),
}
"""What each title of a type means; ``timeout`` is missing because its meaning depends on ``[timeouts]``."""


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file."""


class Service(Table, frozen=True, kw_only=True):
    """``[service]``: who we are and where our application listens."""

    name: Name = "app"
    app: Peer | None = None
    version: str = ""
    zone: str = ""
    weight: Weight = 1
    address: Host | None = None
    tags: tuple[str, ...] = ()
    meta: dict[str, str] = {}


class Listen(Table, frozen=True, kw_only=True):
    """``[listen]``: our own addresses; ``None`` opens no listener."""

    inbound: Listener | None = Address("0.0.0.0", 15006)
    outbound: Listener | None = Address("127.0.0.1", 15001)
    admin: Listener | None = Address("127.0.0.1", 15000)
    probes: Listener | None = Address("0.0.0.0", 15020)


class Inbound(Table, frozen=True, kw_only=True):
    """``[inbound]``: what others may ask of the application; ``timeout`` in seconds, ``None``: the caller's.

    ``share_per_address``: how much of ``max_connections`` one address may take.
    """

    timeout: Timeout = None
    trusted: tuple[Network, ...] = ()
    max_connections: Count = 10000
    share_per_address: Annotated[float, Meta(gt=0, le=1)] = 0.5


class Outbound(Table, frozen=True, kw_only=True):
    """``[outbound]``: calls of the application to hosts that name no service."""

    passthrough: Literal["proxy", "all", "none"] = "proxy"


class Registry(Table, frozen=True, kw_only=True):
    """``[registry]``: where endpoints come from."""

    kind: Literal["static"] = "static"


class Trace(Table, frozen=True, kw_only=True):
    """``[trace]``: the share (0 to 1) of exchanges begun here whose trace is recorded."""

    sample: Share = 0.01


class Drain(Table, frozen=True, kw_only=True):
    """``[drain]``: seconds of accepting while not ready, and seconds for what then still runs.

    ``outbound``: what ends its service, being idle or the end of the application that ``run -- COMMAND`` started.
    """

    delay: Wait = 5.0
    grace: Wait = 20.0
    outbound: Literal["idle", "app-exit"] = "idle"


class Overrides(Table, frozen=True, kw_only=True):
    """The policies that a route may override. Durations in seconds, ``None`` where a policy is switched off."""

    timeout: Timeout = 30.0
    """Never seen unless nothing is configured at all: ``load`` lays ``timeout = "api"`` beneath ``[defaults]``."""
    attempt_timeout: Duration | None = None
    retry: RetrySettings | None = RetrySettings()


class Policies(Overrides, frozen=True, kw_only=True):
    """``[defaults]``, and what a service may say instead."""

    balance: Literal["round_robin", "least_request", "random"] = "round_robin"
    connect_timeout: Duration = 1.0
    stall_timeout: Duration = 60.0
    breaker: BreakerSettings | None = BreakerSettings()
    limits: LimitsSettings = LimitsSettings()


class EndpointConfig(Table, frozen=True, kw_only=True):
    """One address of a service; as a text it is the address alone."""

    shorthand: ClassVar[str] = "address"

    address: Peer
    weight: Weight = 1
    zone: str = ""

    @property
    def host(self) -> str:
        return self.address.host

    @property
    def port(self) -> int:
        return self.address.port


class ServiceTable(Policies, frozen=True, kw_only=True):
    """``[services.NAME]``."""

    endpoints: tuple[EndpointConfig, ...] = ()


class ServiceConfig(ServiceTable, frozen=True, kw_only=True):
    """A service with every policy resolved: defaults, then its own, then (from ``Config.policy``) a route's."""

    name: str


class Match(Table, frozen=True, kw_only=True):
    """What a request must have, all of it; an absent key asks nothing."""

    host: Host | None = None
    path: UrlPath | None = None
    path_prefix: UrlPath | None = None
    methods: tuple[Method, ...] = ()
    headers: dict[HeaderName, HeaderValue] = {}


class Split(Table, frozen=True, kw_only=True):
    """One service of a route's split, and its share relative to the others."""

    service: Name
    weight: Weight


class RouteTable(Overrides, frozen=True, kw_only=True):
    """``[[routes]]``."""

    name: Label
    match: Match = Match()
    service: Name | None = None
    split: tuple[Split, ...] = ()


class RouteConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A route with what it means for each service that it may choose."""

    name: str
    match: Match
    split: tuple[tuple[str, int], ...]
    """``(service, weight)``, one pair for a route with a single service; the weights' sum is above 0."""
    policies: dict[str, ServiceConfig]


class File(Table, frozen=True, kw_only=True):
    """The whole file."""

    service: Service = Service()
    listen: Listen = Listen()
    inbound: Inbound = Inbound()
    outbound: Outbound = Outbound()
    registry: Registry = Registry()
    defaults: Policies = Policies()
    services: dict[Name, ServiceTable] = {}
    timeouts: dict[TimeoutClass, Duration] = {}
    routes: tuple[RouteTable, ...] = ()
    limits: HttpSettings = HttpSettings()
    overload: OverloadSettings = OverloadSettings()
    trace: Trace = Trace()
    drain: Drain = Drain()
    log: LogSettings = LogSettings()
    access_log: AccessLogSettings = AccessLogSettings()


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration as the parts get it, nothing left to inherit."""

    service: Service
    listen: Listen
    inbound: Inbound
    outbound: Outbound
    registry: Registry
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
    routes: tuple[RouteConfig, ...]

    def policy(self, service: str, route: RouteConfig | None = None) -> ServiceConfig:
        """The policies of a call to ``service``, as ``route`` changes them where one was matched."""
        if route is not None:
            return route.policies[service]
        return self.services.get(service, self.defaults)
