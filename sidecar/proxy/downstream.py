"""A connection from a peer: request heads are cut from the stream and begun one after the other, responses written in order.

Nothing here decides; ``begin`` (the listener's) makes whatever answers a request, an ``Exchange`` or a local handler.
Requests that come while one is answered wait in a buffer that is bounded by no longer reading.
"""

from __future__ import annotations

import asyncio
import logging
from math import inf
from typing import TYPE_CHECKING, Final

from sidecar.errors import Failure
from sidecar.exchange.seams import Answering
from sidecar.http.h1.body import LengthReader, Reader, chunk, last_chunk, payloads, reader_for
from sidecar.http.h1.fields import connection_line
from sidecar.http.h1.refuse import check_partial, leading_empty_lines
from sidecar.http.h1.request import RequestHead, parse
from sidecar.http.h1.response import ResponseHead
from sidecar.http.head import Refused
from sidecar.http.reply import Reply
from sidecar.proxy.flow import JOIN_BYTES, LINGER_SECONDS, Flow, write_chunk
from sidecar.proxy.states import ACTIVE, BEGINNING, CHUNKED, CLOSE, CLOSED, DISCARDING, HEAD, IDLE, LENGTH, LINGERING

if TYPE_CHECKING:
    from sidecar.proxy.listener import Listener

HELD_BYTES: Final = 65536
"""How much of later requests is held while one is answered, and how much of an unread body may come to be thrown away."""
TURNS: Final = 64
"""How many requests of one connection are answered on the spot before others get their turn."""

log = logging.getLogger("sidecar.downstream")


class DownstreamConnection(Flow):
    """One HTTP/1 connection from a peer."""

    __slots__ = (
        "_buffer", "_empty_lines", "_framing", "_keep", "_listener", "_reader", "_request", "_scanned", "exchange",
        "peer_trusted", "state",
    )  # fmt: skip

    def __init__(self, listener: Listener) -> None:
        super().__init__(listener.clock, listener.wheel)
        self._listener = listener
        self.state = IDLE
        self.exchange: Answering | None = None
        self.peer_trusted = False
        self._buffer = b""
        self._scanned = 0
        self._empty_lines = 0
        self._request: RequestHead | None = None
        self._reader: Reader | None = None
        self._framing = LENGTH
        self._keep = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        listener = self._listener
        self.timer.set(listener.clock.now() + listener.limits.idle_timeout)
        refusal = listener.opened(self, transport)
        if refusal is not None:
            self._refuse(refusal)

    # Requests

    def data_received(self, data: bytes) -> None:
        state = self.state
        try:
            if state == IDLE:
                self._heads(data)
            elif state == HEAD:
                self._heads(self._buffer + data)
            elif state == ACTIVE or state == DISCARDING:
                if self._reader is not None:
                    self._body(self._reader, data)
                else:
                    self._hold(data)
        except Refused as refused:
            self._refuse(refused)
        except Exception:
            self._bug()

    def _bug(self) -> None:
        log.exception("a bug in handling a request; the connection is closed")
        self._close(abort=True)

    def _heads(self, data: bytes) -> None:
        """Begins the requests in ``data`` until one of them takes its time."""
        listener = self._listener
        turns = 0
        while True:
            if data and data[0] == 13:
                lines = leading_empty_lines(data, self._empty_lines)
                self._empty_lines += lines
                data = data[2 * lines :]
            end = data.find(b"\r\n\r\n") + 4
            if end < 4:
                self._partial(data)
                return
            if end == len(data):
                request = parse(data, listener.limits)
                data = b""
            else:
                request = parse(data[:end], listener.limits)
                data = data[end:]
            body = b""
            reader = None
            if request.length != 0:
                reader = reader_for(request, listener.limits)
                body = reader.feed(data)
                data = reader.rest
                if not reader.done or reader.trailers:
                    self._reader = reader
            self._buffer = data
            self._scanned = 0
            self._empty_lines = 0
            self._request = request
            self.state = BEGINNING
            exchange = self.exchange = listener.begin(request, self)
            exchange.start(body, self._reader is None)
            if reader is not None and reader.done and self._reader is reader:
                self._end_of(reader)
            if self.state == BEGINNING:
                self.state = ACTIVE
                if len(self._buffer) > HELD_BYTES:
                    self.pause_reading()
                return
            if self.state != IDLE:
                return
            turns += 1
            data = self._buffer
            if self._full:
                self._hold_back()
                return
            if not data:
                self.resume_reading()
                return
            if turns == TURNS:
                self.pause_reading()
                self.timer.set(listener.clock.now())
                return

    def _partial(self, data: bytes) -> None:
        if data != b"\r":
            check_partial(data, self._scanned, self._listener.limits)
        self._buffer = data
        self._scanned = len(data)
        if self._paused and not self._full:
            self.resume_reading()
        if not data:
            self.state = IDLE  # Empty lines are no request: nobody is told that the rest of one did not come.
        elif self.state != HEAD:
            # Absolute from the first byte: a peer that sends a byte now and then gains nothing.
            self.state = HEAD
            self.timer.set(self._listener.clock.now() + self._listener.limits.header_timeout)

    def _hold(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > HELD_BYTES:
            self.pause_reading()

    def _body(self, reader: Reader, data: bytes) -> None:
        for body in payloads(reader, data):
            if body and self.exchange is not None:
                self.exchange.request_body(body)
            if self._reader is not reader:
                return  # It was answered, and the connection ends.
        if reader.done:
            self._end_of(reader)

    def _end_of(self, reader: Reader) -> None:
        """All of the request has come."""
        self._reader = None
        self._buffer = reader.rest
        if self.state == DISCARDING:
            self._next()
        elif self.exchange is not None:
            self.exchange.request_end(reader.trailers)

    def _refuse(self, refused: Refused) -> None:
        """The stream cannot be read on: whoever is to be told is told, and it ends."""
        exchange = self.exchange
        request = self._request
        self._reader = None
        self._buffer = b""
        if exchange is not None and request is not None:
            request.keep_alive = False
            exchange.request_broken(refused.failure, refused.detail)
        elif self.state == DISCARDING:
            self._close(abort=True)
        else:
            self._request = None
            self.reply(self._listener.refusal(refused, self.peer))

    # Responses

    def inform(self, head: ResponseHead) -> None:
        request = self._request
        if request is not None and request.version_11 and (head.status != 100 or request.expects_continue):
            self._transport.write(head.render(False, b""))

    def respond(self, head: ResponseHead, own_reasons: bool, lines: bytes, body: bytes, end: bool) -> None:
        request = self._request
        assert request is not None
        self._framing = LENGTH
        # hot: the plain case is asked here, the others there.
        keep = request.keep_alive and (self._reader is None or self._may_keep(request)) and not self._listener.closing
        if head.length is None and head.body_follows:
            if end:
                lines += b"content-length: %d\r\n" % len(body)
            elif request.version_11:
                self._framing = CHUNKED
                lines += b"transfer-encoding: chunked\r\n"
                body = chunk(body) if body else b""
            else:
                self._framing = CLOSE
                keep = False
        self._keep = keep
        if not keep or not request.version_11:
            lines += connection_line(keep, request.version_11)
        raw = head.render(own_reasons, lines)
        if len(body) <= JOIN_BYTES:
            self._transport.write(raw + body if body else raw)
        else:
            self._transport.writelines((raw, body))
        if end:
            self._responded()

    def send_body(self, data: bytes) -> None:
        if self._framing == CHUNKED:
            write_chunk(self._transport, data)
        else:
            self._transport.write(data)

    def end_body(self, trailers: bytes) -> None:
        if self._framing == CHUNKED:
            self._transport.write(last_chunk(trailers))
        self._responded()

    def reply(self, reply: Reply) -> None:
        request = self._request
        body = reply.body
        to_head = request is not None and request.method == b"HEAD"
        version_11 = request is not None and request.version_11
        keep = request is not None and self._may_keep(request)
        self._framing = LENGTH
        if body is not None:
            lines = b"content-length: %d\r\n" % len(body)
        elif version_11:
            self._framing = LENGTH if to_head else CHUNKED
            lines = b"transfer-encoding: chunked\r\n"
        else:
            self._framing = CLOSE
            keep = False
            lines = b""
        self._keep = keep
        raw = reply.render(lines + connection_line(keep, version_11))
        self._transport.write(raw + body if body and not to_head else raw)
        if body is not None:
            self._responded()

    def _may_keep(self, request: RequestHead) -> bool:
        """Whether another request may come on this connection after the response that is about to be written."""
        if not request.keep_alive or self._listener.closing:
            return False
        reader = self._reader
        if reader is None or reader.done:
            return True
        # A client that waits for 100 (Continue) may never send the body that we would wait for.
        return isinstance(reader, LengthReader) and reader.left <= HELD_BYTES and not request.expects_continue

    def _responded(self) -> None:
        """The response is written: on to the next request, or to the end."""
        self.exchange = None
        self._request = None
        if self.state == CLOSED:
            return
        if not self._keep:
            self._linger()
        elif self._reader is not None and not self._reader.done:
            self.state = DISCARDING
            self.timer.set(self._listener.clock.now() + LINGER_SECONDS)
            self.resume_reading()
        else:
            self._next()

    def _next(self) -> None:
        state = self.state
        self._reader = None
        self.state = IDLE
        listener = self._listener
        self.timer.set(listener.clock.now() + listener.limits.idle_timeout)
        if state == BEGINNING:
            return  # ``_heads`` is at work further up and goes on by itself.
        if self._full:
            self._hold_back()
        elif self._buffer:
            self._go_on()
        elif self._paused:
            self.resume_reading()

    def _hold_back(self) -> None:
        """A peer that does not take its answers gets no further ones until it has: they would pile up here."""
        self.pause_reading()
        self._await_peer()

    def _go_on(self) -> None:
        """What came while others were answered is next."""
        try:
            self._heads(self._buffer)
        except Refused as refused:  # We may be in another connection's callback: it is answered here.
            self._refuse(refused)
        except Exception:
            self._bug()

    def abort(self) -> None:
        """Breaks off so that nobody can take the response for whole, without waiting for a peer that takes nothing."""
        self.exchange = None
        if self._framing == CLOSE:
            self._reset_on_close()
        self._close(abort=self._framing == CLOSE or self.unsent() > 0)

    # The connection

    def pause_writing(self) -> None:
        self._full = True
        if self.exchange is not None:
            self.exchange.downstream_full()

    def resume_writing(self) -> None:
        self._full = False
        if self.exchange is not None:
            self.exchange.downstream_drained()
        elif self.state == IDLE:
            self._next()

    def _linger(self) -> None:
        """Closes our side and waits for the peer's: if its bytes were on their way, closing at once would reset our answer."""
        self.state = LINGERING
        self._buffer = b""
        self._reader = None
        self._transport.write_eof()
        self.resume_reading()
        self._await_peer()

    def _close(self, abort: bool) -> None:
        self.state = CLOSED
        exchange = self.exchange
        self.exchange = None
        if exchange is not None:
            exchange.caller_left()
        if abort:
            self._transport.abort()
        else:
            self._transport.close()
            self._await_peer()

    def idle_until(self) -> float:
        """The instant at which it closes unless a request comes; inf while it has one."""
        return self.timer.due if self.state == IDLE and not self._buffer and not self._full else inf

    def close_if_idle(self) -> None:
        """The listener drains: a connection that owes nobody an answer closes."""
        if self.state == IDLE:
            self._close(abort=False)

    def eof_received(self) -> None:
        if self.state != CLOSED:
            self._close(abort=self.exchange is not None)

    def connection_lost(self, error: Exception | None) -> None:
        self.timer.cancel()
        exchange = self.exchange
        self.state = CLOSED
        self.exchange = None
        if exchange is not None:
            exchange.caller_left()
        self._listener.closed(self)

    def on_timer(self, now: float) -> None:
        if self.state == HEAD:
            seconds = self._listener.limits.header_timeout
            self._refuse(Refused(Failure.CLIENT_TIMEOUT, f"the request's head did not come within {seconds:g} s"))
        elif self.exchange is not None:
            self.exchange.on_timer(now)
        elif self.state == IDLE and self._buffer and not self._full:
            self._go_on()
        elif self._is_taking():
            self._await_peer()
        else:
            self._close(abort=self.state != IDLE or self.unsent() > 0)
