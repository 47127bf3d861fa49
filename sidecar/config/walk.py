"""From TOML's plain values to typed tables, noting every problem instead of stopping at the first.

The types say what is wanted: the reader walks a Struct's annotations and the raw table side by side. What a plain type
cannot say has a title (``Annotated[float, Meta(title="duration")]``), and the reader is given a parser for each title.
A problem is noted with its path; where that path was written (a file, later its line, a variable, a flag) is for the
caller to say.

Values of flags and environment variables come as texts (:func:`from_text`), and the wanted type decides what they
mean: ``3`` is a number for ``max_retries`` and a text for ``version``.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec

from sidecar.config.units import format_duration, format_size, hint, shown
from sidecar.telemetry.secrets import is_secret

Path = tuple[str | int, ...]
Parser = Callable[[object], object]

INVALID: Final[Any] = object()
"""What a value becomes that could not be read; the reason has been noted."""

_BARE = re.compile(r"[A-Za-z0-9_-]+")


class Text(str):
    """A value from outside of TOML: a flag's or a variable's."""

    __slots__ = ()


def dotted(path: Path) -> str:
    """The path as a TOML key would be written: ``services.payments.endpoints[0]``."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{_key(part)}" for part in path]
    return "".join(parts).removeprefix(".")


def from_text(text: str) -> object:
    """A value from outside as a raw value: tables, also in an array, become tables (they merge), all else stays a text."""
    value = _toml(Text(text)) if text.startswith(("{", "[")) else None
    tables = value if isinstance(value, list) else [value]
    return value if tables and all(isinstance(table, dict) for table in tables) else Text(text)


def merged(base: object, over: object) -> Any:
    """``over`` laid on ``base``, key by key where both are tables; neither is changed."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return {**base, **{key: merged(base[key], value) if key in base else value for key, value in over.items()}}


class Reader:
    """Reads raw values as types; ``problems`` grows by ``(path, what is wrong)``."""

    __slots__ = ("_parsers", "problems")

    def __init__(self, parsers: Mapping[str, Parser]) -> None:
        self._parsers = parsers
        self.problems: list[tuple[Path, str]] = []

    def read(self, kind: Any, raw: object, path: Path) -> Any:
        """``raw`` as a value of type ``kind``, or ``INVALID`` with at least one problem noted."""
        origin = get_origin(kind)
        if origin is Annotated:
            return self._annotated(kind, raw, path)
        if origin is Union or origin is UnionType:
            return self._optional(kind, raw, path)
        if origin is Literal:
            return self._choice(get_args(kind), raw, path)
        if origin is tuple or origin is frozenset:
            return self._array(origin, get_args(kind)[0], raw, path)
        if origin is dict:
            return self._mapping(kind, raw, path)
        if issubclass(kind, msgspec.Struct):
            return self._table(kind, raw, path)
        if kind is bool:
            said = _toml(raw)
            return said if isinstance(said, bool) else self._note(path, f"expected true or false, not {shown(raw)}")
        if kind is str:
            return str(raw) if isinstance(raw, str) else self._no_text(path, raw)
        if kind is bool:
            return self._boolean(raw, path)
        if kind is not int and kind is not float:  # A table of somebody else's may have any.
            raise TypeError(f"{dotted(path)} is of a type that cannot be read: {kind}")
        return self._number(kind, raw, path)

    def _note(self, path: Path, what: str) -> Any:
        self.problems.append((path, what))
        return INVALID

    def _no_text(self, path: Path, raw: object) -> Any:
        # What is wrong is logged, and a password may be a number.
        return self._note(path, "expected a text" if is_secret(str(path[-1])) else f"expected a text, not {shown(raw)}")

    def _annotated(self, kind: Any, raw: object, path: Path) -> Any:
        value = INVALID
        metas = [meta for meta in kind.__metadata__ if isinstance(meta, msgspec.Meta)]
        parser = next((self._parsers[meta.title] for meta in metas if meta.title), None)
        if parser is None:
            value = self.read(kind.__origin__, raw, path)
        else:
            try:
                value = parser(raw)
            except ValueError as error:
                return self._note(path, str(error))
        for meta in metas:
            value = self._within(meta, kind, value, path)
        return value

    def _within(self, meta: msgspec.Meta, kind: Any, value: Any, path: Path) -> Any:
        if value is INVALID or value is None:
            return value
        if meta.ge is not None and value < meta.ge:
            return self._note(path, f"must be at least {_printed(kind, meta.ge)}, not {_printed(kind, value)}")
        if meta.gt is not None and value <= meta.gt:
            return self._note(path, f"must be above {_printed(kind, meta.gt)}, not {_printed(kind, value)}")
        if meta.le is not None and value > meta.le:
            return self._note(path, f"must be at most {_printed(kind, meta.le)}, not {_printed(kind, value)}")
        return value

    def _optional(self, kind: Any, raw: object, path: Path) -> Any:
        """``X | None``: a table is switched off by ``false``, anything else by ``"none"``."""
        (inner,) = [member for member in get_args(kind) if member is not NoneType]
        if not _is_table(inner):
            return None if raw == "none" else self.read(inner, raw, path)
        raw = _toml(raw)
        if raw is False:
            return None
        if not isinstance(raw, dict):
            return self._note(path, f"expected a table or false, not {shown(raw)}")
        return self.read(inner, raw, path)

    def _choice(self, words: tuple[str, ...], raw: object, path: Path) -> Any:
        if isinstance(raw, str) and raw in words:
            return str(raw)
        return self._note(path, f"expected one of {', '.join(words)}, not {shown(raw)}{hint(raw, words)}")

    def _array(self, origin: type, item: Any, raw: object, path: Path) -> Any:
        if isinstance(raw, Text):
            # An environment variable may say a,b,c where TOML says ["a", "b", "c"].
            plain = not raw.lstrip().startswith("[")
            raw = [Text(part.strip()) for part in raw.split(",") if part.strip()] if plain else _toml(raw)
        if not isinstance(raw, list):
            return self._note(path, f"expected an array, not {shown(raw)}")
        values = [self.read(item, element, (*path, index)) for index, element in enumerate(raw)]
        return INVALID if INVALID in values else origin(values)

    def _mapping(self, kind: Any, raw: object, path: Path) -> Any:
        key_kind, value_kind = get_args(kind)
        if not isinstance(raw, dict):
            return self._note(path, f"expected a table, not {shown(raw)}")
        values = {
            self.read(key_kind, key, (*path, key)): self.read(value_kind, value, (*path, key))
            for key, value in raw.items()
        }
        return INVALID if INVALID in values or INVALID in values.values() else values

    def _table(self, kind: type[msgspec.Struct], raw: object, path: Path) -> Any:
        shorthand: str | None = getattr(kind, "shorthand", None)
        if shorthand is not None and not isinstance(raw, dict):
            raw = {shorthand: raw}
        if not isinstance(raw, dict):
            return self._note(path, f"expected a table, not {shown(raw)}")
        fields = _fields(kind)
        for key in raw:
            if key not in fields:
                known = f" (known here: {', '.join(fields)})"
                self._note((*path, key), f"unknown key{hint(key, fields) or known}")
        values: dict[str, Any] = {}
        for key, field in fields.items():
            where = (*path, key)
            if key in raw:
                values[key] = self.read(field.type, raw[key], where)
            elif field.required:
                values[key] = self._note(where, "is missing")
        return INVALID if INVALID in values.values() or not raw.keys() <= fields.keys() else kind(**values)

    def _boolean(self, raw: object, path: Path) -> Any:
        raw = _toml(raw)
        return raw if isinstance(raw, bool) else self._note(path, f"expected true or false, not {shown(raw)}")

    def _number(self, kind: type, raw: object, path: Path) -> Any:
        raw = _toml(raw)
        if isinstance(raw, int) and not isinstance(raw, bool) and -(1 << 63) <= raw < 1 << 63:
            return kind(raw)
        if kind is float and isinstance(raw, float) and math.isfinite(raw):
            return raw
        return self._note(path, f"expected a {'whole ' if kind is int else ''}number, not {shown(raw)}")


@cache
def _fields(kind: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    """Fields by key. Cached: msgspec evaluates annotations at every call, and there may be thousands of endpoints."""
    return {field.encode_name: field for field in msgspec.structs.fields(kind)}


def _toml(raw: object) -> object:
    """What TOML makes of a text from outside, where it makes anything of it; any other value as it is."""
    if not isinstance(raw, Text) or "\n" in raw:
        return raw
    try:
        return tomllib.loads(f"value = {raw}")["value"]
    except (ValueError, RecursionError):
        return raw


def _key(part: str) -> str:
    return part if _BARE.fullmatch(part) else json.dumps(part[:60])


def _is_table(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _printed(kind: Any, value: Any) -> str:
    titles = {meta.title for meta in getattr(kind, "__metadata__", ()) if isinstance(meta, msgspec.Meta)}
    if "size" in titles:
        return format_size(value)
    return format_duration(value) if titles & {"duration", "wait"} else shown(value)
