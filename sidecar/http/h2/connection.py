"""One HTTP/2 connection without its socket: frames in, streams told, frames out (RFC 9113).

``receive`` takes what came and tells the streams; what has to be sent collects in ``out`` until ``take`` is called, so
that all that one reading brought about leaves in one write. Who derives from this says what a new stream is
(``opened``), and has the socket. The connection's own window is given back as soon as something came, for what a
stream may hold is bounded by the stream's window: a slow stream never holds up another.

Errors of a stream reset it; errors of the connection are raised as ``Broken``, and ``break_off``, of who has the
socket, tells the peer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sidecar.http.h2 import control, hpack
from sidecar.http.h2.budgets import CONTINUATIONS, CONTROL, EMPTY_FRAMES, RESETS, WINDOW_UPDATES, Budget
from sidecar.http.h2.frames import (
    ACK,
    COMPRESSION_ERROR,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_BYTES,
    FRAME_SIZE_ERROR,
    HEAD,
    HEAD_BYTES,
    HEADERS,
    MOST,
    ONE,
    PADDED,
    PROTOCOL_ERROR,
    SETTINGS,
    STREAM_CLOSED,
    WINDOW,
    WITH_PRIORITY,
    Broken,
    goaway_frame,
    reset_frame,
    settings_frame,
    window_update,
)
from sidecar.http.h2.output import Output
from sidecar.http.h2.stream import Stream
from sidecar.http.head import Section, Settings

ROOM: Final = 1024 * 1024
"""What the connection takes before it has given the window back: never what holds a peer up."""
REMEMBERED: Final = 1000
"""Streams that we reset: what their peers had sent meanwhile is no error."""


class Connection(Output):
    """``client``: whether we opened it; ``now``: monotonic seconds."""

    __slots__ = (
        "_block", "_block_flags", "_block_frames", "_block_stream", "_decoder", "_empty", "_kept",
        "client", "completed", "control_budget", "greeted", "last", "leaving",
        "limits", "now", "peer_streams", "peer_window", "reset_budget", "reset_by_us", "room", "skipped", "steady",
        "stream_window", "streams", "update_budget",
    )  # fmt: skip

    def __init__(self, client: bool, limits: Settings, now: Callable[[], float]) -> None:
        super().__init__()
        self.client = client
        self.limits = limits
        self.now = now
        self.streams: dict[int, Stream] = {}
        self.peer_window = WINDOW
        """What the peer takes on a new stream."""
        self.peer_streams = 1
        """How many streams the peer takes. Before it has said so, the first may be sent without waiting for that."""
        self.stream_window = limits.stream_window
        self.room = ROOM
        self.last = 0
        """The highest stream that the client has begun."""
        self.leaving = False
        """Whether later streams of the peer are not answered any more: they are told so by our GOAWAY."""
        self.greeted = False
        """Whether the peer's SETTINGS have come."""
        self.steady = False
        """Whether any frame may come next: they have, and no field section is to be continued."""
        self.skipped: list[tuple[int, int]] = []
        """Identifiers that the peer has left out: they are closed (section 5.1.1), though nothing came on them."""
        self.reset_by_us: dict[int, None] = {}
        self.completed = 0
        at = now()
        self.control_budget = Budget(CONTROL, at)
        self.reset_budget = Budget(RESETS, at)
        self.update_budget = Budget(WINDOW_UPDATES, at)
        self._empty = 0
        self._kept = b""
        self._block: bytearray | None = None
        self._block_stream = 0
        self._block_flags = 0
        self._block_frames = 0
        self._decoder = hpack.Decoder(limits.header_bytes)

    # What derives from it supplies

    def opened(self, id: int, fields: Section | None, body: bytes, end: bool) -> None:
        """The peer has begun a stream. ``fields``: ``None`` if there were too many of them; ``body``: what came with them,
        ``end``: whether that is all."""
        raise NotImplementedError

    def stream_gone(self, stream: Stream) -> None:
        """``stream`` is no longer among ``streams``."""
        raise NotImplementedError

    def stream_broken(self, stream: Stream, detail: str) -> None:
        """The peer has broken the protocol on ``stream``, which has been reset."""
        raise NotImplementedError

    def settings_changed(self) -> None: ...

    def peer_leaves(self, last: int, code: int, detail: str) -> None:
        """The peer's GOAWAY: it has done, and will do, nothing about our streams above ``last``."""

    def answered(self) -> None:
        """The peer's answer to our PING."""

    # What comes

    def greet(self, values: dict[int, int]) -> None:
        """Says what we begin with, and gives the connection its room."""
        self.put(settings_frame(values) + window_update(0, ROOM - WINDOW))

    def receive(self, data: bytes) -> None:
        """Raises ``Broken``."""
        at = 0
        kept = self._kept
        if kept:
            at = _missing(kept)
            if 0 < at <= len(data):
                # hot: the frame that was cut is made whole by itself, so that not all that came is copied for its sake.
                self._kept = b""
                self._frames(kept + data[:at], 0)
            else:
                data = kept + data
                at = 0
        self._frames(data, at)

    def _frames(self, data: bytes, at: int) -> None:
        """The frames of ``data`` from ``at`` on; what is left of it is kept."""
        size = len(data)
        streams = self.streams
        unpack = HEAD.unpack_from
        try:
            while size - at >= HEAD_BYTES:
                high, low, kind, flags, id = unpack(data, at)
                length = high << 8 | low
                begin = at + HEAD_BYTES
                end = begin + length
                if not self.steady:
                    self._unusual(kind, flags, id)
                if length > FRAME_BYTES:
                    raise Broken(FRAME_SIZE_ERROR, f"a frame of {length} bytes; {FRAME_BYTES} are allowed")
                if end > size:
                    break
                at = end
                id &= MOST
                if kind == DATA:
                    payload = data[begin:end]
                    if flags & PADDED:
                        payload = _unpadded(payload)
                    room = self.room = self.room - length
                    if room < ROOM >> 1:
                        self._give_room()
                    if payload:
                        self._empty = 0
                    elif not flags & END_STREAM:
                        self._count_empty()
                    stream = streams.get(id)
                    if stream is not None and stream.receiving:
                        stream.received(payload, length, flags & END_STREAM != 0)
                    else:
                        self._unexpected_data(id, stream)
                elif kind == HEADERS:
                    body = b""
                    if flags & (END_STREAM | END_HEADERS) == END_HEADERS and size - at >= HEAD_BYTES:
                        # hot: data that came right behind its head goes on with it.
                        high, low, next_kind, next_flags, next_id = unpack(data, at)
                        length = high << 8 | low
                        after = at + HEAD_BYTES + length
                        if (
                            next_kind == DATA
                            and next_id == id
                            and not next_flags & PADDED
                            and after <= size
                            and 0 < length <= FRAME_BYTES
                        ):
                            body = data[at + HEAD_BYTES : after]
                            at = after
                            flags |= next_flags & END_STREAM
                            room = self.room = self.room - length
                            if room < ROOM >> 1:
                                self._give_room()
                    if flags & (END_HEADERS | PADDED | WITH_PRIORITY) == END_HEADERS and id & 1:
                        self._fields(flags, id, data[begin:end], body)  # hot
                    else:
                        self._headers(flags, id, data[begin:end], body)
                elif kind == CONTINUATION:
                    self._continue(flags, id, data[begin:end])
                else:
                    control.receive(self, kind, flags, id, data[begin:end])
        finally:
            self._kept = data[at:] if at < size else b""

    def _unusual(self, kind: int, flags: int, id: int) -> None:
        """What has to come next, where not anything may."""
        if not self.greeted and (kind != SETTINGS or flags & ACK or id & MOST):
            raise Broken(PROTOCOL_ERROR, "the connection does not begin with SETTINGS")
        if self._block is not None and (kind != CONTINUATION or id & MOST != self._block_stream):
            raise Broken(PROTOCOL_ERROR, "a field section was not continued by the next frame")

    def head_unfinished(self) -> bool:
        """Whether part of a field section has come, or of something that may be one."""
        kept = self._kept
        return self._block is not None or (bool(kept) and (len(kept) < 4 or kept[3] == HEADERS))

    def _count_empty(self) -> None:
        self._empty += 1
        if self._empty > EMPTY_FRAMES:
            raise Broken(ENHANCE_YOUR_CALM, "too many frames without data", "empty_frames")

    def _give_room(self) -> None:
        if self.room < 0:
            raise Broken(FLOW_CONTROL_ERROR, "more data than the connection's window holds")
        self.put(window_update(0, ROOM - self.room))
        self.room = ROOM

    def _unexpected_data(self, id: int, stream: Stream | None) -> None:
        if stream is not None:
            self.stream_error(stream, STREAM_CLOSED, "data behind the end of the stream")
        elif id == 0 or self.is_idle(id):
            raise Broken(PROTOCOL_ERROR, f"data on stream {id}, which has not begun")
        elif id not in self.reset_by_us and not self.client:
            raise Broken(STREAM_CLOSED, f"data on stream {id}, which has ended")

    def is_idle(self, id: int) -> bool:
        """Whether stream ``id`` has never begun."""
        return id > self.last or id & 1 == 0

    def _headers(self, flags: int, id: int, payload: bytes, body: bytes) -> None:
        if id & 1 == 0:
            raise Broken(PROTOCOL_ERROR, f"a field section on stream {id}")
        if flags & (PADDED | WITH_PRIORITY):
            if flags & PADDED:
                payload = _unpadded(payload)
            if flags & WITH_PRIORITY:
                if len(payload) < 5:
                    raise Broken(FRAME_SIZE_ERROR, "HEADERS are too short for the priority that they announce")
                if ONE.unpack_from(payload)[0] & MOST == id:
                    raise Broken(PROTOCOL_ERROR, f"stream {id} depends on itself")
                payload = payload[5:]
        if flags & END_HEADERS:
            self._fields(flags, id, payload, body)
        else:
            self._block = bytearray(payload)
            self.steady = False
            self._block_stream = id
            self._block_flags = flags
            self._block_frames = 0

    def _continue(self, flags: int, id: int, payload: bytes) -> None:
        block = self._block
        if block is None:
            raise Broken(PROTOCOL_ERROR, "CONTINUATION without anything to continue")
        block += payload
        self._block_frames += 1
        if self._block_frames > CONTINUATIONS or len(block) > self.limits.header_bytes:
            raise Broken(ENHANCE_YOUR_CALM, "a field section goes on for too long", "continuation")
        if flags & END_HEADERS:
            self._block = None
            self.steady = True
            self._fields(self._block_flags, id, bytes(block), b"")

    def _fields(self, flags: int, id: int, block: bytes, body: bytes) -> None:
        fields: Section | None = None
        try:
            fields = self._decoder.decode(block)
        except hpack.TooLarge:
            pass  # It belongs to nobody but its stream, whatever becomes of that.
        except hpack.Malformed as error:
            raise Broken(COMPRESSION_ERROR, f"a field section cannot be read: {error}") from None
        self._empty = 0
        end = flags & END_STREAM != 0
        stream = self.streams.get(id)
        if stream is not None:
            if not stream.receiving:
                self.stream_error(stream, STREAM_CLOSED, "a field section behind the end of the stream")
            elif fields is None:
                self.stream_error(stream, PROTOCOL_ERROR, f"more than {self.limits.header_bytes} bytes of fields")
            else:
                stream.heard_fields(fields, body, end)
        elif id > self.last and not self.client:
            if id != self.last + 2:
                self.skipped.append((self.last, id))
                del self.skipped[:-32]
            self.last = id
            if self.leaving:
                pass  # It has been told that nothing is begun any more.
            elif len(self.streams) < self.limits.streams:
                self.opened(id, fields, body, end)
            else:
                self.refuse(id, control.REFUSED_STREAM, "streams")
        elif self.client:
            if self.is_idle(id):
                raise Broken(PROTOCOL_ERROR, f"a response on stream {id}, which has not begun")
        elif any(low < id < high for low, high in self.skipped):
            raise Broken(PROTOCOL_ERROR, f"stream {id} begins after stream {self.last}")
        elif id not in self.reset_by_us:
            raise Broken(STREAM_CLOSED, f"a field section on stream {id}, which has ended")

    # Streams and their ends

    def settle(self, stream: Stream) -> None:
        """A stream of which nothing is left to be said by either side is over."""
        if not stream.sending and not stream.receiving and self.streams.pop(stream.id, None) is not None:
            self.completed += 1
            self.stream_gone(stream)

    def forget(self, stream: Stream) -> None:
        """``stream`` is reset by us: it has no turn any more, and what still comes on it is thrown away."""
        self.line.pop(stream, None)
        self.remember(stream.id)

    def remember(self, id: int) -> None:
        self.reset_by_us[id] = None
        if len(self.reset_by_us) > REMEMBERED:
            del self.reset_by_us[next(iter(self.reset_by_us))]

    def stream_error(self, stream: Stream, code: int, detail: str) -> None:
        """Section 5.4.2. An error of the peer's is paid from its budget of resets."""
        stream.reset(code)
        self.stream_broken(stream, detail)
        self.count_reset()

    def refuse(self, id: int, code: int, limit: str = "") -> None:
        """Resets a stream that has not been begun with."""
        self.remember(id)
        self.put(reset_frame(id, code))
        self.count_reset()

    def count_reset(self) -> None:
        """A stream has been reset by the peer, or for what it did."""
        if self.client:
            return
        if not self.reset_budget.take(self.now(), self.completed):
            raise Broken(ENHANCE_YOUR_CALM, "too many streams are reset", "resets")

    def leave(self, code: int = 0, detail: str = "", final: bool = True) -> None:
        """Tells the peer that we begin nothing new; not ``final``: that it should begin nothing new."""
        self.leaving = final
        self.put(goaway_frame(0 if self.client else self.last if final else MOST, code, detail))

    def lose(self) -> None:
        """The connection is gone: every stream hears of it."""
        self.line.clear()
        for id, stream in tuple(self.streams.items()):
            if self.streams.pop(id, None) is not None:
                stream.sending = False
                stream.heard_reset(control.CANCEL, False)
                self.stream_gone(stream)


def _missing(kept: bytes) -> int:
    """How many bytes a frame lacks that has begun with ``kept``; 0 if that is not even its whole head."""
    return HEAD_BYTES + int.from_bytes(kept[:3]) - len(kept) if len(kept) >= HEAD_BYTES else 0


def _unpadded(payload: bytes) -> bytes:
    """Section 6.1: the first byte says how much of the end means nothing."""
    if not payload or payload[0] >= len(payload):
        raise Broken(PROTOCOL_ERROR, "there is more padding than frame")
    return payload[1 : len(payload) - payload[0]]
