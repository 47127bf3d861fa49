"""Leaving an endpoint alone: when its breaker trips, what its callers get, and how it comes back."""

from __future__ import annotations

import pytest

from sidecar.resilience.breaker import CLOSED, HALF_OPEN, OPEN
from tests.exchange.steps import at_rest, heard, mesh, request, response
from tests.support.world import Peer, World

ALONE = "retry = false\n"


def ask(world: World, servers: list[Peer], status: int) -> int:
    """One request; whoever is asked answers with ``status``. What the caller gets."""
    client = world.client()
    client.send(request())
    if world.dialing:
        servers.append(world.accept())
    for server in servers:
        if server.take():
            server.send(response(status))
    answer = heard(client)
    client.end()
    world.settle()
    return answer.status


def tripped(world: World) -> list[Peer]:
    servers: list[Peer] = []
    for _ in range(5):
        assert ask(world, servers, 500) == 500
    return servers


def test_five_failures_in_ten_seconds_open_it_for_exactly_thirty() -> None:
    """Then one probe is let through."""
    world = mesh(more=ALONE)
    servers = tripped(world)
    breaker = world.endpoints[0].breaker
    assert breaker is not None and breaker.state == OPEN
    opened = world.time.now
    client = world.client()
    client.send(request())
    answer = heard(client)
    assert (answer.status, answer.reason, answer.fields["retry-after"]) == (503, "breaker_open", "30")
    assert "10.0.0.1:9001" in answer.error()["detail"]
    world.time.now = opened + 29.999
    client.send(request())
    assert heard(client).reason == "breaker_open"
    world.time.now = opened + 30.0
    assert ask(world, servers, 200) == 200
    assert breaker.state == HALF_OPEN
    at_rest(world)


def test_four_failures_do_not_and_neither_do_five_in_more_than_ten_seconds() -> None:
    """The count is exact."""
    world = mesh(more=ALONE)
    servers: list[Peer] = []
    for instant in (0.0, 2.6, 2.6, 2.6, 2.6):
        world.time.now += instant
        ask(world, servers, 500)
    breaker = world.endpoints[0].breaker
    assert breaker is not None and breaker.state == CLOSED


def test_five_failures_among_many_successes_do_not() -> None:
    """Below a fifth of the outcomes it is noise."""
    world = mesh(more=ALONE)
    servers: list[Peer] = []
    for _ in range(25):
        ask(world, servers, 200)
    for _ in range(5):
        ask(world, servers, 500)
    breaker = world.endpoints[0].breaker
    assert breaker is not None and breaker.state == CLOSED


def test_three_successes_in_a_row_close_it_and_one_failure_opens_it_again() -> None:
    """For thirty seconds more."""
    world = mesh(more=ALONE)
    servers = tripped(world)
    breaker = world.endpoints[0].breaker
    assert breaker is not None
    world.time.now += 30
    assert [ask(world, servers, status) for status in (200, 200)] == [200, 200]
    assert breaker.state == HALF_OPEN
    assert ask(world, servers, 500) == 500
    assert breaker.state == OPEN
    world.time.now += 30
    assert [ask(world, servers, 200) for _ in range(3)] == [200, 200, 200]
    assert breaker.state == CLOSED


def test_only_one_probe_at_a_time_is_let_through() -> None:
    """The others are refused while it runs, and flow when it has closed the breaker."""
    world = mesh(more=ALONE)
    servers = tripped(world)
    world.time.now += 30
    first, second = world.client(), world.client()
    first.send(request())
    second.send(request())
    assert heard(second).reason == "breaker_open"
    servers[0].send(response(200))
    assert heard(first).status == 200
    second.send(request())
    servers[0].send(response(200))
    assert heard(second).status == 200


def test_an_open_endpoint_is_not_picked_while_others_are_there() -> None:
    """Its callers notice nothing."""
    world = mesh(endpoints=2, more=ALONE)
    servers: dict[str, Peer] = {}
    statuses = []
    for _ in range(40):
        client = world.client()
        client.send(request())
        if world.dialing:
            server = world.accept()
            servers[server.address[0]] = server
        for host, server in servers.items():
            if server.take():
                server.send(response(500 if host == "10.0.0.1" else 200))
        statuses.append(heard(client).status)
    assert statuses.count(500) == 5
    assert set(statuses[12:]) == {200}


def test_one_exchange_counts_at_most_one_failure_of_an_endpoint() -> None:
    """Five failed retries at the only endpoint are one failure."""
    world = mesh()
    client = world.client()
    client.send(request())
    server = world.accept()
    for _ in range(6):
        server.take()
        server.send(response(503))
        world.pass_time(2)
    assert heard(client).status == 503
    breaker = world.endpoints[0].breaker
    assert breaker is not None and breaker.state == CLOSED
    at_rest(world)


def test_no_endpoints_and_no_healthy_endpoint_are_other_words() -> None:
    """A breaker is named only where one bars the way."""
    world = mesh()
    world.sidecar.assembly.services["orders"].list(())
    client = world.client()
    client.send(request())
    assert heard(client).reason == "no_endpoints"
    world = World(
        '[service]\napp = "127.0.0.1:1"\n[services.orders]\nendpoints = [{ address = "10.0.0.1:1", weight = 0 }]\n'
    )
    client = world.client()
    client.send(request())
    assert heard(client).reason == "no_healthy_endpoint"


@pytest.mark.parametrize(("waited", "trips"), [(4.9, False), (5.1, True)])
def test_a_caller_that_leaves_is_the_endpoints_failure_only_after_five_seconds(waited: float, trips: bool) -> None:
    """An impatient caller says nothing of the endpoint; a hanging endpoint must not look fine."""
    world = mesh(more=ALONE)
    clients = [world.client() for _ in range(5)]
    for client in clients:
        client.send(request())
        world.accept()
    world.pass_time(waited)
    for client in clients:
        client.end()
    breaker = world.endpoints[0].breaker
    assert breaker is not None and (breaker.state == OPEN) == trips
    at_rest(world)


@pytest.mark.parametrize(("given", "trips"), [("4000", False), ("6000", True), ("60000", True)])
def test_a_callers_own_deadline_counts_like_its_leaving_and_ours_always(given: str, trips: bool) -> None:
    """Ours is 30 s here; what is given can only shorten it."""
    world = mesh(more=ALONE)
    clients = [world.client() for _ in range(5)]
    for client in clients:
        client.send(request(X_Request_Timeout_Ms=given))
        world.accept()
    world.pass_time(31)
    assert {heard(client).reason for client in clients} == {"deadline_exceeded"}
    breaker = world.endpoints[0].breaker
    assert breaker is not None and (breaker.state == OPEN) == trips
    at_rest(world)


def test_results_of_attempts_begun_before_a_trip_are_not_counted() -> None:
    """Late answers say nothing of the endpoint that is being tested."""
    world = mesh(more=ALONE)
    early = world.client()
    early.send(request())
    slow = world.accept()
    servers = tripped(world)
    world.time.now += 29
    probe = world.client()
    slow.take()
    slow.send(response(200))
    assert heard(early).status == 200
    world.time.now += 1
    probe.send(request())
    breaker = world.endpoints[0].breaker
    assert breaker is not None and breaker.state == HALF_OPEN and "0/3 successes, 1/1 probes" in repr(breaker)
    for server in (*servers, slow):
        if server.take():
            server.send(response(200))
    assert heard(probe).status == 200


def test_a_response_that_breaks_off_is_a_failure() -> None:
    """Its head looked well."""
    world = mesh(more=ALONE)
    for _ in range(5):
        client = world.client()
        client.send(request())
        server = world.accept()
        server.send(response(200, b"0123456789")[:-1])
        server.reset()
        world.settle()
        assert client.over
    breaker = world.endpoints[0].breaker
    assert breaker is not None and breaker.state == OPEN
    at_rest(world)


def test_inbound_has_no_breaker() -> None:
    """The application is the only one to ask."""
    world = mesh()
    client = world.client("inbound")
    client.send(request(host="shop"))
    server = world.accept()
    for _ in range(8):
        server.send(response(500))
        assert heard(client).status == 500
        client.send(request(host="shop"))


def test_breakers_can_be_switched_off() -> None:
    """``breaker = false``, and ten failures change nothing."""
    world = mesh(more=ALONE + "breaker = false\n")
    servers: list[Peer] = []
    assert [ask(world, servers, 500) for _ in range(10)] == [500] * 10
