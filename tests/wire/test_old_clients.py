"""HTTP/1.0 clients, HEAD, and responses without a body: how an end is told to whom."""

from __future__ import annotations

import pytest

from tests.support.world import Peer, World
from tests.wire.peers import GET, OK, ONCE, requests, response, responses

OLD = b"GET / HTTP/1.0\r\nHost: orders\r\n\r\n"
OLD_KEPT = b"GET / HTTP/1.0\r\nHost: orders\r\nConnection: Keep-Alive\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def asked(request: bytes) -> tuple[World, Peer, Peer]:
    world = World(ONCE)
    client = world.client()
    client.send(request)
    return world, client, world.accept()


def test_an_http_1_0_request_goes_on_as_http_1_1() -> None:
    """The endpoint's connection is ours, and speaks what we speak."""
    _, _, server = asked(OLD_KEPT)
    sent = server.take()
    assert sent.startswith(b"GET / HTTP/1.1\r\n")
    assert requests(sent)[0].get(b"connection") is None


def test_an_http_1_0_request_without_a_host_is_served_by_the_application() -> None:
    """That version did not know Host; inbound there is one place to go to, and it gets a Host all the same."""
    world = World(ONCE)
    client = world.client("inbound")
    client.send(b"GET / HTTP/1.0\r\n\r\n")
    server = world.accept()
    assert requests(server.take())[0].get(b"host") == b"localhost"
    server.send(OK)
    assert response(client).body == b"ok"


def test_the_connection_of_an_http_1_0_client_closes_after_one_response() -> None:
    """Unless it asked for more."""
    _, client, server = asked(OLD)
    server.send(OK)
    assert response(client).get(b"connection") == b"close"
    assert client.half_closed


def test_an_http_1_0_client_that_asks_for_keep_alive_gets_it() -> None:
    """It has to be said in the response too, for that version does not imply it."""
    _, client, server = asked(OLD_KEPT)
    for _ in range(3):
        server.send(OK)
        assert response(client).get(b"connection") == b"keep-alive"
        client.send(OLD_KEPT)
        assert requests(server.take())[-1].whole


def test_a_chunked_response_that_is_all_in_hand_gets_a_length_for_an_http_1_0_client() -> None:
    """So its connection can be kept, and its end be seen."""
    _, client, server = asked(OLD_KEPT)
    server.send(CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    found = response(client)
    assert (found.body, found.get(b"content-length"), found.get(b"connection")) == (b"abcde", b"5", b"keep-alive")
    assert found.get(b"transfer-encoding") is None


@pytest.mark.parametrize("rest", [b"2\r\nde\r\n0\r\n\r\n", b"2\r\nde\r\n0\r\nx-sum: 1\r\n\r\n"])
def test_a_longer_chunked_response_ends_with_the_close_for_an_http_1_0_client(rest: bytes) -> None:
    """It knows no chunks and no trailers; keep-alive was asked for in vain."""
    _, client, server = asked(OLD_KEPT)
    server.send(CHUNKED + b"3\r\nabc\r\n")
    server.send(rest)
    sent = client.take()
    assert b"transfer-encoding" not in sent
    assert b"connection: close\r\n" in sent
    assert sent.endswith(b"\r\n\r\nabcde")
    assert client.half_closed


def test_an_http_1_0_client_hears_no_interim_response() -> None:
    """It would take it for the final one (RFC 9110 section 15.2)."""
    _, client, server = asked(OLD)
    server.send(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
    assert response(client).body == b"ok"


def test_a_refusal_keeps_an_http_1_0_connection_that_was_to_be_kept() -> None:
    """A response of ours says what an endpoint's would."""
    world = World(ONCE)
    client = world.client()
    client.send(OLD_KEPT.replace(b"orders", b"nobody"))
    found = response(client)
    assert (found.reason, found.get(b"connection")) == ("no_route", b"keep-alive")
    client.send(OLD.replace(b"orders", b"nobody"))
    assert response(client).get(b"connection") == b"close"


@pytest.mark.parametrize(
    "fields", [b"content-length: 1000000\r\n", b"transfer-encoding: chunked\r\n", b"", b"content-length: 0\r\n"]
)
def test_the_response_to_head_has_no_body_whatever_it_announces(fields: bytes) -> None:
    """What it says of the length of GET is passed on, and both connections live on."""
    world = World(ONCE)
    client = world.client()
    client.send(GET.replace(b"GET", b"HEAD"))
    server = world.accept()
    server.send(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n")
    sent = client.take()
    assert (b"content-length" in sent) is (b"content-length" in fields)
    assert [found.body for found in responses(sent, b"HEAD")] == [b""]
    client.send(GET)
    server.send(OK)
    assert response(client).body == b"ok"


def test_a_refusal_of_head_has_no_body_either() -> None:
    """Its length is that of the document that GET would bring."""
    world = World(ONCE)
    client = world.client()
    client.send(b"HEAD / HTTP/1.1\r\nHost: nobody\r\n\r\n")
    found = response(client, b"HEAD")
    assert (found.status, found.body) == (404, b"")
    assert int(found.get(b"content-length") or 0) > 100
    client.send(GET)
    world.accept().send(OK)
    assert response(client).body == b"ok"


@pytest.mark.parametrize("status", [204, 304])
def test_a_response_that_has_no_body_gets_no_framing(status: int) -> None:
    """A length on 204 is forbidden (RFC 9110 section 8.6), and chunks would be the next response."""
    _, client, server = asked(GET)
    server.send(b"HTTP/1.1 %d X\r\n\r\n" % status)
    sent = client.take()
    assert b"content-length" not in sent
    assert b"transfer-encoding" not in sent
    client.send(GET)
    server.send(OK)
    assert response(client).body == b"ok"


def test_chunks_are_made_anew_in_both_directions() -> None:
    """Their sizes are those of what was in hand, not what the sender cut."""
    world, client, server = asked(b"POST / HTTP/1.1\r\nHost: orders\r\nTransfer-Encoding: chunked\r\n\r\n")
    server.take()
    client.send(b"1\r\na\r\n0002;x\r\nbc\r\n")
    assert server.take() == b"3\r\nabc\r\n"
    client.send(b"5\r\nde")
    assert server.take() == b"2\r\nde\r\n"
    client.send(b"fgh\r\n0\r\n\r\n")
    assert server.take() == b"3\r\nfgh\r\n0\r\n\r\n"
    server.send(CHUNKED + b"1\r\na\r\n0002;x\r\nbc\r\n")
    assert client.take().endswith(b"\r\n\r\n3\r\nabc\r\n")
    server.send(b"0\r\n\r\n")
    assert client.take() == b"0\r\n\r\n"
    assert not world.dialing


def test_trailers_reach_the_other_end_in_both_directions() -> None:
    """Those that may come so late, whether the body came with them or before."""
    post = b"POST / HTTP/1.1\r\nHost: orders\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    end = b"0\r\nX-Sum: 7\r\nX-Other: 8\r\n\r\n"
    for pieces in ((post + end,), (post, end), (post, end[:9], end[9:])):
        world = World(ONCE)
        client = world.client()
        for piece in pieces:
            client.send(piece)
        server = world.accept()
        (request,) = requests(server.take())
        assert request.trailers == [(b"x-sum", b"7"), (b"x-other", b"8")]
        for piece in pieces:
            server.send(piece.replace(post, CHUNKED + b"3\r\nabc\r\n"))
        found = response(client)
        assert (found.body, found.trailers) == (b"abc", request.trailers)
        assert not server.over


def test_trailers_of_a_response_that_may_not_come_so_late_are_dropped() -> None:
    """A trailer that sets a cookie or claims a reason was not seen by whoever acted upon the head."""
    _, client, server = asked(GET)
    server.send(
        CHUNKED + b"0\r\nSet-Cookie: a=b\r\nX-Sidecar-Reason: overloaded\r\nContent-Length: 7\r\nX-Sum: 1\r\n\r\n"
    )
    assert response(client).trailers == [(b"x-sum", b"1")]
