"""A whole sidecar without a socket, in virtual time: a test writes what peers send and reads what they receive.

``World(toml)`` builds the real parts from a real configuration; only transports, the dialer, the clock and the loop are
doubles. Peers are ``Peer`` objects: ``world.client()`` is one that connected to a listener, ``world.accept()`` takes the
connection that the sidecar is dialing. ::

    world = World(ONE_ENDPOINT)
    client = world.client()
    client.send(b"GET / HTTP/1.1\\r\\nHost: orders\\r\\n\\r\\n")
    server = world.accept()
    assert server.take().startswith(b"GET / HTTP/1.1\\r\\n")
    server.send(b"HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\nhi")
    assert client.take().endswith(b"hi")
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from sidecar.admin.actions import Actions
from sidecar.app import Sidecar
from sidecar.clock import Clock, Random
from sidecar.config.load import load
from sidecar.config.schema import Config
from sidecar.discovery.source import Source
from sidecar.errors import Failure
from sidecar.model import Dial, Endpoint
from sidecar.proxy.downstream import DownstreamConnection
from sidecar.proxy.pool import EndpointPool
from sidecar.proxy.upstream import UpstreamConnection
from sidecar.telemetry.export.writer import Writer

LISTEN = """
[service]
name = "shop"
app = "127.0.0.1:8080"
"""

ONE_ENDPOINT = LISTEN + '[services.orders]\nendpoints = ["10.0.0.1:9001"]\n'
TWO_ENDPOINTS = LISTEN + '[services.orders]\nendpoints = ["10.0.0.1:9001", "10.0.0.2:9001"]\n'


def configuration(toml: str) -> Config:
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(toml)
        file.flush()
        return load(file.name)


class Now:
    """Virtual time; starts at an instant that is nobody's zero."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return 1_800_000_000.0 + self.now


class LoopDouble:
    """Counts what the common path must not do. ``call_soon`` runs when the test says so."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.soon: deque[Callable[[], None]] = deque()

    def _handle(self, what: str) -> Any:
        self.made.append(what)

        class Handle:
            def cancel(self) -> None: ...

        return Handle()

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        return self._handle("call_later")

    def call_at(self, when: float, callback: Callable[[], None]) -> Any:
        return self._handle("call_at")

    def call_soon(self, callback: Callable[[], None]) -> Any:
        self.soon.append(callback)
        return self._handle("call_soon")

    def create_task(self, coroutine: Any) -> Any:
        raise AssertionError("a task was made")

    def create_future(self) -> Any:
        raise AssertionError("a future was made")


class Peer:
    """The far end of one connection, and the transport that the sidecar writes to."""

    def __init__(self, address: tuple[str, int] = ("127.0.0.1", 50000)) -> None:
        self.protocol: Any = None
        self.address = address
        self.received = bytearray()
        self.writes = 0
        self.paused = False
        self.closed = False
        """The sidecar has closed its side in order (what it wrote arrives)."""
        self.aborted = False
        """The sidecar has broken off: a reset."""
        self.half_closed = False
        self.unsent = 0
        self._lost = False

    # What the test does.

    def send(self, data: bytes) -> None:
        """Sends ``data``; refuses if the sidecar does not read or is gone, as the kernel's buffers would in the end."""
        assert not self.paused, "the sidecar does not read"
        if not self.over:
            self.protocol.data_received(data)

    def send_bytewise(self, data: bytes) -> None:
        for at in range(len(data)):
            if not self.over and not self.paused:
                self.protocol.data_received(data[at : at + 1])

    def take(self) -> bytes:
        """What was received since the last call."""
        data = bytes(self.received)
        self.received.clear()
        return data

    def end(self) -> None:
        """Closes its side (FIN)."""
        if not self._lost:
            self.protocol.eof_received()
            self.lose()

    def reset(self) -> None:
        self.lose(ConnectionResetError())

    def lose(self, error: Exception | None = None) -> None:
        """The connection is gone, as the loop tells the protocol a moment after a close."""
        if not self._lost:
            self._lost = True
            self.protocol.connection_lost(error)

    def full(self) -> None:
        """Takes no more of what the sidecar writes."""
        self.unsent = 70000
        self.protocol.pause_writing()

    def drained(self) -> None:
        self.unsent = 0
        self.protocol.resume_writing()

    @property
    def over(self) -> bool:
        return self.closed or self.aborted or self._lost

    # What the protocol does.

    def write(self, data: bytes) -> None:
        assert not self.over, f"written after the end: {data!r}"
        assert not self.half_closed, f"written after the half-close: {data!r}"
        self.writes += 1
        self.received += data

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def writelines(self, pieces: tuple[bytes, ...]) -> None:
        self.write(b"".join(pieces))

    def write_eof(self) -> None:
        self.half_closed = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.over

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def get_extra_info(self, name: str) -> Any:
        return self.address if name in ("peername", "sockname") else None


class World:
    """A sidecar, its peers and its time. Lost connections are told at the next ``settle`` or ``pass_time``."""

    def __init__(
        self,
        toml: str = ONE_ENDPOINT,
        seed: int = 1,
        writer: Writer | None = None,
        actions: Actions | None = None,
        source: Source | None = None,
    ) -> None:
        self.time = Now()
        self.loop = LoopDouble()
        self.dialing: list[tuple[EndpointPool, Endpoint]] = []
        """Connections that the sidecar is making, oldest first."""
        self.peers: list[Peer] = []
        clock = Clock(self.time.monotonic, self.time.wall)
        loop = cast(asyncio.AbstractEventLoop, self.loop)
        self.sidecar = Sidecar(
            configuration(toml), loop, clock, Random(seed), dialer=self, source=source, writer=writer, actions=actions
        )

    def reload(self, toml: str) -> None:
        """Goes by another configuration, with the same listeners."""
        sidecar = self.sidecar
        sidecar._take_over(sidecar._assemble(configuration(toml), sidecar.assembly))

    def dial(self, pool: EndpointPool, endpoint: Endpoint, settings: Dial) -> None:
        self.dialing.append((pool, endpoint))

    def client(self, listener: str = "outbound", address: tuple[str, int] = ("127.0.0.1", 50000)) -> Peer:
        """Somebody who has connected to a listener."""
        peer = Peer(address)
        peer.protocol = DownstreamConnection(self.sidecar.listeners[listener])
        self.peers.append(peer)
        peer.protocol.connection_made(peer)
        return peer

    def accept(self, label: str | None = None) -> Peer:
        """The endpoint (``host:port``; the first that is dialed) accepts; its end of the connection."""
        pool, endpoint = self._dialed(label)
        peer = Peer((endpoint.host, endpoint.port))
        connection: UpstreamConnection = pool.new_connection()
        peer.protocol = connection
        self.peers.append(peer)
        connection.connection_made(cast(asyncio.Transport, peer))
        pool.dialed(connection)
        return peer

    def refuse(self, label: str | None = None, failure: Failure = Failure.CONNECT_FAILED, nobody: bool = False) -> None:
        """The connection that is dialed is not to be had; ``nobody``: because nobody listens there."""
        pool, endpoint = self._dialed(label)
        pool.dial_failed(failure, f"no connection to {endpoint.label}: refused", nobody)

    def _dialed(self, label: str | None) -> tuple[EndpointPool, Endpoint]:
        for at, (pool, endpoint) in enumerate(self.dialing):
            if label is None or endpoint.label == label:
                del self.dialing[at]
                return pool, endpoint
        raise AssertionError(f"nobody dials {label or 'anything'}; dialing: {self.dialing}")

    def settle(self) -> None:
        """Tells protocols of connections that they closed, and runs what was put off."""
        while True:
            gone = [peer for peer in self.peers if (peer.closed or peer.aborted) and not peer._lost]
            if not gone and not self.loop.soon:
                return
            for peer in gone:
                peer.lose()
            while self.loop.soon:
                self.loop.soon.popleft()()

    def pass_time(self, seconds: float, step: float = 0.01) -> None:
        """Lets time pass in steps, timers firing on their way."""
        self.settle()
        end = self.time.now + seconds
        while self.time.now < end:
            wake = self.sidecar.wheel.next_at()
            self.time.now = min(end, max(self.time.now + step, wake)) if wake < end else end
            self.sidecar.wheel.advance(self.time.now)
            self.settle()

    @property
    def endpoints(self) -> list[Endpoint]:
        return list(self.sidecar.assembly.services["orders"].endpoints)
