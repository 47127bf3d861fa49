"""Endpoints at which nobody listens: left out at once, asked in the background, back with the first connection."""

from __future__ import annotations

import pytest

from sidecar.errors import Failure
from sidecar.resilience.standing import why
from tests.exchange.test_call_count import FEW, RESPONSE
from tests.support.world import ONE_ENDPOINT, TWO_ENDPOINTS, Peer, World


def used(world: World) -> list[str]:
    """The endpoints that may be picked."""
    return [endpoint.label for endpoint in world.sidecar.assembly.services["orders"].endpoints]


def refused(world: World) -> tuple[Peer, str]:
    """A caller whose call was refused by the first endpoint that it was tried at, which nobody asks any more."""
    client = world.client()
    client.send(FEW)
    label = world.dialing[0][1].label
    world.refuse(nobody=True)
    return client, label


def test_an_endpoint_that_refuses_a_connection_gets_no_more_calls() -> None:
    """The retry goes elsewhere, and so does every call after it, without a single further try."""
    world = World(TWO_ENDPOINTS)
    client, label = refused(world)
    world.pass_time(0.2)
    server = world.accept()
    server.send(RESPONSE)
    assert client.take().endswith(b"hi")
    for _ in range(5):
        client.send(FEW)
        assert server.take()
        server.send(RESPONSE)
    assert used(world) == [f"{server.address[0]}:9001"] != [label]
    assert not world.dialing


def test_it_is_asked_again_after_a_quarter_of_a_second_and_then_at_twice_the_distance() -> None:
    """At 0.25 s, then 0.5, 1, 2, 4 and every 5 s after the one before has failed, whatever that failed of."""
    world = World(TWO_ENDPOINTS)
    _, label = refused(world)
    world.pass_time(0.15)
    world.accept()
    tried = []
    since = world.time.now - 0.15
    for number in range(8):
        while not world.dialing:
            world.pass_time(0.01)
        tried.append(world.time.now - since)
        since = world.time.now
        world.refuse(label, Failure.CONNECT_TIMEOUT if number % 2 else Failure.CONNECT_FAILED)
    assert tried == pytest.approx([0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0], abs=0.03)


def test_with_the_first_connection_it_is_back_and_that_connection_serves_the_next_call() -> None:
    """Nobody has to find out by failing, and nothing is left to be asked."""
    world = World(TWO_ENDPOINTS)
    client, label = refused(world)
    world.pass_time(0.2)
    first = world.accept()
    first.send(RESPONSE)
    world.pass_time(0.3)
    second = world.accept(label)
    assert len(used(world)) == 2
    assert all(not why(endpoint) for endpoint in world.endpoints)
    for _ in range(2):
        client.send(FEW)
        server = next(server for server in (first, second) if server.take())
        server.send(RESPONSE)
    assert not world.dialing
    world.pass_time(10)
    assert not world.dialing


def test_the_only_endpoint_is_asked_by_calls_and_in_the_background() -> None:
    """It is not left out, since nobody else is there; whoever connects first finds it back."""
    world = World(ONE_ENDPOINT + "retry = false\n")
    client, label = refused(world)
    assert b"x-sidecar-reason: connect_failed" in client.take()
    assert used(world) == [label]
    client.send(FEW)
    server = world.accept()
    assert server.take()
    server.send(RESPONSE)
    assert client.take().endswith(b"hi")
    world.pass_time(10)
    assert not world.dialing


def test_what_fails_otherwise_is_the_breakers_affair() -> None:
    """A connection that takes too long says nothing for certain, and one refusal of another kind neither."""
    world = World(TWO_ENDPOINTS)
    client = world.client()
    client.send(FEW)
    world.refuse(failure=Failure.CONNECT_TIMEOUT)
    assert len(used(world)) == 2


def test_an_endpoint_that_the_registry_takes_away_is_asked_no_more() -> None:
    """Its timer goes with it."""
    world = World(TWO_ENDPOINTS)
    _, label = refused(world)
    kept = [endpoint for endpoint in world.endpoints if endpoint.label != label]
    world.sidecar._publish("orders", tuple(kept))
    world.pass_time(0.2)
    world.accept()
    world.pass_time(10)
    assert not world.dialing


def test_while_all_refuse_all_are_tried() -> None:
    """The one that comes back first is used alone from there on."""
    world = World(TWO_ENDPOINTS + "retry = { jitter = 'none' }\n")
    client, one = refused(world)
    world.pass_time(0.11)
    (other,) = {endpoint.label for _, endpoint in world.dialing} - {one}
    world.refuse(other, nobody=True)
    assert sorted(used(world)) == sorted([one, other])
    world.pass_time(0.15)
    server = world.accept(one)
    assert used(world) == [one]
    world.pass_time(0.2)
    assert server.take().startswith(b"GET /orders/7")
    server.send(RESPONSE)
    assert client.take().endswith(b"hi")
