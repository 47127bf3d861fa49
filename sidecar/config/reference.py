"""The reference of all keys as Markdown, from the same Structs that read them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal, get_args, get_origin

import msgspec

from sidecar.config.installed import BUILT_IN as REGISTRIES
from sidecar.config.layers import BUILT_IN
from sidecar.config.schema import File
from sidecar.config.write import Kind, default_of, fields, opened, plain, toml

_WORDS: Final = {
    "wait": "duration",
    "timeout": 'duration, class or `"none"`',
    "listener": "host:port",
    "peer": "host:port",
    "network": "CIDR",
    "label": "text",
    "agent": "URL",
    "statuses": "text",
    "health path": "path",
    "place": "host:port",
    "file": "path",
    "token": "text",
    "grpc method": "text",
    "registry kind": f"{', '.join(REGISTRIES)}, or an installed one",
    "options": "table",
    "name server": "address:port",
    "srv prefix": "text",
    "header value": "text",
}
"""Titles that people know by another word."""

_NUMBERS: Final = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def reference() -> str:
    """A section for each table: key, default, type and meaning of all that it may hold."""
    return "\n".join(_sections())


def _sections() -> Iterator[str]:
    for key, (kind, field) in fields(File).items():
        inner = get_args(kind.type)
        if key == "profiles":
            yield _section("[profiles.NAME]", f"{kind.description} Any table of this page, but no profiles.", ())
        elif key == "timeouts":
            rows = [_row(f"{key}.{name}", f'`"{value}"`', "duration", "") for name, value in BUILT_IN[key].items()]
            yield _section(f"[{key}]", f"{kind.description} Names of your own are welcome.", rows)
        elif get_origin(kind.type) is dict:
            yield from _tables(f"{key}.NAME", f"[{key}.NAME]", opened(inner[1]), None, kind.description)
        elif get_origin(kind.type) is tuple:
            yield from _tables(f"{key}[]", f"[[{key}]]", opened(inner[0]), None, kind.description)
        else:
            yield from _tables(key, f"[{key}]", kind, default_of(field), kind.description)


def _tables(prefix: str, heading: str, kind: Kind, defaults: Any, about: str) -> Iterator[str]:
    """The section of a table, and those of the tables in it that no other section has."""
    rows, inner = [], []
    # What makes a service or a route one comes before what it may say otherwise.
    own = kind.type.__annotations__ if defaults is None else {}
    for key, (key_kind, field) in sorted(fields(kind.type).items(), key=lambda item: item[0] not in own):
        default = default_of(field)
        name = f"{prefix}.{key}"
        if key_kind.is_table and (prefix == "services.NAME" or (prefix == "routes[]" and key != "match")):
            rows.append(_row(name, "", f"table{_or_false(key_kind)}", f"{key_kind.description} As `[defaults.{key}]`."))
        elif key_kind.is_table:
            about_it = f"{key_kind.description}{f' `{key} = false` switches it off.' if key_kind.optional else ''}"
            inner.append((name, f"[{name.replace('[]', '')}]", key_kind, default, about_it))
        else:
            rows.append(_row(name, _default(prefix, key, key_kind, default), _type(key_kind), key_kind.description))
            item = opened(get_args(key_kind.type)[0]) if get_origin(key_kind.type) is tuple else None
            if item is not None and item.is_table:
                inner.append((f"{name}[]", f"{name.replace('[]', '')} = [{{ … }}]", item, None, "Each of them."))
    yield _section(heading, about, rows)
    for section in inner:
        yield from _tables(*section)


def _section(heading: str, about: str, rows: Any) -> str:
    table = "".join(["\n| key | default | type | means |\n|---|---|---|---|\n", *rows]) if rows else ""
    return f"### {heading}\n\n{about}\n{table}"


def _row(key: str, default: str, kind: str, means: str) -> str:
    return f"| `{key}` | {default} | {kind} | {means} |\n".replace("|  |", "| |")


def _default(prefix: str, key: str, kind: Kind, default: Any) -> str:
    if default is msgspec.NODEFAULT:
        return "needed"
    if prefix == "services.NAME" and key != "endpoints":
        return "as `[defaults]`"
    if prefix == "routes[]" and key in ("timeout", "attempt_timeout"):
        return "as its service"
    if default is None and kind.title != "timeout" and prefix not in ("listen", "defaults"):
        return "not set"
    if prefix.startswith("routes[]") and not default:
        return "not set"
    built_in: Any = BUILT_IN.get(prefix, {})
    return f"`{toml(built_in.get(key, plain(kind, default)))}`"


def _or_false(kind: Kind) -> str:
    return " or `false`" if kind.optional else ""


def _type(kind: Kind) -> str:
    word = _word(kind)
    return f'{word} or `"none"`' if kind.optional and kind.title != "timeout" else word


def _word(kind: Kind) -> str:
    if kind.title:
        return _WORDS.get(kind.title, kind.title)
    origin = get_origin(kind.type)
    if origin is Literal:
        return ", ".join(get_args(kind.type))
    if origin is tuple or origin is frozenset:
        item = opened(get_args(kind.type)[0])
        return f"array of {'tables' if item.is_table else _word(item)}"
    if origin is dict:
        return "table"
    bounds = [(word, getattr(meta, name)) for meta in kind.metas for name, word in (("ge", "≥"), ("le", "≤"))]
    said = ", ".join(f"{word} {bound}" for word, bound in bounds if bound is not None)
    return f"{_NUMBERS[kind.type]}{f' {said}' if said else ''}"
