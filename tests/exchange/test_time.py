"""Deadlines and stalls: what may take how long, and whose fault it is if it takes longer."""

from __future__ import annotations

import pytest

from sidecar.resilience.breaker import CLOSED, OPEN
from tests.exchange.steps import at_rest, counted, heard, mesh, request, response

ALONE = "retry = false\n"


def test_a_call_has_thirty_seconds() -> None:
    """The class ``api``; the answer says who gave up, and the attempt is cancelled."""
    world = mesh()
    client = world.client()
    client.send(request())
    server = world.accept()
    world.pass_time(29.9)
    assert client.take() == b""
    world.pass_time(0.2)
    answer = heard(client)
    assert (answer.status, answer.reason) == (504, "deadline_exceeded")
    assert server.aborted
    at_rest(world)


@pytest.mark.parametrize(("timeout", "seconds"), [('"external"', 15), ('"upload"', 300), ('"250ms"', 0.25)])
def test_a_service_may_have_another_class_or_a_duration(timeout: str, seconds: float) -> None:
    """15 s for what is outside, 5 min for uploads."""
    world = mesh(more=f"timeout = {timeout}\n")
    client = world.client()
    client.send(request())
    world.accept()
    world.pass_time(seconds - 0.02)
    assert client.take() == b""
    world.pass_time(0.05)
    assert heard(client).reason == "deadline_exceeded"


def test_the_timeout_covers_all_attempts_and_back_offs() -> None:
    """Attempts of 10 s each, but 30 s for the call."""
    world = mesh(endpoints=4, more='attempt_timeout = "10s"\n')
    client = world.client()
    client.send(request())
    begun = world.time.now
    for _ in range(5):
        if world.dialing:
            world.accept()
        world.pass_time(10.5)
        if client.received:
            break
    assert heard(client).reason == "deadline_exceeded"
    assert world.time.now - begun <= 42
    at_rest(world)


def test_an_attempt_that_times_out_is_tried_elsewhere() -> None:
    """And its connection is not used again."""
    world = mesh(endpoints=2, more='attempt_timeout = "2s"\n')
    client = world.client()
    client.send(request())
    first = world.accept()
    world.pass_time(2.2)
    assert first.aborted
    world.accept().send(response(200))
    assert heard(client).status == 200
    at_rest(world)


@pytest.mark.parametrize(
    ("given", "seconds"), [("500", 0.5), ("60000", 30.0), ("soon", 30.0), ("-1", 30.0), ("", 30.0)]
)
def test_the_callers_header_can_only_shorten(given: str, seconds: float) -> None:
    """What it cannot be read as is as if it were not there."""
    world = mesh()
    client = world.client()
    client.send(request(X_Request_Timeout_Ms=given))
    sent_on = int(heard(world.accept()).fields["x-request-timeout-ms"])
    assert seconds * 1000 - 20 <= sent_on < seconds * 1000
    world.pass_time(seconds - 0.02)
    assert client.take() == b""
    world.pass_time(0.05)
    assert heard(client).reason == "deadline_exceeded"


def test_a_request_that_is_dead_on_arrival_costs_nothing() -> None:
    """Nobody is asked."""
    world = mesh()
    client = world.client()
    client.send(request(X_Request_Timeout_Ms="0"))
    assert (heard(client).reason, world.dialing) == ("deadline_exceeded", [])
    at_rest(world)


def test_inbound_the_callers_header_rules_and_without_one_there_is_no_end() -> None:
    """``[inbound] timeout`` is none by default."""
    world = mesh()
    patient, hurried = world.client("inbound"), world.client("inbound")
    patient.send(request(host="shop"))
    server = world.accept()
    assert "x-request-timeout-ms" not in heard(server).fields
    hurried.send(request(host="shop", X_Request_Timeout_Ms="700"))
    world.accept()
    world.pass_time(3000)
    assert (heard(hurried).reason, patient.take()) == ("deadline_exceeded", b"")
    server.send(response(200))
    assert heard(patient).status == 200


def test_a_response_of_known_length_that_stands_still_for_a_minute_is_broken_off() -> None:
    """The endpoint owes it; that is its failure."""
    world = mesh(more=ALONE)
    client = world.client()
    client.send(request())
    server = world.accept()
    server.send(response(200, b"0123456789")[:-5])
    world.pass_time(45)
    server.send(b"5")
    world.pass_time(59)
    assert not client.over
    world.pass_time(2)
    assert client.over and server.aborted
    assert counted(world, reason="stalled", status="200") == 1
    at_rest(world)


def test_an_open_ended_response_may_be_quiet_for_an_hour() -> None:
    """Event streams are; nothing is owed."""
    world = mesh()
    client = world.client()
    client.send(request())
    server = world.accept()
    server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
    world.pass_time(3590)
    server.send(b"3\r\ntwo\r\n")
    assert client.take().endswith(b"3\r\none\r\n3\r\ntwo\r\n")
    world.pass_time(3590)
    assert not client.over
    world.pass_time(20)
    assert client.over
    at_rest(world)


def test_a_caller_that_takes_nothing_for_a_minute_is_broken_off_and_nobody_is_blamed() -> None:
    """Reading from the endpoint stops meanwhile."""
    world = mesh(more="[services.orders.breaker]\nfailures = 1\n")
    client = world.client()
    client.send(request())
    server = world.accept()
    server.send(response(200, b"x" * 200)[:-100])
    client.full()
    assert server.paused
    world.pass_time(61)
    assert client.over and server.aborted
    breaker = world.endpoints[0].breaker
    assert breaker is not None and breaker.state == CLOSED
    at_rest(world)


def test_a_caller_that_takes_a_little_is_served_on() -> None:
    """Slow is not dead."""
    world = mesh()
    client = world.client()
    client.send(request())
    server = world.accept()
    server.send(response(200, b"x" * 200)[:-100])
    client.full()
    for _ in range(5):
        world.pass_time(50)
        client.unsent -= 1000
    assert not client.over
    client.drained()
    assert not server.paused
    server.send(b"x" * 100)
    assert heard(client).body == b"x" * 200
    at_rest(world)


def test_a_request_body_that_does_not_come_is_the_callers_fault() -> None:
    """408, and the endpoint is not blamed."""
    world = mesh(more='timeout = "upload"\n[services.orders.breaker]\nfailures = 1\n')
    client = world.client()
    client.send(request("PUT", body=b"12345")[:-2])
    server = world.accept()
    world.pass_time(59)
    assert client.take() == b""
    world.pass_time(2)
    answer = heard(client)
    assert (answer.status, answer.reason, answer.fields["connection"]) == (408, "client_timeout", "close")
    assert server.aborted
    breaker = world.endpoints[0].breaker
    assert breaker is not None and breaker.state == CLOSED
    at_rest(world)


def test_a_request_body_that_is_not_taken_is_the_endpoints_fault() -> None:
    """504, and the breaker hears of it."""
    world = mesh(more='timeout = "upload"\n[services.orders.breaker]\nfailures = 1\n')
    client = world.client()
    client.send(request("PUT", body=b"x" * 90000)[:-100])
    server = world.accept()
    server.full()
    assert client.paused
    world.pass_time(61)
    assert heard(client).reason == "stalled"
    breaker = world.endpoints[0].breaker
    assert breaker is not None and breaker.state == OPEN
    at_rest(world)
