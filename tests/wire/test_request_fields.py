"""Rows S06 to S10, S15, S24 to S26, S32 and R07: header lines of requests."""

from __future__ import annotations

import pytest

from sidecar.errors import Failure
from sidecar.http.h1.request import parse as parse_request
from sidecar.http.h1.response import parse as parse_response
from sidecar.http.head import Settings
from tests.support.world import World
from tests.wire.peers import GET, ONCE, forwarded, refused, requests, response

HEAD = b"GET / HTTP/1.1\r\nHost: orders\r\n"
WEBSOCKET = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"


@pytest.mark.parametrize(
    "line",
    [b"Transfer-Encoding:\x0bchunked", b"Transfer-Encoding: chunked\x0c", b"Transfer-Encoding: \x00chunked",
     b"Transfer-Encoding : chunked", b"Transfer-Encoding\t: chunked", b"Transfer-Encoding:\r\n chunked",
     b" Transfer-Encoding: chunked", b"X: y\r\n\tTransfer-Encoding: chunked"],
)  # fmt: skip
def test_a_transfer_encoding_in_disguise_is_refused(line: bytes) -> None:
    """S06: some parser somewhere believes each of these, and another does not."""
    refused(HEAD.replace(b"GET", b"POST") + line + b"\r\n\r\n0\r\n\r\n", Failure.BAD_REQUEST)


@pytest.mark.parametrize(
    "stream",
    [
        b"GET / HTTP/1.1\nHost: orders\n\n",
        b"GET / HTTP/1.1\nHost: orders\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: orders\n\r\n",
        b"GET / HTTP/1.1\r\nHost: orders\nX: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: orders\rX: y\r\n\r\n",
        b"GET / HTTP/1.1\rX\r\nHost: orders\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: orders\r\r\n\r\n",
        b"GET / HTTP/1.1\r\r\nHost: orders\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: orders\r\nX: y\r\n\n",
        b"\nGET / HTTP/1.1\r\nHost: orders\r\n\r\n",
    ],
)
def test_a_line_ends_with_both_carriage_return_and_line_feed(stream: bytes) -> None:
    """S07: a bare line feed may be accepted says RFC 9112; a proxy that did would hand on lines that it had not seen."""
    refused(stream, Failure.BAD_REQUEST)


@pytest.mark.parametrize("byte", [b"\x00", b"\x01", b"\x08", b"\x0b", b"\x0c", b"\x1b", b"\x1f", b"\x7f"])
@pytest.mark.parametrize("line", [b"X: a%bb", b"X%b: a", b"X: a%b"])
def test_a_control_byte_in_a_header_line_is_refused(line: bytes, byte: bytes) -> None:
    """S08: in names as in values, wherever it stands."""
    refused(HEAD + line % byte + b"\r\n\r\n", Failure.BAD_REQUEST)


@pytest.mark.parametrize(
    "line",
    [b" X: y", b"\tX: y", b"X Y: z", b"X : y", b": y", b"X", b"X\xe9: y", b'X"Y: z', b"X(Y): z", b"X/Y: z", b"{X}: y", b"X,Y: z"],
)  # fmt: skip
def test_a_name_that_is_no_token_is_refused(line: bytes) -> None:
    """S09: white space, nothing at all, a missing colon, separators and high bytes."""
    refused(HEAD + line + b"\r\n\r\n", Failure.BAD_REQUEST)
    refused(b"GET / HTTP/1.1\r\n" + line + b"\r\nHost: orders\r\n\r\n", Failure.BAD_REQUEST)


@pytest.mark.parametrize("fold", [b"X: y\r\n z", b"X: y\r\n\tz", b"X:\r\n y", b"X: y\r\n \r\n z"])
def test_a_folded_line_is_refused(fold: bytes) -> None:
    """S10: obsolete since 2014, and still read in two ways."""
    refused(HEAD + fold + b"\r\n\r\n", Failure.BAD_REQUEST)


def test_values_of_high_bytes_and_tabs_are_forwarded_as_they_came() -> None:
    """S08: obs-text is ugly, but nobody mistakes it for anything."""
    request = forwarded(HEAD + b"X-Name: K\xc3\xb6ln\tam Rhein \xff\r\nX-Empty:\r\n\r\n")
    assert request.get(b"x-name") == b"K\xc3\xb6ln\tam Rhein \xff"
    assert request.get(b"x-empty") == b""


@pytest.mark.parametrize(
    "lines",
    [
        b"",
        b"Host:\r\n",
        b"Host: \r\n",
        b"Host: orders\r\nHost: orders\r\n",
        b"Host: orders\r\nhOST: other\r\n",
        b"Host: orders, other\r\n",
        b"Host: orders other\r\n",
        b"Host: user@orders\r\n",
        b"Host: orders/path\r\n",
        b"Host: orders?q\r\n",
        b"Host: http://orders\r\n",
        b"Host: orders:99999\r\n",
        b"Host: orders:8o\r\n",
        b"Host: orders:-1\r\n",
        b"Host: orders:80:80\r\n",
        b"Host: :80\r\n",
        b"Host: .\r\n",
        b"Host: [::1\r\n",
        b"Host: [::1]x\r\n",
        b"Host: \xc3\xa4\r\n",
        b'Host: "orders"\r\n',
        b"Host: " + b"a" * 300 + b"\r\n",
    ],
)
def test_a_request_names_exactly_one_host(lines: bytes) -> None:
    """S15: routing goes by it, so that it is there once and is a name or address with perhaps a port."""
    refused(b"GET / HTTP/1.1\r\n" + lines + b"\r\n", Failure.BAD_REQUEST)


@pytest.mark.parametrize("host", [b"orders", b"ORDERS", b"orders.", b"orders:8080", b"orders:", b"orders.mesh \t"])
def test_a_host_is_forwarded_as_it_was_written(host: bytes) -> None:
    """S15: letter case, a final dot and a port are the sender's."""
    assert forwarded(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n").get(b"host") == host.rstrip(b" \t")


@pytest.mark.parametrize("count", [1, 2])
def test_two_empty_lines_before_a_request_are_forgiven(count: int) -> None:
    """S32: some clients end a body with a line of their own."""
    assert forwarded(b"\r\n" * count + GET).whole


@pytest.mark.parametrize("count", [3, 4, 5000])
def test_a_third_empty_line_before_a_request_is_not(count: int) -> None:
    """S32: whoever sends nothing but empty lines keeps nobody busy."""
    refused(b"\r\n" * count + GET, Failure.BAD_REQUEST)


@pytest.mark.parametrize(
    "lines",
    [b"Expect: 200-ok\r\n", b"Expect: y 100-continue\r\n", b"Expect: 100-continue, x\r\n", b"Expect: 100-continue;q=1\r\n",
     b"Expect:\r\n", b"Expect: 100-continue\r\nExpect: 100-continue\r\n"],
)  # fmt: skip
def test_an_expectation_that_we_do_not_know_is_refused(lines: bytes) -> None:
    """S24: forwarded, it would be somebody else's to misread."""
    refused(b"POST / HTTP/1.1\r\nHost: orders\r\nContent-Length: 1\r\n" + lines + b"\r\nx", Failure.EXPECTATION_FAILED)


def test_an_expectation_without_a_body_is_not_forwarded() -> None:
    """S24: there is nothing to wait for, and an endpoint that waits all the same would hold a connection."""
    assert forwarded(HEAD + b"Expect: 100-Continue\r\n\r\n").get(b"expect") is None


def test_the_expectation_of_an_old_client_is_not_forwarded() -> None:
    """S24: HTTP/1.0 has no interim responses (RFC 9110 section 10.1.1)."""
    old = b"POST / HTTP/1.0\r\nHost: orders\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx"
    request = forwarded(old)
    assert (request.get(b"expect"), request.body) == (None, b"x")


@pytest.mark.parametrize("token", [b"h2c", b"foo", b"TLS/1.0", b"websocket, h2c", b""])
@pytest.mark.parametrize(
    ("framing", "body"),
    [(b"Content-Length: 3\r\n", b"abc"), (b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n")],
)
def test_an_upgrade_that_is_ignored_leaves_the_body_its_framing(token: bytes, framing: bytes, body: bytes) -> None:
    """S25, S26: neither the upgrade nor what belongs to it is forwarded, and its body is not the next request."""
    asking = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: " + token + b"\r\nHTTP2-Settings: AAMAAABk\r\n"
    request = forwarded(b"POST / HTTP/1.1\r\nHost: orders\r\n" + asking + framing + b"\r\n" + body)
    assert request.body == b"abc"
    assert not {b"upgrade", b"http2-settings", b"connection"}.intersection(name for name, _ in request.fields)


def test_a_request_behind_an_ignored_upgrade_is_a_request() -> None:
    """S25: nothing switches, so that the connection goes on as HTTP/1.1."""
    world = World(ONCE)
    client = world.client()
    client.send(HEAD + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc" + GET)
    server = world.accept()
    assert requests(server.take())[0].body == b"abc"
    server.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    assert requests(server.take())[0].target == b"/"


def test_a_websocket_handshake_is_refused_as_not_implemented() -> None:
    """S26, S28: no tunnel comes to be, so the frames that follow are nobody's requests."""
    refused(HEAD + WEBSOCKET + b"\r\n", Failure.NOT_IMPLEMENTED)
    refused(HEAD + WEBSOCKET + b"\r\n\x81\x05hello" + GET, Failure.NOT_IMPLEMENTED)


@pytest.mark.parametrize(
    "stream",
    [
        HEAD + WEBSOCKET + b"Content-Length: 3\r\n\r\nabc",
        HEAD + WEBSOCKET + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD.replace(b"GET", b"POST") + WEBSOCKET + b"\r\n",
        HEAD.replace(b"GET", b"POST") + WEBSOCKET + b"Content-Length: 3\r\n\r\nabc",
    ],
)
def test_a_websocket_handshake_is_a_get_without_a_body(stream: bytes) -> None:
    """S26: parsers that switch before the body is read take that body for the next request."""
    refused(stream, Failure.BAD_REQUEST)


@pytest.mark.parametrize(
    "head",
    [
        HEAD + WEBSOCKET.replace(b"Connection: Upgrade\r\n", b"") + b"\r\n",
        HEAD + WEBSOCKET.replace(b"Connection: Upgrade", b"Connection: keep-alive") + b"\r\n",
        HEAD.replace(b"1.1", b"1.0") + WEBSOCKET + b"\r\n",
    ],
)
def test_a_websocket_that_is_not_asked_for_is_ignored(head: bytes) -> None:
    """S26: without its Connection token, or from HTTP/1.0, Upgrade means nothing (RFC 9110 section 7.8)."""
    assert forwarded(head).get(b"upgrade") is None


@pytest.mark.parametrize("connection", [b"X-Secret", b"close, x-secret", b"keep-alive,X-SECRET , te", b"x-secret,"])
def test_what_connection_names_goes_no_further(connection: bytes) -> None:
    """Fields of one hop end here, among them those that the sender declares to be so (RFC 9110 section 7.6.1)."""
    request = forwarded(
        HEAD + b"X-Secret: 1\r\nTE: trailers\r\nKeep-Alive: timeout=9\r\nConnection: " + connection + b"\r\n\r\n"
    )
    assert not {b"x-secret", b"te", b"keep-alive", b"connection"}.intersection(name for name, _ in request.fields)


def test_connection_cannot_take_away_what_routing_and_framing_go_by() -> None:
    """A sender that nominates Host or Content-Length wants the endpoint to see another request than we did."""
    naming = b"Connection: host, content-length, authorization, x-forwarded-for, traceparent\r\n"
    request = forwarded(
        b"POST / HTTP/1.1\r\nHost: orders\r\nAuthorization: a\r\nContent-Length: 1\r\n" + naming + b"\r\nx"
    )
    assert [request.get(name) for name in (b"host", b"content-length", b"authorization")] == [b"orders", b"1", b"a"]


@pytest.mark.parametrize("given", [b"a b", b"\xff", b"", b"x" * 129, b"a\r\nX-Request-Id: b"])
def test_a_request_id_that_is_malformed_is_replaced_everywhere(given: bytes) -> None:
    """R07: what we write ourselves is made of what we checked, in the request, in the response and in the refusal."""
    world = World(ONCE)
    client = world.client()
    for host in (b"orders", b"nobody"):
        client.send(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\nX-Request-Id: " + given + b"\r\n\r\n")
        if host == b"orders":
            server = world.accept()
            sent = requests(server.take())[0].get(b"x-request-id")
            assert sent is not None
            assert len(sent) == 32
            server.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        made = response(client).get(b"x-request-id")
        assert made is not None
        assert len(made) == 32


def test_what_a_refusal_quotes_cannot_break_out_of_it() -> None:
    """R07: the host that has no route stands in the document, as JSON, and in no header line."""
    world = World(ONCE)
    client = world.client()
    client.send(b"GET / HTTP/1.1\r\nHost: a%0d%0a'x\r\n\r\n")
    answer = response(client)
    assert (answer.status, answer.reason) == (404, "no_route")
    assert b"a%0d%0a'x" in answer.body


def test_a_head_that_is_shown_somewhere_does_not_show_what_it_carries() -> None:
    """In a traceback's locals or a debugger: method, host and status, no credentials, no query."""
    raw = b"GET /?key=secret HTTP/1.1\r\nHost: orders:8\r\nAuthorization: secret\r\n\r\n"
    assert repr(parse_request(raw, Settings())) == "<RequestHead GET to orders:8>"
    raw = b"HTTP/1.1 200 OK\r\nSet-Cookie: secret\r\n\r\n"
    assert repr(parse_response(raw, False, Settings())) == "<ResponseHead 200>"
