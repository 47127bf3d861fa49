"""Bounds, to the exact number: the last one that is allowed gets through, the next one does not."""

from __future__ import annotations

import pytest

from tests.exchange.inside import all_given_back, watch
from tests.exchange.steps import heard, mesh, request, response


def test_exactly_1024_requests_are_in_flight_by_default_and_as_many_wait() -> None:
    """All of them are served in the end; the one too many is told at once when to come back."""
    world = mesh()
    begun = watch(world)
    clients = [world.client() for _ in range(1025)]
    for client in clients:
        client.send(request())
    answer = heard(clients[-1])
    assert (answer.status, answer.reason, answer.fields["retry-after"]) == (503, "overloaded", "1")
    assert len(world.dialing) == 1024
    for server in [world.accept() for _ in range(1024)]:
        server.send(response())
    assert {heard(client).status for client in clients[:-1]} == {200}
    world.settle()
    all_given_back(world, begun)


@pytest.mark.parametrize("allowed", [1, 3])
def test_exactly_so_many_may_wait_for_a_connection(allowed: int) -> None:
    """The one that uses the only connection does not wait."""
    world = mesh(more=f"retry = false\nlimits = {{ max_connections = 1, max_pending = {allowed} }}\n")
    begun = watch(world)
    first = world.client()
    first.send(request())
    server = world.accept()
    waiting = [world.client() for _ in range(allowed)]
    for client in waiting:
        client.send(request())
        assert client.take() == b""
    excess = world.client()
    excess.send(request())
    assert heard(excess).reason == "overloaded"
    for client in (first, *waiting):
        server.take()
        server.send(response())
        assert heard(client).status == 200
    world.settle()
    all_given_back(world, begun)


def test_an_attempt_that_finds_the_line_full_is_no_failure_of_its_endpoint() -> None:
    """We are short of patience, not the endpoint of health."""
    world = mesh(more="breaker = { failures = 1 }\nlimits = { max_connections = 1, max_pending = 0 }\n")
    client = world.client()
    client.send(request())
    assert heard(client).reason == "overloaded"
    breaker = world.endpoints[0].breaker
    assert breaker is not None and breaker.state == 0


def test_services_have_bounds_of_their_own() -> None:
    """A slow one does not take what others need."""
    world = mesh(
        more='limits = { max_requests = 1 }\n[services.other]\nendpoints = ["10.0.1.1:9001"]\n',
    )
    clients = [world.client() for _ in range(3)]
    for client, host in zip(clients, ("orders", "orders", "other"), strict=True):
        client.send(request(host=host))
    assert [bool(client.received) for client in clients] == [False, True, False]


def test_a_body_that_exceeds_what_is_kept_in_pieces_is_not_replayed() -> None:
    """64 KiB and one byte, of which nobody saw the end coming."""
    world = mesh(endpoints=2)
    client = world.client()
    client.send(request("PUT", body=b"x" * 65537)[:-40_000])
    server = world.accept()
    client.send(b"x" * 40_000)
    server.send(response(503, b"no"))
    assert (heard(client).body, world.dialing) == (b"no", [])


@pytest.mark.parametrize("status", [500, 502, 504])
def test_only_a_503_can_say_that_nothing_was_processed(status: int) -> None:
    """The words belong to that status."""
    world = mesh(endpoints=2)
    client = world.client()
    client.send(request("POST", body=b"pay"))
    world.accept().send(response(status, x_sidecar_reason="draining"))
    assert (heard(client).status, world.dialing) == (status, [])


@pytest.mark.parametrize(("fields", "fresh"), [({}, True), ({"Idempotency_Key": "k"}, False)])
def test_what_may_not_be_repeated_takes_no_doubtful_connection(fields: dict[str, str], fresh: bool) -> None:
    """Two seconds idle is too old for it as long as nothing is known of the endpoint."""
    world = mesh()
    client = world.client()
    client.send(request())
    server = world.accept()
    server.take()
    server.send(response())
    client.take()
    world.pass_time(2)
    client.send(request("POST", body=b"pay", **fields))
    assert (bool(world.dialing), bool(server.received)) == (fresh, not fresh)
