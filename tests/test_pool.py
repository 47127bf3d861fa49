"""Connections to endpoints, in virtual time: how many there are, who gets one, and which may still be trusted."""

from __future__ import annotations

import pytest

from tests.support.world import LISTEN, Peer, World

GET = b"GET / HTTP/1.1\r\nHost: orders\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: orders\r\nContent-Length: 0\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
KEPT = b"HTTP/1.1 200 OK\r\nkeep-alive: max=100, timeout=%d\r\ncontent-length: 2\r\n\r\nok"


def orders(max_connections: int = 1024, max_pending: int = 1024) -> World:
    limits = f"{{ max_connections = {max_connections}, max_pending = {max_pending} }}"
    return World(LISTEN + f'[services.orders]\nendpoints = ["10.0.0.1:9001"]\nretry = false\nlimits = {limits}\n')


def asking(world: World, request: bytes = GET) -> Peer:
    client = world.client()
    client.send(request)
    return client


def answered(client: Peer) -> bytes:
    """The status of the one response that came."""
    head, _, _ = client.take().partition(b"\r\n")
    return head.split(b" ")[1] if head else b""


def with_an_idle_connection(world: World, response: bytes = OK) -> Peer:
    """The endpoint's end of a connection that has carried one request."""
    client = asking(world)
    server = world.accept()
    server.send(response)
    assert answered(client) == b"200"
    server.take()
    return server


def takes(world: World, server: Peer, request: bytes) -> bool:
    """Whether a request goes out on the idle connection ``server``; if not, a new one is being made for it."""
    client = asking(world, request)
    if not server.received:
        assert world.dialing
        world.refuse()
        assert answered(client) == b"502"
        return False
    server.send(OK)
    server.take()
    assert answered(client) == b"200"
    return True


# How many, and who is next


def test_there_are_never_more_connections_than_allowed() -> None:
    """Those that are being made count as well; whoever has none waits."""
    world = orders(max_connections=2)
    clients = [asking(world) for _ in range(5)]
    assert len(world.dialing) == 2
    servers = [world.accept(), world.accept()]
    assert world.dialing == []
    servers[1].send(OK)
    assert answered(clients[1]) == b"200"
    assert world.dialing == []


def test_waiters_are_served_in_the_order_in_which_they_came() -> None:
    """The connection that becomes free goes to the first in line, whoever it was dialed for."""
    world = orders(max_connections=1)
    clients = [asking(world, GET.replace(b"/ ", b"/%d " % number)) for number in range(4)]
    server = world.accept()
    for number, client in enumerate(clients):
        assert server.take().startswith(b"GET /%d " % number)
        server.send(OK)
        assert answered(client) == b"200"


def test_a_connection_that_closes_while_some_wait_is_replaced() -> None:
    """Its place is free again when it is really gone, and the next in line gets a new one."""
    world = orders(max_connections=1)
    first, second = asking(world), asking(world)
    server = world.accept()
    server.send(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")
    assert answered(first) == b"200"
    assert world.dialing == []
    world.settle()
    world.accept().send(OK)
    assert answered(second) == b"200"


def test_more_waiters_than_allowed_are_turned_away() -> None:
    """The reason is overloaded, and it is said when to come again; those in line keep their place."""
    world = orders(max_connections=1, max_pending=2)
    waiting = [asking(world), asking(world)]
    refused = asking(world).take()
    assert refused.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nx-sidecar-reason: overloaded\r\n" in refused
    assert b"\r\nretry-after: " in refused
    server = world.accept()
    for client in waiting:
        server.send(OK)
        assert answered(client) == b"200"


def test_a_waiter_that_leaves_frees_its_place() -> None:
    """Both the one in the bounded line and the one before whoever came later."""
    world = orders(max_connections=1, max_pending=2)
    first, leaves = asking(world), asking(world)
    leaves.end()
    last = asking(world)
    server = world.accept()
    server.send(OK)
    server.send(OK)
    assert answered(first) == answered(last) == b"200"
    assert world.sidecar.assembly.services["orders"].limits.pending == 0


def test_a_connection_whose_waiter_has_left_is_kept_for_the_next() -> None:
    """It has cost a handshake already."""
    world = orders()
    asking(world).reset()
    server = world.accept()
    assert not server.over
    client = asking(world)
    assert world.dialing == []
    server.send(OK)
    assert answered(client) == b"200"


def test_a_failed_connection_is_told_to_the_first_in_line_and_tried_again_for_the_next() -> None:
    """One failure is one caller's; nobody is forgotten."""
    world = orders(max_connections=1)
    first, second = asking(world), asking(world)
    world.refuse()
    assert (answered(first), answered(second)) == (b"502", b"")
    world.accept().send(OK)
    assert answered(second) == b"200"


# How long


def test_the_connection_used_last_is_used_first() -> None:
    """So that a pool which was larger than needed shrinks."""
    world = orders()
    clients = [asking(world), asking(world)]
    old, new = world.accept(), world.accept()
    old.send(OK)
    new.send(OK)
    assert [answered(client) for client in clients] == [b"200", b"200"]
    for _ in range(3):
        asking(world)
        new.take()
        new.send(OK)
    world.pass_time(89.5)
    assert not old.closed
    assert takes(world, new, GET)
    world.pass_time(1)
    assert (old.closed, new.closed) == (True, False)


def test_an_idle_connection_retires_after_90_seconds() -> None:
    """Not before; and the next request then makes a new one."""
    world = orders()
    server = with_an_idle_connection(world)
    world.pass_time(89.9)
    assert not server.closed
    world.pass_time(0.2)
    assert server.closed
    asking(world)
    assert len(world.dialing) == 1


def test_bytes_that_nobody_asked_for_close_an_idle_connection() -> None:
    """They must not become the answer to the next request."""
    world = orders()
    server = with_an_idle_connection(world)
    server.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
    assert server.aborted
    client = asking(world)
    world.accept().send(OK)
    assert client.take().endswith(b"\r\n\r\nok")


def test_an_endpoint_that_leaves_its_service_loses_its_idle_connections() -> None:
    """Nobody will ask for them again."""
    world = orders()
    server = with_an_idle_connection(world)
    world.sidecar._pools.forget(world.endpoints[0])
    assert server.closed


# The race with an endpoint that closes


def test_until_something_is_learned_a_connection_is_sure_for_one_second() -> None:
    """A POST takes one that was used 0.9 s ago, and not one of 1.1 s; a GET takes either."""
    world = orders()
    server = with_an_idle_connection(world)
    world.pass_time(0.9)
    assert takes(world, server, POST)
    world.pass_time(1.1)
    assert not takes(world, server, POST)
    assert takes(world, server, GET)


@pytest.mark.parametrize("seconds", [1, 5, 60])
def test_half_of_the_announced_idle_time_is_sure(seconds: int) -> None:
    """``Keep-Alive: timeout=N`` is believed, whether it promises more than a second or not."""
    world = orders()
    server = with_an_idle_connection(world, KEPT % seconds)
    world.pass_time(seconds * 0.45)
    assert takes(world, server, POST)
    world.pass_time(seconds * 0.55)
    assert not takes(world, server, POST)
    assert takes(world, server, GET)


def test_half_of_the_idle_time_after_which_it_was_seen_to_close_is_sure() -> None:
    """An endpoint that says nothing is learned from: it closed after 10 s once."""
    world = orders()
    first = with_an_idle_connection(world)
    world.pass_time(10)
    first.end()
    server = with_an_idle_connection(world)
    world.pass_time(4.5)
    assert takes(world, server, POST)
    world.pass_time(5.5)
    assert not takes(world, server, POST)
    assert takes(world, server, GET)


def test_the_shortest_idle_time_that_was_learned_counts() -> None:
    """A later promise of more does not undo what was seen."""
    world = orders()
    first = with_an_idle_connection(world)
    world.pass_time(4)
    first.end()
    server = with_an_idle_connection(world, KEPT % 60)
    world.pass_time(2.5)
    assert not takes(world, server, POST)


def test_a_connection_that_closes_at_once_teaches_nothing() -> None:
    """The process has ended, most likely: its successor's connections are as sure as any."""
    world = orders()
    first = with_an_idle_connection(world)
    world.pass_time(0.1)
    first.end()
    server = with_an_idle_connection(world)
    world.pass_time(0.9)
    assert takes(world, server, POST)


def test_a_get_that_lost_the_race_is_sent_again_on_a_new_connection() -> None:
    """Once, without delay, without a mark against the endpoint, and not on another old connection."""
    world = orders()
    clients = [asking(world), asking(world)]
    servers = [world.accept(), world.accept()]
    for server, client in zip(servers, clients, strict=True):
        server.send(OK)
        assert answered(client) == b"200"
        server.take()
    client = asking(world)
    assert servers[1].received and not servers[0].received
    servers[1].end()
    assert not servers[0].received
    world.accept().send(OK)
    assert answered(client) == b"200"
    breaker = world.endpoints[0].breaker
    assert breaker is not None
    assert list(breaker.transitions) == [0, 0, 0]  # type: ignore[attr-defined]
    assert world.sidecar.assembly.plans[-1].stats.retries == {}


def test_a_post_that_lost_a_race_it_was_sure_of_is_not_sent_again() -> None:
    """It may have been processed: the caller has to know."""
    world = orders()
    server = with_an_idle_connection(world)
    client = asking(world, POST)
    assert server.received
    server.end()
    assert b"\r\nx-sidecar-reason: upstream_reset\r\n" in client.take()
    assert world.dialing == []


def test_a_sure_request_never_waits_behind_connections_that_are_not_sure() -> None:
    """All connections that are allowed are old: one of them makes way."""
    world = orders(max_connections=1)
    server = with_an_idle_connection(world)
    world.pass_time(2)
    client = asking(world, POST)
    assert server.closed
    world.settle()
    world.accept().send(OK)
    assert answered(client) == b"200"
