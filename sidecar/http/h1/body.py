"""The three ways in which an HTTP/1 body ends: after so many bytes, with a last chunk, or with the connection.

A reader is fed what came in and gives back the payload that is in hand; what lies behind the body's end is its ``rest``.
Nothing is kept but an unfinished chunk line, so memory does not grow with the body.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from sidecar.errors import Failure
from sidecar.http.h1 import grammar
from sidecar.http.h1.fields import line, split
from sidecar.http.head import Field, Refused, Request, Settings

CHUNK_LINE_BYTES = 4096
EXTENSION_BYTES = 16384
SLICE_BYTES = 65536
"""How much of a chunked body is read at once."""
VIEW_BYTES = 16384
"""From this size on copying bytes costs more than a view of them."""
FORBIDDEN_IN_TRAILERS = frozenset(
    (
        b"host", b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"te", b"trailer", b"upgrade",
        b"authorization", b"proxy-authorization", b"proxy-connection", b"cookie", b"set-cookie", b"content-type",
        b"content-encoding", b"content-range", b"cache-control", b"expect", b"range", b"forwarded", b"traceparent",
        b"tracestate", b"b3", b"x-request-id", b"x-request-timeout-ms", b"x-real-ip", b"idempotency-key",
    )
)  # fmt: skip
FORBIDDEN_PREFIXES = (b"x-sidecar-", b"x-forwarded-")


def may_trail(name: bytes) -> bool:
    """Whether a field may come behind the body (RFC 9110 section 6.5.1)."""
    return name not in FORBIDDEN_IN_TRAILERS and not name.startswith(FORBIDDEN_PREFIXES)


class Reader(Protocol):
    done: bool
    rest: bytes
    """What came behind the body's end."""
    trailers: list[Field]
    """The trailer section, without those that may not come so late (RFC 9110 section 6.5.1)."""

    def feed(self, data: bytes) -> bytes:
        """The payload in ``data``. Raises ``Refused`` on broken framing."""
        ...


class LengthReader:
    __slots__ = ("done", "left", "rest", "trailers")

    def __init__(self, length: int) -> None:
        self.left = length
        self.done = length == 0
        self.rest = b""
        self.trailers: list[Field] = []

    def feed(self, data: bytes) -> bytes:
        size = len(data)
        if size < self.left:
            self.left -= size
            return data
        self.done = True
        if size > self.left:
            self.rest = data[self.left :]
            data = data[: self.left]
        self.left = 0
        return data


class CloseReader:
    """Only a response may end so; the upstream calls ``done`` when the connection ends."""

    __slots__ = ("done", "rest", "trailers")

    def __init__(self) -> None:
        self.done = False
        self.rest = b""
        self.trailers: list[Field] = []

    def feed(self, data: bytes) -> bytes:
        return data


class ChunkedReader:
    """RFC 9112 section 7.1. Chunk extensions mean nothing to anyone but the neighbour: they are checked and dropped."""

    __slots__ = (
        "_checked", "_extensions", "_in_trailers", "_kept", "_left", "_limits", "_lines", "done", "failure", "rest", "trailers",
    )  # fmt: skip

    def __init__(self, limits: Settings, failure: Failure) -> None:
        self._limits = limits
        self._kept = b""
        self._left = -1  # Payload bytes left in the chunk; then 0 while its CR LF is due; -1 before a chunk line.
        self._extensions = 0
        self._in_trailers = False
        self._checked = 0  # Bytes and lines of the trailer section that were looked at when they came.
        self._lines = 0
        self.failure = failure
        self.done = False
        self.rest = b""
        self.trailers: list[Field] = []

    def feed(self, data: bytes) -> bytes:
        if self._kept:
            data = self._kept + data
            self._kept = b""
        size = len(data)
        if self._left > size:
            # hot: the middle of a large chunk goes on as it came.
            self._left -= size
            return data
        # hot: out of a large read only views are cut, for what is joined is copied once more.
        source = memoryview(data) if size > VIEW_BYTES else data
        pieces: list[bytes | memoryview] = []
        at = 0
        while not self._in_trailers:
            left = self._left
            if left > 0:
                end = at + left
                if end > size:
                    pieces.append(source[at:size])
                    self._left = left - (size - at)
                    at = size
                    break
                pieces.append(source[at:end])
                at = end
                self._left = left = 0
            if left == 0:
                if size - at < 2:
                    if data[at:] not in (b"", b"\r"):
                        raise Refused(self.failure, "a chunk is longer than it declares")
                    break
                if data[at : at + 2] != b"\r\n":
                    raise Refused(self.failure, "a chunk is longer or shorter than it declares")
                at += 2
                self._left = -1
            end = data.find(b"\n", at)
            if end < 0:
                if size - at > CHUNK_LINE_BYTES:
                    raise Refused(self.failure, f"a chunk line is longer than {CHUNK_LINE_BYTES} bytes")
                break
            self._left = self._chunk_line(data[at : end + 1])
            at = end + 1
            if self._left == 0:
                self._in_trailers = True
        if self._in_trailers:
            at = self._trailer_section(data, at)
        if not self.done and at < size:
            self._kept = data[at:]
        return b"".join(pieces)

    def _chunk_line(self, line: bytes) -> int:
        match = grammar.CHUNK_LINE.fullmatch(line)
        if match is None or len(line) > CHUNK_LINE_BYTES:
            raise Refused(self.failure, "a chunk line is not a plain hexadecimal size with well-formed extensions")
        self._extensions += len(match[2])
        if self._extensions > EXTENSION_BYTES:
            raise Refused(self.failure, f"chunk extensions exceed {EXTENSION_BYTES} bytes")
        return int(match[1] or b"0", 16)

    def _trailer_section(self, data: bytes, at: int) -> int:
        if data[at : at + 2] == b"\r\n":
            end = at
        else:
            end = data.find(b"\r\n\r\n", max(at, at + self._checked - 3))
            if end < 0:
                self._check_trailers(data[at:])
                return at
            end += 2
        section = data[at:end]
        self._check_trailers(section)
        if not grammar.TRAILER_SECTION.fullmatch(section):
            raise Refused(self.failure, "the trailer section is malformed")
        self.trailers = [field for field in split(section) if may_trail(field[0])]
        self.done = True
        self.rest = data[end + 2 :]
        return end + 2

    def _check_trailers(self, section: bytes) -> None:
        checked = self._checked
        self._checked = len(section)
        self._lines += section.count(b"\n", checked)
        if grammar.BARE_LINE_FEED.search(section, checked) is not None:
            raise Refused(self.failure, "a trailer line ends with a bare line feed; lines end with CR LF")
        if len(section) > self._limits.header_bytes or self._lines > self._limits.headers:
            failure = Failure.HEADERS_TOO_LARGE if self.failure is Failure.BAD_REQUEST else self.failure
            raise Refused(
                failure, f"more than {self._limits.headers} trailer lines or {self._limits.header_bytes} bytes"
            )


def reader_for(request: Request, limits: Settings) -> Reader:
    """Reads the body of ``request``."""
    if request.length is None:
        return ChunkedReader(limits, Failure.BAD_REQUEST)
    return LengthReader(request.length)


def payloads(reader: Reader, data: bytes) -> Iterator[bytes]:
    """The payload in ``data``, piece by piece, each to be passed on before the next is made. Raises ``Refused``.

    Payload that has to be copied out of its chunks is held beside what came in. If both were large, the allocator would
    give memory back to the system after every read and fetch it again, page by page, which tripled the cost of a transfer.
    """
    if len(data) <= SLICE_BYTES or not isinstance(reader, ChunkedReader):
        yield reader.feed(data)
        return
    for begin in range(0, len(data), SLICE_BYTES):
        end = begin + SLICE_BYTES
        body = reader.feed(data[begin:end])
        if reader.done:
            reader.rest += data[end:]
            yield body
            return
        yield body


def chunk(data: bytes) -> bytes:
    """``data`` as one chunk: only bytes in hand are ever announced."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def chunk_pieces(data: bytes) -> tuple[bytes, bytes, bytes]:
    """``chunk`` without the copy, for what is large."""
    return b"%x\r\n" % len(data), data, b"\r\n"


def last_chunk(trailers: list[Field]) -> bytes:
    if not trailers:
        return b"0\r\n\r\n"
    return b"0\r\n%b\r\n" % b"".join(line(name, value) for name, value, _ in trailers)
