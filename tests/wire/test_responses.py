"""Rows R01 to R08, R11, S28 and S29: the upstream is no more trusted than the client."""

from __future__ import annotations

import pytest

from tests.support.world import World
from tests.wire.peers import GET, OK, ONCE, answers_cleanly, distrusted, relayed, response, responses

EMPTY = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
HUNDRED_AND_THREE = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.1 200 OK\r\nContent-Length:2 \t\r\n\r\nok", b"ok"),
        (b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.1 200 \xfc\xb6 \t\r\nx: \xff\r\ncontent-length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"ok"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n1;a\r\no\r\n01\r\nk\r\n0;b=c\r\n\r\n", b"ok"),
        (EMPTY, b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", b""),
        (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.1 200 OK\r\nx-request-id: a\r\nx-request-id: b\r\ncontent-length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.1 299 Fine\r\ncontent-length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.1 999 Odd\r\ncontent-length: 2\r\n\r\nok", b"ok"),
    ],
)
def test_a_good_response_is_relayed_and_its_connection_kept(answer: bytes, body: bytes) -> None:
    """However it is cut, its client reads the same, and the next request goes out on the same connection."""
    assert relayed(answer).body == body


@pytest.mark.parametrize("connection", [b"close", b"Close, x", b"x,close", b"keep-alive, close"])
def test_a_connection_that_its_endpoint_will_close_is_not_kept(connection: bytes) -> None:
    """The word is for us: it is obeyed and not passed on."""
    found = relayed(b"HTTP/1.1 200 OK\r\nconnection: " + connection + b"\r\ncontent-length: 2\r\n\r\nok", pooled=False)
    assert found.get(b"connection") is None


def test_the_connection_of_an_http_1_0_endpoint_is_not_kept() -> None:
    """Unless it says so, that version closes."""
    relayed(b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", pooled=False)


@pytest.mark.parametrize("rest", [b"x", b"\r\n", EMPTY, b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"])
@pytest.mark.parametrize(
    ("method", "answer"),
    [
        (b"GET", OK),
        (b"GET", EMPTY),
        (b"GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        (b"GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx: y\r\n\r\n"),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 1\r\n\r\n"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
    ],
)
def test_bytes_behind_a_response_are_nobodys(method: bytes, answer: bytes, rest: bytes) -> None:
    """R01, R04: the response is relayed without them and the connection dropped, also where a body was not to come."""
    relayed(answer + rest, method, pooled=False)


@pytest.mark.parametrize(
    "data", [EMPTY, b"x", b"\r\n", b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"]
)
def test_what_comes_on_an_idle_connection_is_no_answer(data: bytes) -> None:
    """R02, R03: the connection is dropped at once, a parting 408 included, and the next request dials anew."""
    world = World(ONCE)
    client = world.client()
    client.send(GET)
    server = world.accept()
    server.send(OK)
    assert response(client).body == b"ok"
    server.send(data)
    assert server.aborted
    assert client.take() == b""
    answers_cleanly(world)


@pytest.mark.parametrize("data", [EMPTY, b"x"])
def test_what_comes_on_a_connection_before_any_request_is_no_answer(data: bytes) -> None:
    """R02: a server that speaks first has nothing to say to us."""
    world = World(ONCE)
    leaving = world.client()
    leaving.send(GET)
    leaving.end()
    server = world.accept()
    server.send(data)
    assert server.aborted
    answers_cleanly(world)


@pytest.mark.parametrize(
    "fields",
    [
        b"content-length: 2\r\ntransfer-encoding: chunked\r\n",
        b"transfer-encoding: chunked\r\ncontent-length: 2\r\n",
        b"content-length: 2\r\ncontent-length: 2\r\n",
        b"content-length: 2\r\ncontent-length: 3\r\n",
        b"content-length: 2, 2\r\n",
        b"content-length: +2\r\n",
        b"content-length: 02\r\n",
        b"content-length:\r\n",
        b"content-length: 0x2\r\n",
        b"content-length: " + b"9" * 30 + b"\r\n",
        b"transfer-encoding: gzip, chunked\r\n",
        b"transfer-encoding: chunked, gzip\r\n",
        b"transfer-encoding: gzip\r\n",
        b"transfer-encoding: identity\r\n",
        b"transfer-encoding: xchunked\r\n",
        b"transfer-encoding:\r\n",
        b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        b"transfer-encoding : chunked\r\n",
        b"transfer-encoding:\r\n chunked\r\n",
    ],
)
def test_a_response_whose_length_is_in_doubt_is_not_relayed(fields: bytes) -> None:
    """R04, S10: what the client took for the end might be the middle."""
    distrusted(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\nok")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 100 Continue\r\ntransfer-encoding: chunked\r\n\r\n",
    ],
)
def test_a_response_that_cannot_have_the_body_it_announces_is_not_relayed(answer: bytes) -> None:
    """R04: HTTP/1.0 has no chunks, 1xx and 204 no body (RFC 9112 section 6.3, RFC 9110 section 8.6)."""
    distrusted(answer)


@pytest.mark.parametrize(
    "chunks", [b"zz\r\n", b"-1\r\n", b"0x2\r\nok\r\n", b"2\nok\r\n", b"1" * 17 + b"\r\n", b"2;\x00\r\nok\r\n"]
)
def test_a_response_whose_first_chunk_is_malformed_is_not_relayed(chunks: bytes) -> None:
    """R04: while nothing of it was passed on, its client is told."""
    world = World(ONCE)
    client = world.client()
    client.send(GET)
    server = world.accept()
    server.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunks)
    found = response(client)
    assert (found.status, found.reason) == (502, "upstream_protocol")
    assert server.aborted


@pytest.mark.parametrize(
    ("begun", "broken"),
    [
        (b"content-length: 9\r\n\r\nabc", b""),
        (b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", b""),
        (b"transfer-encoding: chunked\r\n\r\n9\r\nabc", b""),
        (b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", b""),
        (b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", b"3\r\nabcd"),
        (b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", b"0\r\nHost : a\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_a_response_that_breaks_off_breaks_off_for_its_client(begun: bytes, broken: bytes, version: bytes) -> None:
    """R05: what has begun cannot be unsaid, but its client can see that this is not the end of it."""
    world = World(ONCE)
    client = world.client()
    client.send(b"GET / HTTP/" + version + b"\r\nHost: orders\r\n\r\n")
    server = world.accept()
    server.send(b"HTTP/1.1 200 OK\r\n" + begun)
    if broken:
        server.send(broken)
        assert server.aborted
    else:
        server.end()
    assert client.over
    sent = client.take()
    assert [found.whole for found in responses(sent)] == [False]
    assert sent.endswith(b"abc" if version == b"1.0" or b"length" in begun else b"3\r\nabc\r\n")
    # Without a length or a last chunk only a reset tells the client of HTTP/1.0.
    assert client.aborted or b"content-length" in sent or b"transfer-encoding: chunked" in sent
    world.settle()
    answers_cleanly(world)


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_a_body_that_ends_with_its_connection_ends_with_a_close_and_not_with_a_reset(version: bytes) -> None:
    """R04, R05: a close is the only end such a body has, so that a reset must not be taken for it."""
    for reset in (False, True):
        world = World(ONCE)
        client = world.client()
        client.send(b"GET / HTTP/" + version + b"\r\nHost: orders\r\n\r\n")
        server = world.accept()
        server.send(b"HTTP/1.1 200 OK\r\n\r\nabc")
        server.send(b"def")
        (server.reset if reset else server.end)()
        (found,) = responses(client.take(), closed=client.half_closed)
        assert found.body == b"abcdef"
        assert found.whole is not reset
        assert client.aborted is (reset and version == b"1.0")
        world.settle()
        answers_cleanly(world)


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 200 OK\r\n\r\nabc", b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\n\r\nabc"]
)
def test_a_body_that_ends_with_its_connection_is_chunked_for_the_client(answer: bytes) -> None:
    """The client's connection lives on, so that its end has to be told otherwise."""
    assert relayed(answer, pooled=False, ends=True).body == b"abc"


def test_ten_interim_responses_are_relayed_and_the_eleventh_is_too_many() -> None:
    """R06: each costs the client something, and a good endpoint sends one or two."""
    world = World(ONCE)
    client = world.client()
    client.send(GET)
    server = world.accept()
    server.send(HUNDRED_AND_THREE * 10)
    assert client.take().count(b"103 Early Hints") == 10
    server.send(HUNDRED_AND_THREE)
    found = response(client)
    assert (found.status, found.reason) == (502, "upstream_protocol")
    assert server.aborted
    answers_cleanly(world)


def test_the_interim_responses_of_one_request_do_not_count_for_the_next() -> None:
    """R06: the bound is on a response, not on a connection."""
    world = World(ONCE)
    client = world.client()
    client.send(GET)
    server = world.accept()
    for _ in range(3):
        server.send(HUNDRED_AND_THREE * 9 + OK)
        assert client.take().endswith(b"ok")
        client.send(GET)


@pytest.mark.parametrize(
    "fields",
    [
        b"".join(b"x-%d: y\r\n" % n for n in range(201)),
        b"x: " + b"y" * 65536 + b"\r\n",
        b"x" * 65536 + b": y\r\n",
        b"x: y\r\n" * 20000,
    ],
)
def test_a_response_head_has_bounds(fields: bytes) -> None:
    """R06: 200 lines and 64 KiB, also while its end has not come."""
    for end in (b"content-length: 0\r\n\r\n", b""):
        world = World(ONCE)
        client = world.client()
        client.send(GET)
        server = world.accept()
        server.send(b"HTTP/1.1 200 OK\r\n" + fields[: None if end else 66000] + end)
        if end or len(fields) > 65000:
            found = response(client)
            assert (found.status, found.reason) == (502, "upstream_protocol")
            assert server.aborted


def test_two_hundred_response_lines_are_relayed() -> None:
    """R06: the bound is the first number that is refused."""
    assert len(relayed_fields(199)) == 199


def relayed_fields(count: int) -> list[bytes]:
    world = World(ONCE)
    client = world.client()
    client.send(GET)
    fields = b"".join(b"x-%d: y\r\n" % n for n in range(count))
    world.accept().send(b"HTTP/1.1 200 OK\r\n" + fields + b"content-length: 0\r\n\r\n")
    return [name for name, value in response(client).fields if value == b"y"]


@pytest.mark.parametrize(
    "line",
    [b"x: a\rb", b"x: a\nb", b"x: a\x00b", b"set-cookie: a\r", b"location: /a\nset-cookie: b", b"x\x00: a", b"x y: a", b"x : a",
     b" x: a", b"x", b": a", b"x: a\r\n b", b"x\x7f: a", b"x: \x1b"],
)  # fmt: skip
def test_a_malformed_response_line_is_not_relayed(line: bytes) -> None:
    """R07, S10: nothing that could end a line for one reader and not for another gets through."""
    distrusted(b"HTTP/1.1 200 OK\r\n" + line + b"\r\ncontent-length: 0\r\n\r\n")


@pytest.mark.parametrize(
    "line",
    [b"HTTP/1.1 099 No",
     b"HTTP/1.1 1000 No", b"HTTP/1.1 20 No", b"HTTP/1.1 2e2 No", b"HTTP/1.1 -200 No", b"HTTP/1.1", b"HTTP/1.1 OK",
     b"HTTP/2.0 200 OK", b"HTTP/1.2 200 OK", b"HTTP/0.9 200 OK", b"http/1.1 200 OK", b"HTTP/1.1  200 OK", b"HTTP/1.1\t200 OK",
     b"HTTP/11 200 OK", b"ICY 200 OK", b"200 OK", b" HTTP/1.1 200 OK", b"\r\nHTTP/1.1 200 OK", b"HTTP/1.1 200OK",
     b"HTTP/1.1 200 O\rK", b"HTTP/1.1 200 O\x00K", b"SSH-2.0-x", b"\x15\x03\x01\x00\x02\x02P"],
)  # fmt: skip
def test_a_malformed_status_line_is_not_relayed(line: bytes) -> None:
    """R08: three digits from 100 on, after HTTP/1.0 or HTTP/1.1 and one space."""
    distrusted(line + b"\r\ncontent-length: 0\r\n\r\n")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok",
        b"\n",
        b"hello",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\n\nok",
        b"\r\n\r\n",
    ],
)
def test_what_cannot_become_a_response_is_not_waited_for(answer: bytes) -> None:
    """R08: line feeds alone, or no HTTP at all, are told at once and not at the deadline."""
    distrusted(answer)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        HUNDRED_AND_THREE + b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n",
    ],
)
def test_a_protocol_is_not_switched_unasked(answer: bytes) -> None:
    """S28, S29: nobody asked for a tunnel, for no upgrade is ever forwarded."""
    world = World(ONCE)
    client = world.client()
    client.send(GET)
    server = world.accept()
    server.send(answer)
    found = responses(client.take())[-1]
    assert (found.status, found.reason) == (502, "upstream_protocol")
    assert server.aborted
    answers_cleanly(world)


def test_a_final_response_with_an_upgrade_is_a_plain_response() -> None:
    """S29: its Upgrade is advertising, stays here, and no tunnel comes of it."""
    found = relayed(b"HTTP/1.1 200 OK\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 2\r\n\r\nok")
    assert (found.get(b"upgrade"), found.get(b"connection"), found.body) == (None, None, b"ok")


def test_a_chunk_announces_only_what_is_in_hand() -> None:
    """R11: an endpoint's announcement is not repeated, for it may not be kept."""
    world = World(ONCE)
    client = world.client()
    client.send(GET)
    server = world.accept()
    server.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffff\r\nabc")
    assert client.take().endswith(b"\r\n\r\n3\r\nabc\r\n")
    server.send(b"defghijklmn")
    assert client.take() == b"b\r\ndefghijklmn\r\n"


def test_only_a_peer_sidecar_may_say_that_it_was_a_sidecar() -> None:
    """R07: outbound, the neighbour's reason is passed on; inbound, the application has none to give."""
    claim = (
        b"HTTP/1.1 503 No\r\nx-sidecar-reason: overloaded\r\nx-sidecar-source: a/inbound\r\ncontent-length: 0\r\n\r\n"
    )
    for listener, reason in (("outbound", "overloaded"), ("inbound", "")):
        world = World(ONCE)
        client = world.client(listener)
        client.send(GET)
        world.accept().send(claim)
        assert response(client).reason == reason
