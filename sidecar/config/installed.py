"""Registries that others have written: found by their entry points, imported only if the configuration names one.

A distribution that has one says so in its ``pyproject.toml``::

    [project.entry-points."sidecar.registries"]
    file = "registry_file:FileRegistry"

and ``registry.kind = "file"`` then means it. What the entry point leads to is called with a ``Setup`` and returns a
``Source`` (``discovery.source``). Its attribute ``Settings``, a msgspec Struct, says what ``[registry.options]`` may
hold; without one it is handed the table as it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from typing import Any, Final

import msgspec

from sidecar.config.walk import INVALID, Path, Reader
from sidecar.discovery.source import Setup, Source

GROUP: Final = "sidecar.registries"
BUILT_IN: Final = ("local", "static", "consul", "dns")
OPTIONS: Final[Path] = ("registry", "options")

Factory = Callable[[Setup[Any]], Source]


class Unfit(Exception):
    """It is installed and cannot be used; why, in words."""


def installed() -> dict[str, metadata.EntryPoint]:
    """By kind; those of our own names are ours."""
    found = sorted(metadata.entry_points(group=GROUP), key=lambda one: one.name)
    return {one.name: one for one in found if one.name not in BUILT_IN}


def factory(kind: str) -> Factory:
    """What makes registries of this kind. Raises ``Unfit``."""
    point = installed().get(kind)
    if point is None:
        raise Unfit(f"the registry {kind} is not installed any more")
    try:
        found: Factory = point.load()
    except Exception as error:  # Whatever its module does when it is imported.
        raise Unfit(f"{point.value} cannot be imported: {described(error)}") from error
    if not callable(found):
        raise Unfit(f"{point.value} is nothing that can be called: the entry point has to name a class or a function")
    return found


def settings_of(made_by: Factory) -> type[msgspec.Struct] | None:
    """What its options are read as. Raises ``Unfit``."""
    settings = getattr(made_by, "Settings", None)
    if settings is None or (isinstance(settings, type) and issubclass(settings, msgspec.Struct)):
        return settings
    raise Unfit(f"{getattr(made_by, '__qualname__', made_by)}.Settings is no msgspec.Struct")


def read_options(kind: str, raw: Mapping[str, Any], reader: Reader) -> Any:
    """``[registry.options]`` as the registry wants it, its mistakes noted in the reader. Raises ``Unfit``."""
    settings = settings_of(factory(kind))
    if settings is None:
        return dict(raw)
    try:
        value = reader.read(settings, dict(raw), OPTIONS)
    except Exception as error:  # Types that our reader does not know, or what its __post_init__ thinks.
        raise Unfit(f"the registry {kind} does not take these options: {described(error)}") from error
    return None if value is INVALID else value


def misplaced(kind: str, raw: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Options that nobody would read."""
    if raw and kind in BUILT_IN:
        yield OPTIONS, f'is for registries that somebody has installed; the keys of "{kind}" are in [registry.{kind}]'


def described(error: BaseException) -> str:
    """In one line, as it was written elsewhere."""
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
