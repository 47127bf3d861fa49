"""The head of an HTTP/1 response. The upstream is no more trusted than the client (docs/hardening.md, rows R)."""

from __future__ import annotations

from sidecar.errors import Failure
from sidecar.http.h1 import grammar
from sidecar.http.h1.fields import connection_tokens, nominated, value_of, without
from sidecar.http.h1.request import HOP_BY_HOP
from sidecar.http.head import Refused, Settings

BODILESS = frozenset((204, 304))
RESPONSE_HEAD_LINES = 200


class ResponseHead:
    """One response's head. Values in ``specials`` are lower-cased; ``get`` gives them as they came."""

    __slots__ = ("_low", "begin", "body_follows", "length", "raw", "reusable", "specials", "status", "version_11")

    def __init__(self, raw: bytes, low: bytes, status: int, version_11: bool) -> None:
        self.raw = raw
        self._low = low
        self.begin = 0
        self.status = status
        self.version_11 = version_11
        self.specials: dict[bytes, bytes] = {}
        self.length: int | None = None
        """The body's length as the head declares it, for a HEAD request as for a GET; ``None`` if it does not."""
        self.body_follows = True
        self.reusable = version_11

    def get(self, name: bytes) -> bytes | None:
        return value_of(self.raw, self._low, name)

    @property
    def chunked(self) -> bool:
        return b"transfer-encoding" in self.specials

    def render(self, own_reasons: bool, lines: bytes) -> bytes:
        """The head as it is sent on with ``lines`` added; ``x-sidecar-*`` stays only if the sender may say so."""
        specials = self.specials
        names = specials.keys() & HOP_BY_HOP
        if names and b"connection" in specials:
            names.update(nominated(specials[b"connection"]))
        if not own_reasons:
            names.update(name for name in specials if name.startswith(b"x-sidecar-"))
        if self.length == 0 and self.status == 204 and b"content-length" in specials:
            names.add(b"content-length")
        raw = self.raw
        begin = self.begin
        fields = without(raw, self._low, begin, names) if names else raw[begin:-2]
        return b"HTTP/1.1 %b%b%b\r\n" % (raw[9:begin], fields, lines)


def parse(head: bytes, to_head: bool, limits: Settings) -> ResponseHead:
    """``head``: everything through the empty line; ``to_head``: the request was HEAD. Raises ``Refused``."""
    match = grammar.RESPONSE.fullmatch(head)
    if match is None:
        raise Refused(Failure.UPSTREAM_PROTOCOL, "the response head is malformed")
    low = head.lower()
    status = int(match[2])
    response = ResponseHead(head, low, status, match[1] == b"1")
    begin = response.begin = head.find(b"\n") + 1
    if head.count(b"\n", begin) > RESPONSE_HEAD_LINES + 1 or len(head) > limits.header_bytes:
        raise Refused(
            Failure.UPSTREAM_PROTOCOL,
            f"the response head has more than {RESPONSE_HEAD_LINES} lines or {limits.header_bytes} bytes",
        )
    found = grammar.RESPONSE_SPECIALS.findall(low, begin - 1)
    specials = dict(found)
    response.specials = specials
    if len(specials) != len(found):
        _check_repeated(response, found)
    length = specials.get(b"content-length")
    if length is not None:
        digits = grammar.CONTENT_LENGTH.fullmatch(length)
        if digits is None:
            raise Refused(Failure.UPSTREAM_PROTOCOL, "the response's Content-Length is not one plain number")
        response.length = int(digits[1])
    coding = specials.get(b"transfer-encoding")
    if coding is not None:
        _check_coding(response, coding, length is not None)
    tokens = specials.get(b"connection")
    if tokens is not None:
        names = connection_tokens(tokens)
        response.reusable = b"close" not in names if response.version_11 else b"keep-alive" in names
    if status < 200 or status == 204 or status == 304 or to_head:
        _without_body(response, coding is not None)
    elif response.length is None and coding is None:
        response.reusable = False  # The body ends with the connection.
    return response


def _check_repeated(response: ResponseHead, found: list[tuple[bytes, bytes]]) -> None:
    for name in (b"content-length", b"transfer-encoding"):
        if sum(other == name for other, _ in found) > 1:
            raise Refused(Failure.UPSTREAM_PROTOCOL, f"the response has {name.decode()} twice")
    response.specials[b"connection"] = b", ".join(value for name, value in found if name == b"connection")


def _check_coding(response: ResponseHead, coding: bytes, has_length: bool) -> None:
    if has_length or not response.version_11 or coding.strip(b" \t") != b"chunked":
        raise Refused(
            Failure.UPSTREAM_PROTOCOL,
            "the response's Transfer-Encoding is not plain chunked, on HTTP/1.0, or beside a Content-Length",
        )


def _without_body(response: ResponseHead, coded: bool) -> None:
    """RFC 9112 section 6.3, rules 1 and 2; a 204 may not even announce one (RFC 9110 section 8.6)."""
    response.body_follows = False
    if response.status < 205 and (coded or response.length):
        raise Refused(Failure.UPSTREAM_PROTOCOL, f"a {response.status} response announces a body")
