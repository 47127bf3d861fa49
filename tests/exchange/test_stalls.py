"""Silence after the response head, and of a body: a minute when bytes are owed, and the minute begins with the last byte."""

from __future__ import annotations

import pytest

from tests.exchange.inside import all_given_back, watch
from tests.exchange.steps import heard, mesh, request, response

STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n"
UPLOAD = 'timeout = "upload"\nretry = false\nbreaker = { failures = 1 }\n'


def test_a_caller_that_takes_nothing_has_one_minute_and_not_two() -> None:
    """What it had not taken when its buffer ran full is known from then on."""
    world = mesh()
    client = world.client()
    client.send(request())
    world.accept().send(STREAM)
    client.full()
    world.pass_time(59.9)
    assert not client.over
    world.pass_time(0.2)
    assert client.over


def test_a_stream_whose_caller_was_slow_once_may_be_quiet_afterwards() -> None:
    """Nothing is owed any more when the minute is over."""
    world = mesh()
    client = world.client()
    client.send(request())
    server = world.accept()
    client.unsent = 500
    server.send(STREAM)
    client.unsent = 0
    world.pass_time(3000)
    assert not client.over
    server.send(b"3\r\ntwo\r\n")
    assert client.take().endswith(b"3\r\ntwo\r\n")


def test_an_endpoint_has_its_whole_minute_after_a_slow_caller() -> None:
    """It was not read while the caller took its time: that is not the endpoint's silence."""
    world = mesh(more=UPLOAD)
    begun = watch(world)
    client = world.client()
    client.send(request())
    server = world.accept()
    server.send(response(200, b"x" * 200)[:-100])
    client.full()
    world.pass_time(55)
    client.drained()
    world.pass_time(55)
    assert not client.over
    server.send(b"x" * 100)
    assert heard(client).body == b"x" * 200
    world.settle()
    all_given_back(world, begun)


def test_a_caller_has_its_whole_minute_after_a_slow_endpoint() -> None:
    """Its body was not read while the endpoint took its time."""
    world = mesh(more=UPLOAD)
    client = world.client()
    client.send(request("PUT", body=b"x" * 90_000)[:-100])
    server = world.accept()
    server.full()
    world.pass_time(55)
    server.drained()
    assert not client.paused
    world.pass_time(55)
    assert client.take() == b""
    client.send(b"x" * 100)
    server.send(response(201))
    assert heard(client).status == 201


@pytest.mark.parametrize("taken", [0, 1000])
def test_an_endpoint_that_takes_a_little_is_given_time(taken: int) -> None:
    """One that takes nothing is not."""
    world = mesh(more=UPLOAD)
    client = world.client()
    client.send(request("PUT", body=b"x" * 90_000)[:-100])
    server = world.accept()
    server.full()
    for _ in range(3):
        world.pass_time(40)
        if not server.over:
            server.unsent -= taken
    assert server.aborted == (taken == 0)


def test_an_open_ended_response_to_a_request_that_stands_still_is_broken_off() -> None:
    """Nothing is owed of the one, but of the other; whose fault it is cannot be told."""
    world = mesh(more="breaker = { failures = 1 }\n")
    client = world.client()
    client.send(request("PUT", body=b"0123456789")[:-5])
    server = world.accept()
    server.send(STREAM)
    world.pass_time(59)
    assert not client.over
    world.pass_time(2)
    assert client.over and server.aborted
    again = world.client()
    again.send(request())
    assert again.take() == b"" and world.dialing


def test_a_small_idle_timeout_bounds_a_quiet_stream() -> None:
    """The same that closes idle connections."""
    world = mesh(more='[limits]\nidle_timeout = "20s"\n')
    client = world.client()
    client.send(request())
    world.accept().send(STREAM)
    world.pass_time(19)
    assert not client.over
    world.pass_time(2)
    assert client.over


def test_nobody_is_blamed_for_a_stream_that_was_quiet_for_too_long() -> None:
    """The endpoint owed nothing."""
    world = mesh(more='breaker = { failures = 1 }\n[limits]\nidle_timeout = "20s"\n')
    client = world.client()
    client.send(request())
    server = world.accept()
    server.send(STREAM)
    world.pass_time(21)
    assert client.over
    again = world.client()
    again.send(request())
    assert again.take() == b"" and world.dialing


def test_a_response_that_stands_still_is_its_endpoints_failure() -> None:
    """It had said how many bytes there would be."""
    world = mesh(more="breaker = { failures = 1 }\n")
    client = world.client()
    client.send(request())
    world.accept().send(response(200, b"0123456789")[:-5])
    world.pass_time(61)
    assert client.over
    again = world.client()
    again.send(request())
    assert heard(again).reason == "breaker_open"
