"""HTTP/1 on one side of an exchange and HTTP/2 on the other: what goes on the wire in both directions, byte by byte."""

from __future__ import annotations

import pytest

from tests.support.http2 import Code, Message, Type, data, headers
from tests.support.http2_peers import Conversation, Endpoint, WorldPipe
from tests.support.world import LISTEN, ONE_ENDPOINT, Peer, World

TO_HTTP2 = ONE_ENDPOINT + 'protocol = "http2"\n'
TO_HTTP1 = ONE_ENDPOINT + 'protocol = "http1"\n'
GET = b"GET / HTTP/1.1\r\nHost: orders\r\n\r\n"
SMUGGLED = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
OURS = {b"traceparent", b"x-request-id", b"x-request-timeout-ms", b"x-sidecar-attempt", b"x-sidecar-passed"}


class Up:
    """A client of HTTP/1 that has sent ``request``, whose endpoint speaks HTTP/2."""

    def __init__(self, request: bytes = GET, listener: str = "outbound", toml: str = TO_HTTP2) -> None:
        self.world = World(toml)
        self.client = self.world.client(listener)
        self.client.send(request)
        self.endpoint = Endpoint.accept(self.world)
        self.world.settle()

    def head(self, *fields: tuple[str, str], status: str = "200") -> bytes:
        """The HEADERS frame of a response that goes on."""
        return headers(1, self.endpoint.block([(":status", status), *fields]), end=False)

    def came(self) -> tuple[bytes, bytes]:
        """Head without the request id, and what follows, as the client has received it."""
        self.world.settle()
        head, _, body = self.client.take().partition(b"\r\n\r\n")
        return b"\r\n".join(line for line in head.split(b"\r\n") if not line.startswith(b"x-request-id")), body


class Down:
    """A client of HTTP/2 whose endpoint speaks HTTP/1."""

    def __init__(self) -> None:
        self.world = World(TO_HTTP1)
        self.client = Conversation(WorldPipe(self.world, self.world.client())).handshake()
        self.server: Peer

    def ask(self, *frames: bytes) -> tuple[list[bytes], bytes]:
        """The lines of the head that the endpoint gets, without those of a sidecar, and what follows."""
        self.client.send(*frames)
        self.server = self.world.accept()
        self.world.settle()
        head, _, body = self.server.take().partition(b"\r\n\r\n")
        return [line for line in head.split(b"\r\n") if line.partition(b":")[0] not in OURS], body

    def answer(self, response: bytes, close: bool = False) -> Message:
        self.server.send(response)
        if close:
            self.server.end()
        self.world.settle()
        return self.client.response(1)


def plain(message: Message) -> list[tuple[bytes, bytes]]:
    return [field for field in message.fields if field[0] not in OURS]


# HTTP/1 to HTTP/2


@pytest.mark.parametrize(
    ("request_line", "more", "expected"),
    [
        (b"GET / HTTP/1.1", b"Host: orders\r\n", (b"GET", b"/", b"orders")),
        (b"HEAD /a?b=c HTTP/1.1", b"Host: orders:8080\r\n", (b"HEAD", b"/a?b=c", b"orders:8080")),
        (b"GET http://orders/x HTTP/1.1", b"Host: orders\r\n", (b"GET", b"/x", b"orders")),
        (b"GET http://orders?x HTTP/1.0", b"", (b"GET", b"/?x", b"orders")),
        (b"OPTIONS * HTTP/1.1", b"Host: orders\r\n", (b"OPTIONS", b"*", b"orders")),
    ],
    ids=["origin-form", "with-a-port", "absolute-form", "without-host", "asterisk"],
)
def test_a_request_line_becomes_pseudo_fields(request_line: bytes, more: bytes, expected: tuple[bytes, ...]) -> None:
    """And no Host is left beside them."""
    _, request = Up(request_line + b"\r\n" + more + b"\r\n").endpoint.request()
    authority = request.get(b":authority")
    assert (request.get(b":method"), request.get(b":path"), authority) == expected
    assert plain(request)[4:] == []


def test_an_inbound_request_of_http_1_0_without_a_host_has_an_authority() -> None:
    """Every request of HTTP/2 names one."""
    _, request = Up(b"GET / HTTP/1.0\r\n\r\n", "inbound", LISTEN + '[inbound]\nprotocol = "http2"\n').endpoint.request()
    assert request.get(b":authority") == b"localhost"


def test_fields_of_the_connection_stay_on_it() -> None:
    """Those that HTTP/1 has for it, and those that the client nominates; ``te`` keeps what HTTP/2 allows of it."""
    fields = (
        b"Connection: keep-alive, X-Hop, Upgrade, HTTP2-Settings\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"
        b"Proxy-Connection: keep-alive\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\nTE: gzip, trailers\r\nX-Keep:  A \r\n"
    )
    _, request = Up(GET[:-2] + fields + b"\r\n").endpoint.request()
    assert plain(request)[4:] == [(b"x-keep", b"A"), (b"te", b"trailers")]


def test_what_the_sidecar_says_is_said_in_http_2_as_well() -> None:
    """The request id and the trace are the caller's, the deadline is what is left of its own."""
    trace = b"0af7651916cd43dd8448eb211c80319c"
    names = b"X-Request-Id: abcdef12\r\nX-Request-Timeout-Ms: 500\r\nTraceparent: 00-%b-b7ad6b7169203331-01\r\n" % trace
    up = Up(GET[:-2] + names + b"\r\n")
    _, request = up.endpoint.request()
    assert (request.get(b"x-request-id"), request.get(b"x-request-timeout-ms")) == (b"abcdef12", b"499")
    traceparent = request.get(b"traceparent") or b""
    assert traceparent.startswith(b"00-" + trace) and b"b7ad6b7169203331" not in traceparent
    up.endpoint.respond(1, body=b"ok")
    up.world.settle()
    assert b"x-request-id: abcdef12\r\n" in up.client.take()


def test_a_trace_of_b3_goes_on_in_capitals_too() -> None:
    """As it does in HTTP/1."""
    down = Down()
    down.client.send(down.client.request(1, ("b3", "80F198EE56343BA864FE8B2A57D3EFF7-E457B5A2E4D86BD1-1")))
    server = down.world.accept()
    down.world.settle()
    assert b"traceparent: 00-80f198ee56343ba864fe8b2a57d3eff7-" in server.take()


def test_a_chunked_body_and_its_trailers_go_on_without_chunks() -> None:
    """What may not come behind a body does not."""
    up = Up(b"POST / HTTP/1.1\r\nHost: orders\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    up.client.send(b"2\r\nde\r\n0\r\nX-T: 1\r\nContent-Length: 4\r\n\r\n")
    _, request = up.endpoint.request()
    assert (request.body, request.trailers) == (b"abcde", [(b"x-t", b"1")])
    assert plain(request)[4:] == []


def test_a_body_of_a_length_keeps_it_and_an_expectation_waits_for_its_answer() -> None:
    """100 (Continue) of an endpoint of HTTP/2 is that of HTTP/1."""
    up = Up(b"POST / HTTP/1.1\r\nHost: orders\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    head = up.endpoint.of(Type.HEADERS)
    assert (head.get(b"content-length"), head.get(b"expect"), head.ends) == (b"3", b"100-continue", False)
    up.endpoint.send(up.head(status="100"))
    assert up.client.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    up.client.send(b"abc")
    assert up.endpoint.request()[1].body == b"abc"


def test_an_early_hint_comes_before_its_response() -> None:
    """A client of HTTP/1.0 knows no such thing, and gets none."""
    for version, expected in ((b"1.1", b"HTTP/1.1 103 Early Hints\r\nlink: a"), (b"1.0", b"HTTP/1.1 200 OK")):
        up = Up(GET.replace(b"1.1", version))
        up.endpoint.send(up.head(("link", "a"), status="103"))
        up.endpoint.respond(1, body=b"hi")
        assert up.came()[0].startswith(expected)


@pytest.mark.parametrize("apart", [False, True], ids=["at-once", "apart"])
def test_a_response_without_a_body_says_so_in_http_1(apart: bool) -> None:
    """In HTTP/2 the end of the stream tells; here a client would wait for the end of the connection."""
    up = Up()
    if apart:
        up.endpoint.send(up.head(), data(1, end=True))
    else:
        up.endpoint.respond(1)
    assert up.came() == (b"HTTP/1.1 200 OK\r\ncontent-length: 0", b"")
    up.client.send(GET)
    assert up.endpoint.request(3)


def test_a_response_of_unknown_length_is_chunked() -> None:
    """With its trailers; to a client of HTTP/1.0 it ends with the connection, and without them."""
    up = Up()
    up.endpoint.respond(1, body=b"hi", trailers=[("x-t", "1")])
    assert up.came() == (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked", b"2\r\nhi\r\n0\r\nx-t: 1\r\n\r\n")
    up = Up(GET.replace(b"1.1", b"1.0"))
    up.endpoint.respond(1, body=b"hi", trailers=[("x-t", "1")])
    assert up.came() == (b"HTTP/1.1 200 OK\r\nconnection: close", b"hi")


def test_a_response_of_a_length_keeps_it() -> None:
    """As it came, for a GET and a HEAD."""
    for method in (b"GET", b"HEAD"):
        up = Up(GET.replace(b"GET", method))
        body = b"hi" if method == b"GET" else b""
        up.endpoint.respond(1, [("content-length", "2")], body)
        assert up.came() == (b"HTTP/1.1 200 OK\r\ncontent-length: 2", body)


def test_no_content_has_no_length() -> None:
    """RFC 9110 section 8.6: a server must not send one, and HTTP/2 forgives what HTTP/1 may not."""
    up = Up()
    up.endpoint.respond(1, [("content-length", "0")], status=204)
    assert up.came() == (b"HTTP/1.1 204 No Content", b"")


@pytest.mark.parametrize("padding", [None, 3])
@pytest.mark.parametrize("apart", [False, True], ids=["at-once", "apart"])
@pytest.mark.parametrize(
    ("method", "status"), [(b"HEAD", "200"), (b"GET", "204"), (b"GET", "304")], ids=["head", "204", "304"]
)
def test_data_where_http_1_has_no_body_does_not_become_a_response(
    method: bytes, status: str, apart: bool, padding: int | None
) -> None:
    """A client of HTTP/1 would take it for the response to its next request: the endpoint's stream is broken."""
    up = Up(GET.replace(b"GET", method))
    frames = (up.head(status=status), data(1, SMUGGLED, end=True, padding=padding))
    if apart:
        for one in frames:
            up.endpoint.send(one)
    else:
        up.endpoint.send(*frames)
    head, body = up.came()
    # Either no word of it was passed on, and it may be tried again, or its head was.
    assert body == b"" and (head == b"" or up.client.over)
    assert up.endpoint.of(Type.RST_STREAM, 1).code == Code.PROTOCOL_ERROR


# HTTP/2 to HTTP/1


def test_a_request_of_http_2_is_written_as_one_of_http_1() -> None:
    """Host first, one cookie, nothing of the connection's."""
    down = Down()
    more = (("cookie", "a=b"), ("te", "trailers"), ("x-a", "b"), ("cookie", "c=d"), ("grpc-timeout", "5S"))
    lines, body = down.ask(down.client.request(1, *more, path="/p?q"))
    assert lines == [b"GET /p?q HTTP/1.1", b"host: orders", b"x-a: b", b"cookie: a=b; c=d"]
    assert body == b""


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_a_request_without_a_body_says_so_where_one_is_usual(method: str) -> None:
    """RFC 9110 section 8.6: there are servers that refuse it with 411 otherwise."""
    down = Down()
    lines, body = down.ask(down.client.request(1, method=method))
    assert lines == [method.encode() + b" / HTTP/1.1", b"host: orders", b"content-length: 0"]
    assert body == b""


def test_a_body_is_chunked_or_has_the_length_that_was_declared() -> None:
    """And trailers go on behind chunks."""
    down = Down()
    trailers = headers(1, down.client.block([("x-t", "1"), ("host", "other")]))
    lines, body = down.ask(down.client.request(1, method="POST", end=False), data(1, b"abc"), trailers)
    assert lines[-1] == b"transfer-encoding: chunked"
    assert body == b"3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n"
    down = Down()
    lines, body = down.ask(
        down.client.request(1, ("content-length", "3"), ("expect", "100-continue"), method="POST", end=False)
    )
    assert (lines[2:], body) == ([b"content-length: 3", b"expect: 100-continue"], b"")
    down.server.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    down.client.send(data(1, b"abc", end=True))
    assert down.server.take() == b"abc"
    assert down.answer(b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + SMUGGLED).interim == [100, 103]


@pytest.mark.parametrize(
    ("response", "fields", "body", "trailers"),
    [
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: a\r\nX-B: C\r\n\r\nok",
            [(b":status", b"200"), (b"content-length", b"2"), (b"x-b", b"C")],
            b"ok",
            [],
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 2\r\n\r\n",
            [(b":status", b"200")],
            b"ok",
            [(b"x-t", b"2")],
        ),
        (b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n", [(b":status", b"204")], b"", []),
        (
            b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n",
            [(b":status", b"304"), (b"content-length", b"9")],
            b"",
            [],
        ),
        (b"HTTP/1.1 200 OK\r\nUpgrade: h2c\r\n\r\nok", [(b":status", b"200")], b"ok", []),
        (b"HTTP/1.0 200 OK\r\nProxy-Connection: close\r\n\r\nok", [(b":status", b"200")], b"ok", []),
    ],
    ids=["length", "chunked", "204", "304", "until-close", "http-1.0"],
)
def test_a_response_of_http_1_is_one_of_http_2(
    response: bytes, fields: list[tuple[bytes, bytes]], body: bytes, trailers: list[tuple[bytes, bytes]]
) -> None:
    """Its framing and the fields of its connection stay behind."""
    down = Down()
    down.ask(down.client.request(1))
    answer = down.answer(response, close=b"ok" in response and b"ength" not in response and b"chunked" not in response)
    assert (plain(answer), answer.body, answer.trailers) == (fields, body, trailers)


def test_a_call_to_an_endpoint_of_http_1_is_told_that_it_is_none() -> None:
    """Its deadline goes on as one of HTTP; what the endpoint answers has no status of gRPC."""
    down = Down()
    head = down.client.request(
        1, ("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "5S"), method="POST", end=False
    )
    down.client.send(head, data(1, b"abc", end=True))
    down.server = down.world.accept()
    down.world.settle()
    sent = down.server.take()
    assert b"x-request-timeout-ms: 4999\r\n" in sent and b"grpc-timeout" not in sent and b"\r\nte:" not in sent
    answer = down.answer(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    assert dict(answer.trailers)[b"grpc-status"] == b"13"


def test_a_host_that_is_passed_through_in_http_2_gets_what_was_sent() -> None:
    """Not a field more, and none less."""
    world = World(LISTEN + '[outbound]\npassthrough = "all"\n')
    client = Conversation(WorldPipe(world, world.client()), authority=b"elsewhere:8080").handshake()
    more = [("x-a", "b"), ("grpc-timeout", "5S"), ("traceparent", "other"), ("x-request-timeout-ms", "200")]
    client.send(client.request(1, *more, ("x-forwarded-for", "192.0.2.1"), ("te", "trailers")))
    _, request = Endpoint.accept(world).request()
    expected = client.fields("GET", "/", *more, ("x-forwarded-for", "192.0.2.1"), ("te", "trailers"))
    assert request.fields == [
        tuple(text.encode() if isinstance(text, str) else text for text in field) for field in expected
    ]


def test_a_route_that_asks_for_the_host_field_finds_the_authority() -> None:
    """It is the same thing by another name."""
    world = World(
        ONE_ENDPOINT
        + '[services.other]\nendpoints = ["10.0.0.9:9001"]\n'
        + '[[routes]]\nname = "r"\nmatch = { headers = { host = "orders" } }\nservice = "other"\n'
    )
    client = Conversation(WorldPipe(world, world.client())).handshake()
    client.send(client.request(1))
    assert world.dialing[0][1].label == "10.0.0.9:9001"
