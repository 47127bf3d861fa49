"""Rows D01 to D06: peers that are slow, and messages that are large."""

from __future__ import annotations

import zlib

import pytest

from sidecar.errors import Failure
from sidecar.resilience.breaker import CLOSED
from tests.support.world import LISTEN, Peer, World
from tests.wire.peers import GET, OK, ONCE, answers_cleanly, forwarded, refused, requests, response

POST = b"POST / HTTP/1.1\r\nHost: orders\r\n"
PATIENT = ONCE.replace("breaker = false\n", 'timeout = "5m"\n')


@pytest.mark.parametrize("first", [b"G", b"\r", b"GET / HTTP/1.1\r\nHost: orders\r\nX: "])
def test_a_head_has_ten_seconds_from_its_first_byte(first: bytes) -> None:
    """D01: absolute, so that a byte now and then gains nothing."""
    world = World(ONCE)
    client = world.client()
    world.pass_time(600.0)
    client.send(first)
    if first == b"\r":
        client.send(b"\nG")
    for _ in range(9):
        world.pass_time(1.0)
        client.send(b"E")
        assert client.take() == b""
    world.pass_time(1.1)
    found = response(client)
    assert (found.status, found.reason, found.get(b"connection")) == (408, "client_timeout", b"close")
    world.pass_time(2.1)
    assert client.over
    assert not world.dialing
    answers_cleanly(world)


def test_the_next_head_on_a_connection_has_ten_seconds_too() -> None:
    """D01: also if its first byte came while the request before it was answered."""
    world = World(ONCE)
    client = world.client()
    client.send(GET + b"GET / HT")
    server = world.accept()
    world.pass_time(9.0)
    server.send(OK)
    world.pass_time(9.0)
    assert response(client).body == b"ok"
    world.pass_time(1.1)
    assert response(client).reason == "client_timeout"


def test_a_connection_that_sends_nothing_is_closed_after_the_idle_timeout() -> None:
    """D01: without a word, for nothing was asked; empty lines are nothing too."""
    for data in (b"", b"\r\n"):
        world = World(ONCE)
        client = world.client()
        client.send(data)
        world.pass_time(3590.0, step=1.0)
        assert not client.over
        world.pass_time(11.0)
        assert client.over
        assert client.take() == b""


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 100\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"]
)
def test_a_request_body_that_stands_still_for_a_minute_is_given_up(framing: bytes) -> None:
    """D02: 408 to the client, the endpoint's connection closed, its breaker not told a thing."""
    world = World(PATIENT)
    client = world.client()
    client.send(POST + framing)
    server = world.accept()
    world.pass_time(59.0)
    assert client.take() == b""
    world.pass_time(1.1)
    found = response(client)
    assert (found.status, found.reason, found.get(b"connection")) == (408, "client_timeout", b"close")
    assert server.aborted
    breaker = world.endpoints[0].breaker
    assert breaker is not None
    assert breaker.state == CLOSED
    answers_cleanly(world)


def test_a_request_body_that_trickles_is_bounded_by_the_deadline() -> None:
    """D02: a byte every 50 seconds is progress; it holds its endpoint until the deadline, and no longer."""
    world = World(PATIENT)
    client = world.client()
    client.send(POST + b"Content-Length: 100\r\n\r\n")
    server = world.accept()
    for _ in range(5):
        world.pass_time(50.0)
        assert client.take() == b""
        client.send(b"x")
    world.pass_time(49.0)
    assert client.take() == b""
    world.pass_time(1.1)
    assert response(client).reason == "client_timeout"
    assert server.aborted


def test_many_slow_bodies_do_not_trip_the_breaker_of_their_endpoint() -> None:
    """D02: what clients do not send is not the endpoint's failure, however often."""
    world = World(PATIENT)
    for _ in range(20):
        client = world.client()
        client.send(POST + b"Content-Length: 100\r\n\r\nabc")
        world.accept()
    world.pass_time(60.1)
    breaker = world.endpoints[0].breaker
    assert breaker is not None
    assert breaker.state == CLOSED
    answers_cleanly(world)


def test_a_client_that_does_not_read_stops_the_endpoint() -> None:
    """D03: what it does not take is not fetched, and goes on when it does."""
    world = World(ONCE)
    client = world.client()
    client.send(GET)
    server = world.accept()
    server.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nabc")
    client.full()
    assert server.paused
    client.drained()
    assert not server.paused
    server.send(b"x" * 997)
    assert len(response(client).body) == 1000
    assert not server.over


def test_a_client_that_takes_nothing_for_a_minute_is_given_up() -> None:
    """D03: both connections break off, between one and two periods after it last took something; reason ``stalled``."""
    world = World(ONCE)
    client = world.client()
    client.send(GET)
    server = world.accept()
    server.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nabc")
    client.full()
    for left in (60000, 50000, 40000):
        world.pass_time(50.0)
        assert not client.over, "it is slow, but it takes something"
        client.unsent = left
    world.pass_time(120.1)
    assert client.aborted
    assert server.aborted
    (plan,) = [plan for plan in world.sidecar.assembly.plans if plan.service.name == "orders"]
    assert plan.stats.requests == {(b"GET", 200, "stalled"): 1}
    world.settle()
    answers_cleanly(world)


def fill(peer: Peer) -> None:
    """Makes the transport say within each write that it is full, as real ones do."""
    write = peer.write

    def full(data: bytes) -> None:
        write(data)
        peer.full()

    peer.write = full  # type: ignore[method-assign]


def after_its_answer(ending: str) -> tuple[World, Peer]:
    """A client whose answer is complete but not taken, on a connection that is then kept, closed by us or by it."""
    world = World(ONCE)
    client = world.client()
    client.send(GET if ending != "close" else GET.replace(b"1.1", b"1.0"))
    server = world.accept()
    fill(client)
    server.send(OK)
    del client.write
    if ending == "eof":
        client.protocol.eof_received()
    return world, client


def wait(world: World, seconds: float) -> None:
    """Lets time pass while a connection that we closed is not gone, because its last bytes are not taken."""
    for _ in range(10):
        world.time.now += seconds / 10
        world.sidecar.wheel.advance(world.time.now)


@pytest.mark.parametrize("ending", ["keep", "close", "eof"])
def test_a_client_that_does_not_take_a_complete_answer_is_given_up_too(ending: str) -> None:
    """D03: the request is over, its bytes are still here, and a close alone would wait for them for ever."""
    world, client = after_its_answer(ending)
    wait(world, 59.0)
    assert not client.aborted
    wait(world, 1.1)
    assert client.aborted


@pytest.mark.parametrize("ending", ["keep", "close", "eof"])
def test_a_client_that_takes_a_complete_answer_slowly_gets_it(ending: str) -> None:
    """D03: closing our side must not cut off what is on its way."""
    world, client = after_its_answer(ending)
    for left in range(60000, 0, -10000):
        wait(world, 50.0)
        client.unsent = left
        assert not client.aborted
    client.drained()
    assert not client.aborted


def test_a_connection_whose_answer_is_taken_in_the_end_serves_the_next_request() -> None:
    """D03: reading pauses in between, so that no further answer piles up."""
    world, client = after_its_answer("keep")
    assert client.paused
    client.drained()
    client.take()
    client.send(GET)
    (server,) = [peer for peer in world.peers if peer is not client]
    server.send(OK)
    assert response(client).body == b"ok"


@pytest.mark.parametrize("how", ["body", "last bytes"])
def test_a_connection_that_was_held_back_is_read_again_for_the_next_request(how: str) -> None:
    """D03: a transport that is full says so within the write, which may be that of the last bytes of a response."""
    world = World(ONCE)
    client = world.client()
    client.send(GET)
    server = world.accept()
    server.send(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabc")
    write = client.write
    fill(client)
    server.send(b"def" if how == "last bytes" else b"d")
    client.write = write  # type: ignore[method-assign]
    assert server.paused is (how == "body")
    client.drained()
    assert not server.paused
    if how == "body":
        server.send(b"ef")
    client.take()
    client.send(GET)
    server.send(OK)
    assert response(client).body == b"ok"


def test_an_endpoint_that_takes_nothing_is_not_the_clients_fault() -> None:
    """D02, D03: the body was here, so that it is ``stalled`` and not ``client_timeout``."""
    world = World(PATIENT)
    client = world.client()
    client.send(POST + b"Content-Length: 1000000\r\n\r\nabc")
    server = world.accept()
    client.send(b"x" * 1000)
    server.full()
    assert client.paused
    world.pass_time(120.1)
    found = response(client)
    assert (found.status, found.reason) == (504, "stalled")
    assert server.aborted


def test_what_is_held_without_a_connection_is_bounded() -> None:
    """D03: while the endpoint is dialed no more of a body is read than could be sent again; then it flows."""
    world = World(ONCE)
    client = world.client()
    client.send(POST + b"Content-Length: 1000000\r\n\r\n" + b"x" * 60000)
    client.send(b"x" * 6000)
    assert client.paused
    server = world.accept()
    assert not client.paused
    server.full()
    assert client.paused
    server.drained()
    assert not client.paused


HUNDRED = b"".join(b"X-%d: y\r\n" % n for n in range(99))


def test_a_hundred_headers_are_forwarded_and_one_more_is_refused() -> None:
    """D04: 431."""
    assert forwarded(GET[:-2] + HUNDRED + b"\r\n").get(b"x-98") == b"y"
    refused(GET[:-2] + HUNDRED + b"X: y\r\n\r\n", Failure.HEADERS_TOO_LARGE)
    refused(b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 120 + b"Host: orders\r\n\r\n", Failure.HEADERS_TOO_LARGE)


@pytest.mark.parametrize(
    "fields",
    [
        b"X: " + b"y" * 65536 + b"\r\n",
        b"X" * 65536 + b": y\r\n",
        (b"X: " + b"y" * 1000 + b"\r\n") * 70,
        b"X: y\r\n" * 11000,
    ],
)
@pytest.mark.parametrize("end", [b"\r\n", b""])
def test_a_head_of_more_than_64_kib_is_refused(fields: bytes, end: bytes) -> None:
    """D04: 431, whether its end has come or not."""
    for size in (100_000, 4096):
        world = World(ONCE)
        client = world.client()
        data = GET[:-2] + fields + end
        for at in range(0, len(data), size):
            client.send(data[at : at + size])
            assert len(client.protocol._buffer) <= 65536 + size
        assert response(client).reason == "headers_too_large"
        assert not world.dialing
    answers_cleanly(world)


def test_a_head_of_almost_64_kib_is_forwarded() -> None:
    """D04: the bound is the first size that is refused."""
    world = World(ONCE)
    client = world.client()
    client.send(GET[:-2] + b"X: " + b"y" * 65400 + b"\r\n\r\n")
    (request,) = requests(world.accept().take())
    assert len(request.get(b"x") or b"") == 65400


@pytest.mark.parametrize("line", [b"GET /%b HTTP/1.1", b"%b / HTTP/1.1", b"GET /%b"])
@pytest.mark.parametrize("size", [20_000, 70_000])
def test_a_request_line_that_is_too_long_is_told_apart_from_headers(line: bytes, size: int) -> None:
    """D04: 414 from 16 KiB on, also if the whole head is too large and if it is the method that is long."""
    data = line % (b"a" * size) + b"\r\nHost: orders\r\n\r\n"
    for step in (len(data), 4096):
        world = World(ONCE)
        client = world.client()
        for at in range(0, len(data), step):
            client.send(data[at : at + step])
        found = response(client)
        assert (found.status, found.reason) == (414, "uri_too_long")
        assert not world.dialing


def test_a_target_of_16_kib_is_forwarded_and_one_byte_more_is_refused() -> None:
    """D04: the bound is on the target itself."""
    assert len(forwarded_once(b"/" * 16384)) == 16384
    refused(b"GET " + b"/" * 16385 + b" HTTP/1.1\r\nHost: orders\r\n\r\n", Failure.URI_TOO_LONG)


def forwarded_once(target: bytes) -> bytes:
    world = World(ONCE)
    world.client().send(b"GET " + target + b" HTTP/1.1\r\nHost: orders\r\n\r\n")
    return requests(world.accept().take())[0].target


def test_a_connection_too_many_is_told_so_and_closed() -> None:
    """D05: 503 overloaded with Retry-After, after a second without a word too; the others are served, and then it would be."""
    world = World(LISTEN + '[inbound]\nmax_connections = 2\n[services.orders]\nendpoints = ["10.0.0.1:9001"]\n')
    good = [world.client(), world.client()]
    excess = world.client()
    assert excess.take() == b""
    world.pass_time(1.1)
    found = response(excess)
    assert (found.status, found.reason, found.get(b"connection")) == (503, "overloaded", b"close")
    assert int(found.get(b"retry-after") or 0) >= 1
    excess.send(GET)
    assert (excess.take(), world.dialing) == (b"", [])
    excess.end()
    good[0].send(GET)
    server = world.accept()
    server.send(OK)
    assert response(good[0]).body == b"ok"
    good[1].end()
    world.settle()
    late = world.client()
    late.send(GET)
    server.send(OK)
    assert response(late).body == b"ok"


def test_a_flood_of_connections_is_cut_off_without_a_word() -> None:
    """D05: an answer for each of them would cost the file descriptors that the limit is there to save."""
    world = World(LISTEN + '[inbound]\nmax_connections = 2\n[services.orders]\nendpoints = ["10.0.0.1:9001"]\n')
    peers = [world.client() for _ in range(100)]
    world.pass_time(1.1)
    told = [peer for peer in peers if peer.take()]
    assert 0 < len(told) <= 40
    assert all(peer.over for peer in peers[2 + len(told) :])


def test_a_compressed_body_passes_as_the_bytes_that_it_is() -> None:
    """D06: nothing is ever inflated, so that a bomb is as large as it looks, in both directions."""
    deflate = zlib.compressobj(9, wbits=31)
    bomb = deflate.compress(b"\0" * 50_000_000) + deflate.flush()
    assert len(bomb) < 60_000
    world = World(ONCE)
    client = world.client()
    client.send(POST + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb)
    server = world.accept()
    (request,) = requests(server.take())
    assert (request.body, request.get(b"content-encoding")) == (bomb, b"gzip")
    server.send(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(bomb) + bomb)
    found = response(client)
    assert (found.body, found.get(b"content-encoding")) == (bomb, b"gzip")


def test_a_body_that_fills_the_endpoints_connection_at_once_is_read_no_further() -> None:
    """D03: the transport says that it is full within the write of the head, and that must not be forgotten after it."""
    world = World(ONCE)
    client = world.client()
    client.send(GET)
    server = world.accept()
    server.send(OK)
    fill(server)
    client.send(POST + b"Content-Length: 1000000\r\n\r\n" + b"x" * 100000)
    assert client.paused
    server.drained()
    assert not client.paused
