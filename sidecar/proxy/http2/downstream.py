"""A connection from a peer that speaks HTTP/2: every stream is a request, answered by an exchange of its own."""

from __future__ import annotations

import asyncio
import logging
from math import inf
from typing import TYPE_CHECKING

from sidecar.errors import Failure
from sidecar.http.h2.frames import (
    ENHANCE_YOUR_CALM,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_HEADER_LIST_SIZE,
    NO_ERROR,
    PROTOCOL_ERROR,
    Broken,
)
from sidecar.http.h2.grammar import Malformed
from sidecar.http.h2.request import parse, too_large
from sidecar.http.h2.stream import Stream
from sidecar.http.head import Refused, Section
from sidecar.proxy.flow import LINGER_SECONDS, TAKING_SECONDS
from sidecar.proxy.http2.answering import DownstreamStream
from sidecar.proxy.http2.socket import LEAVING, OPEN, Http2Socket
from sidecar.proxy.upstream import CLOSED

if TYPE_CHECKING:
    from sidecar.proxy.listener import Listener
    from sidecar.timing.wheel import Timer

log = logging.getLogger("sidecar.downstream")


class Http2Downstream(Http2Socket):
    """The connection: it lasts until it is idle for too long, breaks the protocol, or its listener ends."""

    __slots__ = ("_head_due", "_idle_due", "_left_due", "_timers", "listener", "peer", "peer_trusted")

    def __init__(self, listener: Listener, transport: asyncio.Transport, peer_trusted: bool, peer: str) -> None:
        super().__init__(False, listener.limits, listener.clock, listener.wheel, listener.outbox)
        self.listener = listener
        self._transport = transport
        self._timers: list[Timer] = []
        """Of streams that have ended: a new timer for each request would leave an entry in the wheel for each."""
        self._head_due = inf
        """When the rest of a field section has to be there."""
        self._idle_due = inf
        """When it closes if no request comes."""
        self._left_due = inf
        """When to see whether the peer took something of what is left to it."""
        self.peer_trusted = peer_trusted
        self.peer = peer
        limits = self.limits
        self.greet(
            {
                MAX_CONCURRENT_STREAMS: limits.streams,
                INITIAL_WINDOW_SIZE: limits.stream_window,
                MAX_HEADER_LIST_SIZE: limits.header_bytes,
            }
        )
        self._wait_idle()

    # Requests

    def data_received(self, data: bytes) -> None:
        size = len(self._kept) + len(data)
        super().data_received(data)
        if self.state != CLOSED:
            # hot: most readings end where a frame ends.
            if (not self._kept and self._block is None) or not self.head_unfinished():
                self._head_due = inf
            elif self._head_due == inf or (self._block is None and len(self._kept) < size):
                # A frame has ended since: what is unfinished now is another head.
                self._head_due = self.now() + self.limits.header_timeout
                self.timer.set(min(self.timer.due, self._head_due))

    def opened(self, id: int, fields: Section | None, body: bytes, end: bool) -> None:
        timers = self._timers
        timer = timers.pop() if timers else self.listener.wheel.timer(self)
        stream = DownstreamStream(
            self, id, not end, self.peer_window, self.stream_window, timer=timer, peer_trusted=self.peer_trusted
        )
        timer.owner = stream
        listener = self.listener
        try:
            if fields is None:
                raise too_large(self.limits)
            head = stream.head = parse(fields, end and not body, self.limits)
        except Malformed as error:
            self.stream_gone(stream)
            self.unread(Failure.BAD_REQUEST, str(error))
            self.refuse(id, PROTOCOL_ERROR)
            return
        except Refused as refused:
            if refused.failure is Failure.HEADERS_TOO_LARGE:
                listener.http2.count("header_list")
            self.streams[id] = stream
            stream.reply(listener.refusal(refused, self.peer))
            return
        if body:
            stream.room -= len(body)
        self.streams[id] = stream
        if head.length is not None:
            stream.expected = head.length - len(body)
            if stream.expected < 0 or (end and stream.expected):
                stream.late = True
                self.stream_error(stream, PROTOCOL_ERROR, "the body is not as long as content-length declares")
                return
        if body or end:
            stream.begin(head, body, end)
        else:
            # hot: the body is mostly a few frames behind, and goes on with its head.
            stream.late = True
            self.late.append(stream)

    def refuse(self, id: int, code: int, limit: str = "") -> None:
        if limit:
            self.listener.http2.count(limit)
        super().refuse(id, code, limit)

    def unread(self, failure: Failure, detail: str) -> None:
        """A request that never became an exchange is counted and logged all the same."""
        self.listener.refusal(Refused(failure, detail), self.peer)

    def stream_broken(self, stream: Stream, detail: str) -> None:
        assert isinstance(stream, DownstreamStream)
        stream.broken(detail)

    def stream_gone(self, stream: Stream) -> None:
        if TYPE_CHECKING:  # hot: nobody else makes streams.
            assert isinstance(stream, DownstreamStream)
        timer = stream.timer
        if self.state != CLOSED:
            timer.due = inf
            timer.owner = self
            self._timers.append(timer)
        else:
            timer.cancel()
        if not self.streams:
            self._wait_idle()

    def peer_leaves(self, last: int, code: int, detail: str) -> None:
        """It begins nothing new; what it has begun is answered."""
        if self.state == OPEN:
            self.state = LEAVING
        if not self.streams:
            self.close()

    # The connection

    def break_off(self, broken: Broken) -> None:
        if broken.limit:
            self.listener.http2.count(broken.limit)
        log.debug("HTTP/2 from %s: %s", self.peer, broken.detail)
        super().break_off(broken)

    def pause_writing(self) -> None:
        """Who does not take its answers brings no further requests."""
        super().pause_writing()
        self._transport.pause_reading()
        self._look_again()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def linger(self) -> None:
        """Part of an answer waits for the peer to take it, and nobody else watches over that."""
        if self._left_due == inf:
            self._look_again()

    def _look_again(self) -> None:
        self.left_over = self._owed()
        self._left_due = self.now() + TAKING_SECONDS
        self.timer.set(min(self.timer.due, self._left_due))

    def _owed(self) -> int:
        return self._transport.get_write_buffer_size() + sum(
            stream.waiting_bytes for stream in self.streams.values() if _is_over(stream)
        )

    def _wait_idle(self) -> None:
        seconds = self.listener.limits.idle_timeout if self.state == OPEN else LINGER_SECONDS / 2
        self._idle_due = self.now() + seconds
        self.timer.set(min(self._idle_due, self._head_due, self._left_due))

    def on_timer(self, now: float) -> None:
        if self.state == CLOSED:
            self._closing_due()
        elif now >= self._head_due:
            seconds = self.limits.header_timeout
            detail = f"a field section did not come within {seconds:g} s"
            self.break_off(Broken(ENHANCE_YOUR_CALM, detail, "header_timeout"))
        elif not self.streams and now >= self._idle_due and not self.unsent():
            self.leave()
            self.close()
        else:
            if now >= self._left_due:
                self._left_due = inf
                self._look_at_peer()
            if now >= self._idle_due and not self.streams and self.state != CLOSED:
                # It would be closed, but has not taken its last answer.
                self._idle_due = now + LINGER_SECONDS / 2
                self.linger()
            due = min(self._head_due, self._left_due, inf if self.streams else self._idle_due)
            if due != inf and self.state != CLOSED:
                self.timer.set(due)

    def _look_at_peer(self) -> None:
        """Whether it took something of what is left to it; if not, what it does not take is given up."""
        owed = self._owed()
        if owed and owed != self.left_over:
            self._look_again()
        elif self.unsent():
            self.listener.http2.count("stall")
            self.close()
            self._transport.abort()
        elif owed:
            self.listener.http2.count("stall")
            for stream in tuple(self.streams.values()):
                if _is_over(stream) and stream.waiting is not None:
                    stream.reset()

    # What its listener asks

    def idle_until(self) -> float:
        return self._idle_due if not self.streams and not self.unsent() else inf

    def owes(self) -> bool:
        return bool(self.streams) or self.unsent() > 0

    def drain(self) -> None:
        """The peer should begin nothing new here; what is on its way is answered (RFC 9113 section 6.8)."""
        if self.state == OPEN:
            self.state = LEAVING
            self.leave(final=False)
            if not self.streams:
                self._wait_idle()

    def turn_away(self, refused: Refused) -> None:
        """It may bring no request: whatever it has begun with has not been looked at, and may be tried elsewhere."""
        code = NO_ERROR if refused.failure is Failure.DRAINING else ENHANCE_YOUR_CALM
        self.leave(code, refused.detail)
        self.close()

    def close_if_idle(self) -> None:
        if not self.streams and self.state != CLOSED:
            self.leave()
            self.close()

    def abort(self) -> None:
        self.state = CLOSED
        self._transport.abort()

    def eof_received(self) -> None:
        if self.state != CLOSED:
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.state = CLOSED
        self.lose()
        self.timer.cancel()
        for timer in self._timers:
            timer.cancel()
        self.listener.closed(self)


def _is_over(stream: Stream) -> bool:
    return isinstance(stream, DownstreamStream) and stream.exchange is None and not stream.late
