"""A connection of HTTP/2 on its socket: what both sides have in common."""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol

from sidecar.clock import Clock
from sidecar.http.h2.connection import Connection
from sidecar.http.h2.frames import INTERNAL_ERROR, Broken
from sidecar.http.head import Settings
from sidecar.proxy.flow import LINGER_SECONDS, TAKING_SECONDS
from sidecar.proxy.outbox import Outbox
from sidecar.proxy.upstream import CLOSED
from sidecar.timing.wheel import Wheel

OPEN: Final = 1
LEAVING: Final = 2
"""No stream begins any more; those that run go on."""

log = logging.getLogger("sidecar.http2")


class Late(Protocol):
    @property
    def late(self) -> object:
        """Whether it still waits."""
        ...

    def catch_up(self) -> None:
        """Nothing more has come: goes on with what there is."""
        ...


class Http2Socket(Connection, asyncio.Protocol):
    """``data_received`` to ``write``; who derives from it says what streams and timers mean."""

    __slots__ = ("_outbox", "_transport", "late", "left_over", "state", "timer")

    _transport: asyncio.Transport

    def __init__(self, client: bool, limits: Settings, clock: Clock, wheel: Wheel, outbox: Outbox) -> None:
        super().__init__(client, limits, clock.now)
        self._outbox = outbox
        self.timer = wheel.timer(self)
        self.state = OPEN
        self.late: list[Late] = []
        """Whoever waits to the end of the reading, since more of the same message may come in it."""
        self.left_over = 0
        """What was unsent when we last looked."""

    def wake(self) -> None:
        self._outbox.add(self)

    def data_received(self, data: bytes) -> None:
        try:
            if self.state != CLOSED:
                self.receive(data)
                if self.late:
                    self._catch_up()
        except Broken as broken:
            self.break_off(broken)
        except Exception:
            log.exception("a bug in handling HTTP/2; the connection is closed")
            self.break_off(Broken(INTERNAL_ERROR, "the sidecar failed; its log tells more"))

    def _catch_up(self) -> None:
        late, self.late = self.late, []
        for stream in late:
            if stream.late:
                stream.catch_up()

    def break_off(self, broken: Broken) -> None:
        """The peer is told what it did, and the connection ends."""
        self.leave(broken.code, broken.detail)
        self.close()

    def close(self) -> None:
        """Writes what there is to write, then closes; every stream that is left is lost."""
        if self.state == CLOSED:
            return
        self.write()
        self.state = CLOSED
        self.leaving = True
        if not self._transport.is_closing():
            # If bytes of the peer's were on their way, closing at once would reset what we have just said.
            self._transport.write_eof()
        self.lose()
        self._await_peer()

    def _await_peer(self) -> None:
        """Gives the peer time to take what is left, and then to close its side."""
        self.left_over = self.unsent()
        self.timer.set(self.now() + (TAKING_SECONDS if self.left_over else LINGER_SECONDS))

    def _closing_due(self) -> None:
        """The time is up that a peer had for what ``_await_peer`` says."""
        if 0 < self.unsent() != self.left_over:
            self._await_peer()
        else:
            self._transport.abort()

    def write(self) -> None:
        transport = self._transport
        if self.state == CLOSED or transport.is_closing():
            self.out.clear()
            return
        data = self.take()
        while data:
            transport.write(data)
            if self.blocked or not self.line:
                return
            data = self.take()

    def unsent(self) -> int:
        """Bytes that the socket has not taken."""
        return self._transport.get_write_buffer_size()

    def pause_writing(self) -> None:
        self.blocked = True

    def resume_writing(self) -> None:
        self.blocked = False
        if self.line or self.out:
            self.wake()

    def on_timer(self, now: float) -> None:
        raise NotImplementedError
