"""What the rest of the sidecar may know of a head, however it came in."""

from __future__ import annotations

from typing import Annotated, Protocol

import msgspec

from sidecar.errors import Failure
from sidecar.model import Duration, Size


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of what a peer may send, ``[limits]`` in the configuration."""

    header_bytes: Annotated[Size, msgspec.Meta(description="Of a head as a whole.")] = 65536
    headers: Annotated[int, msgspec.Meta(ge=1, description="Lines of a head.")] = 100
    target_bytes: Annotated[Size, msgspec.Meta(description="Of the request target.")] = 16384
    header_timeout: Annotated[Duration, msgspec.Meta(description="From the first byte of a head to its last.")] = 10.0
    idle_timeout: Annotated[Duration, msgspec.Meta(description="Of a connection without a request.")] = 3600.0


class Refused(Exception):
    """A message that is not forwarded: why, and what a person has to know to mend it."""

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(detail)
        self.failure = failure
        self.detail = detail


class Request(Protocol):
    """The head of a request. ``length`` is in bytes, ``None`` when the body is chunked; no body is length 0."""

    method: bytes
    target: bytes
    host: str
    port: int
    absolute: bool
    length: int | None
    expects_continue: bool

    def get(self, name: bytes) -> bytes | None:
        """The value of a field by its lower-case name, several lines joined by a comma; ``None`` if it is absent."""
        ...

    def path(self) -> bytes: ...
