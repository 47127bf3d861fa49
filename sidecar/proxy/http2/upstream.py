"""A connection to an endpoint that speaks HTTP/2: every attempt is a stream, and its pool hands out as many as the peer
takes."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

from sidecar.errors import Failure
from sidecar.exchange.seams import Waiter
from sidecar.http.h2.frames import (
    ENABLE_PUSH,
    INITIAL_WINDOW_SIZE,
    MAX_HEADER_LIST_SIZE,
    MOST,
    PING,
    PREFACE,
    Broken,
    frame,
)
from sidecar.http.h2.stream import Stream
from sidecar.http.head import Section
from sidecar.proxy.http2.asking import UpstreamStream
from sidecar.proxy.http2.socket import LEAVING, OPEN, Http2Socket
from sidecar.proxy.upstream import CLOSED, IDLE_SECONDS

if TYPE_CHECKING:
    from sidecar.proxy.pool import EndpointPool, Pools

PROBE_SECONDS: Final = 5.0
"""How long an endpoint that left an attempt without an answer may take to answer a PING: if the connection is dead, no
later attempt must be sent on it."""
LAST_ID: Final = MOST - 2
ONLY_HTTP1: Final = re.compile(rb"HTTP/1\.[01] ")


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
        self._probed: tuple[int, int, float] | None = None
        """While the answer to a PING is due: what had come when we last looked."""
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._pool.open += 1
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
        self._probed = self._heard()
        self.timer.set(self.now() + PROBE_SECONDS)

    def _heard(self) -> tuple[int, int, float]:
        """Changes with whatever comes of calls: data, answers, windows of who takes what we send."""
        return self.room, self.completed, self.update_budget.since

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
        if self._offered and not self.streams:
            self._pool.learn(self.now() - self.idle_since)
        self.why = self.why or f"{self.name} closed the connection before its response was complete"
        self._withdraw()
        self.state = CLOSED
        self._transport.close()
        self.lose()

    def on_timer(self, now: float) -> None:
        if self.state == CLOSED:
            self._closing_due()
        elif self._probed == self._heard():
            self.why = f"{self.name} does not answer on this connection"
            self.close()
            self._transport.abort()
        elif self._probed is not None:
            self._await_answer()  # It is busy with something else.
        elif not self.streams and self.state == OPEN:
            due = self.idle_since + IDLE_SECONDS
            if now >= due:
                self.retire()
            else:
                self.timer.set(due)

    def __repr__(self) -> str:
        return f"<Http2Upstream {self.name}: {len(self.streams)} of {self.peer_streams} streams>"
