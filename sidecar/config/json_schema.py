"""The JSON Schema of the file, from the same Structs that read it: what editors complete, explain and check.

It knows the shape alone. What must make sense together (an endpoint twice, a route to nowhere) ``sidecar config
validate`` knows.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal, get_args, get_origin

import msgspec

from sidecar.config.kinds import PATTERNS, registry_kinds
from sidecar.config.schema import File, Tables
from sidecar.config.write import Kind, default_of, fields, opened, plain

_DURATION: Final = r"[0-9]{1,12}(\.[0-9]{1,12})?(ms|s|m|h)"
_POSITIVE: Final = rf"(?=[0-9.]*[1-9]){_DURATION}"
_ADDRESS: Final = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):[0-9]{1,5}"

_TEXTS: Final[dict[str, tuple[str, list[str]]]] = {
    "duration": (_POSITIVE, ["100ms", "30s", "5m"]),
    "wait": (_DURATION, ["0s", "5s"]),
    "timeout": (rf"none|{_POSITIVE}|{PATTERNS['timeout class'][0]}", ["api", "2s", "none"]),
    "listener": (_ADDRESS, ["127.0.0.1:15001"]),
    "place": (_ADDRESS, ["db.internal:5432"]),
    "peer": (_ADDRESS, ["127.0.0.1:8080", "[fd00::5]:9001"]),
    "host": (r"\[?[A-Za-z0-9_.:-]+\]?", ["payments"]),
    "name server": (r"\[?[0-9A-Fa-f.:]+\]?(:[0-9]{1,5})?", ["127.0.0.1:53"]),
    "network": (r"[0-9A-Fa-f.:]+(/[0-9]{1,3})?", ["10.0.0.0/8"]),
    **{title: (pattern, []) for title, (pattern, _) in PATTERNS.items()},
}
"""Pattern and examples of the titles that are written as texts."""

_PLAIN: Final = {str: "string", int: "integer", float: "number", bool: "boolean"}


def json_schema() -> dict[str, Any]:
    """The schema, draft 2020-12."""
    tables: dict[str, Any] = {}
    root = _object(File, tables)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of the sidecar",
        **root,
        "$defs": dict(sorted(tables.items())),
    }


def _object(table: type[msgspec.Struct], tables: dict[str, Any]) -> dict[str, Any]:
    properties, required = {}, []
    for key, (kind, field) in fields(table).items():
        default = default_of(field)
        properties[key] = _described(kind, default, tables)
        if default is msgspec.NODEFAULT:
            required.append(key)
    shape = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**shape, "required": required} if required else shape


def _described(kind: Kind, default: Any, tables: dict[str, Any]) -> dict[str, Any]:
    shape = _shape(kind, tables)
    if kind.description:
        shape = {"description": kind.description, **shape}
    # The default of a table is that of its keys.
    if default is msgspec.NODEFAULT or default is None or kind.is_table or get_origin(kind.type) is dict:
        return shape
    return {**shape, "default": plain(kind, default)}


def _shape(kind: Kind, tables: dict[str, Any]) -> dict[str, Any]:
    shape = _required_shape(kind, tables)
    if not kind.optional or kind.title == "timeout":
        return shape
    return {"anyOf": [shape, {"const": False if kind.is_table else "none"}]}


def _required_shape(kind: Kind, tables: dict[str, Any]) -> dict[str, Any]:
    if kind.title == "profile":
        return _reference(Tables, tables)
    if kind.title == "registry kind":
        return {"enum": list(registry_kinds())}
    if kind.title == "options":
        return {"type": "object"}
    if kind.title == "size":
        text = {"type": "string", "pattern": "^[0-9]{1,15} ?(KiB|MiB|GiB)?$", "examples": ["64KiB"]}
        return {"anyOf": [{"type": "integer", "minimum": 1, **_bounds(kind)}, text]}
    if kind.title:
        pattern, examples = _TEXTS[kind.title]
        return {"type": "string", "pattern": f"^({pattern})$", **({"examples": examples} if examples else {})}
    if kind.is_table:
        return _table(kind.type, tables)
    origin = get_origin(kind.type)
    if origin is Literal:
        return {"enum": list(get_args(kind.type))}
    if origin is tuple or origin is frozenset:
        return {"type": "array", "items": _shape(opened(get_args(kind.type)[0]), tables)}
    if origin is dict:
        keys, values = map(opened, get_args(kind.type))
        names = {"propertyNames": {"pattern": _shape(keys, tables)["pattern"]}} if keys.title else {}
        return {"type": "object", **names, "additionalProperties": _shape(values, tables)}
    return {"type": _PLAIN[kind.type], **_bounds(kind)}


def _bounds(kind: Kind) -> dict[str, Any]:
    words = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
    found = ((word, getattr(meta, name)) for meta in kind.metas for name, word in words.items())
    return {word: bound for word, bound in found if bound is not None}


def _table(table: type[msgspec.Struct], tables: dict[str, Any]) -> dict[str, Any]:
    """A reference, and beside it the short form of a table that has one."""
    shorthand = getattr(table, "shorthand", None)
    if shorthand is None:
        return _reference(table, tables)
    return {"anyOf": [_shape(fields(table)[shorthand][0], tables), _reference(table, tables)]}


def _reference(table: type[msgspec.Struct], tables: dict[str, Any]) -> dict[str, Any]:
    """Tables are named by what they are to the reader: ``breaker``, ``access_log``."""
    part = table.__module__.rpartition(".")[2]
    name = part if table.__name__ == "Settings" else re.sub(r"(?<!^)(?=[A-Z])", "_", table.__name__).lower()
    if name not in tables:
        tables[name] = {}
        tables[name] = _object(table, tables)
    return {"$ref": f"#/$defs/{name}"}
