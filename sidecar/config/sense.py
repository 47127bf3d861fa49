"""What is well formed but cannot work: asked once every table has the right shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Final

from sidecar.config.schema import Config, File, Policies, Registry, RouteTable, ServiceTable
from sidecar.config.units import Address, hint, shown
from sidecar.config.walk import Path
from sidecar.health.settings import Settings as HealthSettings

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_WILDCARD: Final = frozenset({"0.0.0.0", "::"})


def senseless(file: File) -> Iterator[tuple[Path, str]]:
    """Each path, and why what is written there cannot work."""
    yield from _about_listeners(file)
    yield from _about_registry(file.registry)
    yield from _about_health(("service", "health"), file.service.health)
    yield from _about_health(("defaults", "health"), file.defaults.health)
    for name, dependency in file.dependencies.items():
        yield from _about_health(("dependencies", name), dependency)
        if dependency.address is None and dependency.kind != "command":
            yield (
                ("dependencies", name, "address"),
                f"is missing: where is it, as host:port? (kind is {dependency.kind})",
            )
    for name, service in file.services.items():
        yield from _about_health(("services", name, "health"), service.health)
        seen = set()
        for index, endpoint in enumerate(service.endpoints):
            if endpoint.address in seen:
                yield ("services", name, "endpoints", index), f"{endpoint.address} is listed twice"
            seen.add(endpoint.address)
    names = set()
    for index, route in enumerate(file.routes):
        if route.name in names:
            yield ("routes", index, "name"), f"{shown(route.name)} is the name of an earlier route"
        names.add(route.name)
        for key, what in _about_route(route, file.services):
            yield ("routes", index, *key), what


def contradictory(config: Config) -> Iterator[tuple[Path, str]]:
    """The same of what only shows once everything is inherited."""
    told = list(_about_balancing(config.defaults, config.service.zone))
    for key, what in told:
        yield ("defaults", *key), what
    for name, service in config.services.items():
        for key, what in _about_balancing(service, config.service.zone):
            if (key, what) not in told:
                yield ("services", name, *key), what


def _about_balancing(policy: Policies, zone: str) -> Iterator[tuple[Path, str]]:
    ring = policy.ring_hash
    if policy.prefer_zone and not zone:
        yield ("prefer_zone",), "needs to know which zone is our own: say so in service.zone"
    if policy.balance != "ring_hash":
        return
    if ring.on in ("header", "cookie") and not ring.name:
        yield ("ring_hash", "name"), f"is missing: which {ring.on} says where a request belongs?"
    if policy.prefer_zone:
        yield ("prefer_zone",), "goes with every algorithm but ring_hash, where the key alone decides: set it to false"
    if policy.slow_start is not None:
        yield ("slow_start",), 'goes with every algorithm but ring_hash, where the key alone decides: set it to "none"'


def _about_listeners(file: File) -> Iterator[tuple[Path, str]]:
    listen, app = file.listen, file.service.app
    if listen.inbound is not None and app is None:
        yield (
            ("service", "app"),
            (
                "is missing: where does the application listen? (or start it by sidecar run -- COMMAND, "
                'or set listen.inbound = "none" for outbound calls only)'
            ),
        )
    listeners = [
        ("inbound", listen.inbound),
        ("outbound", listen.outbound),
        ("admin", listen.admin),
        ("probes", listen.probes),
    ]
    bound = [(name, address) for name, address in listeners if address is not None and address.port]
    for index, (name, address) in enumerate(bound):
        for other, taken in bound[:index]:
            if _same_socket(address, taken):
                yield ("listen", name), f"{address} is taken by listen.{other}, {taken}"
        if app is not None and app.host in _LOOPBACK and _same_socket(app, address):
            yield ("service", "app"), f"{app} is not the application but listen.{name}, {address}"


def _about_registry(registry: Registry) -> Iterator[tuple[Path, str]]:
    consul = registry.consul
    if registry.kind == "consul" and find_spec("consul") is None:
        yield ("registry", "kind"), "consul needs its client: pip install 'sidecar-mesh[consul]'"
    if (consul.cert_file is None) != (consul.key_file is None):
        missing = "key_file" if consul.key_file is None else "cert_file"
        yield ("registry", "consul", missing), "is missing: a certificate and its key belong together"


def _about_health(path: Path, settings: HealthSettings | None) -> Iterator[tuple[Path, str]]:
    if settings is None:
        return
    if settings.kind == "command" and not settings.command:
        yield (*path, "command"), "is missing: which program, and which arguments?"
    if settings.kind != "command" and settings.command:
        yield (*path, "command"), f"is given, but kind is {settings.kind}: it would not be run"
    if settings.kind == "grpc" and find_spec("grpc_health") is None:
        yield (*path, "kind"), "grpc needs its client: pip install 'sidecar-mesh[grpc]'"
    for index, statuses in enumerate(settings.statuses):
        first, _, last = statuses.partition("-")
        if last and int(last) < int(first):
            yield (*path, "statuses", index), f"{shown(statuses)} ends before it begins"


def _same_socket(one: Address, other: Address) -> bool:
    return one.port == other.port and (one.host == other.host or not _WILDCARD.isdisjoint((one.host, other.host)))


def _about_route(route: RouteTable, services: Mapping[str, ServiceTable]) -> Iterator[tuple[Path, str]]:
    if route.service is None and not route.split:
        yield ("service",), "is missing: name a service, or several in split"
    if route.service is not None and route.split:
        yield ("split",), "is given beside service; one of them decides"
    if route.match.path is not None and route.match.path_prefix is not None:
        yield ("match", "path_prefix"), "is given beside path; one of them decides"
    if route.split and not any(share.weight for share in route.split):
        yield ("split",), "all weights are 0, so no service could be chosen"
    chosen: set[str] = set()
    for key, name in _chosen(route):
        if name not in services:
            yield key, f"no service {shown(name)} is configured{hint(name, services)}"
        elif name in chosen:
            yield key, f"{shown(name)} is listed twice"
        chosen.add(name)


def _chosen(route: RouteTable) -> Iterator[tuple[Path, str]]:
    if route.service is not None:
        yield ("service",), route.service
    for index, share in enumerate(route.split):
        yield ("split", index, "service"), share.service
