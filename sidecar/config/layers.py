"""What is written, and where: the file, a profile of it, the environment and the flags, each a layer of plain tables.

Layers are laid on each other while they are still plain (:func:`~sidecar.config.walk.merged`). Where a value came from
is answered by the same function over the same tables, with each value replaced by the place where it is written: so
the two can never disagree about who won. That is done only when somebody asks; a good configuration asks nothing.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property, reduce
from typing import Any, Final, NamedTuple

from sidecar.config.units import hint, listed, shown
from sidecar.config.walk import Path, dotted, from_text, merged
from sidecar.telemetry.lines import encodable

BUILT_IN: Final = {
    "timeouts": {"api": "30s", "external": "15s", "upload": "5m", "database": "10s", "analytics": "5m"},
    "defaults": {"timeout": "api"},
}
"""What lies beneath the file: the classes of the user's integration patterns, and that a call is an API call."""

FAR: Final = {"listen": {"inbound": "0.0.0.0:15006", "probes": "0.0.0.0:15020"}}
"""What is beneath even that unless the registry is that of one machine, where nobody comes from elsewhere."""

DEFAULT: Final = "default"
"""The origin of what nobody has written."""

_PREFIX = "SIDECAR_"
_MAX_FILE = 16 << 20
_MAX_DEPTH = 32
_MAX_STEPS = 16
_WHERE_IN_TOML = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)")


class Problem(NamedTuple):
    """What is wrong. ``origin`` is ``file:line``, a variable or a flag; ``line`` is 0 where there is none."""

    origin: str
    key: str
    message: str
    file: str | None = None
    line: int = 0

    @property
    def place(self) -> tuple[bool, int]:
        """By this they are sorted: by line, and then what is not in the file."""
        return self.file is None, self.line

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.origin, self.key, self.message)))


class ConfigError(Exception):
    """``problems``: a line each, ``where: key: what is wrong``, in the order of the file; ``details``: their parts."""

    def __init__(self, details: list[Problem]) -> None:
        self.details = details
        self.problems = [str(problem) for problem in details]
        super().__init__("\n".join(self.problems))


class Setting(NamedTuple):
    """One value from outside of the file: ``Setting("--app", "service.app", "127.0.0.1:8080")``."""

    origin: str
    key: str
    value: str


class Layer:
    """Tables that were written in one place: ``name`` is a path, a variable or a flag."""

    def __init__(self, name: str, tables: Any, text: str | None = None, profile: str = "") -> None:
        self.name = name
        self.tables = tables
        self.text = text
        """Of a file."""
        self.profile = profile
        """Which profile of the file this is, else empty."""
        self.prefix: Path = ("profiles", profile) if profile else ()

    def line(self, path: Path) -> int:
        """Where the file has ``path``, or else what is around it; 0 where there is no such line."""
        from sidecar.config.locate import nearest

        return nearest(self._lines, self.prefix + path) if self.text is not None else 0

    def origin(self, path: Path) -> str:
        """Where ``path`` is written: ``file:line``, a variable or a flag."""
        line = self.line(path)
        return f"{self.name}:{line}" if line else self.name

    @cached_property
    def _lines(self) -> dict[Path, int]:
        from sidecar.config.locate import locate

        return locate(self.text or "")


class Written(NamedTuple):
    """A value that is no table, the layer that has it, and its path there."""

    value: Any
    layer: Layer
    path: Path


class Layers:
    """All of them, the lowest first."""

    def __init__(self, layers: list[Layer]) -> None:
        self._layers = layers if _registry(layers) == "local" else [Layer(DEFAULT, FAR), *layers]

    @property
    def tables(self) -> dict[str, Any]:
        """What they come to."""
        return dict(reduce(merged, (layer.tables for layer in self._layers), {}))

    @cached_property
    def tree(self) -> Any:
        """The same tables with a :class:`Written` in the place of each value."""
        return reduce(merged, (written(layer.tables, layer, ()) for layer in self._layers), {})

    def place(self, path: Path) -> tuple[Layer, Path]:
        """The layer that a problem at ``path`` is to be mended in, and the path as that layer has it."""
        node = self.tree
        for depth, part in enumerate(path):
            node = node.get(part)
            if isinstance(node, Written):
                return node.layer, (*node.path, *path[depth + 1 :])
            if node is None:
                return self._holder(path[:depth], files_only=True), path
        return self._holder(path), path

    def _holder(self, table: Path, files_only: bool = False) -> Layer:
        """The lowest layer that has this table, else the file. What is missing is to be written in a file."""
        own = [layer for layer in self._layers if layer.name != DEFAULT and (layer.text is not None or not files_only)]
        root = next((layer for layer in own if layer.text is not None), Layer("configuration", {}))
        return next((layer for layer in own if table and _has(layer.tables, table)), root)

    def written(self, path: Path) -> bool:
        """Whether somebody has written a value there."""
        return any(layer.name != DEFAULT and _has(layer.tables, path) for layer in self._layers)

    def problem(self, path: Path, what: str) -> Problem:
        """The problem with its place."""
        layer, there = self.place(path)
        line = layer.line(there)
        file = layer.name if layer.text is not None else None
        return Problem(layer.origin(there), dotted(layer.prefix + there), what, file, line)


def _registry(layers: list[Layer]) -> object:
    """The kind of registry that they name."""
    for layer in reversed(layers):
        registry = layer.tables.get("registry")
        if isinstance(registry, dict) and "kind" in registry:
            return registry["kind"]
    return "local"


def written(node: object, layer: Layer, path: Path) -> Any:
    """``node`` with a :class:`Written` in the place of each value."""
    if isinstance(node, dict):
        return {key: written(value, layer, (*path, key)) for key, value in node.items()}
    return Written(node, layer, path)


def lowest(path: str | None, beneath: Iterable[Setting] = ()) -> list[Layer]:
    """What is built in, ``beneath``, and the file at ``path``. Raises :class:`ConfigError` if it cannot be read."""
    layers = [Layer(DEFAULT, BUILT_IN), *map(_setting, beneath)]
    return layers if path is None else [*layers, _file(path)]


def profile_names(below: list[Layer]) -> tuple[str, ...]:
    """What the file of the :func:`lowest` layers has under ``[profiles]``."""
    profiles = below[-1].tables.get("profiles")
    return tuple(profiles) if isinstance(profiles, dict) else ()


def profile_layer(below: list[Layer], name: str) -> Layer | None:
    """The profile over these layers; ``None`` if the file has no such table."""
    file = below[-1]
    tables = file.tables["profiles"][name] if name in profile_names(below) else None
    if not isinstance(tables, dict):
        return None
    return Layer(file.name, {key: tables[key] for key in tables if key != "profiles"}, file.text, name)


def outside(environ: Mapping[str, str], flags: Iterable[Setting]) -> Iterator[Layer]:
    """Of the environment what is ours, and the flags.

    Only names with a double underscore are ours: Kubernetes injects its own ``SIDECAR_*`` beside them.
    """
    for variable in sorted(environ):
        name = variable.removeprefix(_PREFIX)
        if name != variable and "__" in name:
            yield _setting(Setting(variable, name.lower().replace("__", "."), environ[variable]))
    yield from map(_setting, flags)


def no_profile(below: list[Layer], name: str) -> Problem:
    """That there is no profile ``name``, and which there are."""
    message = f"there is no profile {shown(name)}"
    if below[-1].text is None:
        return Problem("configuration", "profiles", f"{message}, since there is no file: name one with --config")
    known = profile_names(below)
    those = f" (known: {listed(known)})" if known else ": the file has no [profiles.…]"
    return Layers(below).problem(("profiles",), f"{message}{those}{hint(name, known)}")


def _setting(setting: Setting) -> Layer:
    if encodable(setting.value) != setting.value:
        raise ConfigError([Problem(encodable(setting.origin), "", "is not UTF-8")])
    tables = from_text(setting.value)
    for part in reversed(setting.key.split(".", _MAX_STEPS)):
        tables = {part: tables}
    return Layer(setting.origin, tables)


def _has(tables: object, path: Path) -> bool:
    for part in path:
        if not isinstance(tables, dict) or part not in tables:
            return False
        tables = tables[part]
    return True


def _file(path: str) -> Layer:
    """The file's tables. Bounded, so that a wrong path (a device, a log) is an error and not all of the memory."""
    name = encodable(path)
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_FILE + 1)
        if len(content) > _MAX_FILE:
            raise _unreadable(name, 0, "is larger than 16 MiB, so it is not a configuration")
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _unreadable(name, line, "is not UTF-8") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        raise _unreadable(name, 0, f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        tables = tomllib.loads(text)
    except RecursionError:
        raise _unreadable(name, 0, "is nested too deeply") from None
    except ValueError as error:
        what = str(error)
        place = _WHERE_IN_TOML.search(what)
        line = int(place[1] or len(text.splitlines()) or 1) if place else 0
        raise _unreadable(name, line, f"is not TOML: {_WHERE_IN_TOML.sub('', what)}") from None
    if _too_deep(tables):
        raise _unreadable(name, 0, "is nested too deeply")
    return Layer(name, tables, text)


def _unreadable(path: str, line: int, what: str) -> ConfigError:
    return ConfigError([Problem(f"{path}:{line}" if line else path, "", what, path, line)])


def _too_deep(tables: dict[str, Any]) -> bool:
    """A dotted key can be as long as the file, and Python does not like to call that deep."""
    level: list[Any] = [tables]
    for _ in range(_MAX_DEPTH):
        values = (value for node in level for value in (node.values() if isinstance(node, dict) else node))
        level = [value for value in values if isinstance(value, dict | list)]
        if not level:
            return False
    return True
