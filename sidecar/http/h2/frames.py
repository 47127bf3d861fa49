"""Frames of HTTP/2 (RFC 9113 sections 4 and 6) and the codes by which errors are told (section 7)."""

from __future__ import annotations

from struct import Struct
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client begins with (section 3.4)."""

DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
WITH_PRIORITY: Final = 0x20

HEADER_TABLE_SIZE: Final = 1
ENABLE_PUSH: Final = 2
MAX_CONCURRENT_STREAMS: Final = 3
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5
MAX_HEADER_LIST_SIZE: Final = 6

NO_ERROR: Final = 0x0
PROTOCOL_ERROR: Final = 0x1
INTERNAL_ERROR: Final = 0x2
FLOW_CONTROL_ERROR: Final = 0x3
STREAM_CLOSED: Final = 0x5
FRAME_SIZE_ERROR: Final = 0x6
REFUSED_STREAM: Final = 0x7
CANCEL: Final = 0x8
COMPRESSION_ERROR: Final = 0x9
ENHANCE_YOUR_CALM: Final = 0xB

CODES: Final = (
    "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
    "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
)  # fmt: skip

FRAME_BYTES: Final = 16384
"""The largest payload that we take, and the least that every peer takes (section 4.2)."""
WINDOW: Final = 65535
"""What a window holds before anybody has said otherwise (section 6.9.2)."""
STREAMS: Final = 100
"""How many streams a peer should take that does not say how many it does (section 6.5.2)."""
MOST: Final = 2**31 - 1
"""The largest window, increment and stream identifier."""

HEAD: Final = Struct(">HBBBL")
"""A frame's head: length in 16 and 8 bits, type, flags, stream identifier."""
HEAD_BYTES: Final = 9
ONE: Final = Struct(">L")
TWO: Final = Struct(">LL")
SETTING: Final = Struct(">HL")


class Broken(Exception):
    """A connection error (section 5.4.1): its code, what the peer did, and the limit that it ran into, if any."""

    def __init__(self, code: int, detail: str, limit: str = "") -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.limit = limit


def code_name(code: int) -> str:
    """For people; an unknown code is equal to INTERNAL_ERROR and shown as a number (section 7)."""
    return CODES[code] if code < len(CODES) else f"0x{code:x}"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    size = len(payload)
    return HEAD.pack(size >> 8, size & 255, kind, flags, stream) + payload


def settings_frame(values: dict[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(SETTING.pack(*pair) for pair in values.items()))


def window_update(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, ONE.pack(increment))


def reset_frame(stream: int, code: int) -> bytes:
    return frame(RST_STREAM, 0, stream, ONE.pack(code))


def goaway_frame(last: int, code: int, detail: str = "") -> bytes:
    return frame(GOAWAY, 0, 0, TWO.pack(last, code) + detail.encode()[:256])
