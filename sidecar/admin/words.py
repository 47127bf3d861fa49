"""What a route asks of a request, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from sidecar.telemetry.secrets import REDACTED, is_secret


class Asked(Protocol):
    """The parts of a match; what is ``None`` or empty asks nothing."""

    @property
    def host(self) -> str | None: ...
    @property
    def path(self) -> str | None: ...
    @property
    def path_prefix(self) -> str | None: ...
    @property
    def methods(self) -> Sequence[str]: ...
    @property
    def headers(self) -> Mapping[str, str]: ...


def in_words(asked: Asked) -> str:
    """Such as ``host is orders, path under /api/v2, method GET``; all of it must hold. Credentials are left out."""
    parts = []
    if asked.host is not None:
        parts.append(f"host is {asked.host}")
    if asked.path is not None:
        parts.append(f"path is {asked.path}")
    if asked.path_prefix is not None:
        parts.append(f"path under {asked.path_prefix}")
    if asked.methods:
        parts.append(f"method {' or '.join(asked.methods)}")
    parts += [f"{name} is {REDACTED if is_secret(name) else repr(value)}" for name, value in asked.headers.items()]
    return ", ".join(parts) or "everything"
