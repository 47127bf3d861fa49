"""Responses that cross between the versions of HTTP: how their ends are told, and which are not passed on.

``test_bridge`` has what becomes of requests and fields.
"""

from __future__ import annotations

import pytest

from tests.support.http2 import Message, Type, data, headers
from tests.support.http2_peers import Conversation, Endpoint, WorldPipe
from tests.support.world import ONE_ENDPOINT, Peer, World

TO_HTTP1 = ONE_ENDPOINT + 'protocol = "http1"\n'
TO_HTTP2 = ONE_ENDPOINT + 'protocol = "http2"\n'


def asked(request: bytes) -> tuple[World, Peer, Endpoint, Message]:
    """A request of HTTP/1 and what an endpoint of HTTP/2 heard of it."""
    world = World(TO_HTTP2)
    client = world.client()
    client.send(request)
    endpoint = Endpoint.accept(world)
    world.settle()
    _, message = endpoint.request()
    return world, client, endpoint, message


def answered(fields: list[tuple[str, str]], body: bytes = b"", trailers: list[tuple[str, str]] | None = None) -> bytes:
    """What a client of HTTP/1 gets when an endpoint of HTTP/2 answers so."""
    world, client, endpoint, _ = asked(b"GET / HTTP/1.1\r\nHost: orders\r\n\r\n")
    endpoint.respond(1, fields, body, trailers)
    world.settle()
    return client.take()


def test_a_response_of_http_2_becomes_one_of_http_1() -> None:
    """Its length is declared if it is known, and the connection goes on."""
    raw = answered([("content-type", "text/plain")], b"hello")
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n")
    assert b"\r\ncontent-length: 5" in head
    assert body == b"hello"
    assert b"connection:" not in head


def test_trailers_of_http_2_come_in_the_last_chunk() -> None:
    """Only a chunked body can have any."""
    raw = answered([], b"hello", [("x-sum", "7"), ("content-length", "9")])
    assert b"\r\ntransfer-encoding: chunked\r\n" in raw
    assert raw.endswith(b"\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n")


def test_a_response_in_pieces_is_passed_on_in_pieces() -> None:
    """What is there goes on, though nobody knows how much there will be."""
    _world, client, endpoint, _ = asked(b"GET / HTTP/1.1\r\nHost: orders\r\n\r\n")
    endpoint.send(headers(1, endpoint.block([(":status", "200")]), end=False))
    assert client.take().endswith(b"transfer-encoding: chunked\r\n\r\n")
    endpoint.send(data(1, b"he"))
    assert client.take() == b"2\r\nhe\r\n"
    endpoint.send(data(1, b"llo", end=True))
    assert client.take() == b"3\r\nllo\r\n0\r\n\r\n"


@pytest.mark.parametrize("status", ["204", "304"])
def test_a_response_without_a_body_has_no_framing(status: str) -> None:
    """RFC 9110 section 8.6."""
    _world, client, endpoint, _ = asked(b"GET / HTTP/1.1\r\nHost: orders\r\n\r\n")
    endpoint.send(headers(1, endpoint.block([(":status", status), ("etag", '"a"')])))
    raw = client.take()
    assert raw.startswith(b"HTTP/1.1 " + status.encode())
    assert b"content-length" not in raw and b"transfer-encoding" not in raw
    client.send(b"GET / HTTP/1.1\r\nHost: orders\r\n\r\n")
    assert endpoint.request(3)[0] == 3


def test_head_is_answered_with_a_length_and_nothing_else() -> None:
    """The length is that of GET."""
    _world, client, endpoint, message = asked(b"HEAD / HTTP/1.1\r\nHost: orders\r\n\r\n")
    assert message.get(b":method") == b"HEAD"
    endpoint.send(headers(1, endpoint.block([(":status", "200"), ("content-length", "5")])))
    raw = client.take()
    assert b"\r\ncontent-length: 5\r\n" in raw
    assert raw.endswith(b"\r\n\r\n")


def test_a_client_of_http_1_0_gets_a_body_that_ends_with_the_connection() -> None:
    """It knows no chunks."""
    world, client, endpoint, _message = asked(b"GET / HTTP/1.0\r\nHost: orders\r\n\r\n")
    endpoint.send(headers(1, endpoint.block([(":status", "200")]), end=False))
    endpoint.send(data(1, b"hello", end=True))
    world.settle()
    raw = client.take()
    assert raw.endswith(b"connection: close\r\n\r\nhello")
    assert client.half_closed or client.closed


@pytest.mark.parametrize(
    "fields",
    [
        [(":status", "200"), ("connection", "close")],
        [(":status", "200"), ("transfer-encoding", "chunked")],
        [(":status", "200"), ("X-Capital", "a")],
        [(":status", "200"), ("x", "a\r\nx-more: b")],
        [(":status", "200"), ("x", "a\0b")],
        [(":status", "20")],
        [(":status", "101")],
        [("x", "a")],
        [(":status", "200"), (":status", "200")],
        [(":status", "200"), (":path", "/")],
        [(":status", "200"), ("content-length", "5, 5")],
        [(":status", "204"), ("content-length", "5")],
    ],
)
def test_a_response_that_would_be_another_in_http_1_is_not_passed_on(fields: list[tuple[str, str]]) -> None:
    """The endpoint is trusted no more than a client is."""
    _world, client, endpoint, _ = asked(b"POST / HTTP/1.1\r\nHost: orders\r\n\r\n")
    endpoint.send(headers(1, endpoint.block(fields)))
    raw = client.take()
    assert raw.startswith(b"HTTP/1.1 502 ")
    assert b"x-sidecar-reason: upstream_protocol\r\n" in raw


def test_a_response_shorter_than_it_declares_breaks_off() -> None:
    """The client sees that something is missing."""
    world, client, endpoint, _ = asked(b"GET / HTTP/1.1\r\nHost: orders\r\n\r\n")
    endpoint.send(headers(1, endpoint.block([(":status", "200"), ("content-length", "10")]), end=False))
    assert client.take().endswith(b"\r\n\r\n")
    endpoint.send(data(1, b"hello", end=True))
    world.settle()
    assert client.aborted or client.closed


def test_a_response_of_http_1_that_breaks_off_resets_its_stream() -> None:
    """Nobody can take it for whole, and the client's other streams go on."""
    world = World(TO_HTTP1)
    client = Conversation(WorldPipe(world, world.client())).handshake()
    client.send(client.request(1))
    server = world.accept()
    world.settle()
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
    server.reset()
    world.settle()
    assert client.of(Type.RST_STREAM, 1)
    client.pong()


def test_probes_speak_http_2_as_well() -> None:
    """They are served by the same protocols."""
    world = World()
    client = Conversation(WorldPipe(world, world.client("probes")), authority=b"localhost").handshake()
    client.send(client.request(1, path="/health/live"))
    assert client.response(1).status == 200
