"""HTTP/2 that shares nothing with the sidecar's own: frames as bytes, right or wrong, and a reader of what comes back.

A builder makes exactly the frame that it is told to make; whether RFC 9113 allows it is the test's affair. Field lines are
coded by ``hpack``, a library in plain Python. ``Conversation`` is a client's end of a connection and ``Endpoint`` a server's;
both are in ``tests/support/http2_peers.py``, beside the
pipes that carry their bytes: a peer of the virtual World, or a socket. ::

    peer = Conversation(pipe)
    peer.handshake()
    peer.send(peer.request(1, method="POST", end=False), data(1, b"test", end=True))
    assert peer.response(1).status == 200
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_SIZE = 16384
WINDOW = 65535
LARGEST_WINDOW = 2**31 - 1

ACK = END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY = 0x20

Fields = Sequence[tuple[bytes | str, bytes | str]]


class Type(IntEnum):
    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9
    UNKNOWN = 0x16


_KINDS = {kind.value: kind.name for kind in Type}


class Code(IntEnum):
    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


_CODES = {code.value: code.name for code in Code}


class Setting(IntEnum):
    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"", length: int | None = None) -> bytes:
    """Any frame; ``length`` is what it claims to have. The stream's highest bit is the reserved one."""
    size = len(payload) if length is None else length
    return struct.pack(">BHBBI", size >> 16, size & 0xFFFF, kind, flags, stream) + payload


def _padded(payload: bytes, padding: int | None) -> bytes:
    return payload if padding is None else bytes([padding]) + payload + bytes(padding)


def data(stream: int, body: bytes = b"", end: bool = False, padding: int | None = None) -> bytes:
    flags = (END_STREAM if end else 0) | (0 if padding is None else PADDED)
    return frame(Type.DATA, flags, stream, _padded(body, padding))


def weight_of(on: int = 0, weight: int = 16, exclusive: bool = False) -> bytes:
    """The fields of a priority; ``weight`` from 1 to 256."""
    return struct.pack(">IB", on | (0x80000000 if exclusive else 0), weight - 1)


def headers(
    stream: int,
    block: bytes,
    end: bool = True,
    whole: bool = True,
    padding: int | None = None,
    priority: bytes | None = None,
) -> bytes:
    """``whole``: the block ends with this frame."""
    flags = (END_STREAM if end else 0) | (END_HEADERS if whole else 0)
    flags |= (0 if padding is None else PADDED) | (0 if priority is None else PRIORITY)
    return frame(Type.HEADERS, flags, stream, _padded((priority or b"") + block, padding))


def continuation(stream: int, block: bytes = b"", whole: bool = True) -> bytes:
    return frame(Type.CONTINUATION, END_HEADERS if whole else 0, stream, block)


def priority(stream: int, on: int = 0, weight: int = 16, exclusive: bool = False) -> bytes:
    return frame(Type.PRIORITY, 0, stream, weight_of(on, weight, exclusive))


def rst_stream(stream: int, code: int = Code.CANCEL) -> bytes:
    return frame(Type.RST_STREAM, 0, stream, struct.pack(">I", code))


def settings(*values: tuple[int, int]) -> bytes:
    return frame(Type.SETTINGS, payload=b"".join(struct.pack(">HI", *value) for value in values))


def settings_ack() -> bytes:
    return frame(Type.SETTINGS, ACK)


def push_promise(stream: int, promised: int, block: bytes) -> bytes:
    return frame(Type.PUSH_PROMISE, END_HEADERS, stream, struct.pack(">I", promised) + block)


def ping(payload: bytes = b"\0" * 8, ack: bool = False) -> bytes:
    return frame(Type.PING, ACK if ack else 0, 0, payload)


def goaway(last: int = 0, code: int = Code.NO_ERROR, debug: bytes = b"") -> bytes:
    return frame(Type.GOAWAY, payload=struct.pack(">II", last, code) + debug)


def window_update(stream: int, increment: int) -> bytes:
    return frame(Type.WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def unknown(stream: int = 0, payload: bytes = bytes(8)) -> bytes:
    return frame(Type.UNKNOWN, 0, stream, payload)


def literal(name: bytes, value: bytes, indexing: int = 0x00) -> bytes:
    """A field line as it is, neither looked up nor compressed; ``indexing`` 0x40 puts it in the dynamic table."""
    return bytes([indexing]) + integer(len(name), 7) + name + integer(len(value), 7) + value


def integer(value: int, bits: int, mark: int = 0) -> bytes:
    """RFC 7541 section 5.1, in the lowest ``bits`` of the first byte; ``mark`` is what stands above them."""
    limit = (1 << bits) - 1
    if value < limit:
        return bytes([mark | value])
    out = [mark | limit]
    value -= limit
    while value >= 128:
        out.append(0x80 | value & 0x7F)
        value >>= 7
    return bytes([*out, value])


@dataclass
class Frame:
    """``fields`` is there for HEADERS, whose ``payload`` then is the whole block without padding and priority."""

    type: int
    flags: int
    stream: int
    payload: bytes
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)

    @property
    def ends(self) -> bool:
        return self.type in (Type.DATA, Type.HEADERS) and bool(self.flags & END_STREAM)

    @property
    def ack(self) -> bool:
        return bool(self.flags & ACK)

    @property
    def code(self) -> int:
        """Of RST_STREAM and GOAWAY."""
        return int.from_bytes(self.payload[4:8] if self.type == Type.GOAWAY else self.payload[:4], "big")

    @property
    def last(self) -> int:
        """The last stream that a GOAWAY answers for."""
        return int.from_bytes(self.payload[:4], "big")

    @property
    def increment(self) -> int:
        return int.from_bytes(self.payload, "big")

    @property
    def settings(self) -> dict[int, int]:
        return dict(struct.iter_unpack(">HI", self.payload))

    def get(self, name: bytes) -> bytes | None:
        values = [value for other, value in self.fields if other == name]
        assert len(values) < 2, f"{name!r} is there {len(values)} times"
        return values[0] if values else None

    def __repr__(self) -> str:
        kind = _KINDS.get(self.type, f"type {self.type}")
        what = self.fields or (
            _CODES.get(self.code, self.code) if self.type in (Type.RST_STREAM, Type.GOAWAY) else self.payload[:99]
        )
        return f"<{kind} stream {self.stream} flags {self.flags:#x} {len(self.payload)} bytes: {what}>"


class Reader:
    """Bytes to frames. Fails at what no peer may send: frames too large, or anything between the parts of a block."""

    def __init__(self, frame_size: int = FRAME_SIZE) -> None:
        self._frame_size = frame_size
        self._data = b""
        self._block: Frame | None = None
        self.decoder = hpack.Decoder(max_header_list_size=1 << 24)

    def feed(self, data: bytes) -> list[Frame]:
        self._data += data
        found: list[Frame] = []
        while len(self._data) >= 9:
            high, low, kind, flags, stream = struct.unpack_from(">BHBBI", self._data)
            size = high << 16 | low
            assert size <= self._frame_size, f"a frame of {size} bytes, type {kind}"
            if len(self._data) < 9 + size:
                break
            payload, self._data = self._data[9 : 9 + size], self._data[9 + size :]
            one = self._understood(Frame(kind, flags, stream, payload))
            if one is not None:
                found.append(one)
        return found

    def _understood(self, one: Frame) -> Frame | None:
        block = self._block
        if block is not None:
            assert (one.type, one.stream) == (Type.CONTINUATION, block.stream), f"{one} within a field block"
            block.payload += one.payload
        elif one.type == Type.HEADERS:
            _strip(one)
            block = one
        else:
            assert one.type != Type.CONTINUATION, f"{one} continues nothing"
            if one.type == Type.DATA:
                _strip(one)
            return one
        self._block = None if one.flags & END_HEADERS else block
        if self._block is not None:
            return None
        block.fields = [(bytes(name), bytes(value)) for name, value in self.decoder.decode(block.payload, raw=True)]
        return block


def _strip(one: Frame) -> None:
    """Takes padding and priority away."""
    if one.flags & PADDED:
        padding, one.payload = one.payload[0], one.payload[1:]
        assert padding <= len(one.payload), f"{padding} bytes of padding"
        one.payload = one.payload[: len(one.payload) - padding]
    if one.type == Type.HEADERS and one.flags & PRIORITY:
        one.payload = one.payload[5:]


class Gone(Exception):
    """The other side has closed the connection, in order or not."""


class Pipe(Protocol):
    """What carries the bytes of one end of a connection."""

    def send(self, data: bytes) -> None:
        """Sends; bytes for a connection that is gone are lost."""

    def receive(self, patient: bool = True) -> bytes:
        """What has come. Empty if nothing has, and ``patient``: nothing will by itself. Raises ``Gone``."""


@dataclass
class Message:
    """A request or a response so far; ``whole`` when its stream has ended, ``reset`` the code if it was broken off."""

    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    interim: list[int] = field(default_factory=list)
    whole: bool = False
    reset: int | None = None

    def get(self, name: bytes) -> bytes | None:
        values = [value for other, value in self.fields if other == name]
        assert len(values) < 2, f"{name!r} is there {len(values)} times"
        return values[0] if values else None

    @property
    def status(self) -> int:
        return int(self.get(b":status") or 0)

    @property
    def reason(self) -> str:
        """Why the sidecar refused; empty if the response is not its own."""
        return (self.get(b"x-sidecar-reason") or b"").decode()

    def take(self, one: Frame) -> None:
        """The next frame of its stream."""
        if one.type == Type.HEADERS and not self.fields:
            status = int(one.get(b":status") or 0)
            if 100 <= status < 200:
                self.interim.append(status)
            else:
                self.fields = one.fields
        elif one.type == Type.HEADERS:
            self.trailers = one.fields
        elif one.type == Type.DATA:
            self.body += one.payload
        elif one.type == Type.RST_STREAM:
            self.reset = one.code
        self.whole = self.whole or one.ends


class Speaker:
    """What both ends can: send, and read frame by frame. ``seen`` keeps all that came, ``streams`` its messages."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self.encoder = hpack.Encoder()
        self.reader = Reader()
        self.seen: list[Frame] = []
        self.streams: dict[int, Message] = {}
        self.gone = False
        self._unread: deque[Frame] = deque()

    def send(self, *frames: bytes) -> None:
        """In one write."""
        self.pipe.send(b"".join(frames))

    def block(self, fields: Fields) -> bytes:
        encoded: bytes = self.encoder.encode(fields)
        return encoded

    def receive(self, patient: bool = True) -> bool:
        """Reads what has come; whether that was anything."""
        try:
            came = self.pipe.receive(patient)
        except Gone:
            self.gone = True
            return False
        self._take(came)
        return bool(came)

    def _take(self, came: bytes) -> None:
        for one in self.reader.feed(came):
            self.seen.append(one)
            self._unread.append(one)
            if one.stream:
                self.streams.setdefault(one.stream, Message()).take(one)

    def frames(self, kind: int | None = None) -> list[Frame]:
        """What has come since the last look, without waiting for more."""
        while not self.gone and self.receive(patient=False):
            pass
        found = [one for one in self._unread if kind is None or one.type == kind]
        self._unread.clear()
        return found

    def until(self, wanted: Callable[[Frame], bool], what: str) -> Frame:
        """The next frame that is wanted; the ones before it are passed over."""
        passed: list[Frame] = []
        while True:
            while self._unread:
                one = self._unread.popleft()
                if wanted(one):
                    return one
                passed.append(one)
            if self.gone or not self.receive():
                if self._unread:
                    continue
                end = "the connection ended" if self.gone else "nothing more comes"
                raise AssertionError(f"{end} without {what}; there came {passed or 'nothing'}")

    def of(self, kind: int, stream: int | None = None) -> Frame:
        """The next frame of a type, and if it is given of that stream."""
        where = "" if stream is None else f" of stream {stream}"
        return self.until(
            lambda one: one.type == kind and (stream is None or one.stream == stream), f"{Type(kind).name}{where}"
        )
