"""What only shows in connections that are used for long: slow peers, busy ones, and what is left over when calls end."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import inf
from typing import cast

import pytest

from sidecar.http.h2 import control
from sidecar.proxy.outbox import Outbox
from tests.http2.mesh import MESSAGE, OK, Mesh, status
from tests.support.http2 import Code, Setting, Type, data, headers, ping, settings, window_update
from tests.support.http2_peers import Conversation, WorldPipe
from tests.support.world import ONE_ENDPOINT, TWO_ENDPOINTS, Peer

IMPATIENT = ONE_ENDPOINT + '[limits]\nidle_timeout = "5s"\n'


def peer_of(mesh: Mesh) -> Peer:
    return cast(WorldPipe, mesh.client.pipe).peer


def test_a_head_that_was_cut_by_a_reading_is_not_waited_for_when_it_has_come() -> None:
    """Each reading of a long upload may end within some frame: none of them is the head that was cut once."""
    mesh = Mesh()
    head = mesh.client.request(1, method="POST", end=False)
    mesh.client.send(head[:12])
    frame = data(1, bytes(1000))
    mesh.client.send(head[12:] + frame[:500])
    endpoint = mesh.endpoint()
    endpoint.generous = True
    for _ in range(24):
        mesh.world.pass_time(0.5)
        mesh.client.send(frame[500:] + frame[:500])
        assert not mesh.client.frames(Type.GOAWAY)
        endpoint.frames()


def test_heads_that_are_cut_by_every_reading_are_each_given_their_time() -> None:
    """A busy client's requests come in readings that end anywhere."""
    mesh = Mesh()
    requests = [mesh.client.request(stream) for stream in range(1, 61, 2)]
    mesh.client.send(requests[0][:10])
    endpoint = None
    for this, following in pairwise(requests):
        mesh.world.pass_time(0.5)
        mesh.client.send(this[10:] + following[:10])
        endpoint = endpoint or mesh.endpoint()
        endpoint.respond(endpoint.request()[0])
        assert not mesh.client.frames(Type.GOAWAY)


def test_a_head_that_does_not_come_is_not_waited_for_longer_because_its_bytes_drip() -> None:
    """The time of a head is absolute, whatever comes of it."""
    mesh = Mesh()
    head = mesh.client.request(1)
    for at in range(12):
        mesh.client.send(head[at : at + 1])
        mesh.world.pass_time(1.0)
    mesh.client.connection_error(Code.ENHANCE_YOUR_CALM)


def test_a_ping_for_each_frame_of_data_is_good_manners() -> None:
    """gRPC in Go measures a connection by PINGs behind data, as many as there is data: and a fast client has much."""
    mesh = Mesh()
    mesh.call(1)
    endpoint = mesh.endpoint()
    endpoint.respond(endpoint.request()[0], body=MESSAGE, trailers=OK)
    for stream in range(3, 5003, 2):
        mesh.call(stream)
        endpoint.respond(endpoint.request()[0], body=MESSAGE, trailers=OK)
        mesh.client.send(window_update(0, 10), ping())
        assert status(mesh.client.response(stream)) == b"0"


def test_windows_that_flap_within_one_frame_are_set_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each new window is work for every stream, and one frame has place for thousands (CVE-2020-11080)."""
    made = []
    new_window = control._new_window
    monkeypatch.setattr(control, "_new_window", lambda *given: (made.append(given[1]), new_window(*given)))
    mesh = Mesh()
    made.clear()
    mesh.client.change(*[(Setting.INITIAL_WINDOW_SIZE, 0), (Setting.INITIAL_WINDOW_SIZE, 70000)] * 1000)
    assert made == [70000]


def test_an_idle_connection_that_does_not_take_its_last_answer_is_closed() -> None:
    """And until then it is looked at now and then, not with every tick."""
    mesh = Mesh(IMPATIENT)
    mesh.call(1)
    endpoint = mesh.endpoint()
    endpoint.respond(endpoint.request()[0], OK)
    mesh.client.response(1)
    peer = peer_of(mesh)
    connection = peer.protocol
    peer.unsent = 1000
    looks = 0
    on_timer = type(connection).on_timer

    class Counting:
        def on_timer(self, now: float) -> None:
            nonlocal looks
            looks += 1
            on_timer(connection, now)

    connection.timer.owner = Counting()
    mesh.world.pass_time(130.0)
    assert peer.over
    assert looks < 200


def test_an_idle_connection_that_was_slow_closes_when_it_has_taken_all() -> None:
    """It is not waited for any longer than that."""
    mesh = Mesh(IMPATIENT)
    peer = peer_of(mesh)
    peer.unsent = 1000
    mesh.world.pass_time(10.0)
    assert not peer.half_closed
    peer.unsent = 0
    mesh.world.pass_time(1.1)
    assert peer.half_closed


def test_a_connection_that_fails_to_write_holds_up_no_other() -> None:
    """Whatever a bug does to one, the others are flushed by the next turn of the loop."""
    soon: list[Callable[[], None]] = []
    written: list[str] = []
    outbox = Outbox(soon.append)

    class Good:
        def write(self) -> None:
            written.append("good")

    class Bad:
        def write(self) -> None:
            raise RuntimeError

    outbox.add(Good())
    outbox.add(Bad())
    with pytest.raises(RuntimeError):
        soon.pop()()
    outbox.add(Good())
    while soon:
        soon.pop()()
    assert written == ["good", "good"]


def test_an_early_answer_is_not_cut_off_because_the_request_goes_on() -> None:
    """RFC 9113 section 8.1: who has not sent all is told to stop behind the answer's end, not within it."""
    mesh = Mesh()
    client = mesh.client
    client.send(client.request(1, method="POST", end=False), *[data(1, bytes(16384))] * 8)
    endpoint = mesh.endpoint()
    endpoint.frames()
    endpoint.respond(1, body=bytes(100_000))
    assert sum(len(one.payload) for one in client.frames(Type.DATA)) == 65535
    client.send(*[data(1, bytes(16384))] * 4)
    client.send(window_update(0, 100_000), window_update(1, 100_000))
    assert len(client.response(1).body) == 100_000
    mesh.world.pass_time(2.1)
    client.stream_error(1, Code.NO_ERROR)


def test_the_end_of_a_body_needs_no_window() -> None:
    """A frame without data is sent though the peer takes no more of it: it may know that there is none left."""
    mesh = Mesh()
    mesh.client.change((Setting.INITIAL_WINDOW_SIZE, 10))
    mesh.client.send(mesh.client.request(1))
    endpoint = mesh.endpoint()
    stream, _ = endpoint.request()
    endpoint.send(headers(stream, endpoint.block([(":status", "200")]), end=False) + data(stream, bytes(10)))
    mesh.client.of(Type.DATA)
    peer = peer_of(mesh)
    peer.full()
    endpoint.send(data(stream, b"", end=True))
    peer.drained()
    assert mesh.client.response(1).body == bytes(10)


def test_calls_that_wait_for_a_connection_hear_together_that_there_is_none() -> None:
    """One connection was to be for all of them: they do not try it again one after the other."""
    mesh = Mesh(TWO_ENDPOINTS + "[services.orders.retry]\n")
    for stream in range(1, 21, 2):
        mesh.call(stream)
    mesh.world.refuse("10.0.0.1:9001")
    assert [endpoint.label for _, endpoint in mesh.world.dialing] == ["10.0.0.2:9001"]
    endpoint = mesh.endpoint("10.0.0.2:9001")
    mesh.world.pass_time(1.0)
    assert len(endpoint.frames(Type.HEADERS)) == 10


def test_a_connection_that_was_closed_at_once_says_nothing_of_idle_ones() -> None:
    """It never was idle."""
    mesh = Mesh()
    mesh.call(1)
    pool, _ = mesh.world.dialing[0]
    connection = pool.new_connection()
    peer = Peer()
    peer.protocol = connection
    connection.connection_made(peer)
    peer.end()
    assert pool.idle_limit == inf


def test_a_slow_endpoint_that_takes_what_it_is_sent_is_not_given_up() -> None:
    """It says by its windows that it is there; the answer to our PING comes behind all that was on its way."""
    mesh = Mesh()
    mesh.call(1, end=False)
    server = mesh.world.accept()
    mesh.world.settle()
    server.send(settings())
    mesh.call(3, ("grpc-timeout", "200m"))
    mesh.world.pass_time(0.5)
    for _ in range(5):
        mesh.world.pass_time(2.0)
        server.send(window_update(0, 1000))
        assert not server.over


def test_a_preface_behind_the_end_of_its_listener_is_told_so() -> None:
    """Its connection stood before, and nobody knew which HTTP it would speak."""
    mesh = Mesh()
    peer = mesh.world.client()
    mesh.world.sidecar.listeners["outbound"].end()
    late = Conversation(WorldPipe(mesh.world, peer)).handshake()
    assert [one.last for one in late.seen if one.type == Type.GOAWAY] == [2**31 - 1]
