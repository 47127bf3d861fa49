"""A bound address and the connections that came in on it.

What a connection does with a request is the listener's ``begin``: for *inbound* and *outbound* an exchange, for
*probes* a local handler. All three are the same protocol.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Sequence

from sidecar.clock import Clock
from sidecar.errors import Failure
from sidecar.exchange.recording import unread
from sidecar.exchange.replies import error_reply
from sidecar.exchange.seams import Answering
from sidecar.http.h1.request import RequestHead
from sidecar.http.head import Refused, Settings
from sidecar.http.reply import Reply
from sidecar.proxy.downstream import IDLE, LINGERING, DownstreamConnection
from sidecar.telemetry.access_log import AccessLog
from sidecar.telemetry.stats import Stats
from sidecar.timing.wheel import Wheel

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
BACKLOG = 1024
TOLD_WHY = 32
"""How many connections beyond the limit are told so; further ones are closed without a word, for each one that is told
keeps its file descriptor until its peer has read the answer."""


class Listener:
    """``begin(head, connection)`` makes whoever answers a request. ``trusted``: networks whose peers may say who the
    client was; ``None`` trusts all of them (the local application)."""

    __slots__ = (
        "_max_connections", "_new_request_id", "_server", "_source", "_trusted", "accepting", "access_log", "address",
        "begin", "clock", "closing", "connections", "limits", "name", "unrouted", "wheel",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        source: str,
        begin: Callable[[RequestHead, DownstreamConnection], Answering],
        wheel: Wheel,
        clock: Clock,
        limits: Settings,
        unrouted: Stats,
        max_connections: int,
        trusted: Sequence[Network] | None,
        new_request_id: Callable[[], bytes],
    ) -> None:
        self.name = name
        self.begin = begin
        self.wheel = wheel
        self.clock = clock
        self.limits = limits
        self.unrouted = unrouted
        self.access_log: AccessLog | None = None
        """Its scope's; for what is refused before there is an exchange."""
        self.connections: set[DownstreamConnection] = set()
        self.closing = False
        """From here on every response is its connection's last."""
        self.accepting = True
        """Whether a new connection may bring requests; later ones are told that we are draining."""
        self._source = source
        self._max_connections = max_connections
        self._trusted = trusted
        self._new_request_id = new_request_id
        self._server: asyncio.Server | None = None
        self.address: tuple[str, int] | None = None
        """Host and port as bound."""

    async def open(self, host: str, port: int) -> None:
        """Binds and listens. Raises ``OSError``."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: DownstreamConnection(self), host, port, backlog=BACKLOG)
        bound = self._server.sockets[0].getsockname()
        self.address = (bound[0], bound[1])

    def trusts(self, transport: asyncio.Transport) -> bool:
        if self._trusted is None:
            return True
        peer = transport.get_extra_info("peername")
        if not self._trusted or not peer:
            return False
        address = ipaddress.ip_address(peer[0])
        return any(address in network for network in self._trusted)

    def opened(self, connection: DownstreamConnection) -> Refused | None:
        """Counts a new connection; why it may bring no request, if so."""
        self.connections.add(connection)
        if not self.accepting:
            return Refused(Failure.DRAINING, f"{self._source} is shutting down")
        excess = len(self.connections) - self._max_connections
        if excess > TOLD_WHY:
            connection.abort()
        elif excess > 0:
            return Refused(Failure.OVERLOADED, f"{self._max_connections} connections are open already")
        return None

    def closed(self, connection: DownstreamConnection) -> None:
        self.connections.discard(connection)

    def refusal(self, refused: Refused, peer: str) -> Reply:
        """The answer to what could not be read as a request, counted and logged as one all the same."""
        failure = refused.failure
        request_id = self._new_request_id()
        wall = self.clock.wall()
        self.unrouted.record(b"", failure.status, failure.reason, 0.0)
        if self.access_log is not None and self.access_log.wants(failure.status, failure.reason):
            self.access_log.record(unread(wall, self.unrouted, failure, request_id, peer))
        retry_after = 1.0 if failure is Failure.OVERLOADED else None
        return error_reply(failure, refused.detail, self._source, request_id, wall, retry_after)

    def close_idle(self) -> None:
        """Closes the connections on which nobody is owed an answer."""
        for connection in tuple(self.connections):
            connection.close_if_idle()

    def owing(self) -> int:
        """How many connections have an answer due, or not yet taken."""
        return sum((one.state != IDLE and one.state < LINGERING) or one.unsent() > 0 for one in tuple(self.connections))

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in tuple(self.connections):
            connection.abort()

    def __repr__(self) -> str:
        state = "draining" if self.closing else "open"
        return f"<Listener {self.name} {state}: {len(self.connections)} connections>"
