"""Connections of HTTP/2 that calls share: how many there are, who leaves, and what becomes of calls then."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from tests.http2.mesh import MESSAGE, OK, Mesh, status
from tests.support.http2 import Code, Setting, Type, goaway
from tests.support.http2_peers import Conversation, Endpoint, WorldPipe
from tests.support.world import TWO_ENDPOINTS, Peer


def test_calls_of_one_client_alternate_between_endpoints() -> None:
    """One channel reaches all of them: a call is what is balanced, not a connection."""
    mesh = Mesh(TWO_ENDPOINTS)
    endpoints = []
    for stream in range(1, 9, 2):
        mesh.call(stream)
        while mesh.world.dialing:
            endpoints.append(mesh.endpoint())
    assert [len(list(one.frames(Type.HEADERS))) for one in endpoints] == [2, 2]


def test_streams_share_a_connection_as_far_as_the_endpoint_allows() -> None:
    """The third call of an endpoint that takes two at a time has a connection of its own; later ones use what is free."""
    mesh = Mesh()
    mesh.call(1)
    first = mesh.endpoint(values=((Setting.MAX_CONCURRENT_STREAMS, 2),))
    mesh.call(3)
    assert not mesh.world.dialing
    mesh.call(5)
    second = mesh.endpoint(values=((Setting.MAX_CONCURRENT_STREAMS, 2),))
    assert len(first.frames(Type.HEADERS)) == 2
    stream, _ = second.request()
    second.respond(stream, OK)
    mesh.call(7)
    assert not mesh.world.dialing
    assert second.request()[0] == stream + 2


@pytest.mark.parametrize("code", [Code.REFUSED_STREAM], ids=["refused"])
def test_a_stream_that_was_refused_is_sent_again(code: Code) -> None:
    """H12: nothing was done about it, and the client hears nothing of it; it is no failure of the endpoint's."""
    mesh = Mesh()
    mesh.call(1)
    endpoint = mesh.endpoint()
    stream, _ = endpoint.request()
    endpoint.reset(stream, code)
    again = mesh.endpoint()
    stream, request = again.request()
    assert bytes(request.body) == MESSAGE
    again.respond(stream, OK)
    assert status(mesh.client.response(1)) == b"0"


def test_streams_above_a_goaway_are_sent_again_and_those_below_go_on() -> None:
    """H12: a server that leaves costs no call."""
    mesh = Mesh()
    mesh.call(1)
    endpoint = mesh.endpoint()
    mesh.call(3)
    assert len(endpoint.frames(Type.HEADERS)) == 2
    endpoint.send(goaway(1))
    again = mesh.endpoint()
    stream, _ = again.request()
    again.respond(stream, OK)
    assert status(mesh.client.response(3)) == b"0"
    endpoint.respond(1, OK)
    assert status(mesh.client.response(1)) == b"0"


def test_an_endpoint_that_speaks_http_1_is_named() -> None:
    """An error that says what to do about it."""
    mesh = Mesh()
    mesh.call(1)
    server = mesh.world.accept()
    mesh.world.settle()
    server.send(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")
    answer = mesh.client.response(1)
    assert (status(answer), answer.get(b"x-sidecar-reason")) == (b"13", b"upstream_protocol")
    assert b"does not speak HTTP/2" in (answer.get(b"grpc-message") or b"")


def test_a_connection_on_which_nobody_answers_is_left() -> None:
    """A call that timed out asks whether anybody is there; when nobody is, later calls have another connection."""
    mesh = Mesh()
    mesh.call(1, ("grpc-timeout", "200m"))
    server = mesh.world.accept()
    mesh.world.pass_time(0.3)
    assert status(mesh.client.response(1)) == b"4"
    mesh.world.pass_time(5.1)
    assert server.over
    mesh.call(3)
    assert mesh.world.dialing


def test_a_listener_that_drains_says_so_and_answers_what_is_on_its_way() -> None:
    """GOAWAY above every stream first; the connection closes when the last one has ended."""
    mesh = Mesh()
    mesh.call(1)
    endpoint = mesh.endpoint()
    stream, _ = endpoint.request()
    mesh.world.sidecar.listeners["outbound"].end()
    mesh.world.settle()
    assert mesh.client.of(Type.GOAWAY).last == 2**31 - 1
    mesh.call(3)
    second, _ = endpoint.request()
    endpoint.respond(stream, OK)
    endpoint.respond(second, OK)
    assert (status(mesh.client.response(1)), status(mesh.client.response(3))) == (b"0", b"0")
    mesh.world.pass_time(1.1)
    assert mesh.client.of(Type.GOAWAY).last == 3
    mesh.client.closes()


def test_a_listener_that_takes_nothing_new_lets_others_be_asked() -> None:
    """A connection that comes too late is told by GOAWAY that nothing was looked at."""
    mesh = Mesh()
    mesh.world.sidecar.listeners["outbound"].accepting = False
    late = Conversation(WorldPipe(mesh.world, mesh.world.client()), strict=False)
    late.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
    away = late.of(Type.GOAWAY)
    assert (away.last, away.code) == (0, Code.NO_ERROR)


def test_many_calls_at_once_wait_until_a_new_endpoint_says_how_many_it_takes() -> None:
    """The first goes at once, the others when they are known to be taken: none is refused, whatever its size."""
    mesh = Mesh()
    for stream in range(1, 9, 2):
        mesh.call(stream)
    server = mesh.world.accept()
    mesh.world.settle()
    assert server.received.count(b"/shop.Orders/Get") == 1
    two = ((Setting.MAX_CONCURRENT_STREAMS, 2),)
    first = Endpoint(WorldPipe(mesh.world, server), *two)
    mesh.world.settle()
    assert len(first.frames(Type.HEADERS)) == 2
    second = mesh.endpoint(values=two)
    assert len(second.frames(Type.HEADERS)) == 2


def test_a_connection_that_is_full_before_its_pool_hears_of_it_is_followed_by_another() -> None:
    """What it says may come in the same turn of the loop as the connection itself."""
    mesh = Mesh()
    for stream in range(1, 9, 2):
        mesh.call(stream)
    pool, endpoint = mesh.world._dialed(None)
    peer = Peer((endpoint.host, endpoint.port))
    peer.protocol = connection = pool.new_connection()
    mesh.world.peers.append(peer)
    connection.connection_made(cast(asyncio.Transport, peer))
    Endpoint(WorldPipe(mesh.world, peer), (Setting.MAX_CONCURRENT_STREAMS, 3))
    assert not mesh.world.dialing
    pool.dialed(connection)
    assert mesh.world.dialing
