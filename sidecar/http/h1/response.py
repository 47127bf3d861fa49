"""The head of an HTTP/1 response. The upstream is no more trusted than the client (docs/hardening.md, rows R)."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from sidecar.errors import Failure
from sidecar.http.h1 import grammar
from sidecar.http.h1.fields import (
    HOP_BY_HOP,
    connection_tokens,
    content_length,
    joined,
    nominated,
    split,
    value_of,
    without,
)
from sidecar.http.head import Field, Refused, Settings

NO_SPECIALS: Mapping[bytes, bytes] = {}
CONNECTION = frozenset((b"connection",))
NO_CONTENT = frozenset((b"content-length",))
RESPONSE_HEAD_LINES = 200
LEAST_BYTES = 4 * RESPONSE_HEAD_LINES
"""A line has four bytes at least, so that a shorter head need not be counted."""


class ResponseHead(msgspec.Struct, eq=False):
    """One response's head. Values in ``specials`` are lower-cased; ``get`` gives them as they came."""

    # hot: a Struct, because it is made in half the time of an object with an ``__init__``.
    raw: bytes
    _low: bytes
    status: int
    version_11: bool
    specials: Mapping[bytes, bytes]
    """Empty if ``common``."""
    length: int | None
    """The body's length as the head declares it, for a HEAD request as for a GET; ``None`` if it does not."""
    reusable: bool
    common: bool = False
    """Whether a body follows in HTTP/1.1, and the only special fields are Content-Length and perhaps ``Connection:
    keep-alive``, as with most responses."""
    body_follows: bool = True

    def get(self, name: bytes) -> bytes | None:
        return value_of(self.raw, self._low, name)

    @property
    def chunked(self) -> bool:
        return b"transfer-encoding" in self.specials

    def render(self, own_reasons: bool, lines: bytes) -> bytes:
        raw = self.raw
        if self.common:
            # hot: the status line stands, and one line has to go or none.
            at = self._low.find(b"\nconnection:") + 1
            if not at:
                return raw[:-2] + lines + b"\r\n"
            return b"".join((raw[:at], raw[raw.find(b"\n", at) + 1 : -2], lines, b"\r\n"))
        begin = raw.find(b"\n") + 1
        names = self._dropped(own_reasons)
        fields = without(raw, self._low, begin, names) if names else raw[begin:-2]
        return b"".join((b"HTTP/1.1 ", raw[9:begin], fields, lines, b"\r\n"))

    def fields(self, own_reasons: bool) -> list[Field]:
        raw = self.raw
        names = self._dropped(own_reasons)
        if self.common:
            names = names.union(CONNECTION)  # It may be there, and nobody has looked.
        kept = [field for field in split(raw[raw.find(b"\n") + 1 : -2]) if field[0] not in names]
        return [(b":status", b"%d" % self.status, False), *kept]

    def __repr__(self) -> str:
        return f"<ResponseHead {self.status}>"  # A dump must not show what it carries.

    def _dropped(self, own_reasons: bool) -> frozenset[bytes]:
        specials = self.specials
        names = HOP_BY_HOP.intersection(specials)
        if b"connection" in specials:
            names = names.union(nominated(specials[b"connection"]))
        if not own_reasons:
            names = names.union(name for name in specials if name.startswith(b"x-sidecar-"))
        if self.status == 204:
            names = names.union(NO_CONTENT.intersection(specials))
        return names


def parse(head: bytes, to_head: bool, limits: Settings) -> ResponseHead:
    """``head``: everything through the empty line; ``to_head``: the request was HEAD. Raises ``Refused``."""
    if grammar.RESPONSE.fullmatch(head) is None:
        raise Refused(Failure.UPSTREAM_PROTOCOL, "the response head is malformed")
    if len(head) > LEAST_BYTES and (head.count(b"\n") > RESPONSE_HEAD_LINES + 2 or len(head) > limits.header_bytes):
        raise Refused(
            Failure.UPSTREAM_PROTOCOL,
            f"the response head has more than {RESPONSE_HEAD_LINES} lines or {limits.header_bytes} bytes",
        )
    low = head.lower()
    status = int(head[9:12])
    version_11 = head[7] == 49
    found = grammar.RESPONSE_SPECIALS.findall(low)
    body_follows = 200 <= status != 204 and status != 304 and not to_head
    # hot: one pass tells whether there is nothing else to read.
    common = version_11 and body_follows
    connection = False
    declared = None
    for name, value in found:
        if declared is None and name == b"content-length":
            declared = value
        elif not connection and value == b"keep-alive" and name == b"connection":
            connection = True
        else:
            common = False
            break
    if common and declared is not None:
        length = content_length(declared)
        if length is not None:
            return ResponseHead(head, low, status, True, NO_SPECIALS, length, True, True)
    specials = dict(found)
    response = ResponseHead(head, low, status, version_11, specials, None, version_11)
    if len(specials) != len(found):
        _check_repeated(specials, found)
    declared = specials.get(b"content-length")
    if declared is not None:
        response.length = content_length(declared)
        if response.length is None:
            raise Refused(Failure.UPSTREAM_PROTOCOL, "the response's Content-Length is not one plain number")
    coding = specials.get(b"transfer-encoding")
    if coding is not None:
        _check_coding(response, coding, declared is not None)
    tokens = specials.get(b"connection")
    if tokens is not None and (tokens != b"keep-alive" or not version_11):
        names = connection_tokens(tokens)
        response.reusable = b"close" not in names if version_11 else b"keep-alive" in names
    if not body_follows:
        _without_body(response, coding is not None)
    elif declared is None and coding is None:
        response.reusable = False  # The body ends with the connection.
    return response


def check_partial(data: bytes) -> None:
    """Raises ``Refused`` if no continuation can make a good head of ``data``: nobody need wait for it to fail."""
    if not (data.startswith(b"HTTP/1.") or b"HTTP/1.".startswith(data)) or data.count(b"\n") != data.count(b"\r\n"):
        raise Refused(Failure.UPSTREAM_PROTOCOL, "the response head is malformed")


def _check_repeated(specials: dict[bytes, bytes], found: list[tuple[bytes, bytes]]) -> None:
    for name in (b"content-length", b"transfer-encoding"):
        if sum(other == name for other, _ in found) > 1:
            raise Refused(Failure.UPSTREAM_PROTOCOL, f"the response has {name.decode()} twice")
    if b"connection" in specials:
        specials[b"connection"] = joined(value for name, value in found if name == b"connection")


def _check_coding(response: ResponseHead, coding: bytes, has_length: bool) -> None:
    if has_length or not response.version_11 or coding.strip(b" \t") != b"chunked":
        raise Refused(
            Failure.UPSTREAM_PROTOCOL,
            "the response's Transfer-Encoding is not plain chunked, on HTTP/1.0, or beside a Content-Length",
        )


def _without_body(response: ResponseHead, coded: bool) -> None:
    """RFC 9112 section 6.3, rules 1 and 2; a 204 may not even announce one (RFC 9110 section 8.6)."""
    response.body_follows = False
    if (response.status < 200 or response.status == 204) and (coded or response.length):
        raise Refused(Failure.UPSTREAM_PROTOCOL, f"a {response.status} response announces a body")
