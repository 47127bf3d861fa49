"""One stream of a connection: its windows, what waits for them, and which of its two directions are open.

What is sent goes straight into the connection's output while windows and socket allow it; otherwise it waits here, and
the connection lets its waiting streams send a frame each in turn. So a stream whose peer does not read holds up itself
and nobody else. Whoever fills it is told at ``HIGH_BYTES`` and again when there is room.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec

from sidecar.http.h2.frames import (
    CANCEL,
    DATA,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    FRAME_BYTES,
    HEAD,
    MOST,
    PROTOCOL_ERROR,
    reset_frame,
    window_update,
)
from sidecar.http.head import Field, Section

if TYPE_CHECKING:
    from sidecar.http.h2.connection import Connection

HIGH_BYTES: Final = 65536
LOW_BYTES: Final = 16384


class Stream(msgspec.Struct, eq=False, weakref=False):
    """What derives from it hears what comes (``heard_*``) and how sending fares (``full``, ``drained``)."""

    # hot: a Struct, because it is made in half the time of an object with an ``__init__``.
    connection: Connection
    id: int
    receiving: bool
    """Whether more may come."""
    window: int
    """What the peer still takes on this stream."""
    room: int
    """What we still take on it."""
    sending: bool = True
    paused: bool = False
    expected: int | None = None
    """Bytes of the body that are still to come, if that was declared."""
    waiting: deque[bytes] | None = None
    waiting_bytes: int = 0
    waiting_end: list[Field] | None = None
    """What follows the last of ``waiting``: trailers, or nothing but the end."""
    full: bool = False

    # What comes

    def heard_fields(self, fields: Section, body: bytes, end: bool) -> None:
        """A field section on a stream that has begun, and data that came with it."""
        raise NotImplementedError

    def heard_data(self, data: bytes, end: bool) -> None:
        raise NotImplementedError

    def heard_reset(self, code: int, unprocessed: bool) -> None:
        """The stream is gone, by the peer's word or with its connection. ``unprocessed``: nothing was done about it."""
        raise NotImplementedError

    def received(self, data: bytes, size: int, end: bool) -> None:
        """A frame of data: its payload, and the bytes that it took of the window."""
        room = self.room = self.room - size
        expected = self.expected
        if expected is not None:
            expected = self.expected = expected - len(data)
            if expected < 0 or (end and expected):
                self.connection.stream_error(self, PROTOCOL_ERROR, "the body is not as long as content-length declares")
                return
        if end:
            self.receiving = False
        elif room < self.connection.stream_window >> 1:
            if room < 0:
                self.connection.stream_error(self, FLOW_CONTROL_ERROR, "more data than the stream's window holds")
                return
            if not self.paused:
                self._give_room()
        self.heard_data(data, end)

    def pause_reading(self) -> None:
        """Takes no more than the window that the peer has."""
        self.paused = True

    def resume_reading(self) -> None:
        if self.paused:
            self.paused = False
            if self.receiving and self.room < self.connection.stream_window >> 1:
                self._give_room()

    def _give_room(self) -> None:
        connection = self.connection
        connection.put(window_update(self.id, connection.stream_window - self.room))
        self.room = connection.stream_window

    # What goes

    def send_data(self, data: bytes, end: bool) -> None:
        connection = self.connection
        size = len(data)
        if (
            self.waiting is None
            and size <= FRAME_BYTES
            and size <= self.window
            and size <= connection.window
            and not connection.blocked
        ):
            # hot: there is room for all of it, on every level.
            self.window -= size
            connection.window -= size
            connection.data_frames += 1
            out = connection.out
            if not out:
                connection.wake()
            out.append(HEAD.pack(size >> 8, size & 255, DATA, END_STREAM if end else 0, self.id))
            if size:
                out.append(data)
            if end:
                self.sending = False
            return
        if self.waiting is None and not data:
            # Nothing of it takes room, and nobody need give us any who knows that this is all (section 6.9.1).
            connection.put(HEAD.pack(0, 0, DATA, END_STREAM if end else 0, self.id))
            self.sending = not end
            return
        if data:
            if self.waiting is None:
                self.waiting = deque()
            self.waiting.append(data)
            self.waiting_bytes += size
        if end:
            self.waiting_end = []
        connection.line_up(self)
        if self.waiting_bytes > HIGH_BYTES and not self.full:
            self.full = True
            self.got_full()

    def send_end(self, data: bytes, trailers: list[Field]) -> None:
        """The last of the data, if there is any left, and the trailers, if there are any."""
        if not trailers:
            self.send_data(data, True)
            return
        if data:
            self.send_data(data, False)
        if self.waiting is not None:
            self.waiting_end = trailers
        else:
            self.sending = False
            self.connection.put_fields(self.id, True, trailers)

    def send_waiting(self, most: int) -> int:
        """Sends one frame of what waits; its size. ``most``: what the connection's window and its turn allow."""
        waiting = self.waiting
        assert waiting is not None
        data = waiting[0]
        most = min(most, FRAME_BYTES, self.window)
        if len(data) > most:
            waiting[0] = data[most:]
            data = data[:most]
        else:
            waiting.popleft()
        size = len(data)
        self.waiting_bytes -= size
        self.window -= size
        connection = self.connection
        connection.window -= size
        connection.data_frames += 1
        ending = not waiting and self.waiting_end is not None
        end = ending and not self.waiting_end
        connection.put(HEAD.pack(size >> 8, size & 255, DATA, END_STREAM if end else 0, self.id))
        connection.out.append(data)
        if not waiting:
            self.waiting = None
        if ending:
            trailers, self.waiting_end = self.waiting_end, None
            self.sending = False
            if trailers:
                connection.put_fields(self.id, True, trailers)
            self.sent_all()
        elif self.full and self.waiting_bytes <= LOW_BYTES:
            self.full = False
            self.got_drained()
        return size

    def got_full(self) -> None:
        """More waits than ``HIGH_BYTES``: whoever fills the stream should stop."""
        raise NotImplementedError

    def got_drained(self) -> None:
        raise NotImplementedError

    def sent_all(self) -> None:
        """The last of what waited has gone, and the stream's sending side is closed."""
        raise NotImplementedError

    def may_send(self, more: int) -> None:
        """The peer takes ``more`` bytes."""
        window = self.window = self.window + more
        if window > MOST:
            self.connection.stream_error(self, FLOW_CONTROL_ERROR, "the stream's window exceeds 2^31-1")
        elif self.waiting is not None:
            self.connection.line_up(self)

    def reset(self, code: int = CANCEL) -> None:
        """Ends the stream at once; what the peer still sends on it is thrown away."""
        connection = self.connection
        self.sending = False
        if connection.streams.pop(self.id, None) is not None:
            connection.forget(self)
            connection.put(reset_frame(self.id, code))
            connection.stream_gone(self)

    def unsent(self) -> int:
        """Bytes that have not been handed to the socket."""
        return self.waiting_bytes
