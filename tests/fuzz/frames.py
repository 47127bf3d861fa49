"""A connection of HTTP/2 under any bytes, as either end of it, in one reading and cut into many.

The first byte says which end we are, whether we send back more than we get, and how the rest is written: as frames, or as
records that become frames whose lengths are right, so that changes reach what lies behind. The second one is how long
the pieces of the second run are.
"""

from __future__ import annotations

from collections import Counter

import hpack

from sidecar.errors import Failure
from sidecar.http.h2.connection import Connection
from sidecar.http.h2.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_BYTES,
    HEAD,
    HEAD_BYTES,
    HEADERS,
    NO_ERROR,
    PROTOCOL_ERROR,
    RST_STREAM,
    WINDOW_UPDATE,
    Broken,
    frame,
)
from sidecar.http.h2.grammar import Malformed, trailers
from sidecar.http.h2.request import parse
from sidecar.http.h2.stream import Stream
from sidecar.http.head import Field, Refused, Settings
from tests.fuzz.run import main

CLIENT, RECORDS, LOUD = 1, 2, 4
LIMITS = Settings(header_bytes=8192, headers=50, streams=4, stream_window=65536)
REQUEST: list[Field] = [
    (b":method", b"POST", False), (b":scheme", b"http", False), (b":path", b"/", False), (b":authority", b"orders", False),
]  # fmt: skip
OK: list[Field] = [(b":status", b"200", False)]
REFUSED: list[Field] = [(b":status", b"431", False)]
TRAILERS: list[Field] = [(b"grpc-status", b"0", False)]
TOKENS = [
    b"\x04\0\0\0", b"\0\0\0\x04\0\0\0\0\0", b"\x01\x05\x01", b"\x01\x04\x03", b"\0\x01\x01", b"\0\0\x01", b"\0\x08\x01\x05\x04",
    b"\x03\0\x01\x04\0\0\0\x08", b"\x08\0\0\x04\0\x01\0\0", b"\x08\0\x01\x04\x7f\xff\xff\xff", b"\x09\x04\x01\0", b"\x82\x86\x84",
    b"\x41\x06orders", b"\x83\x86\x84", b"\x0f\x0d\x01\x35", b"\x06\0\0\x08", b"\x06\x01\0\x08", b"\x07\0\0\x08\0\0\0\0\0\0\0\0",
    b"\x04\0\0\x06\0\x04\0\0\0\0", b"\x04\0\0\x06\0\x01\0\0\0\0", b"\x04\0\0\x06\0\x04\x7f\xff\xff\xff", b"\x04\x01\0\0",
    b"\x01\x2d\x05", b"\x02\0\x01\x05\0\0\0\0\0", b"\xff\xff\xff\xff", b"\x88", b"\x80",
]  # fmt: skip


class Echo(Stream, kw_only=True):
    """Sends back what comes, and trailers at its end."""

    times: int = 1
    length: int | None = None
    got: int = 0

    def heard_fields(self, fields: list[Field], body: bytes, end: bool) -> None:
        if self.connection.client:
            self.room -= len(body)
            self.receiving = not end
            self.settle()
            return
        try:
            if not end or body:
                raise Malformed("a field section within the body")
            trailers(fields)
        except Malformed as error:
            self.connection.stream_error(self, PROTOCOL_ERROR, str(error))
            return
        if self.expected:
            self.connection.stream_error(self, PROTOCOL_ERROR, "the body is too short")
            return
        self.receiving = False
        self.answer(b"", True)

    def heard_data(self, data: bytes, end: bool) -> None:
        self.answer(data, end)

    def answer(self, data: bytes, end: bool) -> None:
        if self.connection.client:
            self.settle()
            return
        self.got += len(data)
        assert not end or self.length is None or self.length == self.got, "a body is not as long as was declared"
        if data and self.sending:
            self.send_data(data * self.times, False)
        if end and self.sending:
            self.send_end(b"", TRAILERS)
            if self.waiting is None:
                self.sent_all()

    def send_data(self, data: bytes, end: bool) -> None:
        before = self.window
        Stream.send_data(self, data, end)
        assert self.window == before or self.window >= 0, "more was sent than the peer takes on a stream"
        assert self.connection.window >= 0, "more was sent than the peer takes"

    def send_waiting(self, most: int) -> int:
        size = Stream.send_waiting(self, most)
        assert size == 0 or self.window >= 0, "more was sent than the peer takes on a stream"
        return size

    def settle(self) -> None:
        if not self.receiving and self.sending:
            self.reset(NO_ERROR)

    def heard_reset(self, code: int, unprocessed: bool) -> None: ...

    def got_full(self) -> None:
        self.pause_reading()

    def got_drained(self) -> None:
        self.resume_reading()

    def sent_all(self) -> None:
        if self.receiving:
            self.reset(NO_ERROR)
        else:
            self.connection.settle(self)


class Fuzzed(Connection):
    """Counts what begins and what ends."""

    def __init__(self, how: int) -> None:
        client = how & CLIENT != 0
        super().__init__(client, LIMITS, lambda: 0.0)
        self.loud = how & LOUD != 0
        self.begun: Counter[int] = Counter()
        self.ended: Counter[int] = Counter()
        self.greet({})
        if client:
            for id in (1, 3, 5):
                self.last = id
                self.put_fields(self.begin(self.echo(id, True)).id, False, REQUEST)

    def echo(self, id: int, receiving: bool) -> Echo:
        times = 64 if self.loud else 1
        return Echo(self, id, receiving, self.peer_window, self.stream_window, times=times)

    def begin(self, stream: Echo) -> Echo:
        self.begun[stream.id] += 1
        self.streams[stream.id] = stream
        return stream

    def wake(self) -> None: ...

    def opened(self, id: int, fields: list[Field] | None, body: bytes, end: bool) -> None:
        stream = self.echo(id, not end)
        answer, length = OK, None
        try:
            if fields is None:
                raise Refused(Failure.HEADERS_TOO_LARGE, "")
            length = parse(fields, end and not body, LIMITS).length
        except Malformed:
            self.refuse(id, PROTOCOL_ERROR)
            return
        except Refused:
            answer = REFUSED
        self.put_fields(self.begin(stream).id, False, answer)
        stream.room -= len(body)
        if length is not None:
            stream.length = length
            stream.expected = length - len(body)
            if stream.expected < 0 or (end and stream.expected):
                self.stream_error(stream, PROTOCOL_ERROR, "the body is not as long as content-length declares")
                return
        stream.answer(body, end)

    def stream_gone(self, stream: Stream) -> None:
        self.ended[stream.id] += 1

    def stream_broken(self, stream: Stream, detail: str) -> None: ...

    def run(self, pieces: list[bytes]) -> tuple[object, ...]:
        """What became of it: all that can be told from outside."""
        broken: tuple[int, str] | None = None
        try:
            for piece in pieces:
                self.receive(piece)
        except Broken as error:
            broken = error.code, error.detail
            self.leave(error.code, error.detail)
        out = []
        while data := self.take():
            out.append(data)
        assert self.window >= 0, "more was sent than the peer takes"
        assert len(self.streams) <= max(LIMITS.streams, 3)
        left = sorted(self.streams)
        self.lose()
        assert not self.streams and self.begun == self.ended, "a stream began or ended twice, or never"
        return b"".join(out), broken, left


def target(data: bytes) -> None:
    """Nothing but ``Broken`` comes out of it, what it sends is good, and where a reading ends makes no difference."""
    how, size, rest = (data + b"\0\0")[0], (data + b"\0\0")[1], data[2:]
    if how & RECORDS:
        rest = records(rest)
    whole = Fuzzed(how).run([rest])
    size = size % 64 + 1
    cut = Fuzzed(how).run([rest[at : at + size] for at in range(0, len(rest), size)])
    assert whole == cut, f"{whole} in one reading, {cut} in pieces of {size}"
    out = whole[0]
    assert isinstance(out, bytes)
    check(out)


def records(data: bytes) -> bytes:
    """Frames of records: type, flags, stream and length in a byte each, then so much payload as there is."""
    frames, at = [], 0
    while at + 4 <= len(data):
        kind, flags, stream, length = data[at : at + 4]
        at += 4
        frames.append(frame(kind, flags, stream, data[at : at + length]))
        at += length
    return b"".join(frames)


def check(out: bytes) -> None:
    """Whole frames that are not too long, fields that can be read, and nothing of a stream behind its end."""
    decoder = hpack.Decoder(2**20)
    over: set[int] = set()
    block, ends = b"", 0
    at = 0
    while at < len(out):
        high, low, kind, flags, id = HEAD.unpack_from(out, at)
        begin = at + HEAD_BYTES
        at = begin + (high << 8 | low)
        assert at <= len(out) and at - begin <= FRAME_BYTES
        if kind in (DATA, HEADERS, CONTINUATION):
            assert id not in over, f"a frame behind the end of stream {id}"
        if kind in (HEADERS, CONTINUATION):
            block += out[begin:at]
            ends |= flags & END_STREAM
            if flags & END_HEADERS:
                assert decoder.decode(block, raw=True)
                block = b""
        else:
            assert not block
            ends = flags & END_STREAM if kind == DATA else 0
        if (ends and not block) or kind == RST_STREAM:
            over.add(id)
            ends = 0
        assert kind != WINDOW_UPDATE or out[begin:at] != bytes(4), "a window update of nothing"


if __name__ == "__main__":
    main("frames", target, TOKENS)
