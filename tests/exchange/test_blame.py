"""Whose failure it is: an endpoint's breaker hears of what the endpoint did, and of nothing else."""

from __future__ import annotations

import pytest

from sidecar.errors import Failure
from sidecar.resilience.breaker import OPEN
from tests.exchange.inside import all_given_back, watch
from tests.exchange.steps import counted, heard, mesh, request, response
from tests.support.world import Peer, World

TOUCHY = "retry = false\nbreaker = { failures = 1 }\n"


def is_blamed(world: World) -> bool:
    breaker = world.endpoints[0].breaker
    return breaker is not None and breaker.state == OPEN


def test_an_attempts_own_timeout_is_a_failure_whoever_set_the_deadline() -> None:
    """The caller's deadline is shorter than the route's, but it has not passed."""
    world = mesh(more=TOUCHY + 'attempt_timeout = "1s"\n')
    client = world.client()
    client.send(request(X_Request_Timeout_Ms="4000"))
    world.accept()
    world.pass_time(1.1)
    assert heard(client).reason == "deadline_exceeded"
    assert is_blamed(world)


def test_an_attempt_covers_the_wait_for_its_connection() -> None:
    """It is tried elsewhere, with any method: nothing was sent."""
    world = mesh(endpoints=2, more='attempt_timeout = "500ms"\n')
    begun = watch(world)
    client = world.client()
    client.send(request("POST", body=b"x"))
    (_, first), *_ = world.dialing
    world.pass_time(0.7)
    second = world.accept(next(e.label for e in world.endpoints if e is not first))
    second.send(response(201))
    assert heard(client).status == 201
    world.refuse(first.label, Failure.CONNECT_TIMEOUT)
    world.settle()
    all_given_back(world, begun)


def test_an_endpoint_is_not_late_before_it_has_the_whole_request() -> None:
    """The attempt's time begins with the last byte of a slow upload."""
    world = mesh(more=TOUCHY + 'attempt_timeout = "2s"\n')
    client = world.client()
    client.send(request("PUT", body=b"123")[:-2])
    server = world.accept()
    for byte in (b"2", b"3"):
        world.pass_time(5)
        client.send(byte)
    world.pass_time(1.9)
    assert client.take() == b"" and not server.over
    world.pass_time(0.2)
    assert heard(client).reason == "deadline_exceeded"
    assert is_blamed(world)


@pytest.mark.parametrize(("sent", "blamed"), [("123", True), ("12", False)])
def test_a_caller_that_leaves_in_mid_upload_says_nothing_of_the_endpoint(sent: str, blamed: bool) -> None:
    """It was the endpoint that waited, however long; once it has all, the five seconds count."""
    world = mesh(more=TOUCHY)
    client = world.client()
    client.send(request("PUT", body=b"123")[:-3] + sent.encode())
    world.accept()
    world.pass_time(6)
    client.end()
    assert is_blamed(world) == blamed


def test_what_this_machine_lacks_is_no_endpoints_failure() -> None:
    """Too few file descriptors are told as overload, with a time to come back."""
    world = mesh(more=TOUCHY)
    client = world.client()
    client.send(request())
    world.refuse(failure=Failure.OVERLOADED)
    answer = heard(client)
    assert (answer.status, answer.reason, answer.fields["retry-after"]) == (503, "overloaded", "1")
    assert not is_blamed(world)


def test_a_malformed_upload_is_no_endpoints_failure() -> None:
    """What it has of it, it cannot take for the whole."""
    world = mesh(more=TOUCHY)
    begun = watch(world)
    client = world.client()
    client.send(b"PUT / HTTP/1.1\r\nHost: orders\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
    server = world.accept()
    client.send(b"nonsense\r\n")
    assert (heard(client).reason, server.aborted) == ("bad_request", True)
    assert not is_blamed(world)
    world.settle()
    all_given_back(world, begun)


def test_a_failure_that_then_breaks_off_counts_once() -> None:
    """One exchange, one endpoint, one failure."""
    world = mesh(more="retry = false\nbreaker = { failures = 2 }\n")
    client = world.client()
    client.send(request())
    server = world.accept()
    server.send(response(500, b"0123456789")[:-1])
    server.reset()
    assert client.over or client.take()
    assert not is_blamed(world)


@pytest.mark.parametrize("end", ["left", "deadline", "malformed", "refused here"])
def test_a_probe_that_proves_nothing_makes_room_for_the_next(end: str) -> None:
    """In half-open one call at a time is let through: one that is lost must not bar the way for ever."""
    world = mesh(more=TOUCHY)
    client = world.client()
    client.send(request())
    world.accept().reset()
    assert is_blamed(world)
    world.pass_time(31)
    probe = world.client()
    if end == "malformed":
        probe.send(b"PUT / HTTP/1.1\r\nHost: orders\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\nnonsense\r\n")
    else:
        probe.send(request(X_Request_Timeout_Ms="1000"))
    if end == "refused here":
        world.refuse(failure=Failure.OVERLOADED)
    elif world.dialing:
        world.accept()
    if end == "left":
        probe.end()
    world.pass_time(1.5)
    other = world.client()
    other.send(request())
    assert other.take() == b"", "the next probe was not let through"


# The keep-alive race: an endpoint that closes an idle connection just as it is used.


def pooled(world: World) -> Peer:
    """A connection that has carried a request and is idle."""
    client = world.client()
    client.send(request())
    server = world.accept()
    server.take()
    server.send(response())
    assert heard(client).status == 200
    return server


def test_a_lost_race_is_neither_a_failure_nor_a_retry() -> None:
    """The same attempt goes out again at once on a new connection, its body with it."""
    world = mesh(more="breaker = { failures = 1 }\n")
    begun = watch(world)
    stale = pooled(world)
    client = world.client()
    client.send(request("PUT", body=b"again"))
    stale.end()
    server = world.accept()
    again = heard(server)
    assert (again.body, again.fields["x-sidecar-attempt"]) == (b"again", "1")
    server.send(response(201))
    assert heard(client).status == 201
    (plan,) = (plan for plan in world.sidecar.assembly.plans if plan.service.name == "orders")
    assert (plan.stats.retries, is_blamed(world)) == ({}, False)
    world.settle()
    all_given_back(world, begun)


def test_a_race_that_is_lost_twice_is_a_failure() -> None:
    """The new connection closes without a word too: that is no race."""
    world = mesh(more=TOUCHY)
    stale = pooled(world)
    client = world.client()
    client.send(request())
    stale.end()
    world.accept().end()
    assert (heard(client).reason, is_blamed(world)) == ("upstream_reset", True)
    assert counted(world, reason="upstream_reset") == 1


def test_a_race_is_lost_once_even_if_the_second_connection_was_used_before() -> None:
    """It came back to the pool just in time, and closes too: that is enough."""
    world = mesh(more=TOUCHY)
    other = world.client()
    stale = pooled(world)
    other.send(request())
    assert stale.take()
    client = world.client()
    client.send(request())
    busy = world.accept()
    busy.send(response())
    assert heard(client).status == 200
    client.send(request())
    assert busy.take()
    busy.end()
    stale.send(response())
    assert heard(stale).fields["x-sidecar-attempt"] == "1"
    stale.end()
    assert heard(client).reason == "upstream_reset"
    assert heard(other).status == 200


def test_a_first_byte_of_an_answer_ends_the_race() -> None:
    """The endpoint had the request."""
    world = mesh(more=TOUCHY)
    stale = pooled(world)
    client = world.client()
    client.send(request())
    stale.send(b"H")
    stale.end()
    assert (heard(client).reason, world.dialing) == ("upstream_reset", [])


def test_inbound_a_lost_race_is_sent_again_too_and_a_failure_is_not() -> None:
    """There is one application, and no retry."""
    world = mesh()
    client = world.client("inbound")
    client.send(request(host="shop"))
    stale = world.accept()
    stale.send(response())
    assert heard(client).status == 200
    client.send(request(host="shop"))
    stale.end()
    server = world.accept()
    server.send(response(500))
    assert (heard(client).status, world.dialing) == (500, [])


def test_a_lost_race_with_a_body_beyond_64_kib_cannot_be_sent_again() -> None:
    """It is not kept."""
    world = mesh(more=TOUCHY)
    stale = pooled(world)
    client = world.client()
    client.send(request("PUT", body=b"x" * 65537))
    stale.reset()
    assert (heard(client).reason, world.dialing) == ("upstream_reset", [])
