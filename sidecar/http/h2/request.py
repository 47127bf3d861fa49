"""The head of an HTTP/2 request: its fields as they came, checked so that they could be written as HTTP/1 (RFC 9113
sections 8.2 and 8.3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import ClassVar, Final

import msgspec

from sidecar.errors import Failure
from sidecar.http.h1 import grammar as h1
from sidecar.http.h1.fields import FORWARDED, content_length, line
from sidecar.http.h1.request import HOST_BYTES, authority_of
from sidecar.http.h2.grammar import Malformed, check_values, shape_of
from sidecar.http.head import Field, Refused, Section, Settings

PATH: Final = re.compile(rb"/" + h1.TARGET + rb"*+|\*")
SINGLE: Final = frozenset((b"host", b"content-length", b"expect", b"te", b"content-type"))
"""What may not be given twice: a second value would change who is asked, how long the body is, or what it is."""
GRPC: Final = b"application/grpc"
KIND_BYTES: Final = 256
"""The bound keeps what is remembered of content types small."""
METHODS: Final = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE"))
WITH_BODY: Final = frozenset((b"POST", b"PUT", b"PATCH"))
TRAILERS: Final = (b"te", b"trailers", False)


class RequestFields(msgspec.Struct, eq=False):
    """One request's head. ``all``: its fields as they came, the pseudo-header fields first."""

    # hot: a Struct, because it is made in half the time of an object with an ``__init__``.
    all: Section
    specials: Mapping[bytes, bytes]
    """Every field; of those that are repeated the values joined."""
    method: bytes
    target: bytes
    host: str
    port: int
    length: int | None
    grpc: bool
    expects_continue: bool = False
    keep_alive: bool = True
    absolute: bool = False
    kept: tuple[frozenset[bytes], bool, Section] | None = None
    """What went on of it last, and by which rules."""

    http2: ClassVar[bool] = True
    plain: ClassVar[bool] = False
    raw: ClassVar[bytes] = b""

    def get(self, name: bytes) -> bytes | None:
        return self.specials.get(name)

    def path(self) -> bytes:
        return self.target.partition(b"?")[0]

    def render(self, drop: frozenset[bytes], lines: bytes, forwarded: bool) -> bytes:
        head = b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (self.method, self.target, self.specials[b":authority"])
        fields = [
            line(name, value)
            for name, value, _ in self.all
            if name not in drop and name[0] != 58 and name not in (b"host", b"cookie")
            if forwarded or not name.startswith(FORWARDED)
        ]
        cookie = self.specials.get(b"cookie")
        if cookie is not None:
            fields.append(line(b"cookie", cookie))
        if self.length is None:
            fields.append(b"transfer-encoding: chunked\r\n")
        elif self.method in WITH_BODY and b"content-length" not in self.specials:
            fields.append(b"content-length: 0\r\n")  # RFC 9110 section 8.6; some servers ask for it.
        if self.expects_continue:
            fields.append(b"expect: 100-continue\r\n")
        return b"".join((head, *fields, lines, b"\r\n"))

    def fields(self, drop: frozenset[bytes], forwarded: bool) -> Section:
        kept = self.kept
        # hot: the same head goes on by the same plan again and again.
        if kept is not None and kept[0] is drop and kept[1] is forwarded:
            return kept[2]
        fields = Section([field for field in self.all if field[0] not in drop])
        if not forwarded:
            fields = Section([field for field in fields if not field[0].startswith(FORWARDED)])
        if b"te" in self.specials:
            fields.append(TRAILERS)  # It is between neighbours, but every server of gRPC wants to see it.
        if self.expects_continue:
            fields.append((b"expect", b"100-continue", False))
        fields.again = self.all.again
        self.kept = (drop, forwarded, fields)
        return fields

    def authority(self) -> str:
        return f"{self.host}:{self.port}" if self.port else self.host

    def __repr__(self) -> str:
        return f"<RequestFields {self.method.decode()} to {self.authority()}>"  # A dump must not show what it carries.


def parse(fields: Section, end: bool, limits: Settings) -> RequestFields:
    """``end``: whether no body follows. Raises ``Malformed``, and ``Refused`` for what deserves an answer."""
    known = fields.meaning
    if known is not None and known[0] == end:
        return known[1]  # type: ignore[no-any-return]
    request = _parse(fields, end, limits)
    if fields.again:
        fields.meaning = (end, request)
    return request


def _parse(fields: Section, end: bool, limits: Settings) -> RequestFields:
    if not fields:
        raise Malformed("a request without fields")
    names, values, _ = zip(*fields, strict=True)
    shape = shape_of(names)
    check_values(values)
    specials = dict(zip(names, values, strict=True))
    if shape.repeated:
        _join_repeated(specials, fields, shape.repeated)
    pseudo = shape.pseudo
    method = specials.get(b":method")
    if method not in METHODS and (method is None or h1.TOKEN_ONLY.fullmatch(method) is None):
        raise Malformed(":method is missing, or is no token")
    target = specials.get(b":path")
    scheme = specials.get(b":scheme")
    if method == b"CONNECT":
        if target is not None or scheme is not None or b":authority" not in specials:
            raise Malformed("CONNECT names an authority alone (section 8.5)")
        raise Refused(Failure.METHOD_NOT_ALLOWED, "CONNECT is not served here")
    if target is None or scheme is None or pseudo != (4 if b":authority" in specials else 3):
        raise Malformed("the pseudo-header fields are not :method, :scheme, :path and perhaps :authority")
    if scheme != b"http" and scheme != b"https":
        raise Malformed("the scheme is neither http nor https")
    if PATH.fullmatch(target) is None or (target == b"*" and method != b"OPTIONS"):
        raise Malformed(":path must begin with / and have visible ASCII only, no space, quote, backslash or fragment")
    if len(fields) > limits.headers:
        if len(target) > limits.target_bytes:
            raise Refused(Failure.URI_TOO_LONG, f"the target is longer than {limits.target_bytes} bytes")
        raise too_large(limits)
    if len(target) > limits.target_bytes:
        raise Refused(Failure.URI_TOO_LONG, f"the target is longer than {limits.target_bytes} bytes")
    fields, host, port = _host(fields, specials)
    kind = specials.get(b"content-type")
    grpc = kind is not None and len(kind) < KIND_BYTES and _is_grpc(kind)
    request = RequestFields(fields, specials, method, target, host, port, 0 if end else None, grpc)
    if b"content-length" in specials:
        _read_length(request, specials[b"content-length"], end)
    if b"te" in specials and specials[b"te"] != b"trailers":
        raise Malformed("te may say nothing but trailers")
    if b"expect" in specials:
        if specials[b"expect"].lower() != b"100-continue":
            raise Refused(Failure.EXPECTATION_FAILED, "the only expectation known is 100-continue")
        request.expects_continue = not end
    return request


def too_large(limits: Settings) -> Refused:
    return Refused(
        Failure.HEADERS_TOO_LARGE, f"more than {limits.headers} fields or {limits.header_bytes} bytes of them"
    )


def _host(fields: Section, specials: dict[bytes, bytes]) -> tuple[Section, str, int]:
    """Section 8.3.1: ``:authority``, or Host where that is absent; and never two that differ. The fields name it once."""
    authority = specials.get(b":authority")
    host = specials.get(b"host")
    if authority is None:
        if host is None:
            raise Malformed("neither :authority nor host says who is asked")
        authority = specials[b":authority"] = host
    known = _authority(authority)
    if known is None:
        raise Malformed(":authority must be one name or address and perhaps a port")
    if host is not None:
        if _authority(host) != known:
            raise Malformed("host and :authority differ")
        rest = [field for field in fields if field[0] != b"host" and field[0] != b":authority"]
        fields = Section([(b":authority", authority, False), *rest])
    specials[b"host"] = authority  # Whoever asks for the host asks by this name.
    return fields, *known


@lru_cache(maxsize=1024)
def _authority_short(value: bytes) -> tuple[str, int] | None:
    return authority_of(value.lower())


def _authority(value: bytes) -> tuple[str, int] | None:
    return _authority_short(value) if len(value) <= HOST_BYTES else None


@lru_cache(maxsize=256)
def _is_grpc(kind: bytes) -> bool:
    """Whether that content type is gRPC's over HTTP/2 ("Requests" there); gRPC-Web is plain HTTP."""
    kind = kind.lower()
    return kind == GRPC or kind.startswith((GRPC + b"+", GRPC + b";"))


def _read_length(request: RequestFields, value: bytes, end: bool) -> None:
    length = content_length(value)
    if length is None or (end and length):
        raise Malformed("content-length is not one plain number, or not that of the body")
    request.length = length


def _join_repeated(specials: dict[bytes, bytes], fields: list[Field], repeated: frozenset[bytes]) -> None:
    for name in repeated:
        if name in SINGLE:
            raise Malformed(f"{name.decode()} is given twice")
        glue = b"; " if name == b"cookie" else b", "
        specials[name] = glue.join(value for other, value, _ in fields if other == name)
