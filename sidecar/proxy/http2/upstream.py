"""A connection to an endpoint that speaks HTTP/2: every attempt is a stream, and its pool hands out as many as the peer
takes."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, ClassVar, Final

from sidecar.errors import Failure
from sidecar.exchange.seams import Waiter, Written
from sidecar.http.h2.frames import (
    CANCEL,
    ENABLE_PUSH,
    INITIAL_WINDOW_SIZE,
    MAX_HEADER_LIST_SIZE,
    MOST,
    NO_ERROR,
    PING,
    PREFACE,
    PROTOCOL_ERROR,
    Broken,
    code_name,
    frame,
)
from sidecar.http.h2.grammar import Malformed, trailers
from sidecar.http.h2.response import parse
from sidecar.http.h2.stream import Stream
from sidecar.http.head import NOTHING, Field, Response, Section
from sidecar.proxy.http2.socket import LEAVING, OPEN, Http2Socket
from sidecar.proxy.upstream import CLOSED, IDLE_SECONDS, MAX_INTERIM

if TYPE_CHECKING:
    from sidecar.proxy.pool import EndpointPool, Pools

PROBE_SECONDS: Final = 5.0
"""How long an endpoint that left an attempt without an answer may take to answer a PING: if the connection is dead, no
later attempt must be sent on it."""
LAST_ID: Final = MOST - 2
ONLY_HTTP1: Final = re.compile(rb"HTTP/1\.[01] ")


class UpstreamStream(Stream, kw_only=True):
    """One attempt: ``exchange.seams.Upstream``."""

    exchange: Waiter | None
    reused: bool
    silent: bool = True
    interims: int = 0
    late: Response | None = None
    """A head that has not been passed on: more of the response may be in what is being read."""
    body: bytes = b""
    """What came behind it."""

    http2: ClassVar[bool] = True

    @property
    def socket(self) -> Http2Upstream:
        if TYPE_CHECKING:  # hot: nobody else makes such streams.
            assert isinstance(self.connection, Http2Upstream)
        return self.connection

    # What goes

    def send(self, head: Written, chunked: bool, body: bytes, end: bool, trailers: list[Field]) -> None:
        if TYPE_CHECKING:  # hot: what speaks HTTP/2 is given fields.
            assert isinstance(head, tuple)
        more = bool(body) or bool(trailers) or not end
        self.connection.put_fields(self.id, not more, *head)
        if body:
            self.send_data(body, end and not trailers)
        if trailers:
            self.send_end(b"", trailers)
        elif not more:
            self.sending = False

    def send_body(self, data: bytes) -> None:
        self.send_data(data, False)

    def end_body(self, data: bytes, trailers: list[Field]) -> None:
        self.send_end(data, trailers)

    def cancel(self) -> None:
        self.exchange = None
        self.reset(CANCEL)
        if self.silent:
            self.socket.probe()

    def sent_all(self) -> None: ...

    def got_full(self) -> None:
        if self.exchange is not None:
            self.exchange.upstream_full()

    def got_drained(self) -> None:
        if self.exchange is not None:
            self.exchange.upstream_drained()

    # What comes

    def heard_fields(self, fields: Section, body: bytes, end: bool) -> None:
        exchange = self.exchange
        socket = self.connection
        if TYPE_CHECKING:  # hot: nobody else makes such streams, and none hears anything without an exchange.
            assert isinstance(socket, Http2Upstream) and exchange is not None
        try:
            if not self.silent:
                self._trailers(fields, body, end)
                return
            head = parse(fields, exchange.head.method == b"HEAD", end and not body)
            if head.status < 200:
                self.interims += 1
                if end or body or self.interims > MAX_INTERIM:
                    raise Malformed(f"an interim response that ends, or more than {MAX_INTERIM} of them")
                exchange.interim(head)
                return
            self.silent = False
            if body:
                self.room -= len(body)
            if head.length is not None and head.body_follows:
                self.expected = head.length - len(body)
                if self.expected < 0 or (end and self.expected):
                    raise Malformed("the body is not as long as content-length declares")
            elif not head.body_follows and body:
                raise Malformed(f"a {head.status} response, or one to HEAD, has a body")
        except Malformed as error:
            self.connection.stream_error(self, PROTOCOL_ERROR, str(error))
            return
        if end:
            self._done()
            exchange.response(head, body, True, socket.now())
        else:
            # hot: the rest is mostly a frame or two behind, and a whole response costs half of one in pieces.
            self.late = head
            self.body = body
            socket.late.append(self)

    def catch_up(self) -> None:
        head = self.late
        if head is not None and self.exchange is not None:
            self.late = None
            self.exchange.response(head, self.body, False, self.connection.now())

    def _ends(self, data: bytes, trailers: list[Field]) -> None:
        exchange = self.exchange
        assert exchange is not None
        self._done()
        head = self.late
        if head is None:
            exchange.response_end(data, trailers)
        else:
            self.late = None
            body = self.body + data if data else self.body
            exchange.response(head, body, True, self.connection.now(), trailers)

    def _trailers(self, fields: Section, body: bytes, end: bool) -> None:
        checked = trailers(fields)
        if not end or body:
            raise Malformed("a field section within the body")
        if self.expected:
            raise Malformed("the body is shorter than content-length declares")
        self._ends(b"", checked)

    def heard_data(self, data: bytes, end: bool) -> None:
        if self.exchange is None:
            return
        if self.silent:
            self.connection.stream_error(self, PROTOCOL_ERROR, "data before the response's head")
        elif end:
            self._ends(data, NOTHING)
        elif self.late is not None and not self.body:
            self.body = data
        elif data:
            self.catch_up()
            if self.exchange is not None:
                self.exchange.response_body(data)

    def heard_reset(self, code: int, unprocessed: bool) -> None:
        socket = self.socket
        if socket.why:
            self._fail(socket.fault, socket.why, unprocessed)
        else:
            detail = f"{socket.name} reset the stream ({code_name(code)})"
            self._fail(Failure.UPSTREAM_RESET, detail, unprocessed)

    def broken(self, detail: str) -> None:
        self._fail(Failure.UPSTREAM_PROTOCOL, f"{self.socket.name}: {detail}", False)

    def _fail(self, failure: Failure, detail: str, unprocessed: bool) -> None:
        self.catch_up()
        exchange = self.exchange
        self.exchange = None
        if exchange is not None:
            exchange.upstream_failed(failure, detail, unprocessed and self.silent)

    def _done(self) -> None:
        """The response is complete."""
        self.exchange = None
        self.receiving = False
        if self.sending:
            self.reset(NO_ERROR)  # The rest of the request is nobody's concern any more.
        else:
            self.connection.settle(self)


class Http2Upstream(Http2Socket):
    """The connection. It stands in its pool while it takes another stream."""

    __slots__ = ("_next", "_offered", "_pool", "_probed", "_unsaid", "fault", "idle_since", "name", "why")

    def __init__(self, pool: EndpointPool, name: str, pools: Pools) -> None:
        super().__init__(True, pools.limits, pools.clock, pools.wheel, pools.outbox)
        self._pool = pool
        self.name = name
        self.why = ""
        """Why it ends, if it does."""
        self.fault = Failure.UPSTREAM_RESET
        """What kind of failure that is."""
        self._next = 1
        self._offered = False
        self._unsaid = False
        self._probed: tuple[int, int] | None = None
        """While the answer to a PING is due: what had come when we last looked."""
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        limits = self.limits
        self.put(PREFACE)
        self.greet(
            {
                ENABLE_PUSH: 0,
                INITIAL_WINDOW_SIZE: limits.stream_window,
                MAX_HEADER_LIST_SIZE: limits.header_bytes,
            }
        )

    # What the pool asks

    def ready(self, now: float) -> None:
        if not self.greeted:
            self._unsaid = True
            self._pool.unsaid += 1
        self.idle_since = now
        self.timer.set(now + IDLE_SECONDS)
        self._offer()

    def _offer(self) -> None:
        """Says to the pool that there is room for another stream; who waits for one gets it."""
        pool = self._pool
        while pool.waiters and self._has_room():
            pool.serve(self)
        if self._has_room() and not self._offered:
            self._offered = True
            pool.idle.append(self)

    def _has_room(self) -> bool:
        return self.state == OPEN and len(self.streams) < self.peer_streams and self._next <= LAST_ID

    def assign(self, exchange: Waiter) -> UpstreamStream:
        id = self._next
        self._next = id + 2
        self.last = id
        stream = self.streams[id] = UpstreamStream(
            self, id, True, self.peer_window, self.stream_window, exchange=exchange, reused=id > 1
        )
        if len(self.streams) >= self.peer_streams or id >= LAST_ID:
            self._withdraw()
        return stream

    def _withdraw(self) -> None:
        if self._offered:
            self._offered = False
            self._pool.idle.remove(self)

    def retire(self) -> None:
        """Takes no further streams, and closes when the last one has ended."""
        self._withdraw()
        self._drain()

    def _drain(self) -> None:
        if self.state == OPEN:
            self.state = LEAVING
            self.leave()
        if not self.streams:
            self.close()

    def cancel(self) -> None:
        self._withdraw()
        self.state = CLOSED
        self._transport.abort()

    def probe(self) -> None:
        """An attempt got no answer: is anybody there?"""
        if self._probed is None and self.state != CLOSED:
            self.put(frame(PING, 0, 0, b"sidecar?"))
            self._await_answer()

    def _await_answer(self) -> None:
        self._probed = self.room, self.completed
        self.timer.set(self.now() + PROBE_SECONDS)

    def answered(self) -> None:
        self._probed = None

    # Streams and their ends

    def opened(self, id: int, fields: Section | None, body: bytes, end: bool) -> None:
        raise AssertionError("a server opens no streams")

    def stream_broken(self, stream: Stream, detail: str) -> None:
        assert isinstance(stream, UpstreamStream)
        stream.broken(detail)

    def stream_gone(self, stream: Stream) -> None:
        if not self._offered and self._has_room():
            self._offer()
        if not self.streams:
            now = self.idle_since = self.now()
            if self.state == OPEN:
                if self._probed is None:
                    self.timer.set(now + IDLE_SECONDS)
            elif self.state == LEAVING:
                self.close()

    def settings_changed(self) -> None:
        self._say()
        if self._has_room():
            self._offer()
        elif self._offered:
            self._withdraw()
        self._pool.said(self.peer_streams)

    def _say(self) -> None:
        """The pool need not wait any longer for what the endpoint says of its streams."""
        if self._unsaid:
            self._unsaid = False
            self._pool.unsaid -= 1

    def peer_leaves(self, last: int, code: int, detail: str) -> None:
        """It takes no further streams; of those above ``last`` it knows nothing."""
        self._withdraw()
        self.why = f"{self.name} closes the connection: {detail}"
        if self.state == OPEN:
            self.state = LEAVING
        for id, stream in tuple(self.streams.items()):
            if id > last and self.streams.pop(id, None) is not None:
                self.line.pop(stream, None)
                stream.sending = False
                stream.heard_reset(code, True)
        if not self.streams:
            self.close()

    # The connection

    def break_off(self, broken: Broken) -> None:
        if not self.greeted and ONLY_HTTP1.match(self._kept) is not None:
            self.why = f"{self.name} answers in HTTP/1: it does not speak HTTP/2 without TLS (see protocol in the docs)"
        self.why = self.why or f"{self.name}: {broken.detail}"
        self.fault = Failure.UPSTREAM_PROTOCOL
        super().break_off(broken)

    def close(self) -> None:
        self._withdraw()
        super().close()

    def eof_received(self) -> None:
        self._ended()

    def connection_lost(self, error: Exception | None) -> None:
        self.timer.cancel()
        self._ended()
        self._say()
        self._pool.closed()

    def _ended(self) -> None:
        if self.state == CLOSED:
            return
        if not self.streams:
            self._pool.learn(self.now() - self.idle_since)
        self.why = self.why or f"{self.name} closed the connection before its response was complete"
        self._withdraw()
        self.state = CLOSED
        self._transport.close()
        self.lose()

    def on_timer(self, now: float) -> None:
        if self.state == CLOSED:
            self._closing_due()
        elif self._probed == (self.room, self.completed):
            self.why = f"{self.name} does not answer on this connection"
            self.close()
            self._transport.abort()
        elif self._probed is not None:
            self._await_answer()  # It is busy telling us something else.
        elif not self.streams and self.state == OPEN:
            due = self.idle_since + IDLE_SECONDS
            if now >= due:
                self.retire()
            else:
                self.timer.set(due)

    @property
    def resting(self) -> bool:
        return not self.streams

    def __repr__(self) -> str:
        return f"<Http2Upstream {self.name}: {len(self.streams)} of {self.peer_streams} streams>"
