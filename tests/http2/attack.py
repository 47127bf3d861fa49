"""A client that means no good, on one connection of a World, and somebody else on another who must not notice.

``Attack`` is the client's conversation and the endpoints behind the sidecar. ``silent`` endpoints accept and say nothing.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.http2 import Code, Type
from tests.support.http2_peers import Blocked, Conversation, Http1Endpoints, Http2Endpoints, WorldPipe
from tests.support.world import ONE_ENDPOINT, Peer, World

PLAIN = ONE_ENDPOINT + "retry = false\nbreaker = false\n"
HTTP1 = PLAIN + 'protocol = "http1"\n'
HTTP2 = PLAIN + 'protocol = "http2"\n'


class Silent:
    """Endpoints that accept, and never answer."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.peers: list[Peer] = []
        self.received = b""

    def __call__(self) -> None:
        while self._world.dialing:
            self.peers.append(self._world.accept())
        self.received += b"".join(peer.take() for peer in self.peers)

    def end(self) -> None:
        """They close what the sidecar keeps open."""
        for peer in self.peers:
            peer.end()
        self._world.settle()

    @property
    def left(self) -> int:
        """Connections that the sidecar has not closed."""
        return sum(not peer.over for peer in self.peers)


class Attack(Conversation):
    """A client that has shaken hands. ``more`` is what the configuration has beside the service."""

    def __init__(self, http2: bool = False, silent: bool = False, bytewise: bool = False, more: str = "") -> None:
        self.world = World((HTTP2 if http2 else HTTP1) + more)
        self.http1 = Http1Endpoints(self.world)
        self.http2 = Http2Endpoints(self.world)
        self.silent = Silent(self.world)
        self.endpoints: Silent | Http1Endpoints | Http2Endpoints = (
            self.silent if silent else self.http2 if http2 else self.http1
        )
        self.client = self.world.client()
        super().__init__(WorldPipe(self.world, self.client, self.endpoints, bytewise))
        self.handshake()

    @property
    def over(self) -> bool:
        """Whether the sidecar has said its last word: what comes now is not listened to."""
        return self.client.over or self.client.half_closed

    def flood(self, frames: bytes, times: int) -> int:
        """Sends them again and again, each in a read of its own, until that is over; returns how often."""
        for sent in range(times):
            if self.over:
                return sent
            try:
                self.send(frames)
            except Blocked:
                return sent
        return times

    def calmed(self) -> None:
        """The connection ended with ENHANCE_YOUR_CALM, and with it all that was going on; others are served."""
        self.connection_error(Code.ENHANCE_YOUR_CALM)
        self.world.settle()
        assert [endpoint.in_flight for endpoint in self.world.endpoints] == [0]
        self.serves_others()

    def serves_others(self) -> None:
        """Another client gets its response."""
        endpoints = self.endpoints
        if isinstance(endpoints, Silent):
            endpoints.end()
            endpoints = Http1Endpoints(self.world)
        other = Conversation(WorldPipe(self.world, self.world.client(), endpoints))
        other.handshake()
        other.send(other.request(1))
        assert other.response(1).status == 200

    def stands(self) -> None:
        """The connection is as good as any."""
        self.pong()
        assert not [one for one in self.seen if one.type == Type.GOAWAY]


@contextmanager
def bounded(limit: int) -> Iterator[None]:
    """Fails if more than ``limit`` bytes are in use in between, at any moment, above what was before."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < limit, f"{peak - before} bytes at once"
