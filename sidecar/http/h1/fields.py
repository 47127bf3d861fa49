"""Field lines as bytes: finding a value, leaving lines out."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sidecar.http.head import Field

# Fields between two neighbours only (RFC 9110 section 7.6.1). Transfer-Encoding and Expect are written anew where they hold.
HOP_BY_HOP = frozenset(
    (
        b"connection", b"keep-alive", b"te", b"transfer-encoding", b"upgrade", b"http2-settings", b"expect", b"proxy",
        b"proxy-connection", b"proxy-authorization", b"proxy-authenticate",
    )
)  # fmt: skip
# What ``Connection`` may not take away (a sender that nominates these wants to hide framing, routing or trace from us).
PROTECTED = frozenset(
    (
        b"host", b"content-length", b"transfer-encoding", b"connection", b"close", b"keep-alive", b"traceparent", b"tracestate",
        b"b3", b"x-request-id", b"x-request-timeout-ms", b"idempotency-key", b"authorization", b"forwarded", b"content-type",
        b"content-encoding", b"cookie", b"set-cookie", b"cache-control", b"date", b"expect",
    )
)  # fmt: skip

FORWARDED = (b"forwarded", b"x-forwarded-", b"x-real-ip")
"""What says who the client was (only a trusted sender may)."""

MANY = 16
"""From so many names on, looking at each line is cheaper than looking for each name: a ``Connection`` may list thousands."""


def line(name: bytes, value: bytes) -> bytes:
    return b"%b: %b\r\n" % (name, value)


def split(lines: bytes) -> list[Field]:
    """Well-formed field lines as fields of HTTP/2."""
    fields = []
    for each in lines.splitlines():
        name, _, value = each.partition(b":")
        fields.append((name.lower(), value.strip(b" \t"), False))
    return fields


def joined(values: Iterable[bytes]) -> bytes:
    return b", ".join(values)


def value_of(raw: bytes, low: bytes, name: bytes) -> bytes | None:
    """The value of field ``name`` (lower case) in ``raw``, whose lower-cased twin is ``low``; repeated lines joined."""
    needle = b"\n" + name + b":"
    at = low.find(needle)
    if at < 0:
        return None
    end = low.find(b"\r", at)
    value = raw[at + len(needle) : end].strip(b" \t")
    at = low.find(needle, end)
    while at >= 0:
        end = low.find(b"\r", at)
        value += b", " + raw[at + len(needle) : end].strip(b" \t")
        at = low.find(needle, end)
    return value


def content_length(value: bytes) -> int | None:
    """RFC 9112 section 6.2: digits alone, without a leading zero, small enough for anyone's arithmetic; else ``None``."""
    if value.isdigit() and len(value) <= 18 and (value[0] != 48 or len(value) == 1):
        return int(value)
    stripped = value.rstrip(b" \t")
    return content_length(stripped) if stripped != value else None


def connection_tokens(value: bytes) -> list[bytes]:
    """``value``: a lower-cased ``Connection`` field."""
    return [token.strip(b" \t") for token in value.split(b",")]


def connection_line(keep: bool, version_11: bool) -> bytes:
    """What a response has to say of its connection because its version does not imply it (RFC 9112 section 9.3)."""
    if not keep:
        return b"connection: close\r\n"
    return b"" if version_11 else b"connection: keep-alive\r\n"


def nominated(value: bytes) -> list[bytes]:
    """Names that a lower-cased ``Connection`` makes hop-by-hop (RFC 9110 7.6.1), save those that it may not touch."""
    if value == b"keep-alive" or value == b"close":
        return []
    return [
        token
        for token in connection_tokens(value)
        if token and token not in PROTECTED and not token.startswith((b"x-sidecar-", b"x-forwarded-"))
    ]


def without(raw: bytes, low: bytes, begin: int, names: Collection[bytes]) -> bytes:
    """The head from ``begin``, where a line begins, up to the empty line, without the fields called ``names`` (lower case)."""
    if len(names) == 1:
        # hot: mostly one line has to go, Connection or traceparent.
        (name,) = names
        needle = b"\n" + name + b":"
        at = low.find(needle) + 1
        end = low.find(b"\n", at)
        if low.find(needle, end) < 0:
            return raw[begin:at] + raw[end + 1 : -2]
    if len(names) > MANY:
        lines = raw[begin:-2].splitlines(keepends=True)
        return b"".join(line for line in lines if line.partition(b":")[0].lower() not in names)
    spans = []
    for name in names:
        needle = b"\n" + name + b":"
        at = low.find(needle)
        while at >= 0:
            end = low.find(b"\n", at + 1)
            spans.append((at + 1, end + 1))
            at = low.find(needle, end)
    spans.sort()
    pieces = []
    for start, end in spans:
        if start >= begin:  # A name may be given twice: in the list and by Connection.
            pieces.append(raw[begin:start])
            begin = end
    pieces.append(raw[begin:-2])
    return b"".join(pieces)
