"""What a connection has to say: frames in the order in which they are meant, and streams that wait for their turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sidecar.http.h2 import hpack
from sidecar.http.h2.frames import CONTINUATION, END_HEADERS, END_STREAM, FRAME_BYTES, HEAD, HEADERS, WINDOW, frame
from sidecar.http.head import Field

if TYPE_CHECKING:
    from sidecar.http.h2.stream import Stream

TURN_BYTES: Final = 131072
"""How much of what waits is sent before the socket is asked whether it still takes more."""


class Output:
    __slots__ = ("_encoder", "blocked", "data_frames", "line", "out", "window")

    def __init__(self) -> None:
        self.out: list[bytes] = []
        self.line: dict[Stream, None] = {}
        """Streams with data that they may send, in their turns."""
        self.blocked = False
        """Whether the socket takes no more."""
        self.window = WINDOW
        """What the peer takes of all streams together."""
        self.data_frames = 0
        """How many were sent."""
        self._encoder = hpack.Encoder()

    def wake(self) -> None:
        """There is something to be taken out, or a stream that may send."""
        raise NotImplementedError

    def put(self, data: bytes) -> None:
        if not self.out:
            self.wake()
        self.out.append(data)

    def put_fields(self, id: int, end: bool, fields: list[Field], *more: list[Field]) -> None:
        """A field section, of one list or several; nothing of its stream may wait before it."""
        block = self._encoder.encode(fields)
        for fields in more:
            block += self._encoder.encode(fields)
        size = len(block)
        out = self.out
        if not out:
            self.wake()
        flags = END_HEADERS | END_STREAM if end else END_HEADERS
        if size <= FRAME_BYTES:
            out.append(HEAD.pack(size >> 8, size & 255, HEADERS, flags, id))
            out.append(block)
            return
        out.append(frame(HEADERS, flags & END_STREAM, id, block[:FRAME_BYTES]))
        for at in range(FRAME_BYTES, size, FRAME_BYTES):
            last = END_HEADERS if at + FRAME_BYTES >= size else 0
            out.append(frame(CONTINUATION, last, id, block[at : at + FRAME_BYTES]))

    def table_size(self, size: int) -> None:
        """What of a dynamic table the peer keeps for our field sections."""
        self._encoder.resize(size)

    def line_up(self, stream: Stream) -> None:
        """``stream`` has something that waits; it gets its turn if it may send it."""
        if stream.window > 0:
            self.line[stream] = None
            self.wake()

    def take(self) -> bytes:
        """What is to be written now. As long as it is not empty and the socket takes more, there may be more."""
        left = TURN_BYTES
        line = self.line
        while line and left > 0 and self.window > 0 and not self.blocked:
            stream = next(iter(line))
            del line[stream]
            left -= stream.send_waiting(self.window)
            if stream.waiting is not None and stream.window > 0:
                line[stream] = None
        data = b"".join(self.out)
        self.out.clear()
        return data
