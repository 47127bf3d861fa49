"""A connection to an endpoint: what the exchange sends goes out, what comes in is read strictly.

The upstream is no more trusted than a client. A connection returns to its pool only if the whole request was sent, the
response ended where its framing said, nothing came behind it, and both sides keep it open; else it is closed.
"""

from __future__ import annotations

import asyncio
import logging
import re
from math import inf
from typing import TYPE_CHECKING, Final

from sidecar.errors import Failure
from sidecar.exchange.seams import Waiter, Written
from sidecar.http.h1.body import ChunkedReader, CloseReader, LengthReader, Reader, chunk, last_chunk, payloads
from sidecar.http.h1.response import ResponseHead, check_partial, parse
from sidecar.http.head import Field, Refused
from sidecar.proxy.flow import JOIN_BYTES, write_chunk

if TYPE_CHECKING:
    from sidecar.proxy.pool import EndpointPool, Pools

MAX_INTERIM: Final = 10
IDLE_SECONDS: Final = 90.0
"""How long an idle connection is kept at most."""
KEEP_ALIVE_TIMEOUT: Final = re.compile(rb"(?:^|[ ,])timeout=([0-9]{1,6})")
log = logging.getLogger("sidecar.upstream")


OPENING: Final = 0
IDLE: Final = 1
BUSY: Final = 2
CLOSED: Final = 3


class UpstreamConnection(asyncio.Protocol):
    """One HTTP/1.1 connection: OPENING until its pool has it, IDLE in the pool, BUSY with ``exchange``, and CLOSED, when
    nothing of it is heard any more."""

    __slots__ = (
        "_buffer", "_chunked", "_interims", "_name", "_paused", "_pool", "_pools", "_reader", "_request_sent", "_reusable",
        "_timer", "_transport", "exchange", "idle_since", "reused", "silent", "state",
    )  # fmt: skip

    http2: Final = False
    streams: Final = ()
    _transport: asyncio.Transport

    def __init__(self, pool: EndpointPool, name: str, pools: Pools) -> None:
        self._pool = pool
        self._pools = pools
        self._name = name
        self._timer = pools.wheel.timer(self)
        self._buffer = b""
        self._reader: Reader | None = None
        self._chunked = False
        self._request_sent = True
        self._reusable = False
        self._interims = 0
        self._paused = False
        self.state = OPENING
        self.exchange: Waiter | None = None
        self.reused = False
        self.silent = True
        self.idle_since = 0.0

    # What the pool and the exchange do.

    def ready(self, now: float) -> None:
        """It is open, or its exchange has ended well: ready for the next."""
        self.idle_since = now
        self._timer.set(now + IDLE_SECONDS)
        pool = self._pool
        if pool.waiters:
            pool.serve(self)
        else:
            self.state = IDLE
            pool.idle.append(self)

    def retire(self) -> None:
        """Closes an idle connection of our own accord."""
        self._pool.idle.remove(self)
        self._close()

    def assign(self, exchange: Waiter) -> UpstreamConnection:
        if self.state == IDLE:
            self._pool.idle.pop()  # The pool gives the last of them.
        self.state = BUSY
        self.exchange = exchange
        self._timer.due = inf
        return self

    def send(self, head: Written, chunked: bool, body: bytes, end: bool, trailers: list[Field]) -> None:
        self._request_sent = end
        self._chunked = chunked
        self.silent = True
        self._interims = 0
        if TYPE_CHECKING:  # hot: what speaks HTTP/1 is given bytes.
            assert isinstance(head, bytes)
        if chunked:
            body = (chunk(body) if body else b"") + (last_chunk(trailers) if end else b"")
        if len(body) <= JOIN_BYTES:
            self._transport.write(head + body if body else head)
        else:
            self._transport.writelines((head, body))

    def send_body(self, data: bytes) -> None:
        if self._chunked:
            write_chunk(self._transport, data)
        else:
            self._transport.write(data)

    def end_body(self, data: bytes, trailers: list[Field]) -> None:
        self._request_sent = True
        if data:
            self.send_body(data)
        if self._chunked:
            self._transport.write(last_chunk(trailers))

    def unsent(self) -> int:
        return self._transport.get_write_buffer_size()

    def cancel(self) -> None:
        self._close(abort=True)

    def _close(self, abort: bool = False) -> None:
        self.state = CLOSED
        self._reader = None
        self.exchange = None
        if abort:
            self._transport.abort()
        else:
            self._transport.close()

    def pause_reading(self) -> None:
        if self.state == BUSY:
            self._paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._paused and self.state != CLOSED:
            self._paused = False
            self._transport.resume_reading()

    # What the world does.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._pool.open += 1

    def data_received(self, data: bytes) -> None:
        if self.state != BUSY:
            # Nobody asked: whatever this is, it must not become the answer to the next request.
            if self.state == IDLE:
                self._pool.idle.remove(self)
            if self.state != CLOSED:
                self._close(abort=True)
            return
        try:
            if self._reader is not None:
                self._body(self._reader, data)
            else:
                self._head(self._buffer + data if self._buffer else data)
        except Refused as refused:
            self._broken(Failure.UPSTREAM_PROTOCOL, f"{self._name}: {refused.detail}")
        except Exception:
            log.exception("a bug in handling a response; the connection is closed")
            self._broken(Failure.INTERNAL, "the sidecar failed on this response; its log tells more")

    def _head(self, data: bytes) -> None:
        exchange = self.exchange
        assert exchange is not None
        limits = self._pools.limits
        self.silent = False
        while True:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                if len(data) > limits.header_bytes:
                    raise Refused(Failure.UPSTREAM_PROTOCOL, f"the response head exceeds {limits.header_bytes} bytes")
                check_partial(data)
                self._buffer = data
                return
            end += 4
            head = parse(data[:end], exchange.head.method == b"HEAD", limits)
            data = data[end:]
            if head.status >= 200:
                break
            self._interim(exchange, head)
            if not data or self.state != BUSY:
                self._buffer = b""
                return
        self._buffer = b""
        self._reusable = head.reusable
        if head.common and head.length == len(data):
            # hot: all of it came at once.
            now = self._pools.clock.now()
            self._done(b"", now)
            exchange.response(head, data, True, now)
            return
        if b"keep-alive" in head.specials:
            self._learn(head.specials[b"keep-alive"])
        if not head.body_follows:
            now = self._pools.clock.now()
            self._done(data, now)
            exchange.response(head, b"", True, now)
        else:
            self._streamed(exchange, head, data)

    def _streamed(self, exchange: Waiter, head: ResponseHead, data: bytes) -> None:
        reader: Reader
        if head.length is not None:
            reader = LengthReader(head.length)
        elif head.chunked:
            reader = ChunkedReader(self._pools.limits, Failure.UPSTREAM_PROTOCOL)
        else:
            reader = CloseReader()
        self._reader = reader
        body = reader.feed(data)
        now = self._pools.clock.now()
        if reader.done and not reader.trailers:
            self._done(reader.rest, now)
            exchange.response(head, body, True, now)
        else:
            exchange.response(head, body, False, now)
            self._end_of(exchange, reader)

    def _body(self, reader: Reader, data: bytes) -> None:
        exchange = self.exchange
        assert exchange is not None
        for body in payloads(reader, data):
            if body:
                exchange.response_body(body)
        self._end_of(exchange, reader)

    def _end_of(self, exchange: Waiter, reader: Reader) -> None:
        if reader.done and self.state == BUSY:
            self._done(reader.rest, self._pools.clock.now())
            exchange.response_end(b"", reader.trailers)

    def _interim(self, exchange: Waiter, head: ResponseHead) -> None:
        self._interims += 1
        if head.status == 101:
            raise Refused(Failure.UPSTREAM_PROTOCOL, "it switched protocols unasked")
        if self._interims > MAX_INTERIM:
            raise Refused(Failure.UPSTREAM_PROTOCOL, f"more than {MAX_INTERIM} interim responses")
        exchange.interim(head)

    def _done(self, rest: bytes, now: float) -> None:
        """The response is complete: ready for another exchange, if nothing about the connection is in doubt."""
        self._reader = None
        self.exchange = None
        if self._reusable and self._request_sent and not rest:
            self.reused = True
            if self._paused:
                self.resume_reading()  # Whoever held it back will not come again, and the next one has to hear it.
            self.ready(now)
        else:
            self._close(abort=bool(rest) or not self._request_sent)

    def _learn(self, keep_alive: bytes) -> None:
        match = KEEP_ALIVE_TIMEOUT.search(keep_alive)
        if match is not None:
            self._pool.learn(float(match[1]))

    def _broken(self, failure: Failure, detail: str) -> None:
        exchange = self.exchange
        if exchange is not None:
            self._close(abort=True)
            exchange.upstream_failed(failure, detail)

    def eof_received(self) -> None:
        self._ended(in_order=True)

    def connection_lost(self, error: Exception | None) -> None:
        self._timer.cancel()
        self._ended(in_order=error is None)
        self._pool.closed()

    def _ended(self, in_order: bool) -> None:
        """No more will come. For a body that ends with its connection a close in order is its end, all else is a reset."""
        exchange = self.exchange
        if self.state == IDLE:
            self._pool.learn(self._pools.clock.now() - self.idle_since)
            self.retire()
        elif exchange is None:
            self.state = CLOSED
        elif in_order and isinstance(self._reader, CloseReader):
            self._done(b"", self._pools.clock.now())
            exchange.response_end(b"", [])
        else:
            self._broken(Failure.UPSTREAM_RESET, f"{self._name} closed the connection before its response was complete")

    def pause_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.upstream_full()

    def resume_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.upstream_drained()

    def on_timer(self, now: float) -> None:
        if self.state == IDLE:
            self.retire()
