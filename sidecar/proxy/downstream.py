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
from sidecar.http.h1.body import Reader, payloads, reader_for
from sidecar.http.h1.refuse import check_partial, leading_empty_lines
from sidecar.http.h1.request import parse
from sidecar.http.h2.frames import PREFACE
from sidecar.http.head import Refused
from sidecar.proxy.answers import HELD_BYTES, Answers
from sidecar.proxy.flow import LINGER_SECONDS
from sidecar.proxy.states import ACTIVE, BEGINNING, CLOSE, CLOSED, DISCARDING, FRESH, HEAD, IDLE, LINGERING

if TYPE_CHECKING:
    from sidecar.proxy.listener import Listener

UNWELCOME_SECONDS: Final = 1.0
"""How long somebody who may bring no request may take to begin one, before he is told so in HTTP/1."""
TURNS: Final = 64
"""How many requests of one connection are answered on the spot before others get their turn."""

log = logging.getLogger("sidecar.downstream")


class DownstreamConnection(Answers):
    """One HTTP/1 connection from a peer."""

    __slots__ = ("_buffer", "_empty_lines", "_scanned", "_unwelcome", "exchange", "peer_trusted", "state")

    def __init__(self, listener: Listener) -> None:
        super().__init__(listener)
        self.state = FRESH
        self.exchange: Answering | None = None
        self.peer_trusted = False
        self._unwelcome: Refused | None = None
        """Why it may bring no request at all."""
        self._buffer = b""
        self._scanned = 0
        self._empty_lines = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        listener = self._listener
        self.timer.set(listener.clock.now() + listener.limits.idle_timeout)
        self._unwelcome = listener.opened(self, transport)
        if self._unwelcome is not None:
            # Its first bytes tell in which version of HTTP it wants to hear that; who says nothing hears it soon.
            self.timer.set(listener.clock.now() + UNWELCOME_SECONDS)

    # Requests

    def data_received(self, data: bytes) -> None:
        state = self.state
        try:
            if state == IDLE:
                self._heads(data)
            elif state == HEAD:
                self._heads(self._buffer + data)
            elif state == FRESH:
                self._first(self._buffer + data)
            elif state == ACTIVE or state == DISCARDING:
                if self._reader is not None:
                    self._body(self._reader, data)
                else:
                    self._hold(data)
        except Refused as refused:
            self._refuse(refused)
        except Exception:
            self._bug()

    def _first(self, data: bytes) -> None:
        """The first bytes: who knows that we speak HTTP/2 begins with its preface (RFC 9113 section 3.3)."""
        if data.startswith(PREFACE):
            self.state = CLOSED
            self.timer.cancel()
            self._listener.speak_http2(self, self._transport, self._unwelcome).data_received(data[len(PREFACE) :])
        elif self._unwelcome is not None and not PREFACE.startswith(data):
            self._refuse(self._unwelcome)
        elif not PREFACE.startswith(data):
            self.state = IDLE
            self._heads(data)
        else:
            if data and not self._buffer:
                self.timer.set(self._listener.clock.now() + self._listener.limits.header_timeout)
            self._buffer = data

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
            self.exchange.request_end(b"", reader.trailers)

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

    def owes(self) -> bool:
        """Whether an answer is due, or not yet taken."""
        return IDLE < self.state < LINGERING or self.unsent() > 0

    def drain(self) -> None:
        """The listener ends: responses say so from here on (``Listener.closing``)."""

    def idle_until(self) -> float:
        """The instant at which it closes unless a request comes; inf while it has one."""
        return self.timer.due if self.state <= IDLE and not self._buffer and not self._full else inf

    def close_if_idle(self) -> None:
        """The listener drains: a connection that owes nobody an answer closes."""
        if self.state <= IDLE and self._unwelcome is None:
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
        elif self.state == FRESH and self._unwelcome is not None:
            self._refuse(self._unwelcome)
        else:
            self._close(abort=self.state > IDLE or self.unsent() > 0)
