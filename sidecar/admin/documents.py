"""The documents of the admin API, as types: what is encoded from them is what the OpenAPI document says of them.

The envelope is the one of the user's integration patterns ("Response Format Standards"). Names of attributes are
camelCase in JSON. Times are in seconds, instants are RFC 3339 in UTC; what there is none of is null.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

Attributes = TypeVar("Attributes")

VERSION = "v1"


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A table of JSON."""


class ServiceAttributes(Document, frozen=True, kw_only=True):
    """A service: its endpoints, what it is busy with, and how much it may be."""

    name: str
    direction: str
    endpoints: int
    available: int
    """Endpoints that nothing speaks against: they have a weight, are well, and their breaker is closed."""
    panic: bool
    """So few are well by registry and checks that all are used."""
    in_flight: int
    pending: int
    """Of those in flight, requests that wait for a connection."""
    max_requests: int
    max_pending: int
    max_connections: int
    """Of each endpoint."""
    retries_left: float | None
    """What the retry budget would pay for now; null where nothing is retried."""


class EndpointAttributes(Document, frozen=True, kw_only=True):
    """One address of a service."""

    service: str
    direction: str
    address: str
    weight: int
    zone: str
    state: str
    """available, barred (by its breaker), unhealthy (by registry or check), refused (connections are) or off (no weight)."""
    why: str
    """What speaks against it, in words; empty where nothing does."""
    breaker: str | None
    """closed, half-open or open; null where there is none to trip."""
    in_flight: int
    connections: int
    idle: int
    """Of the connections, those that nobody uses."""
    connecting: int
    waiting: int
    """Requests that wait for one of its connections."""
    idle_limit_seconds: float | None
    """After how long it closes an idle connection, as far as is known."""
    retry_after_seconds: float
    """How long it still wants to be left alone, by its own Retry-After."""
    measured: str
    """What its balancer has found out about it, in words; empty where it measures nothing."""


class Transitions(Document, frozen=True, kw_only=True):
    """How often a state was entered."""

    closed: int
    half_open: int
    open: int


class BreakerAttributes(Document, frozen=True, kw_only=True):
    """The circuit breaker of one endpoint."""

    service: str
    direction: str
    endpoint: str
    state: str
    """closed, half-open or open."""
    failures: int
    """Within its window; counted while it is closed."""
    opened_at: str | None
    """When it tripped last."""
    retry_after_seconds: float
    """Until it lets a probe through; 0 unless open."""
    transitions: Transitions


class Policies(Document, frozen=True, kw_only=True):
    """What a route goes by, everything inherited; null where a policy is switched off."""

    timeout_seconds: float | None
    attempt_timeout_seconds: float | None
    stall_timeout_seconds: float | None
    idle_timeout_seconds: float | None
    max_retries: int
    retry_on: tuple[str, ...]


class Durations(Document, frozen=True, kw_only=True):
    """The histogram since the start: ``counts`` has one more than there are bounds, for what took longer."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]


class RouteAttributes(Document, frozen=True, kw_only=True):
    """A route to one service, and what has happened on it since the start."""

    direction: str
    service: str
    route: str
    match: str
    policies: Policies | None
    """null where there is no plan (any more): requests that found none, and routes of the former configuration."""
    requests: int
    failures: int
    """Requests with a reason, unless the caller left, and 5xx of the application but 501, 505 and 508."""
    retries: int
    success_ratio: float | None
    p50_seconds: float | None
    p95_seconds: float | None
    p99_seconds: float | None
    service_in_flight: int
    """Of the whole service: it is not counted by route."""
    durations: Durations


class DependencyAttributes(Document, frozen=True, kw_only=True):
    """Something that the application needs beside services."""

    name: str
    kind: str
    address: str
    healthy: bool | None
    """null as long as it has not been asked."""
    gates: bool
    """Whether we are not ready while it is ill."""
    since: str | None
    """Since when it has been well, or ill."""
    reason: str
    """What was wrong with the last bad answer; empty while it is well."""
    breaker: str | None
    """closed, half-open or open; null where there is none."""
    latency_seconds: float | None
    """Of the last answer."""


class SettingAttributes(Document, frozen=True, kw_only=True):
    """One setting of the configuration that runs; the value as TOML, secrets redacted."""

    key: str
    value: str
    origin: str
    """Where it was said: file and line, variable, flag, or that it is the default."""


class Served(Document, frozen=True, kw_only=True):
    """One address of this API."""

    method: str
    path: str
    summary: str


class RegistryAttributes(Document, frozen=True, kw_only=True):
    """How the registry fares that services are found by."""

    kind: str
    seen: bool
    """It has answered at least once."""
    registered: bool
    """Others find this instance."""
    stale_seconds: float
    """For how long what it tells may have been out of date; 0 if it is not."""
    trouble: str
    """What is wrong, in words; empty if nothing is."""


class SidecarAttributes(Document, frozen=True, kw_only=True):
    """This sidecar."""

    service: str
    version: str
    process_id: int
    started_at: str
    draining: bool
    configuration: str
    """A fingerprint of the configuration that runs: the same for the same one."""
    registry: RegistryAttributes | None
    """null where all endpoints are written in the configuration."""
    resources: tuple[Served, ...]


class ActionAttributes(Document, frozen=True, kw_only=True):
    """What was asked for, and what has come of it by now."""

    result: str


class Resource(Document, Generic[Attributes], frozen=True, kw_only=True):
    """One thing; ``id`` is unique among those of its type."""

    id: str
    type: str
    attributes: Attributes


class Meta(Document, frozen=True, kw_only=True):
    """About the answer; ``version`` is the API's."""

    timestamp: str
    request_id: str
    version: str = VERSION


class PageMeta(Meta, frozen=True, kw_only=True):
    """Which part of how many."""

    page: int
    size: int
    total: int


class Links(Document, frozen=True, kw_only=True):
    """Where this is."""

    self: str


class PageLinks(Document, frozen=True, kw_only=True):
    """Where this is, and the other pages; null where there is none."""

    self: str
    first: str
    prev: str | None
    next: str | None
    last: str


class One(Document, Generic[Attributes], frozen=True, kw_only=True):
    """A document about one thing."""

    data: Resource[Attributes]
    meta: Meta
    links: Links


class Page(Document, Generic[Attributes], frozen=True, kw_only=True):
    """A document about many things, a page of them."""

    data: list[Resource[Attributes]]
    meta: PageMeta
    links: PageLinks


class ErrorSource(Document, frozen=True, kw_only=True, omit_defaults=True):
    """Who says it, and the parameter of the query that is at fault."""

    sidecar: str
    parameter: str | None = None


class ErrorMeta(Document, frozen=True, kw_only=True):
    """When, and for which request."""

    timestamp: str
    request_id: str


class Error(Document, frozen=True, kw_only=True):
    """One thing that is wrong; ``code`` is the reason in capitals."""

    id: str
    status: str
    code: str
    title: str
    detail: str
    source: ErrorSource
    meta: ErrorMeta


class Errors(Document, frozen=True, kw_only=True):
    """All that is wrong."""

    errors: list[Error]
