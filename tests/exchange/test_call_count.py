"""The common path, counted: what a stopwatch cannot tell on a shared machine, a count can."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hpack import Encoder

from tests.support.http2 import data, headers, window_update
from tests.support.http2_peers import Conversation, Endpoint, WorldPipe
from tests.support.world import TWO_ENDPOINTS, Peer, World

FEW = b"GET /orders/7 HTTP/1.1\r\nHost: orders\r\n\r\n"
ELEVEN = (
    b"GET /orders/7 HTTP/1.1\r\nHost: orders\r\nUser-Agent: shop/1.0\r\nAccept: application/json\r\n"
    b"Accept-Encoding: gzip\r\nAccept-Language: en\r\nAuthorization: Bearer abc\r\nCookie: a=b\r\n"
    b"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\nX-Request-Id: r-1\r\n"
    b"X-Tenant: acme\r\nCache-Control: no-cache\r\nContent-Type: application/json\r\n\r\n"
)
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nDate: Mon, 23 Nov 2026 18:00:00 GMT\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nhi"
)
CALLS = {FEW: 39, ELEVEN: 41}
"""Python calls of one exchange, from the first byte of the request to the last of the response."""


UNARY = (
    (":method", "POST"), (":scheme", "http"), (":path", "/shop.Orders/Get"), (":authority", "orders"),
    ("content-type", "application/grpc"), ("te", "trailers"), ("user-agent", "grpc-python/1.85.1"),
)  # fmt: skip
MESSAGE = b"\0\0\0\0\x02hi"
GRPC_CALLS = 89
"""Of one unary gRPC call over HTTP/2 on both sides, whose request and response come in one reading each."""


def warm() -> tuple[World, Peer, list[Peer]]:
    """A client, and endpoints that have an idle connection each."""
    world = World(TWO_ENDPOINTS)
    client = world.client()
    servers = []
    for _ in range(2):
        client.send(FEW)
        servers.append(world.accept())
        servers[-1].send(RESPONSE)
    for request in (FEW, ELEVEN) * 4:  # Whatever is made at first use is made.
        exchange(client, servers, request)
    return world, client, servers


def exchange(client: Peer, servers: list[Peer], request: bytes) -> None:
    client.send(request)
    server = next(server for server in servers if server.take())
    server.send(RESPONSE)
    assert client.take().endswith(b"\r\n\r\nhi")


class Calls:
    """A client and an endpoint of HTTP/2, and calls between them whose field sections have all come before."""

    def __init__(self) -> None:
        self.world = World()
        self.client = Conversation(WorldPipe(self.world, self.world.client())).handshake()
        self.client.send(window_update(0, 2**30))
        self._stream = -1
        self._made = Encoder()
        self._answered = Encoder()
        self.client.send(self.request())
        self.endpoint = Endpoint.accept(self.world)
        self.endpoint.send(window_update(0, 2**30))
        self.world.settle()
        self.endpoint.peer.send(self.response())
        for _ in range(8):  # Whatever is made at first use is made.
            self.call()
        self.client.pipe.receive()

    def request(self) -> bytes:
        self._stream += 2
        return headers(self._stream, self._made.encode(UNARY), end=False) + data(self._stream, MESSAGE, end=True)

    def response(self) -> bytes:
        head = self._answered.encode(((":status", "200"), ("content-type", "application/grpc")))
        trailers = self._answered.encode((("grpc-status", "0"),))
        return headers(self._stream, head, end=False) + data(self._stream, MESSAGE) + headers(self._stream, trailers)

    def call(self, request: bytes = b"", response: bytes = b"") -> None:
        self.client.pipe.peer.send(request or self.request())  # type: ignore[attr-defined]
        self.world.settle()
        self.endpoint.peer.send(response or self.response())
        self.world.settle()


def counted(event: str, install: Callable[[Any], None], run: Callable[[], None]) -> int:
    """How often ``event`` happened in the sidecar's own code while ``run`` ran."""
    count = 0

    def see(frame: FrameType, what: str, _: Any) -> Any:
        nonlocal count
        if what == event and "/sidecar/" in frame.f_code.co_filename and "/tests/" not in frame.f_code.co_filename:
            count += 1
        return see

    install(see)
    try:
        run()
    finally:
        install(None)
    return count


@pytest.mark.parametrize("request_bytes", [FEW, ELEVEN], ids=["few", "eleven"])
def test_an_exchange_makes_exactly_so_many_python_calls(request_bytes: bytes) -> None:
    """More is slower: whoever changes the data path changes this number knowingly, with figures of the bench."""
    _, client, servers = warm()
    calls = counted("call", sys.setprofile, lambda: exchange(client, servers, request_bytes))
    assert calls == CALLS[request_bytes] or (sys.version_info[:2] != (3, 11) and calls <= CALLS[request_bytes])


@pytest.mark.parametrize("request_bytes", [FEW, ELEVEN], ids=["few", "eleven"])
def test_an_exchange_asks_nothing_of_the_loop_and_raises_nothing(request_bytes: bytes) -> None:
    """No task, no future, no timer, nothing put off, and no exception: the loop double would have noted or refused it."""
    world, client, servers = warm()
    world.loop.made.clear()
    raised = counted("exception", sys.settrace, lambda: exchange(client, servers, request_bytes))
    assert (world.loop.made, raised) == ([], 0)


def test_an_exchange_writes_once_to_each_side() -> None:
    """A head and its body leave together; a second write would cost a system call and a wake-up."""
    _, client, servers = warm()
    before = client.writes, sum(server.writes for server in servers)
    exchange(client, servers, FEW)
    assert (client.writes, sum(server.writes for server in servers)) == (before[0] + 1, before[1] + 1)


def test_an_exchange_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A log line costs more than the exchange."""
    caplog.set_level(0)
    _, client, servers = warm()
    caplog.clear()
    exchange(client, servers, ELEVEN)
    assert not caplog.records


def test_a_call_over_http_2_makes_exactly_so_many_python_calls() -> None:
    """The same guard for the other protocol."""
    calls = Calls()
    request, response = calls.request(), calls.response()
    made = counted("call", sys.setprofile, lambda: calls.call(request, response))
    assert made == GRPC_CALLS or (sys.version_info[:2] != (3, 11) and made <= GRPC_CALLS)


def test_a_call_over_http_2_asks_the_loop_for_a_turn_raises_nothing_and_writes_once_to_each_side() -> None:
    """What was read in one turn of the loop leaves together, trailers and all."""
    calls = Calls()
    request, response = calls.request(), calls.response()
    calls.world.loop.made.clear()
    client, server = calls.client.pipe.peer, calls.endpoint.peer  # type: ignore[attr-defined]
    client.take()
    before = client.writes, server.writes
    raised = counted("exception", sys.settrace, lambda: calls.call(request, response))
    assert (calls.world.loop.made, raised) == (["call_soon", "call_soon"], 0)
    assert (client.writes, server.writes) == (before[0] + 1, before[1] + 1)
