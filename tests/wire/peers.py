"""Helpers: bytes cut into reads in every way, and both directions read back by h11, a parser that is not ours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import h11

from sidecar.errors import Failure
from tests.support.world import LISTEN, Peer, World

ONCE = LISTEN + '[services.orders]\nendpoints = ["10.0.0.1:9001"]\nretry = false\nbreaker = false\n'
"""One endpoint and no second try, so that what the endpoint did is what the client hears of."""
GET = b"GET / HTTP/1.1\r\nHost: orders\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
SPLITS = 400
"""A stream of up to so many bytes is cut at each of its boundaries, a longer one at about as many."""


@dataclass
class Message:
    """A request or response as h11 reads it. Field names are in lower case; ``whole``: its end has come."""

    method: bytes
    target: bytes
    status: int
    fields: list[tuple[bytes, bytes]]
    body: bytes
    trailers: list[tuple[bytes, bytes]]
    whole: bool

    def get(self, name: bytes) -> bytes | None:
        values = [value for other, value in self.fields if other == name]
        assert len(values) < 2, f"{name!r} is there {len(values)} times"
        return values[0] if values else None

    @property
    def reason(self) -> str:
        return (self.get(b"x-sidecar-reason") or b"").decode()


def cut(data: bytes) -> Iterator[list[bytes]]:
    """``data`` whole, byte by byte, and in two at every boundary."""
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]
    for at in range(1, len(data), max(1, len(data) // SPLITS)):
        yield [data[:at], data[at:]]


def responses(data: bytes, *methods: bytes, closed: bool = False) -> list[Message]:
    """What a client that sent ``methods`` reads, interim responses included. Raises what h11 raises."""
    found: list[Message] = []
    for method in methods or (b"GET",):
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method=method, target=b"/", headers=[(b"host", b"orders")]))
        client.send(h11.EndOfMessage())
        client.receive_data(data)
        if closed:
            client.receive_data(b"")
        found += _events(client)
        data = client.trailing_data[0] if found and found[-1].whole else b""
    assert data == b"", f"more than was asked for: {data!r}"
    return found


def requests(data: bytes) -> list[Message]:
    """What a server reads of ``data``; the last one may not be ``whole``. Raises what h11 raises."""
    server = h11.Connection(h11.SERVER)
    server.receive_data(data)
    found: list[Message] = []
    while data:
        found += _events(server)
        if not found or not found[-1].whole:
            return found
        data = server.trailing_data[0]
        if data:
            server.send(h11.Response(status_code=200, headers=[(b"content-length", b"0")]))
            server.send(h11.EndOfMessage())
            server.start_next_cycle()
    return found


def _events(connection: h11.Connection) -> list[Message]:
    found: list[Message] = []
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            found.append(Message(event.method, event.target, 0, list(event.headers), b"", [], False))
        elif isinstance(event, h11.InformationalResponse):
            found.append(Message(b"", b"", event.status_code, list(event.headers), b"", [], True))
        elif isinstance(event, h11.Response):
            found.append(Message(b"", b"", event.status_code, list(event.headers), b"", [], False))
        elif isinstance(event, h11.Data):
            found[-1].body += event.data
        elif isinstance(event, h11.EndOfMessage):
            found[-1].trailers = list(event.headers)
            found[-1].whole = True
            return found
        else:
            return found


def response(client: Peer, method: bytes = b"GET") -> Message:
    """The one response that ``client`` has received since the last look."""
    (found,) = responses(client.take(), method, closed=client.closed or client.half_closed)
    return found


def feed(world: World, client: Peer, pieces: Sequence[bytes]) -> list[Peer]:
    """``client`` sends ``pieces``; whoever is dialed accepts at once. Returns the endpoint's ends of the connections."""
    servers = []
    for piece in pieces:
        client.send(piece)
        while world.dialing:
            servers.append(world.accept())
    return servers


def refused(data: bytes, failure: Failure) -> None:
    """However ``data`` is cut: it is answered with ``failure``, the connection ends, and no endpoint gets a byte."""
    world = World(ONCE)
    for pieces in cut(data):
        client = world.client()
        assert not feed(world, client, pieces), f"an endpoint was asked for {pieces!r}"
        told(client, failure, pieces)
        world.settle()
    answers_cleanly(world)


def refused_within(data: bytes, failure: Failure) -> None:
    """As ``refused``, for what is wrong behind the head: what an endpoint has of it, it cannot take for the whole."""
    world = World(ONCE)
    for pieces in cut(data):
        client = world.client()
        servers = feed(world, client, pieces)
        told(client, failure, pieces)
        assert not servers or len(pieces) > 1, "what was wrong was in hand before the request was forwarded"
        for server in servers:
            assert server.aborted, f"left open after {pieces!r}"
            assert [request.whole for request in requests(server.take())] == [False]
        world.settle()
    answers_cleanly(world)


def told(client: Peer, failure: Failure, pieces: Sequence[bytes]) -> None:
    answer = response(client)
    assert (answer.status, answer.reason) == (failure.status, failure.reason), f"{answer} to {pieces!r}"
    assert answer.get(b"connection") == b"close"
    assert client.half_closed, "the connection was kept"


def answers_cleanly(world: World) -> None:
    """A request on a new connection is served, by a connection that carried nothing before."""
    client = world.client()
    client.send(GET)
    server = world.accept()
    assert [request.whole for request in requests(server.take())] == [True]
    server.send(OK)
    assert response(client).body == b"ok"


def forwarded(data: bytes) -> Message:
    """The request that an endpoint gets for ``data``: the same one, and only one, however it is cut."""
    found: Message | None = None
    world = World(ONCE)
    for pieces in cut(data):
        servers = feed(world, world.client(), pieces)
        assert len(servers) == 1, f"not forwarded: {pieces!r}"
        (request,) = requests(servers[0].take())
        request.fields = [field for field in request.fields if field[0] not in (b"traceparent", b"x-request-id")]
        assert request.whole
        assert found is None or request == found, f"{request} of {pieces!r}"
        found = request
    assert found is not None
    return found


def distrusted(answer: bytes, method: bytes = b"GET") -> None:
    """However ``answer`` is cut, the client is told ``upstream_protocol`` and the endpoint's connection is dropped."""
    world = World(ONCE)
    for pieces in cut(answer):
        client = world.client()
        client.send(b"%b / HTTP/1.1\r\nHost: orders\r\n\r\n" % method)
        server = world.accept()
        for piece in pieces:
            server.send(piece)
        found = response(client, method)
        assert (found.status, found.reason) == (502, "upstream_protocol"), f"{found} to {pieces!r}"
        assert server.aborted, f"kept after {pieces!r}"
        world.settle()
    answers_cleanly(world)


def relayed(answer: bytes, method: bytes = b"GET", pooled: bool = True, ends: bool = False) -> Message:
    """The response that a client gets for ``answer``: the same one however it is cut. ``pooled``: whether the endpoint's
    connection may be used again afterwards; ``ends``: whether the endpoint closes it behind its answer."""
    found: Message | None = None
    world = World(ONCE)
    for pieces in cut(answer):
        client = world.client()
        client.send(b"%b / HTTP/1.1\r\nHost: orders\r\n\r\n" % method)
        server = world.accept()
        for piece in pieces:
            server.send(piece)
        if ends:
            server.end()
        world.settle()
        this = response(client, method)
        assert this.reason == "", f"not relayed: {this} of {pieces!r}"
        assert this.whole, f"broken off: {this} of {pieces!r}"
        this.fields = [field for field in this.fields if field[0] not in (b"content-length", b"transfer-encoding")]
        this.fields = [field for field in this.fields if field[0] != b"x-request-id"]
        assert found is None or this == found, f"{this} of {pieces!r}"
        found = this
        assert server.over is not pooled, f"{server.__dict__} after {pieces!r}"
        client.send(GET)
        if pooled:
            assert not world.dialing, "a good connection was not used again"
        else:
            world.accept()
        client.end()  # Which ends the request that was under way there, and its connection.
    assert found is not None
    return found
