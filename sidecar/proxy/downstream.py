"""A connection from a peer: request heads are cut from the stream and begun one after the other, responses written in order.

Nothing here decides; ``begin`` (the listener's) makes whatever answers a request, an ``Exchange`` or a local handler.
Requests that come while one is answered wait in a buffer that is bounded by no longer reading.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from typing import TYPE_CHECKING, Final

from sidecar.errors import Failure
from sidecar.exchange.seams import Answering
from sidecar.http.h1.body import ChunkedReader, LengthReader, Reader, chunk, last_chunk
from sidecar.http.h1.refuse import check_partial
from sidecar.http.h1.request import RequestHead, parse
from sidecar.http.h1.response import ResponseHead
from sidecar.http.head import Refused
from sidecar.http.reply import Reply
from sidecar.proxy.upstream import JOIN_BYTES

if TYPE_CHECKING:
    from sidecar.proxy.listener import Listener

# What the connection is about.
IDLE: Final = 0  # Nothing of a next request has come.
HEAD: Final = 1  # Part of a head has come.
BEGINNING: Final = 2  # A request is being handed over: it may be answered before that returns.
ACTIVE: Final = 3  # A request is being answered.
DISCARDING: Final = 4  # It was answered before all of it had come; the rest is thrown away, then the next one is read.
LINGERING: Final = 5  # We have closed our side; the peer's bytes are thrown away so that no reset destroys our answer.
CLOSED: Final = 6

HELD_BYTES: Final = 65536
"""How much of later requests is held while one is answered, and how much of an unread body may come to be thrown away."""
LINGER_SECONDS: Final = 2.0
# How a response's end is told.
LENGTH: Final = 0
CHUNKED: Final = 1
CLOSE: Final = 2

log = logging.getLogger("sidecar.downstream")


class DownstreamConnection(asyncio.Protocol):
    """One HTTP/1 connection from a peer."""

    __slots__ = (
        "_buffer", "_empty_lines", "_framing", "_keep", "_listener", "_paused", "_reader", "_request", "_scanned", "_transport", "exchange",
        "peer_trusted", "state", "timer",
    )  # fmt: skip

    _transport: asyncio.Transport

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.timer = listener.wheel.timer(self)
        self.state = IDLE
        self.exchange: Answering | None = None
        self.peer_trusted = False
        self._buffer = b""
        self._scanned = 0
        self._empty_lines = 0
        self._paused = False
        self._request: RequestHead | None = None
        self._reader: Reader | None = None
        self._framing = LENGTH
        self._keep = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        listener = self._listener
        self.peer_trusted = listener.trusts(transport)
        self.timer.set(listener.clock.now() + listener.limits.idle_timeout)
        refusal = listener.opened(self)
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
        while True:
            if data[:1] == b"\r":
                data = self._without_empty_lines(data)
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._partial(data)
                return
            end += 4
            request = parse(data if end == len(data) else data[:end], listener.limits)
            data = data[end:]
            body = b""
            reader = self._reader_for(request) if request.length != 0 else None
            if reader is not None:
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
            if self.state != IDLE:
                return
            data = self._buffer
            if not data:
                self.resume_reading()
                return

    def _reader_for(self, request: RequestHead) -> Reader:
        if request.length is None:
            return ChunkedReader(self._listener.limits, Failure.BAD_REQUEST)
        return LengthReader(request.length)

    def _without_empty_lines(self, data: bytes) -> bytes:
        """Up to two empty lines before a request are forgiven (RFC 9112 section 2.2), a third is not."""
        while data[:2] == b"\r\n":
            self._empty_lines += 1
            if self._empty_lines > 2:
                raise Refused(Failure.BAD_REQUEST, "more than two empty lines before the request")
            data = data[2:]
        return data

    def _partial(self, data: bytes) -> None:
        if data != b"\r":
            check_partial(data, self._scanned, self._listener.limits)
        self._buffer = data
        self._scanned = len(data)
        if self.state != HEAD and data:
            # Absolute from the first byte: a peer that sends a byte now and then gains nothing.
            self.state = HEAD
            self.timer.set(self._listener.clock.now() + self._listener.limits.header_timeout)

    def _hold(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > HELD_BYTES:
            self.pause_reading()

    def _body(self, reader: Reader, data: bytes) -> None:
        exchange = self.exchange
        body = reader.feed(data)
        if exchange is not None and body:
            exchange.request_body(body)
        if reader.done and self._reader is reader:
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
            self.reply(self._listener.refusal(refused))

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
            lines += self._connection_line(keep, request.version_11)
        raw = head.render(own_reasons, lines)
        if len(body) <= JOIN_BYTES:
            self._transport.write(raw + body if body else raw)
        else:
            self._transport.writelines((raw, body))
        if end:
            self._responded()

    def send_body(self, data: bytes) -> None:
        self._transport.write(chunk(data) if self._framing == CHUNKED else data)

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
        raw = reply.render(lines + self._connection_line(keep, version_11))
        self._transport.write(raw + body if body and not to_head else raw)
        if body is not None:
            self._responded()

    @staticmethod
    def _connection_line(keep: bool, version_11: bool) -> bytes:
        """What has to be said because the version does not imply it."""
        if not keep:
            return b"connection: close\r\n"
        return b"" if version_11 else b"connection: keep-alive\r\n"

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
        beginning = self.state == BEGINNING
        self._reader = None
        self.state = IDLE
        listener = self._listener
        self.timer.set(listener.clock.now() + listener.limits.idle_timeout)
        if beginning:
            return  # ``_heads`` is at work further up and goes on by itself.
        if not self._buffer:
            if self._paused:
                self.resume_reading()
            return
        try:
            self._heads(self._buffer)
        except Refused as refused:  # We may be in another connection's callback: it is answered here.
            self._refuse(refused)
        except Exception:
            self._bug()

    def abort(self) -> None:
        """Breaks off so that nobody can take the response for whole: by a reset where only the close would tell its end."""
        self.exchange = None
        if self._framing == CLOSE:
            raw = self._transport.get_extra_info("socket")
            if raw is not None:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._close(abort=True)
        else:
            self._close(abort=False)

    # The connection

    def pause_reading(self) -> None:
        if not self._paused and self.state != CLOSED:
            self._paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._paused and self.state != CLOSED:
            self._paused = False
            self._transport.resume_reading()

    def unsent(self) -> int:
        return self._transport.get_write_buffer_size()

    def pause_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.downstream_full()

    def resume_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.downstream_drained()

    def _linger(self) -> None:
        """Closes our side and waits for the peer's: if its bytes were on their way, closing at once would reset our answer."""
        self.state = LINGERING
        self._buffer = b""
        self._reader = None
        self._transport.write_eof()
        self.resume_reading()
        self.timer.set(self._listener.clock.now() + LINGER_SECONDS)

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
        elif self.state != CLOSED:
            self._close(abort=self.state != IDLE)
