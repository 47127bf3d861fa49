"""Trace context: W3C Trace Context (level 1, section 3.2) in and out, B3 in, and the request id.

Labels that can only name are believed from anyone if they are well-formed; what is not is replaced, never repaired.
"""

from __future__ import annotations

import re
from binascii import hexlify

import msgspec

from sidecar.clock import Random

TRACE_ID = rb"(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-"
TRACEPARENT = re.compile(rb"00-" + TRACE_ID + rb"([0-9a-f]{2})[ \t]*+")
# A later version may say more behind what is known; of its flags only the sampled bit is known to mean the same.
LATER_TRACEPARENT = re.compile(rb"(?!00|ff)[0-9a-f]{2}-" + TRACE_ID + rb"[0-9a-f]([0-9a-f])(?:-[!-~]*+)?[ \t]*+")
# https://github.com/openzipkin/b3-propagation: trace id of 64 or 128 bits, span id, perhaps a decision and a parent.
B3 = re.compile(rb"(?!0++-)((?:[0-9a-f]{16}){1,2})-(?!0{16})[0-9a-f]{16}(?:-([01d])(?:-[0-9a-f]{16})?)?")
REQUEST_ID = re.compile(rb"[!-~]{1,128}")


def read_traceparent(value: bytes) -> tuple[bytes, bytes] | None:
    """Trace id and flags, ``None`` if it is not valid."""
    match = TRACEPARENT.fullmatch(value)
    if match is not None:
        return match[1], match[2]
    match = LATER_TRACEPARENT.fullmatch(value)
    if match is not None:
        return match[1], b"01" if int(match[2], 16) & 1 else b"00"
    return None


def read_b3(value: bytes) -> tuple[bytes, bytes] | None:
    """Trace id and flags of the single B3 field, ``None`` if it names no trace."""
    match = B3.fullmatch(value.strip(b" \t"))
    if match is None:
        return None
    return match[1].rjust(32, b"0"), b"01" if match[2] in (b"1", b"d") else b"00"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``sample``: the share of new traces that ask to be recorded."""

    sample: float = 0.01


class Tracer:
    """Makes what is missing. Ids need to be unique, not secret, so a seeded generator is enough."""

    __slots__ = ("_bits", "_chance", "_sample")

    def __init__(self, settings: Settings, random: Random) -> None:
        self._bits = random.getrandbits
        self._chance = random.random
        self._sample = settings.sample

    def new_trace(self) -> tuple[bytes, bytes]:
        """Trace id (32 hexadecimal digits) and flags (2)."""
        return hexlify((self._bits(128) or 1).to_bytes(16, "big")), b"01" if self._chance() < self._sample else b"00"

    def span(self) -> bytes:
        """A new span id: 16 hexadecimal digits."""
        return hexlify((self._bits(64) or 1).to_bytes(8, "big"))
