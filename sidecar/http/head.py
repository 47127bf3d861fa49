"""What the rest of the sidecar may know of a head, however it came in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Protocol

import msgspec

from sidecar.errors import Failure
from sidecar.model import Duration, Size

MIN_WINDOW = 1 << 16
"""One byte more than HTTP/2 begins with (RFC 9113 6.9.2), so that windows are only ever made wider."""
MAX_WINDOW = 1 << 24


Field = tuple[bytes, bytes, bool]
"""Name in lower case, value, and whether no table of a peer may remember it: it is secret, or never comes again."""


NOTHING: Final[list[Field]] = []
"""No fields; nobody may add any."""


class Section(list[Field]):
    """Fields that came or go together.

    Peers send the same fields again and again, and when nothing new is among them, in the same bytes. Such a block is
    the same section each time: it is decoded once, what it means is worked out once and left in ``meaning``, and where
    it is sent on it is encoded once. So nobody may change a section.
    """

    __slots__ = ("again", "meaning")

    def __init__(self, fields: Iterable[Field] = (), again: bool = False) -> None:
        super().__init__(fields)
        self.again = again
        """Whether it is used more than once."""
        self.meaning: tuple[int, Any] | None = None
        """What its reader has made of it, and which reader that was."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of what a peer may send, ``[limits]`` in the configuration."""

    header_bytes: Annotated[Size, msgspec.Meta(description="Of a head as a whole.")] = 65536
    headers: Annotated[int, msgspec.Meta(ge=1, description="Lines of a head.")] = 100
    target_bytes: Annotated[Size, msgspec.Meta(description="Of the request target.")] = 16384
    header_timeout: Annotated[Duration, msgspec.Meta(description="From the first byte of a head to its last.")] = 10.0
    idle_timeout: Annotated[Duration, msgspec.Meta(description="Of a connection without a request.")] = 3600.0
    streams: Annotated[int, msgspec.Meta(ge=1, le=1_000_000, description="Of HTTP/2, at a time on one connection.")] = (
        100
    )
    stream_window: Annotated[
        Size,
        msgspec.Meta(
            ge=MIN_WINDOW,
            le=MAX_WINDOW,
            description="What a peer may send on a stream before we have taken it, 64KiB to 16MiB.",
        ),
    ] = 262144


class Refused(Exception):
    """A message that is not forwarded: why, and what a person has to know to mend it."""

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(detail)
        self.failure = failure
        self.detail = detail


class Request(Protocol):
    """The head of a request. ``length`` is in bytes, ``None`` if it is not known before the end; no body is length 0."""

    method: bytes
    target: bytes
    host: str
    port: int
    absolute: bool
    length: int | None
    expects_continue: bool
    keep_alive: bool
    """Whether another request may follow on its connection; only HTTP/1 asks."""

    @property
    def http2(self) -> bool:
        """Whether it came in HTTP/2."""
        ...

    @property
    def grpc(self) -> bool:
        """Whether it is a gRPC call."""
        ...

    @property
    def plain(self) -> bool:
        """Whether it has none of the fields that the sidecar acts upon but its host."""
        ...

    @property
    def raw(self) -> bytes:
        """The bytes in which it came, if that was HTTP/1."""
        ...

    @property
    def specials(self) -> Mapping[bytes, bytes]:
        """Among others, the fields that the sidecar acts upon, by their lower-case names. Of HTTP/1,
        values are lower-cased: ``get`` has them as they came."""
        ...

    def get(self, name: bytes) -> bytes | None:
        """The value of a field by its lower-case name, several lines joined by a comma; ``None`` if it is absent."""
        ...

    def path(self) -> bytes:
        """The target's path, without its query."""
        ...

    def authority(self) -> str:
        """Host, and port if it names one."""
        ...

    def render(self, drop: frozenset[bytes], lines: bytes, forwarded: bool) -> bytes:
        """The head as it is sent on in HTTP/1.1, ``lines`` of ours added.

        ``drop`` names the special fields that go, among them those of one hop; ``forwarded`` says whether the sender
        may tell who the client was.
        """
        ...

    def fields(self, drop: frozenset[bytes], forwarded: bool) -> list[Field]:
        """The same in HTTP/2, without what is added."""
        ...


class Response(Protocol):
    """The head of a response."""

    @property
    def status(self) -> int: ...

    @property
    def length(self) -> int | None:
        """Of the body, as the head declares it (for a HEAD request as for a GET); ``None`` if it does not."""
        ...

    @property
    def body_follows(self) -> bool:
        """Whether the rules of HTTP/1 give it a body."""
        ...

    @property
    def specials(self) -> Mapping[bytes, bytes]:
        """As those of a request."""
        ...

    def get(self, name: bytes) -> bytes | None: ...

    def render(self, own_reasons: bool, lines: bytes) -> bytes:
        """The head as it is sent on in HTTP/1.1; ``x-sidecar-*`` stays only if the sender may say so."""
        ...

    def fields(self, own_reasons: bool) -> list[Field]:
        """The same in HTTP/2."""
        ...
