"""What a configuration comes to, value by value, and where each value came from.

The tables are those of the file. A service is shown with all its policies, a route with those that it may override, so
that nobody has to inherit in his head; what they have from elsewhere names that table. Services and routes are laid on
what they inherit by the same function, and on the same trees of places, as the layers are laid on each other.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Any, Final, NamedTuple, get_args, get_origin

import msgspec

from sidecar.config.installed import BUILT_IN, factory, settings_of
from sidecar.config.layers import DEFAULT, Layers, Written, written
from sidecar.config.load import Loaded, reader_for
from sidecar.config.schema import File, Overrides, RouteTable, ServiceTable
from sidecar.config.walk import Path, Reader, dotted, merged
from sidecar.config.write import Kind, default_of, fields, opened, plain, toml
from sidecar.telemetry.secrets import REDACTED, is_secret

_LONGEST: Final = 200
_OVERRIDES: Final = Overrides.__struct_fields__

_ABSENT: Final = object()


class Entry(NamedTuple):
    """``Entry("defaults.timeout", '"2s"', "sidecar.toml:12")``: the value as TOML, secrets left out."""

    key: str
    value: str
    origin: str


class Leaf(NamedTuple):
    """One value that is in effect, plain; ``own``: it is written in this very table."""

    path: Path
    value: Any
    origin: str
    own: bool = False
    secret: bool = False

    @property
    def shown(self) -> Any:
        return REDACTED if self.secret else self.value


def entries(layers: Layers) -> list[Entry]:
    """Every value in effect, in the order of the file's tables."""
    return [Entry(dotted(leaf.path), toml(leaf.shown), leaf.origin) for leaf in leaves(layers)]


def leaves(layers: Layers, without: Container[str] = ()) -> Iterator[Leaf]:
    """Every value in effect, but for these services. The layers have to be those of a configuration that was loaded."""
    return _Walk(layers, without).file()


class _Walk:
    """Goes through types and tree side by side, as the reader goes through types and tables."""

    __slots__ = ("_classes", "_reader", "_tree", "_without")

    def __init__(self, layers: Layers, without: Container[str]) -> None:
        tables = layers.tables
        self._without = without
        self._tree: dict[str, Any] = layers.tree
        self._classes: Mapping[str, Any] = tables["timeouts"]
        self._reader: Reader = reader_for(tables)

    def file(self) -> Iterator[Leaf]:
        for key, (kind, field) in fields(File).items():
            if key == "services":
                for name in self._tree.get(key, {}):
                    if name in self._without:
                        continue
                    yield from self._table(ServiceTable, self._service(name), ("services", name))
            elif key == "routes":
                yield from self._routes()
            elif key != "profiles":
                yield from self._value(kind, self._tree.get(key, _ABSENT), default_of(field), (key,))

    def _service(self, name: str) -> Any:
        return merged(self._tree["defaults"], self._tree.get("services", {}).get(name, {}))

    def _routes(self) -> Iterator[Leaf]:
        routes = self._tree.get("routes")
        if routes is None:
            return
        for index, table in enumerate(routes.value):
            path: Path = ("routes", index)
            node = written(table, routes.layer, path)
            own = {key: node[key] for key in RouteTable.__struct_fields__ if key in node}
            yield from self._said(RouteTable, {key: own[key] for key in own if key not in _OVERRIDES}, path)
            overrides = {key: own[key] for key in _OVERRIDES if key in own}
            if "service" in table:
                service = self._service(table["service"])
                inherited = {key: service[key] for key in _OVERRIDES if key in service}
                yield from self._table(Overrides, merged(inherited, overrides), path)
            else:
                # What is left open depends on the service that is chosen.
                yield from self._said(Overrides, overrides, path)

    def _said(self, table: type[msgspec.Struct], node: Mapping[str, Any], path: Path) -> Iterator[Leaf]:
        """Only what is written."""
        for key, (kind, _) in fields(table).items():
            if key not in node:
                continue
            if kind.is_table and isinstance(node[key], dict):
                yield from self._said(kind.type, node[key], (*path, key))
            else:
                yield from self._value(kind, node[key], None, (*path, key))

    def _table(self, table: type[msgspec.Struct], node: Mapping[str, Any], path: Path) -> Iterator[Leaf]:
        for key, (kind, field) in fields(table).items():
            yield from self._value(kind, node.get(key, _ABSENT), default_of(field), (*path, key))

    def _value(self, kind: Kind, node: Any, default: Any, path: Path) -> Iterator[Leaf]:
        if kind.title == "options":
            yield from self._options(node if isinstance(node, dict) else {}, path)
        elif isinstance(node, Written):
            yield self._written(kind, node, path)
        elif isinstance(node, dict):
            if kind.is_table:
                yield from self._table(kind.type, node, path)
            else:
                inside = opened(get_args(kind.type)[1])
                for name, inner in node.items():
                    if inside.is_table:
                        yield from self._table(inside.type, inner, (*path, name))
                    else:
                        yield self._written(inside, inner, (*path, name), is_secret(name))
        elif kind.is_table and default is not None:
            for key, (inner_kind, field) in fields(kind.type).items():
                yield from self._value(inner_kind, _ABSENT, getattr(default, field.name), (*path, key))
        elif get_origin(kind.type) is not dict or default:
            yield Leaf(path, plain(kind, default), DEFAULT, secret=kind.secret)

    def _options(self, node: dict[str, Any], path: Path) -> Iterator[Leaf]:
        """The keys of somebody else's registry: by its own types, or as they stand if it has none."""
        kind = self._tree.get("registry", {}).get("kind")
        if not isinstance(kind, Written) or kind.value in BUILT_IN:
            return
        settings = settings_of(factory(kind.value))
        if settings is not None:
            yield from self._table(settings, node, path)
            return
        yield from _as_they_stand(node, path)

    def _written(self, kind: Kind, node: Written, path: Path, secret: bool = False) -> Leaf:
        value = plain(kind, self._reader.read(kind.annotation, node.value, path))
        if kind.title == "timeout" and isinstance(node.value, str) and node.value in self._classes:
            value = str(node.value)
        home = node.path[: 1 if node.path[0] == "defaults" else 2]
        own = path[: len(home)] == home
        return Leaf(path, value, _origin(node, "" if own else f"[{dotted(home)}] "), own, secret or kind.secret)


def _as_they_stand(node: dict[str, Any], path: Path) -> Iterator[Leaf]:
    for name, inner in node.items():
        if isinstance(inner, dict):
            yield from _as_they_stand(inner, (*path, name))
        else:
            yield Leaf((*path, name), inner.value, _origin(inner, ""), True, is_secret(name))


def _origin(node: Written, inherited: str) -> str:
    layer = node.layer
    if layer.name == DEFAULT:
        return DEFAULT
    place = layer.origin(node.path)
    return f"{inherited}profile {layer.profile} ({place})" if layer.profile else inherited + place


def changes(old: Loaded, new: Loaded) -> list[str]:
    """What differs, a line a value: ``services.payments.timeout: 2s -> 3s``, ``routes.canary: added``.

    What is inherited is told once, at the table that it is inherited from.
    """
    # A service that says what it said has no change of its own, and there may be thousands.
    was, now = (loaded.layers.tables.get("services", {}) for loaded in (old, new))
    same = {name for name in now if name in was and was[name] == now[name]}
    before, after = _by_key(old.layers, same), _by_key(new.layers, same)
    whole = {**_roots(after, before, "added"), **_roots(before, after, "removed")}
    lines = [f"{dotted(root)}: {what}" for root, what in whole.items()]
    for path in {**after, **before}:
        one, other = before.get(path), after.get(path)
        if path[:2] in whole or _tells_nothing(one, other):
            continue
        lines.append(f"{dotted(path)}: {_difference(one, other)}")
    order = [[root[1] for root in _roots(leaves, {}, "") if root[0] == "routes"] for leaves in (before, after)]
    common = [[str(name) for name in names if name in order[0] and name in order[1]] for names in order]
    if common[0] != common[1]:
        lines.append(f"routes: the order is now {', '.join(common[1])}"[:_LONGEST])
    return lines


def _by_key(layers: Layers, without: Container[str]) -> dict[Path, Leaf]:
    """Leaves by path, routes by their name: where one stands in the list may change without its meaning."""
    found = list(leaves(layers, without))
    names = {leaf.path[1]: leaf.value for leaf in found if leaf.path[0] == "routes" and leaf.path[2:] == ("name",)}
    return {
        ("routes", names[leaf.path[1]], *leaf.path[2:]) if leaf.path[0] == "routes" else leaf.path: leaf
        for leaf in found
    }


def _roots(these: Mapping[Path, Leaf], but: Mapping[Path, Leaf], what: str) -> dict[Path, str]:
    """Services and routes that are in ``these`` alone."""
    others = {path[:2] for path in but}
    roots = {path[:2]: what for path in these if path[0] in ("services", "routes")}
    return {root: what for root in roots if root not in others}


def _tells_nothing(one: Leaf | None, other: Leaf | None) -> bool:
    if one is not None and other is not None and one.value == other.value:
        return True
    return not any(leaf is not None and leaf.own and leaf.origin != DEFAULT for leaf in (one, other))


def _difference(one: Leaf | None, other: Leaf | None) -> str:
    if any(leaf is not None and leaf.secret for leaf in (one, other)):
        return "changed"
    old, new = (leaf.value if leaf is not None else None for leaf in (one, other))
    if isinstance(old, list) and isinstance(new, list):
        parts = [f"{_short(item)} added" for item in new if item not in old]
        parts += [f"{_short(item)} removed" for item in old if item not in new]
        if parts:
            return _cut(", ".join(parts))
    return f"{_short(old)} -> {_short(new)}"


def _short(value: Any) -> str:
    """A value for people: without quotes where it has none of its own and is one word."""
    if value is None:
        return "(unset)"
    text = toml(value)
    return _cut(text[1:-1] if isinstance(value, str) and value.isprintable() and value and " " not in value else text)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
