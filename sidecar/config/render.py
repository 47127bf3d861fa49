"""The effective configuration for people and programs: as TOML that loads again, with origins beside it, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable

from sidecar.config.effective import Leaf
from sidecar.config.layers import DEFAULT
from sidecar.config.walk import Path, dotted
from sidecar.config.write import key, toml

_WIDEST = 40
"""A value that is longer does not push the origins of all others to the right."""


def changed(leaves: Iterable[Leaf]) -> list[Leaf]:
    """Only what somebody has written, and each at the place where it is written."""
    return [leaf for leaf in leaves if leaf.own and leaf.origin != DEFAULT]


def as_toml(leaves: Iterable[Leaf], origins: bool) -> str:
    """The tables, the origin of each value behind it where ``origins`` asks for that."""
    tables: dict[Path, list[Leaf]] = {}
    for leaf in leaves:
        tables.setdefault(leaf.path[:-1], []).append(leaf)
    return "\n".join("".join(_table(path, inside, origins)) for path, inside in tables.items())


def as_json(leaves: Iterable[Leaf]) -> str:
    """A list of ``{"key", "value", "origin"}``; a value is JSON's nearest to what TOML has."""
    rows = [{"key": dotted(leaf.path), "value": leaf.shown, "origin": leaf.origin} for leaf in leaves]
    return json.dumps(rows, indent=2) + "\n"


def _table(path: Path, leaves: list[Leaf], origins: bool) -> Iterable[str]:
    name = ".".join(key(part) for part in path if isinstance(part, str))
    yield f"[[{name}]]\n" if isinstance(path[-1], int) else f"[{name}]\n"
    lines = [f"{key(str(leaf.path[-1]))} = {toml(leaf.shown)}" for leaf in leaves]
    width = max((len(line) for line in lines if len(line) <= _WIDEST), default=0)
    for line, leaf in zip(lines, leaves, strict=True):
        yield f"{line:<{width}}  # {_printable(leaf.origin)}\n" if origins else f"{line}\n"


def _printable(origin: str) -> str:
    """A path may hold anything, a comment may not."""
    return "".join(char if char.isprintable() else "?" for char in origin)
