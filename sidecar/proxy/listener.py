"""A bound address and the connections that came in on it.

What a connection does with a request is the listener's ``begin``: for *inbound* and *outbound* an exchange, for
*probes* a local handler. All three are the same protocol.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Sequence
from typing import Protocol

from sidecar.clock import Clock
from sidecar.errors import Failure
from sidecar.exchange.recording import unread
from sidecar.exchange.replies import error_reply
from sidecar.exchange.seams import Answering, Downstream
from sidecar.http.head import Refused, Request, Settings
from sidecar.http.reply import Reply
from sidecar.proxy.downstream import DownstreamConnection
from sidecar.proxy.outbox import Outbox
from sidecar.telemetry.access_log import AccessLog
from sidecar.telemetry.http2 import Http2Stats
from sidecar.telemetry.stats import Stats
from sidecar.timing.wheel import Wheel

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
BACKLOG = 1024
TOLD_WHY = 32
"""How many connections beyond the limit are told so; further ones are closed without a word, for each one that is told
keeps its file descriptor until its peer has read the answer."""
LAST_REQUEST_SECONDS = 1.0
"""How long an idle connection may still bring a request when its listener ends: it may be on its way."""
HURRIED_SECONDS = 2.0
"""How long a connection may be idle when memory is at its scarcest."""


class Connection(Protocol):
    """A connection from a peer, of either version of HTTP."""

    peer_trusted: bool

    def owes(self) -> bool:
        """Whether an answer is due, or not yet taken."""
        ...

    def drain(self) -> None:
        """Nothing new should begin on it."""
        ...

    def idle_until(self) -> float:
        """The instant at which it closes unless a request comes; inf while it has one."""
        ...

    def close_if_idle(self) -> None: ...
    def abort(self) -> None: ...


class Listener:
    """``begin(head, connection)`` makes whoever answers a request; ``unrouted`` counts what cannot be read as one.

    It serves from ``serve`` on, by what ``follow`` has said before.
    """

    __slots__ = (
        "_by_address", "_ending", "_max_connections", "_max_per_address", "_new_request_id", "_server", "_source",
        "_trusted", "accepting", "access_log", "address", "begin", "clock", "closing", "connections", "http2", "limits",
        "name", "outbox", "unrouted", "wheel",
    )  # fmt: skip

    limits: Settings
    _source: str
    _max_connections: int
    _max_per_address: int
    _trusted: Sequence[Network] | None

    def __init__(
        self,
        name: str,
        begin: Callable[[Request, Downstream], Answering],
        wheel: Wheel,
        clock: Clock,
        unrouted: Stats,
        new_request_id: Callable[[], bytes],
        outbox: Outbox,
        http2: Http2Stats | None = None,
    ) -> None:
        self.name = name
        self.begin = begin
        self.wheel = wheel
        self.clock = clock
        self.unrouted = unrouted
        self.outbox = outbox
        self.http2 = http2 or Http2Stats()
        """Counts what HTTP/2's limits have ended."""
        self.access_log: AccessLog | None = None
        """Its scope's; for what is refused before there is an exchange."""
        self.connections: dict[Connection, str] = {}
        """And the address that each came from."""
        self._by_address: dict[str, int] = {}
        self._ending = False
        self.closing = False
        """From here on every response is its connection's last."""
        self.accepting = True
        """Whether a new connection may bring requests; later ones are told that we are draining."""
        self._new_request_id = new_request_id
        self._server: asyncio.Server | None = None
        self.address: tuple[str, int] | None = None
        """Host and port as bound."""

    def follow(
        self,
        source: str,
        limits: Settings,
        max_connections: int,
        share_per_address: float,
        trusted: Sequence[Network] | None,
    ) -> None:
        """Go by these from now on. ``share_per_address``: how much of ``max_connections`` may come from one address;
        ``trusted``: networks whose peers may say who the client was; ``None`` trusts all of them (the local
        application)."""
        self._source = source
        self.limits = limits
        self._max_connections = max_connections
        self._max_per_address = max(1, int(max_connections * share_per_address))
        self._trusted = trusted
        # Connections that stand, too: whoever lost our trust has mostly one already.
        believed = {address: self._trusts(address) for address in self._by_address}
        for connection, address in self.connections.items():
            connection.peer_trusted = believed[address]

    async def open(self, host: str, port: int) -> None:
        """Binds. Raises ``OSError``."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: DownstreamConnection(self), host, port, backlog=BACKLOG, start_serving=False
        )
        bound = self._server.sockets[0].getsockname()
        self.address = (bound[0], bound[1])

    async def serve(self) -> None:
        """Takes connections. Raises ``OSError``."""
        assert self._server is not None
        await self._server.start_serving()

    async def retire(self) -> None:
        """Leaves the address to others, and lets the connections that stand have their answers."""
        assert self._server is not None
        self._server.close()
        self.end()
        await asyncio.sleep(LAST_REQUEST_SECONDS)
        self.close_idle()
        while self.connections:
            await asyncio.sleep(LAST_REQUEST_SECONDS)

    def _trusts(self, peer: str) -> bool:
        if self._trusted is None:
            return True
        if not self._trusted or not peer:
            return False
        address = ipaddress.ip_address(peer)
        return any(address in network for network in self._trusted)

    def opened(self, connection: DownstreamConnection, transport: asyncio.Transport) -> Refused | None:
        """Counts a new connection; why it may bring no request, if so."""
        peer = transport.get_extra_info("peername")
        address: str = peer[0] if peer else ""  # It is gone already.
        self.connections[connection] = address
        connection.peer_trusted = self._trusts(address)
        here = self._by_address[address] = self._by_address.get(address, 0) + 1
        if not self.accepting:
            return Refused(Failure.DRAINING, f"{self._source} is shutting down")
        excess = len(self.connections) - self._max_connections
        excess_here = here - self._max_per_address
        if excess > TOLD_WHY or excess_here > TOLD_WHY:
            connection.abort()
        elif excess > 0:
            return Refused(Failure.OVERLOADED, f"{self._max_connections} connections are open already")
        elif excess_here > 0:
            return Refused(Failure.OVERLOADED, f"{self._max_per_address} connections from {address} are open already")
        return None

    def speak_http2(
        self, connection: DownstreamConnection, transport: asyncio.Transport, unwelcome: Refused | None
    ) -> asyncio.Protocol:
        """A connection's first bytes were the preface of HTTP/2: what takes its place and reads on.

        ``unwelcome``: why it may bring no request, if so.
        """
        from sidecar.proxy.http2.downstream import Http2Downstream  # What is not spoken is not imported.

        address = self.connections.pop(connection)
        speaker = Http2Downstream(self, transport, connection.peer_trusted, address)
        self.connections[speaker] = address
        transport.set_protocol(speaker)
        if unwelcome is not None:
            self.refusal(unwelcome, address)
            speaker.turn_away(unwelcome)
        elif self.closing:
            speaker.drain()
        return speaker

    def closed(self, connection: Connection) -> None:
        address = self.connections.pop(connection)
        here = self._by_address[address] = self._by_address[address] - 1
        if not here:
            del self._by_address[address]

    def refusal(self, refused: Refused, peer: str) -> Reply:
        """The answer to what could not be read as a request, counted and logged as one all the same."""
        failure = refused.failure
        request_id = self._new_request_id()
        wall = self.clock.wall()
        self.unrouted.record(b"", failure.status, failure.reason, 0.0)
        if self.access_log is not None and self.access_log.wants(True):
            self.access_log.record(unread(wall, self.unrouted, failure, request_id, peer))
        retry_after = 1.0 if failure is Failure.OVERLOADED else None
        return error_reply(failure, refused.detail, self._source, request_id, wall, retry_after)

    def end(self) -> None:
        """From here on every response is its connection's last."""
        self._ending = True
        self.closing = True
        for connection in tuple(self.connections):
            connection.drain()

    def spare_memory(self, haste: float, last: bool) -> None:
        """Holds fewer connections. ``haste``: from 0 (``idle_timeout`` holds) to 1 (``HURRIED_SECONDS`` in its place), in
        equal ratios, for halfway down from an hour is still half an hour; ``last``: as after ``end``, while it is set."""
        self.closing = last or self._ending
        if last:
            for connection in tuple(self.connections):
                connection.drain()
        patience = self.limits.idle_timeout
        if haste > 0.0 and patience > HURRIED_SECONDS:
            early = patience - patience * (HURRIED_SECONDS / patience) ** haste
            now = self.clock.now()
            for connection in tuple(self.connections):
                if connection.idle_until() - early <= now:
                    connection.close_if_idle()

    def close_idle(self) -> None:
        """Closes the connections on which nobody is owed an answer."""
        for connection in tuple(self.connections):
            connection.close_if_idle()

    def owing(self) -> int:
        """How many connections have an answer due, or not yet taken."""
        return sum(one.owes() for one in tuple(self.connections))

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in tuple(self.connections):
            connection.abort()

    def __repr__(self) -> str:
        state = "draining" if self.closing else "open"
        return f"<Listener {self.name} {state}: {len(self.connections)} connections>"
