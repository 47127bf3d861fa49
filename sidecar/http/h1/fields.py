"""Field lines as bytes: finding a value, leaving lines out."""

from __future__ import annotations

from collections.abc import Iterable

# What ``Connection`` may not take away (a sender that nominates these wants to hide framing, routing or trace from us).
PROTECTED = frozenset(
    (
        b"host", b"content-length", b"transfer-encoding", b"connection", b"close", b"keep-alive", b"traceparent", b"tracestate",
        b"b3", b"x-request-id", b"x-request-timeout-ms", b"idempotency-key", b"authorization", b"forwarded", b"content-type",
        b"content-encoding", b"cookie", b"set-cookie", b"cache-control", b"date", b"expect",
    )
)  # fmt: skip


def joined(values: Iterable[bytes]) -> bytes:
    return b", ".join(values)


def value_of(raw: bytes, low: bytes, name: bytes) -> bytes | None:
    """The value of field ``name`` (lower case) in ``raw``, whose lower-cased twin is ``low``; repeated lines joined."""
    needle = b"\n" + name + b":"
    at = low.find(needle)
    if at < 0:
        return None
    values = []
    while at >= 0:
        end = low.find(b"\r", at)
        values.append(raw[at + len(needle) : end].strip(b" \t"))
        at = low.find(needle, end)
    return joined(values) if len(values) > 1 else values[0]


def connection_tokens(value: bytes) -> list[bytes]:
    """``value``: a lower-cased ``Connection`` field."""
    return [token.strip(b" \t") for token in value.split(b",")]


def nominated(value: bytes) -> list[bytes]:
    """Names that ``Connection`` makes hop-by-hop (RFC 9110 section 7.6.1), save those that it may not touch."""
    return [
        token
        for token in connection_tokens(value)
        if token and token not in PROTECTED and not token.startswith((b"x-sidecar-", b"x-forwarded-"))
    ]


def without(raw: bytes, low: bytes, begin: int, names: Iterable[bytes]) -> bytes:
    """The field lines from ``begin`` up to the empty line, without those called ``names`` (lower case)."""
    spans = []
    for name in names:
        needle = b"\n" + name + b":"
        at = low.find(needle, begin - 1)
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
