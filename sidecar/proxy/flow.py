"""A connection whose peer may be slow in both directions.

What it sends is not read while nobody can use it. What it does not take is watched: a peer may be as slow as it likes as
long as it takes something, and one that takes nothing is not waited for, whatever state it has brought the connection to.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Final

from sidecar.clock import Clock
from sidecar.http.h1.body import chunk, chunk_pieces
from sidecar.timing.wheel import Wheel

JOIN_BYTES: Final = 16384
"""Up to this size what belongs together is joined for one write; above, copying costs more than further buffers."""
LINGER_SECONDS: Final = 2.0
"""How long a peer that has all that we wrote may take to close its side."""
TAKING_SECONDS: Final = 60.0
"""How long a peer may take nothing of what is left to it."""


def write_chunk(transport: asyncio.Transport, data: bytes) -> None:
    """Writes ``data`` as one chunk."""
    if len(data) <= JOIN_BYTES:
        transport.write(chunk(data))
    else:
        transport.writelines(chunk_pieces(data))


class Flow(asyncio.Protocol):
    __slots__ = ("_clock", "_full", "_paused", "_transport", "_unsent", "timer")

    _transport: asyncio.Transport

    def __init__(self, clock: Clock, wheel: Wheel) -> None:
        self._clock = clock
        self.timer = wheel.timer(self)
        self._paused = False
        self._full = False  # More is written than the peer has taken.
        self._unsent = 0  # How much of it there was when we last looked.

    def pause_reading(self) -> None:
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._paused and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    @property
    def peer(self) -> str:
        """The peer's IP address, also when it has left; empty if it has none."""
        address = self._transport.get_extra_info("peername")
        return address[0] if address else ""

    def unsent(self) -> int:
        return self._transport.get_write_buffer_size()

    def on_timer(self, now: float) -> None: ...

    def _await_peer(self) -> None:
        """Gives the peer time to take what is left, and then to close its side; ``on_timer`` sees whether it did."""
        unsent = self._unsent = self.unsent()
        self.timer.set(self._clock.now() + (TAKING_SECONDS if unsent else LINGER_SECONDS))

    def _is_taking(self) -> bool:
        """Whether the peer took something since we last looked, and has not taken all."""
        return 0 < self.unsent() != self._unsent

    def _reset_on_close(self) -> None:
        """The peer will see a reset in place of an end: the one thing that tells them apart if only the close ends a body."""
        raw = self._transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
