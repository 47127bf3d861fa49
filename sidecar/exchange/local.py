"""Answers of our own making: probes, metrics and later the admin API, behind the same downstream as an exchange."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from sidecar.clock import Clock
from sidecar.errors import Failure
from sidecar.exchange.seams import Downstream
from sidecar.http.head import Field, Request
from sidecar.http.reply import Reply

SLICE_SECONDS: Final = 0.004
"""How long a streamed answer may hold the loop before others get their turn."""

PATIENCE_SECONDS: Final = 60.0
"""How long a handler may think, and how long the peer may take nothing of its answer."""

Answer = tuple[Reply, Iterator[bytes] | None]
"""A reply; with an iterator its body is streamed from it."""

Handler = Callable[[Request, Callable[[Answer], None]], None]
"""Answers a request by calling what it is given, once, at once or later."""


class LocalExchange:
    """One request to this sidecar itself. Its body, should there be one, is read and ignored."""

    __slots__ = ("_clock", "_defer", "_downstream", "_full", "_handler", "_head", "_over", "_pieces")

    def __init__(
        self,
        head: Request,
        downstream: Downstream,
        handler: Handler,
        clock: Clock,
        defer: Callable[[Callable[[], None]], object],
    ) -> None:
        self._head = head
        self._downstream = downstream
        self._handler = handler
        self._clock = clock
        self._defer = defer
        self._pieces: Iterator[bytes] | None = None
        self._full = False
        self._over = False  # Nobody is there to be answered any more.

    def start(self, body: bytes, end: bool) -> None:
        self._wait()
        self._handler(self._head, self._answer)

    def _wait(self) -> None:
        # The connection's timer was that of the head, or of an idle connection.
        self._downstream.timer.set(self._clock.now() + PATIENCE_SECONDS)

    def _answer(self, answer: Answer) -> None:
        if self._over:
            return
        reply, self._pieces = answer
        self._downstream.reply(reply)
        if self._pieces is not None:
            if self._head.method == b"HEAD":
                self._pieces = iter(())
            self._slice()

    def _slice(self) -> None:
        pieces = self._pieces
        if pieces is None or self._full:
            return
        until = self._clock.now() + SLICE_SECONDS
        slice_: list[bytes] = []
        for piece in pieces:
            slice_.append(piece)
            if self._clock.now() >= until:
                self._downstream.send_body(b"".join(slice_))
                self._defer(self._slice)
                return
        self._pieces = None
        if slice_:
            self._downstream.send_body(b"".join(slice_))
        self._downstream.end_body(b"", [])

    def request_body(self, data: bytes) -> None:
        pass

    def request_end(self, data: bytes, trailers: list[Field]) -> None:
        pass

    def request_broken(self, failure: Failure, detail: str) -> None:
        self._break_off()

    def caller_left(self) -> None:
        self._over = True
        self._pieces = None

    def downstream_full(self) -> None:
        self._full = True

    def downstream_drained(self) -> None:
        self._full = False
        self._wait()
        self._defer(self._slice)

    def on_timer(self, now: float) -> None:
        """The peer does not take the answer, or its handler does not give one."""
        self._break_off()

    def _break_off(self) -> None:
        self._over = True
        self._pieces = None
        self._downstream.abort()
