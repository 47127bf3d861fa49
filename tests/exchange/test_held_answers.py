"""While a retry is due the last answer is held: what may happen to it, and to the rest of the request, in that time."""

from __future__ import annotations

from sidecar.model import Endpoint
from tests.exchange.inside import all_given_back, watch
from tests.exchange.steps import heard, mesh, request, response
from tests.support.world import World

PATIENT = "breaker = false\n"


def lose_endpoints(world: World) -> tuple[Endpoint, ...]:
    endpoints = tuple(world.endpoints)
    world.sidecar.assembly.services["orders"].list(())
    return endpoints


def test_an_endpoint_whose_answer_is_held_gets_the_whole_request_all_the_same() -> None:
    """Its answer may be the one after all; a body with a gap would be another request."""
    world = mesh(more=PATIENT)
    begun = watch(world)
    client = world.client()
    client.send(request("PUT", body=b"0123456789")[:-7])
    server = world.accept()
    server.send(response(503, b"0123456789")[:-6])
    lose_endpoints(world)
    client.send(b"345")
    world.pass_time(0.2)
    client.send(b"6789")
    assert heard(server).body == b"0123456789"
    server.send(b"456789")
    answer = heard(client)
    assert (answer.status, answer.body) == (503, b"0123456789")
    assert not server.over, "both messages were whole"
    world.settle()
    all_given_back(world, begun)


def test_a_body_that_grows_beyond_what_is_kept_stops_being_read_until_somebody_takes_it() -> None:
    """The next attempt gets it to the byte; memory is bounded meanwhile."""
    world = mesh(endpoints=2, more=PATIENT)
    client = world.client()
    body = bytes(range(256)) * 300
    raw = request("PUT", body=body)
    client.send(raw[: -len(body) + 50_000])
    world.accept().send(response(503))
    client.send(body[50_000:70_000])
    assert client.paused
    world.pass_time(0.2)
    server = world.accept()
    assert not client.paused
    client.send(body[70_000:])
    assert heard(server).body == body


def test_a_caller_that_was_not_read_any_more_is_read_again_for_an_answer_that_was_held() -> None:
    """Its endpoint takes the rest of the body after all."""
    world = mesh(more=PATIENT)
    client = world.client()
    body = bytes(range(256)) * 300
    client.send(request("PUT", body=body)[: -len(body) + 60_000])
    server = world.accept()
    server.send(response(503, b"0123456789")[:-3])
    client.send(body[60_000:70_000])
    assert client.paused
    lose_endpoints(world)
    world.pass_time(0.2)
    assert not client.paused
    client.send(body[70_000:])
    assert heard(server).body == body


def test_what_was_read_already_when_reading_stopped_belongs_to_the_held_answer() -> None:
    """A transport may have a last piece in its hands."""
    world = mesh(more=PATIENT)
    client = world.client()
    client.send(request())
    server = world.accept()
    server.send(response(503, b"0123456789")[:-6])
    server.protocol.data_received(b"456")
    lose_endpoints(world)
    world.pass_time(0.2)
    server.send(b"789")
    assert heard(client).body == b"0123456789"


def test_a_held_answer_that_ends_meanwhile_is_whole() -> None:
    """Its connection is ready for others, and it is still the answer if there is no other, trailers and all."""
    world = mesh(more=PATIENT)
    begun = watch(world)
    client = world.client()
    client.send(request())
    server = world.accept()
    server.send(b"HTTP/1.1 503 X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-end: 1\r\n\r\n")
    assert not server.paused
    lose_endpoints(world)
    world.pass_time(0.2)
    assert heard(client).body == b"5\r\nhello\r\n0\r\nx-end: 1\r\n\r\n"
    world.settle()
    all_given_back(world, begun)


def test_a_held_answer_gives_its_connection_up_for_the_next_attempt() -> None:
    """The rest of it is of no use to anybody."""
    world = mesh(endpoints=2, more=PATIENT)
    begun = watch(world)
    client = world.client()
    client.send(request())
    first = world.accept()
    first.send(response(503, b"0123456789")[:-3])
    assert first.paused and not first.over
    world.pass_time(0.2)
    assert first.aborted
    world.accept().send(response())
    assert heard(client).status == 200
    world.settle()
    all_given_back(world, begun)


def test_an_endpoint_that_asked_to_be_left_alone_is_not_asked_early_because_others_went_away() -> None:
    """The other one was to be tried, but left during the back-off: then the first one is waited for."""
    world = mesh(endpoints=2, more=PATIENT)
    client = world.client()
    client.send(request())
    server = world.accept()
    server.take()
    server.send(response(503, Retry_After="3"))
    world.sidecar.assembly.services["orders"].list(
        tuple(e for e in world.endpoints if e.label.startswith(server.address[0]))
    )
    world.pass_time(2.9)
    assert (server.take(), world.dialing) == (b"", [])
    world.pass_time(0.2)
    assert heard(server).fields["x-sidecar-attempt"] == "2"


def test_nor_is_it_waited_for_beyond_the_deadline() -> None:
    """What was held is the answer."""
    world = mesh(endpoints=2, more=PATIENT)
    begun = watch(world)
    client = world.client()
    client.send(request(X_Request_Timeout_Ms="2000"))
    server = world.accept()
    server.send(response(503, b"not now", Retry_After="3"))
    world.sidecar.assembly.services["orders"].list(
        tuple(e for e in world.endpoints if e.label.startswith(server.address[0]))
    )
    world.pass_time(0.2)
    assert heard(client).body == b"not now"
    world.settle()
    all_given_back(world, begun)


def test_a_failure_that_is_held_is_the_answer_when_nobody_is_left() -> None:
    """Not that nobody is left."""
    world = mesh(more=PATIENT)
    client = world.client()
    client.send(request())
    world.refuse()
    lose_endpoints(world)
    world.pass_time(0.2)
    answer = heard(client)
    assert answer.reason == "connect_failed"
    assert "tried 10.0.0.1:9001" in answer.error()["detail"]


def test_a_caller_that_leaves_while_an_answer_is_held_frees_the_endpoint() -> None:
    """The attempt that was due is not made."""
    world = mesh(endpoints=2, more=PATIENT)
    begun = watch(world)
    client = world.client()
    client.send(request())
    server = world.accept()
    server.send(response(503, b"0123456789")[:-3])
    client.end()
    assert server.aborted
    world.pass_time(1)
    assert world.dialing == []
    all_given_back(world, begun)
