"""One configuration out of a file, a profile of it, the environment and the flags: read, checked, inherited.

Everything is laid on everything else while it is still plain tables (built in < file < profile < environment < flags,
then defaults < service < route), so that inheritance is one function, ``merged``, and the types are read last. Checking
has two rounds: what is written must have the right shape, and only then is it asked whether it makes sense together.
Each round lists everything it finds. Profiles that were not chosen have to have the right shape too: that they are
wrong should not come out on the night when one is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from sidecar.config.kinds import PARSERS
from sidecar.config.layers import (
    BUILT_IN,
    ConfigError,
    Layer,
    Layers,
    Problem,
    Setting,
    lowest,
    no_profile,
    outside,
    profile_layer,
    profile_names,
)
from sidecar.config.schema import Config, File, Listen, Overrides, RouteConfig, RouteTable, ServiceConfig, ServiceTable
from sidecar.config.sense import contradictory, senseless
from sidecar.config.units import hint, listed, parse_positive_duration, shown
from sidecar.config.walk import INVALID, Path, Reader, merged
from sidecar.model import Duration

if TYPE_CHECKING:
    from sidecar.config.effective import Entry

__all__ = ["ConfigError", "Loaded", "Problem", "Setting", "load", "load_with_origins"]

ONE_ADDRESS = {
    "timeout": "external",
    "protocol": "auto",
    "balance": "round_robin",
    "prefer_zone": False,
    "slow_start": "none",
}
"""What differs for a host that names no service: there is nothing to choose, and who calls it knows what it speaks."""

_NOTHING: Mapping[str, str] = MappingProxyType({})


class Loaded:
    """A configuration that remembers where it was written."""

    __slots__ = ("config", "layers")

    def __init__(self, config: Config, layers: Layers) -> None:
        self.config = config
        self.layers = layers

    def entries(self) -> list[Entry]:
        """Every value that is in effect, and where it came from, in the order of the file's tables."""
        from sidecar.config.effective import entries

        return entries(self.layers)


def load(
    path: str | None,
    environ: Mapping[str, str] = _NOTHING,
    flags: Iterable[Setting] = (),
    profile: str | None = None,
) -> Config:
    """The configuration alone; all else as :func:`load_with_origins`."""
    return load_with_origins(path, environ, flags, profile).config


def load_with_origins(
    path: str | None,
    environ: Mapping[str, str] = _NOTHING,
    flags: Iterable[Setting] = (),
    profile: str | None = None,
    beneath: Iterable[Setting] = (),
) -> Loaded:
    """The configuration of the file at ``path`` (``None``: there is none), with what lies over it, and ``beneath``.

    Of ``environ`` the names of the form ``SIDECAR_SERVICE__NAME`` count, two underscores for a dot. ``profile`` is the
    name of one that the file has. Raises :class:`ConfigError` with all problems, and nothing else.
    """
    below = lowest(path, beneath)
    over = list(outside(environ, flags))
    found = list(_about_profiles(below, over, profile))
    chosen = profile_layer(below, profile) if profile else None
    layers = Layers([*below, *([chosen] if chosen else []), *over])
    raw = layers.tables
    reader = reader_for(raw)
    file = reader.read(File, raw, ())
    found += [layers.problem(path, what) for path, what in reader.problems]
    if not found:
        found = [layers.problem(path, what) for path, what in senseless(file)]
    options: Any = None
    if not found:
        options, mistakes = _options(file, reader)
        found = [layers.problem(path, what) for path, what in mistakes]
    if not found:
        config = _resolved(file, raw, reader, _movable(file, layers), options)
        found = [layers.problem(path, what) for path, what in contradictory(config)]
    if found:
        raise ConfigError(sorted(found, key=attrgetter("place")))
    return Loaded(config, layers)


def _options(file: File, reader: Reader) -> tuple[Any, list[tuple[Path, str]]]:
    """What somebody else's registry makes of its keys, and what is wrong with them."""
    kind, raw = file.registry.kind, file.registry.options
    if kind in ("local", "static") and not raw:
        return None, []
    from sidecar.config.installed import BUILT_IN, Unfit, misplaced, read_options

    if kind in BUILT_IN:
        return None, list(misplaced(kind, raw))
    before = len(reader.problems)
    try:
        options = read_options(kind, raw, reader)
    except Unfit as unfit:
        return None, [(("registry", "kind"), str(unfit))]
    return options, reader.problems[before:]


def _movable(file: File, layers: Layers) -> frozenset[str]:
    """On one machine several sidecars have the same defaults: those that nobody has written may give way."""
    if file.registry.kind != "local":
        return frozenset()
    return frozenset(name for name in Listen.__struct_fields__ if not layers.written(("listen", name)))


def _about_profiles(below: list[Layer], over: list[Layer], chosen: str | None) -> Iterator[Problem]:
    """What is wrong with the choice, and with those that were not chosen: the chosen one is read with all else."""
    names = profile_names(below)
    if chosen and chosen not in names:
        yield no_profile(below, chosen)
    for layer in over:
        if "profiles" in layer.tables:
            yield Problem(layer.name, "profiles", "profiles are written in the file; set the keys themselves here")
    for name in names:
        own = profile_layer(below, name)
        if own is None:
            continue
        if "profiles" in below[-1].tables["profiles"][name]:
            yield Layers(below).problem(("profiles", name, "profiles"), "a profile cannot hold profiles")
        if name != chosen:
            yield from _misshapen(own, Layers([*below, own]))


def _misshapen(profile: Layer, layers: Layers) -> Iterator[Problem]:
    """The mistakes of shape that are the profile's own. Of the file only what it changes is read again."""
    raw = layers.tables
    reader = reader_for(raw)
    reader.read(File, {key: raw[key] for key in profile.tables}, ())
    for path, what in reader.problems:
        if layers.place(path)[0] is profile:
            yield layers.problem(path, what)


def reader_for(raw: Mapping[str, Any]) -> Reader:
    """A reader that knows the timeout classes of these tables."""
    return Reader({**PARSERS, "timeout": partial(_parse_timeout, _timeout_classes(raw.get("timeouts")))})


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
            known = hint(value, classes) or f" (known: {listed(classes)})"
            raise ValueError(f'expected a class of [timeouts], a duration or "none", not {shown(value)}{known}')
    return parse_positive_duration(value)


def _resolved(file: File, raw: dict[str, Any], reader: Reader, movable: frozenset[str], options: Any) -> Config:
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
        registry_options=options,
        movable=movable,
        limits=file.limits,
        overload=file.overload,
        trace=file.trace,
        drain=file.drain,
        log=file.log,
        access_log=file.access_log,
        defaults=service("", defaults),
        passthrough=service("passthrough", merged(defaults, ONE_ADDRESS)),
        services={name: service(name, table) for name, table in own.items()},
        dependencies=file.dependencies,
        routes=tuple(map(route, file.routes, raw.get("routes", ()))),
    )
