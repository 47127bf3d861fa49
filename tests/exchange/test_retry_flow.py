"""Trying again: when it is safe, useful and affordable, and not otherwise (docs/policies.md)."""

from __future__ import annotations

import itertools

import pytest

from sidecar.errors import Failure
from tests.exchange.steps import at_rest, heard, mesh, request, response
from tests.support.world import Peer, World


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"])
def test_an_idempotent_request_is_tried_again_at_another_endpoint(method: str) -> None:
    """A 503 of one endpoint is hidden by the other's answer."""
    world = mesh(endpoints=2)
    client = world.client()
    client.send(request(method))
    first = world.accept()
    first.send(response(503, b"" if method == "HEAD" else b"no"))
    assert client.take() == b""
    world.pass_time(0.2)
    second = world.accept()
    assert second.address != first.address
    second.send(response(200, b"" if method == "HEAD" else b"ok"))
    assert heard(client).status == 200
    at_rest(world)


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_request_that_may_not_be_repeated_gets_the_failure(method: str) -> None:
    """It may have been processed; a second try might pay twice."""
    world = mesh(endpoints=2)
    client = world.client()
    client.send(request(method, body=b"pay"))
    world.accept().send(response(503, b"no"))
    assert (heard(client).status, world.dialing) == (503, [])
    client.send(request(method, body=b"pay"))
    world.accept().end()
    assert heard(client).reason == "upstream_reset"
    at_rest(world)


def test_an_idempotency_key_makes_any_request_repeatable() -> None:
    """The caller has said that twice is the same as once."""
    world = mesh(endpoints=2)
    client = world.client()
    client.send(request("POST", body=b"pay", Idempotency_Key="k1"))
    world.accept().send(response(503))
    world.pass_time(0.2)
    second = world.accept()
    assert second.take().endswith(b"\r\n\r\npay")
    second.send(response(201))
    assert heard(client).status == 201


def test_any_request_is_tried_again_when_no_connection_was_made() -> None:
    """Provably nothing was processed."""
    world = mesh(endpoints=2)
    client = world.client()
    client.send(request("POST", body=b"pay"))
    world.refuse()
    world.pass_time(0.2)
    second = world.accept()
    assert heard(second).body == b"pay"
    second.send(response(201))
    assert heard(client).status == 201


@pytest.mark.parametrize("reason", ["draining", "overloaded"])
def test_any_request_is_tried_again_when_a_peers_sidecar_handed_nothing_on(reason: str) -> None:
    """It says so itself; without that word the same status is final for a POST."""
    world = mesh(endpoints=2)
    client = world.client()
    client.send(request("POST", body=b"pay"))
    world.accept().send(response(503, x_sidecar_reason=reason))
    world.pass_time(0.2)
    world.accept().send(response(201))
    assert heard(client).status == 201


@pytest.mark.parametrize("status", [400, 404, 408, 409, 425, 429, 501, 505, 508])
def test_what_would_be_the_same_anywhere_is_the_answer(status: int) -> None:
    """4xx is the caller's mistake; 501, 505 and 508 are true answers."""
    world = mesh(endpoints=2)
    client = world.client()
    client.send(request())
    world.accept().send(response(status))
    assert (heard(client).status, world.dialing) == (status, [])


def test_there_are_five_retries_with_doubling_delays() -> None:
    """100 ms, 200, 400, 800, 1600; the sixth answer is passed on as it is."""
    world = mesh()
    client = world.client()
    client.send(request())
    server = world.accept()
    begun = world.time.now
    instants = []
    for attempt in range(1, 7):
        for _ in range(1000):
            if server.received:
                break
            world.pass_time(0.01)
        assert heard(server).fields["x-sidecar-attempt"] == str(attempt)
        instants.append(world.time.now - begun)
        server.send(response(503, b"answer %d" % attempt))
    assert heard(client).body == b"answer 6"
    waits = [later - sooner for sooner, later in itertools.pairwise(instants)]
    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6], abs=0.03)
    at_rest(world)


def test_back_off_doubles_up_to_the_longest_delay_with_full_jitter_by_default() -> None:
    """Instants lie between nothing and the whole delay, and two exchanges do not come back together."""
    world = World('[service]\napp = "127.0.0.1:1"\n[services.orders]\nendpoints = ["10.0.0.1:9001"]\nbreaker = false\n')
    waits = []
    for _ in range(20):
        client = world.client()
        client.send(request())
        if world.dialing:
            server = world.accept()
        server.take()
        server.send(response(503))
        begun = world.time.now
        for _ in range(100):
            if not server.received:
                world.pass_time(0.005, step=0.005)
        waits.append(world.time.now - begun)
        server.send(response(200))
        assert heard(client).status == 200
    assert max(waits) <= 0.12
    assert len({round(wait, 2) for wait in waits}) > 4


def test_a_body_up_to_64_kib_is_replayed_to_the_byte() -> None:
    """The second endpoint gets what the first one got."""
    world = mesh(endpoints=2)
    client = world.client()
    body = bytes(range(256)) * 256
    client.send(request("PUT", body=body))
    first = world.accept()
    assert heard(first).body == body
    first.send(response(503))
    world.pass_time(0.2)
    assert heard(world.accept()).body == body


def test_a_larger_body_is_not_kept_and_its_failure_is_the_answer() -> None:
    """Memory is bounded whatever the body's size."""
    world = mesh(endpoints=2)
    client = world.client()
    client.send(request("PUT", body=b"x" * 65537))
    world.accept().send(response(503))
    assert (heard(client).status, world.dialing) == (503, [])


def test_a_body_that_is_still_coming_goes_on_to_the_next_attempt() -> None:
    """What came is replayed, what comes later follows."""
    world = mesh(endpoints=2)
    client = world.client()
    client.send(request("PUT", body=b"123456")[:-3])
    first = world.accept()
    assert heard(first).body == b"123"
    first.reset()
    world.pass_time(0.05)
    client.send(b"45")
    world.pass_time(0.1)
    second = world.accept()
    assert heard(second).body == b"12345"
    client.send(b"6")
    assert second.take() == b"6"
    second.send(response(200))
    assert heard(client).status == 200
    at_rest(world)


def test_nothing_is_tried_again_once_a_byte_of_the_response_was_passed_on() -> None:
    """A response that breaks off is broken off for the caller too."""
    world = mesh(endpoints=2)
    client = world.client()
    client.send(request())
    server = world.accept()
    server.send(response(200, b"0123456789")[:-5])
    server.reset()
    world.settle()
    assert (world.dialing, client.over) == ([], True)
    at_rest(world)


def test_retry_after_binds_the_endpoint_that_sent_it() -> None:
    """The other one is tried after the normal back-off."""
    world = mesh(endpoints=2)
    client = world.client()
    client.send(request())
    world.accept().send(response(503, Retry_After="20"))
    world.pass_time(0.2)
    world.accept().send(response(200))
    assert heard(client).status == 200


def test_retry_after_is_waited_for_when_nobody_else_is_left() -> None:
    """Three seconds, not a hundred milliseconds."""
    world = mesh()
    client = world.client()
    client.send(request())
    server = world.accept()
    server.take()
    server.send(response(503, Retry_After="3"))
    world.pass_time(2.9)
    assert not server.received
    world.pass_time(0.2)
    assert heard(server).fields["x-sidecar-attempt"] == "2"


def test_retry_after_beyond_the_deadline_gives_the_response_at_once() -> None:
    """Waiting would only make it later."""
    world = mesh()
    client = world.client()
    client.send(request())
    world.accept().send(response(503, b"later", Retry_After="60"))
    answer = heard(client)
    assert (answer.status, answer.body, answer.reason) == (503, b"later", None)


def test_a_back_off_beyond_the_deadline_gives_the_answer_at_once() -> None:
    """The deadline clips everything in it."""
    world = mesh()
    client = world.client()
    client.send(request(X_Request_Timeout_Ms="90"))
    world.accept().send(response(503, b"now"))
    assert heard(client).body == b"now"


def test_the_last_answer_comes_unchanged_when_its_endpoint_is_gone_after_the_back_off() -> None:
    """Also one whose body was still on its way: it was held, and goes on from where it stood."""
    world = mesh(more="breaker = false\n")
    client = world.client()
    client.send(request())
    server = world.accept()
    server.send(response(503, b"0123456789", X_App="yes")[:-4])
    assert (client.take(), server.paused) == (b"", True)
    world.sidecar.assembly.services["orders"].list(())
    world.pass_time(0.2)
    assert not server.paused
    server.send(b"6789")
    answer = heard(client)
    assert (answer.status, answer.fields["x-app"], answer.body) == (503, "yes", b"0123456789")
    at_rest(world)


def test_a_held_answer_whose_connection_dies_becomes_that_failure() -> None:
    """Half a response is no answer."""
    world = mesh()
    client = world.client()
    client.send(request())
    server = world.accept()
    server.send(response(503, b"0123456789")[:-4])
    server.reset()
    world.sidecar.assembly.services["orders"].list(())
    world.pass_time(0.2)
    assert heard(client).reason == "upstream_reset"
    at_rest(world)


@pytest.mark.parametrize(
    ("on", "retried"), [('["5xx"]', {"5xx"}), ('["connect"]', {"connect"}), ('["reset"]', {"reset"}), ("[]", set())]
)
def test_only_what_the_configuration_names_is_tried_again(on: str, retried: set[str]) -> None:
    """Three failures, of which one kind is named."""
    for kind in ("5xx", "connect", "reset"):
        world = mesh(endpoints=2, more=f"retry = {{ on = {on} }}\n")
        client = world.client()
        client.send(request())
        if kind == "connect":
            world.refuse()
        else:
            server = world.accept()
            server.send(response(500)) if kind == "5xx" else server.reset()
        world.pass_time(0.2)
        assert bool(world.dialing) == (kind in retried), kind


def test_retries_can_be_switched_off() -> None:
    """``retry = false``, and the first failure is the answer."""
    world = mesh(endpoints=2, more="retry = false\n")
    client = world.client()
    client.send(request())
    world.refuse()
    assert heard(client).reason == "connect_failed"


def test_a_connect_timeout_is_tried_elsewhere() -> None:
    """The word differs, the right to try again does not."""
    world = mesh(endpoints=2)
    client = world.client()
    client.send(request("POST", body=b"x"))
    world.refuse(failure=Failure.CONNECT_TIMEOUT)
    world.pass_time(0.2)
    world.accept().send(response(200))
    assert heard(client).status == 200


def test_retries_are_counted_by_what_made_them_necessary() -> None:
    """What ``sidecar_retries_total`` shows."""
    world = mesh(endpoints=2)
    client = world.client()
    client.send(request())
    world.refuse()
    world.pass_time(0.2)
    world.accept().send(response(502))
    world.pass_time(0.5)
    plan = next(plan for plan in world.sidecar.assembly.plans if plan.service.name == "orders")
    assert plan.stats.retries == {"connect_failed": 1, "5xx": 1}


def test_an_outage_adds_no_more_than_the_budget() -> None:
    """Retries within 10 s: a fifth of the first attempts and 30 more."""
    world = mesh(more="breaker = false\n")
    servers = []
    clients = [world.client() for _ in range(100)]
    for client in clients:
        client.send(request())
    asked = 0
    for _ in range(100):
        servers.append(world.accept())
    for _ in range(400):
        for server in servers:
            if server.take():
                asked += 1
                server.send(response(503))
        world.pass_time(0.02)
    assert 100 < asked <= 100 + 20 + 30
    assert all(heard(client).status == 503 for client in clients)
    at_rest(world)


def test_with_one_bad_endpoint_of_two_only_every_second_first_attempt_meets_it() -> None:
    """A retry does not take a first attempt's turn in the rotation."""
    world = mesh(endpoints=2, more="breaker = false\n")
    client = world.client()
    servers: dict[tuple[str, int], Peer] = {}
    met = 0
    for _ in range(20):
        client.send(request())
        for _ in range(3):
            if world.dialing:
                server = world.accept()
                servers[server.address] = server
            for address, server in servers.items():
                if server.take():
                    bad = address[0] == "10.0.0.1"
                    met += bad
                    server.send(response(503 if bad else 200))
            if client.received:
                break
            world.pass_time(0.2)
        assert heard(client).status == 200
    assert 8 <= met <= 12
