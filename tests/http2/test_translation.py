"""One version of HTTP in, the other one out: what is said stays, what belongs to one connection goes."""

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


def relayed(*more: tuple[str, str], method: str = "GET", path: str = "/", body: bytes | None = None) -> bytes:
    """What an endpoint of HTTP/1 gets of a request of HTTP/2; ``body`` in two frames."""
    world = World(TO_HTTP1)
    client = Conversation(WorldPipe(world, world.client())).handshake()
    head = client.request(1, *more, method=method, path=path, end=body is None)
    if body is None:
        client.send(head)
    else:
        half = len(body) // 2
        client.send(head, data(1, body[:half]), data(1, body[half:], end=True))
    server = world.accept()
    world.settle()
    return server.take()


def test_a_request_of_http_1_becomes_one_of_http_2() -> None:
    """Request line and Host are pseudo-header fields, names are lower case, fields of ours are added."""
    _, _, _, message = asked(
        b"GET /a?b=c HTTP/1.1\r\nHost: Orders:8080\r\nX-Tenant: Acme\r\nAccept: a\r\nAccept: b\r\n\r\n"
    )
    assert message.fields[:4] == [
        (b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/a?b=c"), (b":authority", b"orders:8080"),
    ]  # fmt: skip
    assert message.get(b"x-tenant") == b"Acme"
    assert [value for name, value in message.fields if name == b"accept"] == [b"a", b"b"]
    assert message.get(b"host") is None
    assert message.get(b"x-request-timeout-ms") == b"29999"
    assert message.get(b"x-sidecar-attempt") == b"1"


def test_fields_of_one_connection_stay_there() -> None:
    """Also those that Connection nominates (RFC 9113 section 8.2.2)."""
    _, _, _, message = asked(
        b"GET / HTTP/1.1\r\nHost: orders\r\nConnection: keep-alive, x-hop\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\n"
        b"TE: trailers\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\nX-Stays: 2\r\n\r\n"
    )
    names = {name for name, _ in message.fields}
    assert names.isdisjoint({b"connection", b"keep-alive", b"x-hop", b"proxy-connection", b"upgrade"})
    assert (message.get(b"te"), message.get(b"x-stays")) == (b"trailers", b"2")


@pytest.mark.parametrize(
    ("framing", "length"),
    [
        (b"Content-Length: 5\r\n\r\nhello", b"5"),
        (b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\nx-sum: 7\r\n\r\n", None),
    ],
)
def test_a_body_of_http_1_comes_in_frames(framing: bytes, length: bytes | None) -> None:
    """A length is kept, a coding is not, and trailers are trailers."""
    _, _, _, message = asked(b"POST / HTTP/1.1\r\nHost: orders\r\n" + framing)
    assert (bytes(message.body), message.get(b"content-length")) == (b"hello", length)
    assert message.get(b"transfer-encoding") is None
    assert message.trailers == ([] if length else [(b"x-sum", b"7")])


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


def test_interim_responses_pass() -> None:
    """103 to whoever knows it, 100 to whoever waits for it."""
    _world, client, endpoint, message = asked(
        b"POST / HTTP/1.1\r\nHost: orders\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nhi"
    )
    assert message.get(b"expect") == b"100-continue"
    for status in ("100", "103"):
        endpoint.send(headers(1, endpoint.block([(":status", status)]), end=False))
        assert client.take().startswith(b"HTTP/1.1 " + status.encode())
    endpoint.respond(1)
    assert client.take().startswith(b"HTTP/1.1 200")


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


def test_a_request_of_http_2_becomes_one_of_http_1() -> None:
    """The authority is its Host, cookie crumbs are one cookie, and it ends with its head if no body follows."""
    raw = relayed(("cookie", "a=b"), ("x-tenant", "Acme"), ("cookie", "c=d"), ("te", "trailers"), path="/a?b=c")
    head, _, rest = raw.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[:2] == [b"GET /a?b=c HTTP/1.1", b"host: orders"]
    assert b"cookie: a=b; c=d" in lines and b"x-tenant: Acme" in lines
    assert not any(line.startswith((b":", b"te:", b"connection:", b"transfer-encoding:")) for line in lines)
    assert b"x-request-timeout-ms: 29999" in lines and b"x-sidecar-attempt: 1" in lines
    assert rest == b""


def test_a_body_of_http_2_is_framed_for_http_1() -> None:
    """By its length if it has one, else in chunks."""
    assert relayed(("content-length", "5"), method="POST", body=b"hello").endswith(b"\r\n\r\nhello")
    raw = relayed(method="POST", body=b"hello")
    assert b"\r\ntransfer-encoding: chunked\r\n" in raw
    assert raw.endswith(b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n")


def test_a_response_of_http_1_becomes_one_of_http_2() -> None:
    """Chunks are frames, trailers are trailers, and what is of one connection stays there."""
    world = World(TO_HTTP1)
    client = Conversation(WorldPipe(world, world.client())).handshake()
    client.send(client.request(1))
    server = world.accept()
    world.settle()
    server.send(
        b"HTTP/1.1 201 Created\r\nX-Tenant: Acme\r\nConnection: x-hop\r\nX-Hop: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n"
    )
    message = client.response(1)
    assert (message.status, bytes(message.body), message.trailers) == (201, b"hello", [(b"x-sum", b"7")])
    names = [name for name, _ in message.fields]
    assert names == [b":status", b"x-tenant", b"x-request-id"]


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


def test_passthrough_adds_no_field_in_http_2() -> None:
    """What goes to hosts that are none of ours goes as it came (DESIGN.md 5.3)."""
    world = World(ONE_ENDPOINT + '[outbound]\npassthrough = "all"\n')
    client = Conversation(WorldPipe(world, world.client()), authority=b"api.example:8080").handshake()
    client.send(client.request(1, ("x-tenant", "acme"), ("grpc-timeout", "1S")))
    endpoint = Endpoint.accept(world, "api.example:8080")
    world.settle()
    _, message = endpoint.request()
    assert [name for name, _ in message.fields] == [
        b":method", b":scheme", b":path", b":authority", b"x-tenant", b"grpc-timeout",
    ]  # fmt: skip


def test_probes_speak_http_2_as_well() -> None:
    """They are served by the same protocols."""
    world = World()
    client = Conversation(WorldPipe(world, world.client("probes")), authority=b"localhost").handshake()
    client.send(client.request(1, path="/health/live"))
    assert client.response(1).status == 200


def test_an_empty_response_of_http_2_has_a_length_in_http_1() -> None:
    """Without one the client would wait for the connection to close."""
    raw = answered([("x-tenant", "acme")])
    assert b"\r\ncontent-length: 0\r\n" in raw
    assert raw.endswith(b"\r\n\r\n")


def test_a_post_without_a_body_has_a_length_in_http_1() -> None:
    """RFC 9110 section 8.6; some servers ask for it. A GET needs none."""
    assert b"\r\ncontent-length: 0\r\n" in relayed(method="POST")
    assert b"content-length" not in relayed()


def test_no_content_has_no_length_in_http_1() -> None:
    """RFC 9110 section 8.6: not even 0."""
    _world, client, endpoint, _ = asked(b"GET / HTTP/1.1\r\nHost: orders\r\n\r\n")
    endpoint.send(headers(1, endpoint.block([(":status", "204"), ("content-length", "0")])))
    assert b"content-length" not in client.take()


@pytest.mark.parametrize("status", ["204", "304"])
def test_a_body_where_none_may_be_is_never_passed_on(status: str) -> None:
    """A client of HTTP/1 would take it for the next response."""
    world, client, endpoint, _ = asked(b"GET / HTTP/1.1\r\nHost: orders\r\n\r\n")
    endpoint.send(headers(1, endpoint.block([(":status", status)]), end=False))
    endpoint.send(data(1, b"HTTP/1.1 200 OK\r\n\r\n", end=True))
    world.settle()
    assert b"200 OK" not in client.take()
    assert client.aborted or client.closed or client.half_closed
