"""Answers of our own, on the wire."""

from __future__ import annotations

from tests.support.admin import JSON, Admin, Asked
from tests.support.world import ONE_ENDPOINT, World


def test_head_of_a_streamed_page_has_no_body_and_the_next_request_is_answered() -> None:
    """What is streamed after a HEAD would be taken for the next response."""
    world = World()
    client = world.client("probes")
    client.send(b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    world.settle()
    head = client.take()
    assert head.startswith(b"HTTP/1.1 200 OK\r\n") and head.endswith(b"\r\n\r\n")
    assert head.count(b"\r\n\r\n") == 1
    client.send(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
    world.settle()
    assert client.take().startswith(b"HTTP/1.1 200 OK\r\n")


def test_metrics_are_streamed_slice_by_slice_and_stop_while_the_peer_takes_nothing() -> None:
    """A scraper that is slow costs no memory, and one that is served never holds the loop."""
    names = "".join(f'[services.s{number}]\nendpoints = ["10.0.0.1:{number + 1}"]\n' for number in range(300))
    world = World('[service]\napp = "127.0.0.1:8080"\n' + names)
    steps = iter(range(1_000_000))
    world.sidecar._clock.now = lambda: next(steps) * 0.001  # Every look at the clock takes a millisecond.
    client = world.client("probes")
    client.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    writes = client.writes
    assert writes < 4
    client.full()
    world.settle()
    assert client.writes == writes
    client.drained()
    world.settle()
    text = client.take()
    assert client.writes > 10
    assert text.endswith(b"0\r\n\r\n")
    assert b'sidecar_breaker_state{endpoint="10.0.0.1:300",service="s299"}' in text


def test_an_answer_that_takes_its_time_is_not_measured_by_the_timeout_of_the_head() -> None:
    """A head that came in two pieces has set the connection's timer to its own end."""
    asked = Asked()
    admin = Admin(actions=asked)
    admin.client.send(b"POST /api/v1/reload HTTP/1.1\r\n")
    admin.world.pass_time(9)
    admin.client.send(f"Host: localhost\r\n{JSON}\r\n".encode())
    admin.world.pass_time(5)
    assert asked.reloaded is not None
    asked.reloaded([])
    assert admin.response().status == 200


def test_an_answer_that_never_comes_is_given_up() -> None:
    """Whoever waits for it holds one of the few connections that there are, and might never learn that there is none."""
    admin = Admin(actions=Asked())
    admin.send("/api/v1/reload", "POST", JSON)
    admin.world.pass_time(55)
    assert not admin.client.over
    admin.world.pass_time(10)
    assert admin.client.over


def test_a_service_that_a_reload_has_renamed_has_its_new_name() -> None:
    """In the document, and in what refusals give as their source."""
    world = World()
    client = world.client("probes")
    world.reload(ONE_ENDPOINT.replace('"shop"', '"store"'))
    client.send(b"GET /health/detailed HTTP/1.1\r\nHost: x\r\n\r\nGET /other HTTP/1.1\r\nHost: x\r\n\r\n")
    world.settle()
    text = client.take()
    assert b'"service":"store"' in text
    assert b"x-sidecar-source: store/probes\r\n" in text
