"""One configuration out of a file, the environment and the flags: read, checked, inherited.

Everything is laid on everything else while it is still plain tables (built in < file < environment < flags, then
defaults < service < route), so that inheritance is one function, :func:`merged`, and the types are read last. Checking
has two rounds: what is written must have the right shape, and only then is it asked whether it makes sense together.
Each round lists everything it finds.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec

from sidecar.config.schema import (
    PARSERS,
    Config,
    File,
    Overrides,
    RouteConfig,
    RouteTable,
    ServiceConfig,
    ServiceTable,
)
from sidecar.config.units import Address, hint, parse_positive_duration, shown
from sidecar.config.walk import INVALID, Path, Reader, dotted, from_text, merged
from sidecar.model import Duration

BUILT_IN: Final = {
    "timeouts": {"api": "30s", "external": "15s", "upload": "5m", "database": "10s", "analytics": "5m"},
    "defaults": {"timeout": "api"},
}
"""What lies beneath the file: the classes of the user's integration patterns, and that a call is an API call."""

_PREFIX = "SIDECAR_"
_MAX_FILE = 16 << 20
_MAX_DEPTH = 16
_WHERE_IN_TOML = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)")
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_WILDCARD = frozenset({"0.0.0.0", "::"})
_NOTHING: Mapping[str, str] = MappingProxyType({})


class ConfigError(Exception):
    """``problems``: a line each, ``where: key: what is wrong``, in the order of the file's tables."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Setting(NamedTuple):
    """One value from outside of the file: ``Setting("--app", "service.app", "127.0.0.1:8080")``."""

    origin: str
    key: str
    value: str


def load(
    path: str | None,
    environ: Mapping[str, str] = _NOTHING,
    flags: Iterable[Setting] = (),
    beneath: Iterable[Setting] = (),
) -> Config:
    """The configuration of the file at ``path`` (``None``: there is none), with what lies over and beneath it.

    Of ``environ`` the names of the form ``SIDECAR_SERVICE__NAME`` count, two underscores for a dot. Raises
    :class:`ConfigError` with all problems, and nothing else.
    """
    origins: dict[Path, str] = {(): path or "configuration"}
    raw: dict[str, Any] = BUILT_IN
    for _, key, value in beneath:
        raw = merged(raw, _nested(tuple(key.split(".")), value))
    raw = merged(raw, _read_file(path) if path is not None else {})
    for origin, key, value in (*_from_environment(environ), *flags):
        keys = tuple(key.split(".", _MAX_DEPTH))
        origins[keys] = origin
        raw = merged(raw, _nested(keys, from_text(value)))

    classes = _timeout_classes(raw.get("timeouts"))
    reader = Reader({**PARSERS, "timeout": partial(_parse_timeout, classes)})
    file = reader.read(File, raw, ())
    problems = reader.problems if file is INVALID else list(_senseless(file))
    if problems:
        raise ConfigError([_line(origins, path, what) for path, what in problems])
    return _resolved(file, raw, reader)


def _read_file(path: str) -> dict[str, Any]:
    """The file's tables. Bounded, so that a wrong path (a device, a log) is an error and not all of the memory."""
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_FILE + 1)
        if len(content) > _MAX_FILE:
            raise ConfigError([f"{path}: is larger than 16 MiB, so it is not a configuration"])
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{path}:{line}: is not UTF-8"]) from None
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        raise ConfigError([f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}"]) from None
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigError([f"{path}: is nested too deeply"]) from None
    except ValueError as error:
        what = str(error)
        place = _WHERE_IN_TOML.search(what)
        end = len(text.splitlines()) or 1
        where = f"{path}:{place[1] or end}" if place else path
        raise ConfigError([f"{where}: is not TOML: {_WHERE_IN_TOML.sub('', what)}"]) from None


def _from_environment(environ: Mapping[str, str]) -> Iterator[Setting]:
    """Only names with a double underscore are ours: Kubernetes injects its own ``SIDECAR_*`` beside them."""
    for variable in sorted(environ):
        name = variable.removeprefix(_PREFIX)
        if name != variable and "__" in name:
            yield Setting(variable, name.lower().replace("__", "."), environ[variable])


def _nested(path: Path, value: object) -> object:
    for part in reversed(path):
        value = {part: value}
    return value


def _line(origins: Mapping[Path, str], path: Path, what: str) -> str:
    """The problem as a line, beginning with where it was written: its path, what is around it or, last, inside it."""
    around = [path[:end] for end in range(len(path), 0, -1)]
    inside = [key for key in origins if key[: len(path)] == path]
    nearest = next((key for key in (*around, *inside) if key in origins), ())
    return f"{origins[nearest]}: {dotted(path)}: {what}"


def _timeout_classes(raw: object) -> dict[str, float]:
    """Seconds by class. One that does not parse is known all the same: its mistake is told once, not by each user."""
    reader = Reader(PARSERS)
    table = raw if isinstance(raw, dict) else BUILT_IN["timeouts"]
    seconds = {name: reader.read(Duration, value, ()) for name, value in table.items()}
    return {name: 0.0 if value is INVALID else value for name, value in seconds.items()}


def _parse_timeout(classes: Mapping[str, float], value: object) -> float | None:
    if value == "none":
        return None
    if isinstance(value, str):
        if value in classes:
            return classes[value]
        if not value[:1].isdigit():
            known = hint(value, classes) or f" (known: {', '.join(classes)})"
            raise ValueError(f'expected a class of [timeouts], a duration or "none", not {shown(value)}{known}')
    return parse_positive_duration(value)


def _senseless(file: File) -> Iterator[tuple[Path, str]]:
    """What is well formed but cannot work."""
    yield from _about_listeners(file)
    if file.limits.headers < 1:
        yield ("limits", "headers"), "must be at least 1"
    for name, service in file.services.items():
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


def _about_listeners(file: File) -> Iterator[tuple[Path, str]]:
    listen, app = file.listen, file.service.app
    if listen.inbound is not None and app is None:
        yield (
            ("service", "app"),
            ('is missing: where does the application listen? (or set listen.inbound = "none" for outbound calls only)'),
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


def _resolved(file: File, raw: dict[str, Any], reader: Reader) -> Config:
    """Inheritance, done on the plain tables. Every part of them has been read before, so they are sound."""
    defaults = raw["defaults"]
    own = {name: merged(defaults, raw["services"][name]) for name in file.services}

    def service(name: str, table: object) -> ServiceConfig:
        return ServiceConfig(name=name, **msgspec.structs.asdict(reader.read(ServiceTable, table, ())))

    def route(written: RouteTable, table: dict[str, Any]) -> RouteConfig:
        overrides = {key: table[key] for key in Overrides.__struct_fields__ if key in table}
        split = tuple((share.service, share.weight) for share in written.split) or ((str(written.service), 1),)
        policies = {name: service(name, merged(own[name], overrides)) for name, _ in split}
        return RouteConfig(name=written.name, match=written.match, split=split, policies=policies)

    return Config(
        service=file.service,
        listen=file.listen,
        inbound=file.inbound,
        outbound=file.outbound,
        registry=file.registry,
        limits=file.limits,
        trace=file.trace,
        drain=file.drain,
        log=file.log,
        access_log=file.access_log,
        defaults=service("", defaults),
        passthrough=service("passthrough", merged(defaults, {"timeout": "external"})),
        services={name: service(name, table) for name, table in own.items()},
        routes=tuple(map(route, file.routes, raw.get("routes", ()))),
    )
