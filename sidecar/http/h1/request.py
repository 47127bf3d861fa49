"""The head of an HTTP/1 request, kept as the bytes it came in.

``parse`` believes nothing that two parsers could read differently: what is refused here never reaches an application
(docs/hardening.md, rows S). The bytes are edited only where a field must go; fields of ours are appended.
"""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar

import msgspec

from sidecar.errors import Failure
from sidecar.http.h1 import grammar
from sidecar.http.h1.fields import (
    FORWARDED,
    HOP_BY_HOP,
    connection_tokens,
    content_length,
    joined,
    nominated,
    split,
    value_of,
    without,
)
from sidecar.http.h1.refuse import check_request_line, check_transfer_coding, diagnose
from sidecar.http.head import Field, Refused, Settings

HOST_BYTES = 270
"""A DNS name has at most 253 bytes; the bound keeps what is remembered of hosts small."""
# What says how long the body is, and what becomes of the connection.
FRAMING = frozenset((b"content-length", b"transfer-encoding", b"expect", b"connection"))
# What makes the head go on other than it came.
HOST = frozenset((b"host",))
CHANGED = frozenset((b"transfer-encoding", b"expect", b"connection"))
SINGLE = frozenset((b"host", b"content-length", b"transfer-encoding", b"expect"))


class RequestHead(msgspec.Struct, eq=False):
    """One request's head. Values in ``specials`` are lower-cased; ``get`` gives them as they came."""

    # hot: a Struct, because it is made in half the time of an object with an ``__init__``.
    raw: bytes
    _low: bytes
    method: bytes
    target: bytes
    version_11: bool
    specials: dict[bytes, bytes]
    keep_alive: bool
    host: str = ""
    port: int = 0
    stands: bool = False
    """Whether the request line goes on as it came, and no field says anything of the connection, or of a body without
    a known length."""
    plain: bool = False
    """Whether it ``stands`` and has no special field but Host."""
    length: int | None = 0
    absolute: bool = False
    expects_continue: bool = False

    http2: ClassVar[bool] = False
    grpc: ClassVar[bool] = False

    def get(self, name: bytes) -> bytes | None:
        return value_of(self.raw, self._low, name)

    def path(self) -> bytes:
        return self.target.partition(b"?")[0]

    def render(self, drop: frozenset[bytes], lines: bytes, forwarded: bool) -> bytes:
        raw = self.raw
        if self.plain:
            return raw[:-2] + lines + b"\r\n"  # hot: most requests go on as they came.
        specials = self.specials
        names = drop.intersection(specials)
        if not forwarded:
            names = names.union(name for name in specials if name.startswith(FORWARDED))
        if self.stands:
            # hot: a line or two have to go.
            return (without(raw, self._low, 0, names) if names else raw[:-2]) + lines + b"\r\n"
        if b"connection" in specials:
            also = nominated(specials[b"connection"])
            if also:
                names = names.union(also)
        if self.length is None:
            lines = b"transfer-encoding: chunked\r\n" + lines
        if self.expects_continue:
            lines = b"expect: 100-continue\r\n" + lines
        if b"host" not in specials:
            lines = b"host: %b\r\n" % (self.authority().encode() or b"localhost") + lines
        begin = raw.find(b"\n") + 1
        fields = without(raw, self._low, begin, names) if names else raw[begin:-2]
        return b"".join((self.method, b" ", self.target, b" HTTP/1.1\r\n", fields, lines, b"\r\n"))

    def fields(self, drop: frozenset[bytes], forwarded: bool) -> list[Field]:
        raw = self.raw
        tokens = self.specials.get(b"connection")
        drop = drop.union(HOP_BY_HOP, HOST, () if tokens is None else nominated(tokens))
        fields: list[Field] = [
            (b":method", self.method, False),
            (b":scheme", b"http", False),
            (b":path", self.target, False),
            (
                b":authority",
                self.specials.get(b"host", b"").rstrip(b" \t") or self.authority().encode() or b"localhost",
                False,
            ),
        ]
        for field in split(raw[raw.find(b"\n") + 1 : -2]):
            if field[0] not in drop and (forwarded or not field[0].startswith(FORWARDED)):
                fields.append(field)
        if b"trailers" in [token.strip(b" \t") for token in self.specials.get(b"te", b"").split(b",")]:
            fields.append((b"te", b"trailers", False))
        if self.expects_continue:
            fields.append((b"expect", b"100-continue", False))
        return fields

    def authority(self) -> str:
        return f"{self.host}:{self.port}" if self.port else self.host

    def __repr__(self) -> str:
        return f"<RequestHead {self.method.decode()} to {self.authority()}>"  # A dump must not show what it carries.


def parse(head: bytes, limits: Settings) -> RequestHead:
    """``head``: everything through the empty line. Raises ``Refused``."""
    match = grammar.REQUEST.fullmatch(head)
    if match is None:
        raise diagnose(head, limits)
    method, target, minor = match.groups()
    size = len(head)
    if size > limits.target_bytes or size > 4 * limits.headers:  # A line has four bytes at least.
        _check_size(head, match.end(3) + 2, limits)
    low = head.lower()
    found = grammar.REQUEST_SPECIALS.findall(low)
    specials = dict(found)
    host = specials.get(b"host")
    # hot: a host that was seen before, a path, and nothing about body or connection.
    known = _authority(host) if host is not None and len(host) <= HOST_BYTES else None
    if (
        known is not None
        and target[0] == 47
        and minor == b"1"
        and len(specials) == len(found)
        and FRAMING.isdisjoint(specials)
        and method != b"CONNECT"
    ):
        return RequestHead(head, low, method, target, True, specials, True, known[0], known[1], True, len(found) == 1)
    request = RequestHead(head, low, method, target, minor == b"1", specials, minor == b"1")
    if len(specials) != len(found):
        _join_repeated(request, found)
    if method == b"CONNECT":
        raise Refused(Failure.METHOD_NOT_ALLOWED, "CONNECT is not served here")
    _read_authority(request)
    _read_framing(request)
    _read_connection(request)
    request.stands = minor == b"1" and known is not None and target[0] == 47 and CHANGED.isdisjoint(specials)
    return request


def _check_size(head: bytes, begin: int, limits: Settings) -> None:
    """``begin``: where the request line has ended."""
    if begin > limits.target_bytes:
        check_request_line(head[:begin], limits)
    if head.count(b"\n", begin) > limits.headers + 1 or len(head) > limits.header_bytes:
        raise Refused(
            Failure.HEADERS_TOO_LARGE, f"more than {limits.headers} header lines or {limits.header_bytes} bytes of them"
        )


def _join_repeated(request: RequestHead, found: list[tuple[bytes, bytes]]) -> None:
    """A field in several lines is a list, unless a second value would change who is asked or how long the body is."""
    for name in {name for name, _ in found}:
        values = [value for other, value in found if other == name]
        if len(values) > 1:
            if name == b"expect":
                raise Refused(Failure.EXPECTATION_FAILED, "Expect is given twice")
            if name in SINGLE:
                raise Refused(Failure.BAD_REQUEST, f"{name.decode()} is given twice")
            request.specials[name] = joined(values)


@lru_cache(maxsize=1024)
def _authority(value: bytes) -> tuple[str, int] | None:
    return authority_of(value.rstrip(b" \t"))


def authority_of(value: bytes) -> tuple[str, int] | None:
    """Host without its trailing dot, and port (0 if none) of a lower-cased authority; ``None`` if it is malformed."""
    match = grammar.AUTHORITY.fullmatch(value)
    if match is None:
        return None
    host = match[1].decode().rstrip(".")
    port = int(match[2] or 0)
    return (host, port) if host and port <= 65535 else None


def read_authority(value: bytes) -> tuple[str, int]:
    """``value``: a lower-cased authority. Raises ``Refused`` (RFC 9112 section 3.2, RFC 3986 section 3.2)."""
    authority = _authority(value) if len(value) <= HOST_BYTES else None
    if authority is None:
        raise Refused(Failure.BAD_REQUEST, "Host must be one name or address and perhaps a port")
    return authority


def _read_authority(request: RequestHead) -> None:
    value = request.specials.get(b"host")
    if value is not None:
        request.host, request.port = read_authority(value)
    elif request.version_11:
        raise Refused(Failure.BAD_REQUEST, "an HTTP/1.1 request needs a Host header")
    target = request.target
    if target[0] == 47:  # "/": origin-form
        return
    if target == b"*":
        if request.method != b"OPTIONS":
            raise Refused(Failure.BAD_REQUEST, "the target * belongs to OPTIONS alone")
        return
    match = grammar.ABSOLUTE_FORM.fullmatch(target)
    if match is None:
        raise Refused(Failure.BAD_REQUEST, "the target must be a path or an http:// URL")
    host, port = read_authority(match[1].lower())
    if value is not None and (host != request.host or (port or 80) != (request.port or 80)):
        raise Refused(Failure.BAD_REQUEST, "Host and the target's authority differ")
    rest = match[2] or b""
    request.absolute = True
    request.host, request.port = host, port
    request.target = rest if rest[:1] == b"/" else b"/" + rest if rest or request.method != b"OPTIONS" else b"*"


def _read_framing(request: RequestHead) -> None:
    """RFC 9112 section 6.3, and no benefit of the doubt."""
    specials = request.specials
    coding = specials.get(b"transfer-encoding")
    length = specials.get(b"content-length")
    if coding is not None:
        if length is not None:
            raise Refused(Failure.BAD_REQUEST, "Content-Length and Transfer-Encoding exclude each other")
        if not request.version_11:
            raise Refused(Failure.BAD_REQUEST, "HTTP/1.0 has no Transfer-Encoding")
        check_transfer_coding(coding)
        request.length = None
    elif length is not None:
        request.length = content_length(length)
        if request.length is None:
            raise Refused(Failure.BAD_REQUEST, "Content-Length must be one plain decimal number")
    expect = specials.get(b"expect")
    if expect is not None:
        if expect.rstrip(b" \t") != b"100-continue":
            raise Refused(Failure.EXPECTATION_FAILED, "the only expectation known is 100-continue")
        # Without a body there is nothing to wait for, and HTTP/1.0 knows no interim responses (RFC 9110 section 10.1.1).
        request.expects_continue = request.version_11 and request.length != 0


def _read_connection(request: RequestHead) -> None:
    value = request.specials.get(b"connection")
    if value is None:
        return
    tokens = connection_tokens(value)
    if request.version_11:
        request.keep_alive = b"close" not in tokens
        if b"upgrade" in tokens and request.specials.get(b"upgrade", b"").rstrip(b" \t") == b"websocket":
            if request.method != b"GET" or request.length != 0:
                raise Refused(Failure.BAD_REQUEST, "a WebSocket handshake is a GET without a body")
            raise Refused(Failure.NOT_IMPLEMENTED, "WebSocket is not served yet")
    else:
        request.keep_alive = b"keep-alive" in tokens and b"close" not in tokens
