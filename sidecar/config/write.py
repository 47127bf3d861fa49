"""Typed values as they are written in the file again: the other direction of ``walk``.

``plain`` gives what ``tomllib`` would have given, in the shortest spelling; ``toml`` gives its text. So two
configurations that mean the same print the same, whatever their authors wrote.
"""

from __future__ import annotations

import json
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

import msgspec

from sidecar.config.units import format_duration, format_size
from sidecar.config.walk import dotted

_DURATIONS = frozenset({"duration", "wait", "timeout"})


class Kind(NamedTuple):
    """What an annotation says: the type inside, whether it may be switched off, and all that is said about it."""

    annotation: Any
    type: Any
    optional: bool
    metas: tuple[msgspec.Meta, ...]

    @property
    def title(self) -> str:
        """A key of ``kinds.PARSERS``, "timeout", or nothing."""
        return next((meta.title for meta in self.metas if meta.title), "")

    @property
    def description(self) -> str:
        return next((meta.description for meta in self.metas if meta.description), "")

    @property
    def secret(self) -> bool:
        """Whether its value must not be shown: ``Meta(extra={"secret": True})``."""
        return any((meta.extra or {}).get("secret", False) for meta in self.metas)

    @property
    def is_table(self) -> bool:
        return isinstance(self.type, type) and issubclass(self.type, msgspec.Struct) and not self.title


def opened(kind: Any) -> Kind:
    """The annotation with its wrappers taken off, the outermost first."""
    annotation = kind
    metas: tuple[msgspec.Meta, ...] = ()
    optional = False
    while True:
        origin = get_origin(kind)
        if origin is Annotated:
            metas += tuple(meta for meta in kind.__metadata__ if isinstance(meta, msgspec.Meta))
            kind = kind.__origin__
        elif (origin is Union or origin is UnionType) and NoneType in get_args(kind):
            optional = True
            (kind,) = (member for member in get_args(kind) if member is not NoneType)
        else:
            return Kind(annotation, kind, optional, metas)


@cache
def fields(table: type[msgspec.Struct]) -> dict[str, tuple[Kind, msgspec.structs.FieldInfo]]:
    """What a table may hold, by key. Cached: msgspec evaluates annotations at every call."""
    return {field.encode_name: (opened(field.type), field) for field in msgspec.structs.fields(table)}


def default_of(field: msgspec.structs.FieldInfo) -> Any:
    """What the field is when nobody says anything; ``msgspec.NODEFAULT`` if somebody has to."""
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


def plain(kind: Any, value: Any) -> Any:
    """The value as TOML has it. ``kind`` is an annotation, or one that was opened."""
    kind = kind if isinstance(kind, Kind) else opened(kind)
    if value is None:
        return False if kind.is_table else "none"
    if kind.title in _DURATIONS:
        return format_duration(value)
    if kind.title == "size":
        size = format_size(value)
        return int(size) if size.isdigit() else size
    if kind.is_table:
        return _plain_table(kind.type, value)
    if get_origin(kind.type) in (tuple, frozenset):
        return [plain(get_args(kind.type)[0], item) for item in value]
    if get_origin(kind.type) is dict:
        return {key: plain(get_args(kind.type)[1], item) for key, item in value.items()}
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        return int(value)
    return value if isinstance(value, str | int | float) else str(value)


def _plain_table(table: type[msgspec.Struct], value: msgspec.Struct) -> Any:
    """Only what is not the default; as the shorthand alone where that is all."""
    said = {
        key: plain(kind, getattr(value, field.name))
        for key, (kind, field) in fields(table).items()
        if getattr(value, field.name) != default_of(field)
    }
    shorthand = getattr(table, "shorthand", None)
    return said[shorthand] if shorthand is not None and said.keys() == {shorthand} else said


def toml(value: Any) -> str:
    """A plain value as TOML writes it, on one line."""
    match value:
        case str():
            # JSON's text is TOML's but for DEL; what was no UTF-8 outside cannot be written at all.
            text = value.encode("utf-8", "replace").decode()
            return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
        case bool():
            return str(value).lower()
        case list():
            return f"[{', '.join(map(toml, value))}]"
        case dict():
            inner = ", ".join(f"{key(name)} = {toml(item)}" for name, item in value.items())
            return f"{{ {inner} }}" if inner else "{}"
        case _:
            return repr(value)


def key(name: str) -> str:
    """One step of a key, quoted if it must be."""
    return name if dotted((name,)) == name else toml(name)
