"""Rows S23, S24 and R10: answers that come before the request is complete, and interim ones."""

from __future__ import annotations

import pytest

from tests.support.world import Peer, World
from tests.wire.peers import GET, OK, ONCE, answers_cleanly, requests, response, responses

NO = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno"
EXPECTING = b"POST / HTTP/1.1\r\nHost: orders\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n"


def posting(length: int, sent: bytes, more: bytes = b"") -> tuple[World, Peer, Peer]:
    world = World(ONCE)
    client = world.client()
    client.send(b"POST / HTTP/1.1\r\nHost: orders\r\n%bContent-Length: %d\r\n\r\n" % (more, length) + sent)
    return world, client, world.accept()


def test_a_client_that_waits_for_100_gets_the_endpoints() -> None:
    """S24: the expectation goes to the endpoint, its 100 to the client, then the body flows, and all is reused."""
    world = World(ONCE)
    client = world.client()
    client.send(EXPECTING)
    server = world.accept()
    (request,) = requests(server.take())
    assert (request.get(b"expect"), request.whole) == (b"100-continue", False)
    server.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert client.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"abc")
    assert server.take() == b"abc"
    server.send(OK)
    assert response(client).body == b"ok"
    client.send(GET)
    server.send(OK)
    assert response(client).body == b"ok"


def test_a_client_that_does_not_wait_any_longer_is_served() -> None:
    """S24: an endpoint that never says 100 gets the body when the client sends it (RFC 9110 section 10.1.1)."""
    world = World(ONCE)
    client = world.client()
    client.send(EXPECTING)
    server = world.accept()
    client.send(b"abc")
    assert requests(server.take())[0].body == b"abc"
    server.send(OK)
    assert response(client).body == b"ok"


def test_a_100_that_nobody_waits_for_is_dropped() -> None:
    """S24: the client asked for none and might take it for the answer."""
    _, client, server = posting(3, b"abc")
    server.send(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
    assert response(client).body == b"ok"


def test_early_hints_are_passed_on() -> None:
    """A 103 is for the client, and comes before the response, with its fields."""
    _, client, server = posting(3, b"abc")
    server.send(b"HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\nconnection: x\r\nx: y\r\n\r\n" + OK)
    hint, final = responses(client.take())
    assert (hint.status, hint.get(b"link"), hint.get(b"x")) == (103, b"</a>; rel=preload", None)
    assert (final.status, final.body) == (200, b"ok")


@pytest.mark.parametrize("late", [b"", b"abc", b"abc" + GET])
def test_a_final_answer_in_place_of_100_ends_both_connections(late: bytes) -> None:
    """S24: whether the body still comes nobody can know, so that nothing is read as the next request."""
    world = World(ONCE)
    client = world.client()
    client.send(EXPECTING)
    server = world.accept()
    server.send(NO)
    found = response(client)
    assert (found.status, found.get(b"connection")) == (403, b"close")
    assert server.aborted
    client.send(late)
    assert (client.take(), world.dialing) == (b"", [])
    world.settle()
    answers_cleanly(world)


def test_an_answer_before_the_body_was_sent_ends_the_endpoints_connection() -> None:
    """S23: the endpoint would take what is still to come for its next request."""
    world, client, server = posting(1_000_000, b"abc")
    server.send(NO)
    found = response(client)
    assert (found.status, found.body, found.get(b"connection")) == (403, b"no", b"close")
    assert server.aborted
    client.send(GET)
    assert (client.take(), world.dialing) == (b"", [])
    answers_cleanly(world)


def test_an_answer_before_a_chunked_body_was_sent_ends_both_connections() -> None:
    """S23: how much is still to come cannot be known."""
    world = World(ONCE)
    client = world.client()
    client.send(b"POST / HTTP/1.1\r\nHost: orders\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    server = world.accept()
    server.send(NO)
    assert response(client).get(b"connection") == b"close"
    assert server.aborted
    answers_cleanly(world)


def test_a_small_rest_of_a_body_is_thrown_away_to_keep_the_client() -> None:
    """S23: what was promised by length is not taken for a request, and the request behind it is."""
    world, client, server = posting(10, b"abc")
    server.send(NO)
    assert response(client).get(b"connection") is None
    assert server.aborted
    client.send(b"defg")
    client.send(b"hij" + GET)
    server = world.accept()
    assert [request.target for request in requests(server.take())] == [b"/"]
    server.send(OK)
    assert response(client).body == b"ok"


def test_a_rest_that_does_not_come_ends_the_connection() -> None:
    """S23: nobody waits for ever for bytes that nobody wants."""
    world, client, server = posting(10, b"abc")
    server.send(NO)
    response(client)
    world.pass_time(2.1)
    assert client.over


def test_an_answer_may_begin_early_and_end_late() -> None:
    """R10: while the response is relayed the upload goes on, as long as somebody takes it."""
    _, client, server = posting(6, b"abc")
    server.send(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nABC")
    client.send(b"def")
    assert requests(server.take())[0].body == b"abcdef"
    server.send(b"DEF")
    assert response(client).body == b"ABCDEF"
    assert not server.over
    assert not client.over


def test_an_endpoint_that_answers_and_reads_no_more_frees_everybody() -> None:
    """R10: the upload is given up when the response is complete, however much of it was stuck."""
    world, client, server = posting(1_000_000, b"abc")
    client.send(b"x" * 1000)
    server.full()
    assert client.paused
    server.send(NO)
    assert response(client).get(b"connection") == b"close"
    assert server.aborted
    assert not client.paused, "a client that cannot send on may never see its answer"
    world.pass_time(2.1)
    assert client.over
    answers_cleanly(world)


def test_an_endpoint_that_half_closes_after_its_answer_has_answered() -> None:
    """Its end of the connection is gone, its response is not, and the next request dials."""
    world, client, server = posting(3, b"abc")
    server.send(OK)
    server.end()
    assert response(client).body == b"ok"
    world.settle()
    answers_cleanly(world)


@pytest.mark.parametrize(
    "begun", [b"", b"HTTP/1.1 200 O", b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n"]
)
def test_an_endpoint_that_half_closes_before_its_answer_has_failed(begun: bytes) -> None:
    """Nothing more can come from there."""
    world, client, server = posting(3, b"abc")
    server.send(begun)
    server.end()
    found = responses(client.take())[-1]
    assert (found.status, found.reason) == (502, "upstream_reset")
    world.settle()
    answers_cleanly(world)
