"""The common path, counted: what a stopwatch cannot tell on a shared machine, a count can."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

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
