"""Rows S30 and S31: requests that do not wait for the response before them."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.world import Peer, World
from tests.wire.peers import GET, OK, ONCE, cut, requests, responses

HELD = 65536
"""How much of later requests is held; the bound on what one peer may keep here."""


def numbered(count: int) -> bytes:
    return b"".join(b"GET /%d HTTP/1.1\r\nHost: orders\r\n\r\n" % n for n in range(count))


def answer(server: Peer) -> int:
    """Answers the requests that have come with their targets; returns how many they were."""
    found = requests(server.take())
    for request in found:
        assert request.whole
        server.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(request.target), request.target))
    return len(found)


def taking(client: Peer, most: int) -> Callable[[], None]:
    """Makes ``client`` a peer that takes nothing by itself: beyond ``most`` bytes the transport says within a write that
    it is full, as real ones do. Calling the result takes everything."""
    write = client.write

    def full(data: bytes) -> None:
        write(data)
        client.unsent += len(data)
        if client.unsent > most and client.unsent - len(data) <= most:
            client.protocol.pause_writing()

    def take() -> None:
        was_full = client.unsent > most
        client.unsent = 0
        if was_full:
            client.protocol.resume_writing()

    client.write = full  # type: ignore[method-assign]
    return take


def test_pipelined_requests_are_answered_one_after_the_other() -> None:
    """S30: the second is not begun before the first is answered, and the answers come in their order."""
    data = numbered(3)
    for pieces in cut(data):
        world = World(ONCE)
        client = world.client()
        for piece in pieces:
            client.send(piece)
        server = world.accept()
        for _ in range(3):
            assert answer(server) == 1
        assert [found.body for found in responses(client.take(), *[b"GET"] * 3)] == [b"/0", b"/1", b"/2"]


def test_the_bodies_of_pipelined_requests_are_their_own() -> None:
    """S30: whatever the framing and the cut, none of them runs into its neighbour."""
    post = b"POST /%d HTTP/1.1\r\nHost: orders\r\n"
    data = (
        post % 0
        + b"Content-Length: 3\r\n\r\nabc"
        + post % 1
        + b"Transfer-Encoding: chunked\r\n\r\n3\r\ndef\r\n0\r\n\r\n"
        + GET
    )
    for pieces in cut(data):
        world = World(ONCE)
        client = world.client()
        client.send(pieces[0])
        bodies = []
        server: Peer | None = None
        for piece in [*pieces[1:], b"", b"", b""]:
            if world.dialing:
                server = world.accept()
            if piece:
                client.send(piece)
            found = requests(bytes(server.received)) if server is not None else []
            if server is not None and found and found[-1].whole:
                server.take()
                bodies.append(found[-1].body)
                server.send(OK)
        if world.dialing:  # It came whole: nothing was there to be answered yet.
            server = world.accept()
        while server is not None and server.received:
            bodies.append(requests(server.take())[0].body)
            server.send(OK)
        assert bodies == [b"abc", b"def", b""], pieces


def test_a_bad_request_between_good_ones_ends_the_line() -> None:
    """S30: the one before it is answered, it is refused, and what follows is never looked at."""
    world = World(ONCE)
    client = world.client()
    client.send(numbered(1) + b"GET /bad HTTP/1.1\r\nHost : orders\r\n\r\n" + numbered(1))
    server = world.accept()
    assert answer(server) == 1
    first, second = responses(client.take(), b"GET", b"GET")
    assert first.body == b"/0"
    assert (second.status, second.reason, second.get(b"connection")) == (400, "bad_request", b"close")
    assert (server.take(), world.dialing, client.half_closed) == (b"", [], True)
    assert not server.over, "the endpoint did nothing wrong"


def test_ten_thousand_pipelined_requests_are_answered_and_few_are_held() -> None:
    """S30: reading stops while more than 64 KiB wait, goes on by itself, and none is lost, wherever a read ends."""
    world = World(ONCE)
    client = world.client()
    data = numbered(10_000)
    at = answered = 0
    server: Peer | None = None
    while answered < 10_000:
        while at < len(data) and not client.paused:
            client.send(data[at : at + 10_007])
            at += 10_007
        held = len(client.protocol._buffer)
        assert held <= HELD + 10_007
        if server is None:
            server = world.accept()
        assert answer(server) == 1, f"it hangs after {answered} answers with {held} bytes held"
        answered += 1
    sent = client.take()
    assert sent.count(b"HTTP/1.1 200 OK\r\n") == 10_000
    assert sent.endswith(b"/9999")
    assert world.time.now == 1000.0


def test_reading_goes_on_when_what_is_held_ends_within_a_head() -> None:
    """S30: the rest of that head can only come if somebody reads it."""
    world = World(ONCE)
    client = world.client()
    first = numbered(1)
    client.send(first)
    client.send(
        (b"GET / HTTP/1.1\r\nHost: orders\r\nX: " + b"y" * 40_000 + b"\r\n\r\n")
        + b"GET /last HTTP/1.1\r\nX: "
        + b"y" * 40_000
    )
    assert client.paused
    server = world.accept()
    assert answer(server) == 1
    assert answer(server) == 1
    assert not client.paused
    client.send(b"\r\nHost: orders\r\n\r\n")
    assert answer(server) == 1


def test_many_requests_that_are_answered_on_the_spot_let_others_have_their_turn() -> None:
    """S30: ten thousand refusals in one read are not one long turn of the loop, and all of them are given."""
    world = World(ONCE)
    client = world.client()
    client.send(b"GET / HTTP/1.1\r\nHost: nobody\r\n\r\n" * 10_000)
    turns = 0
    answered = client.take().count(b"404 Not Found")
    while answered < 10_000:
        world.pass_time(0.01)
        turn = client.take().count(b"404 Not Found")
        assert 0 < turn <= 128
        answered += turn
        turns += 1
    assert turns > 70
    assert not client.paused
    client.send(GET)
    world.accept().send(OK)
    assert client.take().endswith(b"ok")


def test_a_peer_that_does_not_read_its_answers_gets_no_more_of_them() -> None:
    """S30, D03: what it has not taken does not pile up, of refusals as of responses, and goes on when it takes it."""
    for host in (b"nobody", b"orders"):
        world = World(ONCE)
        client = world.client()
        take = taking(client, 10_000)
        client.send(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host * 100)
        server = world.accept() if host == b"orders" else None
        answered = 0
        for _ in range(1000):
            if server is not None and server.take():
                server.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n" + b"x" * 1000)
            assert client.unsent < 12_000
            if client.paused and not (server is not None and server.received):
                world.pass_time(0.01)
                answered += client.take().count(b"HTTP/1.1 ")
                take()
            if answered == 100:
                break
        else:
            answered += client.take().count(b"HTTP/1.1 ")
        assert answered == 100
        assert not client.paused


def test_every_request_on_a_connection_is_routed_by_itself() -> None:
    """S31: that the first was let through says nothing of the second."""
    world = World(ONCE)
    client = world.client()
    client.send(
        GET + GET.replace(b"orders", b"nobody") + b"GET /x HTTP/1.1\r\nHost: orders\r\nX-Request-Timeout-Ms: 0\r\n\r\n"
    )
    server = world.accept()
    server.send(OK)
    found = responses(client.take(), *[b"GET"] * 3)
    assert [(one.status, one.reason) for one in found] == [(200, ""), (404, "no_route"), (504, "deadline_exceeded")]
    assert len(requests(server.take())) == 1
