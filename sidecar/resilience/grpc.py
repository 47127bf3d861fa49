"""gRPC's own words about a call: how it ended, how long it may take, and when it may be tried again.

They stand in header fields whose forms differ from those of HTTP: the status is a number in a trailer, the deadline has
a unit, and a message may hold anything once it is percent-encoded. Whatever a peer writes here is answered with a value;
nothing raises.

(https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md; pushback: gRFC A6)
"""

from __future__ import annotations

from typing import Final

from sidecar.errors import GRPC_STATUSES

NUMBERS: Final = {name: number for number, name in enumerate(GRPC_STATUSES)}
"""Each status by its name."""

OK: Final = NUMBERS["OK"]
UNKNOWN: Final = NUMBERS["UNKNOWN"]

FAILURE_STATUSES: Final = frozenset(
    NUMBERS[name] for name in ("UNKNOWN", "DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS")
)
"""Those that are a failure of the endpoint that answers so. The others are true answers about the call: the caller's
mistake, or what its application has decided."""

_STATUSES: Final = {b"%d" % number: number for number in range(len(GRPC_STATUSES))} | {
    b"0%d" % number: number for number in range(10)
}

_TIMEOUT_DIGITS: Final = 8
_MILLISECONDS: Final = {b"H": 3_600_000.0, b"M": 60_000.0, b"S": 1000.0, b"m": 1.0, b"u": 1e-3, b"n": 1e-6}
_LIMIT: Final = 10**_TIMEOUT_DIGITS
_FINE: Final = _LIMIT / 1000.0
_COARSE: Final = ((b"S", 1.0), (b"M", 60.0), (b"H", 3600.0))
_MARGIN: Final = 0.001

_PUSHBACK_DIGITS: Final = 10

_ENCODED: Final = tuple(
    b"%c" % byte if 0x20 <= byte <= 0x7E and byte != 0x25 else b"%%%02X" % byte for byte in range(256)
)


def name_of(status: int) -> str:
    """The status's name, ``OTHER`` if it has none: whatever an application has sent is one of 18 words."""
    return GRPC_STATUSES[status] if 0 <= status < len(GRPC_STATUSES) else "OTHER"


def parse_status(value: bytes) -> int:
    """The number in ``grpc-status``: one or two digits, 0 to 16. Anything else is UNKNOWN, as gRPC's clients take it."""
    return _STATUSES.get(value, UNKNOWN)


def parse_timeout(value: bytes) -> float | None:
    """Milliseconds of a ``grpc-timeout``: one to eight digits and a unit, anything else is None. 0: it has passed."""
    digits = value[:-1]
    scale = _MILLISECONDS.get(value[-1:])
    return float(digits) * scale if scale is not None and len(digits) <= _TIMEOUT_DIGITS and digits.isdigit() else None


def render_timeout(seconds: float) -> bytes:
    """What to send on as ``grpc-timeout`` when ``seconds`` are left: less by a margin, as ``deadline.remaining_ms``.

    Whole milliseconds, and a coarser unit where these would need more than eight digits, always rounded down; a last
    millisecond is sent as ``1m``. gRPC has no zero: nothing left is a nanosecond.
    """
    if seconds < _FINE:  # hot: all but a day and more.
        milliseconds = int(seconds * 1000.0) - 1
        return b"%dm" % milliseconds if milliseconds > 0 else b"1m" if seconds > 0.0 else b"1n"
    for unit, size in _COARSE:
        if (count := (seconds - _MARGIN) // size) < _LIMIT:
            return b"%d%b" % (count, unit)
    return b"%dH" % (_LIMIT - 1)


def encode_message(text: str) -> bytes:
    """``text`` as the value of ``grpc-message``: UTF-8, percent-encoded but for printable ASCII other than ``%``.

    Blanks at its ends are encoded too, which no field of HTTP/2 may have there (RFC 9113 8.2.1).
    """
    encoded = b"".join([_ENCODED[byte] for byte in text.encode("utf-8", "replace")])
    begun = encoded.lstrip(b" ")
    begun = b"%20" * (len(encoded) - len(begun)) + begun
    ended = begun.rstrip(b" ")
    return ended + b"%20" * (len(begun) - len(ended))


def parse_pushback(value: bytes) -> float | None:
    """Seconds after which ``grpc-retry-pushback-ms`` allows another try; ``None``: it forbids any.

    A server forbids by a negative number, and one that cannot be read means the same (gRFC A6); a response without the
    field says nothing either way, which is for the caller to see.
    """
    return float(value) / 1000.0 if len(value) <= _PUSHBACK_DIGITS and value.isdigit() else None
