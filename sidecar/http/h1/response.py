"""The head of an HTTP/1 response. The upstream is no more trusted than the client (docs/hardening.md, rows R)."""

from __future__ import annotations

from sidecar.errors import Failure
from sidecar.http.h1 import grammar
from sidecar.http.h1.fields import HOP_BY_HOP, connection_tokens, content_length, joined, nominated, value_of, without
from sidecar.http.head import Refused, Settings

NOTHING: frozenset[bytes] = frozenset()
CONNECTION = frozenset((b"connection",))
NO_CONTENT = frozenset((b"content-length",))
RESPONSE_HEAD_LINES = 200


class ResponseHead:
    """One response's head. Values in ``specials`` are lower-cased; ``get`` gives them as they came."""

    __slots__ = (
        "_low", "begin", "body_follows", "common", "length", "raw", "reusable", "specials", "status", "version_11",
    )  # fmt: skip

    def __init__(
        self, raw: bytes, low: bytes, begin: int, status: int, version_11: bool, specials: dict[bytes, bytes]
    ) -> None:
        self.raw = raw
        self._low = low
        self.begin = begin
        self.status = status
        self.version_11 = version_11
        self.specials = specials
        self.common = False
        """Whether the only special fields are Content-Length and perhaps ``Connection: keep-alive``, as with most responses."""
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
        raw = self.raw
        begin = self.begin
        # hot: nothing or one line has to go.
        if self.common:
            names = CONNECTION if len(self.specials) == 2 else NOTHING
        else:
            names = self._dropped(own_reasons)
        fields = without(raw, self._low, begin, names) if names else raw[begin:-2]
        return b"".join((b"HTTP/1.1 ", raw[9:begin], fields, lines, b"\r\n"))

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
    low = head.lower()
    status = int(head[9:12])
    begin = head.find(b"\n") + 1
    found = grammar.RESPONSE_SPECIALS.findall(low, begin - 1)
    specials = dict(found)
    version_11 = head[7] == 49
    response = ResponseHead(head, low, begin, status, version_11, specials)
    if len(head) > 4 * RESPONSE_HEAD_LINES and (
        head.count(b"\n", begin) > RESPONSE_HEAD_LINES + 1 or len(head) > limits.header_bytes
    ):
        raise Refused(
            Failure.UPSTREAM_PROTOCOL,
            f"the response head has more than {RESPONSE_HEAD_LINES} lines or {limits.header_bytes} bytes",
        )
    length = specials.get(b"content-length")
    if length is not None:
        response.length = content_length(length)
        if response.length is None:
            raise Refused(Failure.UPSTREAM_PROTOCOL, "the response's Content-Length is not one plain number")
        # hot: nothing else to read.
        if version_11 and 200 <= status != 204 and status != 304 and not to_head:
            count = len(found)
            if count == 1 or (count == 2 and specials.get(b"connection") == b"keep-alive"):
                response.common = True
                return response
    if len(specials) != len(found):
        _check_repeated(response, found)
    coding = specials.get(b"transfer-encoding")
    if coding is not None:
        _check_coding(response, coding, length is not None)
    tokens = specials.get(b"connection")
    if tokens is not None and (tokens != b"keep-alive" or not version_11):
        names = connection_tokens(tokens)
        response.reusable = b"close" not in names if version_11 else b"keep-alive" in names
    if status < 200 or status == 204 or status == 304 or to_head:
        _without_body(response, coding is not None)
    elif length is None and coding is None:
        response.reusable = False  # The body ends with the connection.
    return response


def check_partial(data: bytes) -> None:
    """Raises ``Refused`` if no continuation can make a good head of ``data``: nobody need wait for it to fail."""
    if not (data.startswith(b"HTTP/1.") or b"HTTP/1.".startswith(data)) or data.count(b"\n") != data.count(b"\r\n"):
        raise Refused(Failure.UPSTREAM_PROTOCOL, "the response head is malformed")


def _check_repeated(response: ResponseHead, found: list[tuple[bytes, bytes]]) -> None:
    for name in (b"content-length", b"transfer-encoding"):
        if sum(other == name for other, _ in found) > 1:
            raise Refused(Failure.UPSTREAM_PROTOCOL, f"the response has {name.decode()} twice")
    if b"connection" in response.specials:
        response.specials[b"connection"] = joined(value for name, value in found if name == b"connection")


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
