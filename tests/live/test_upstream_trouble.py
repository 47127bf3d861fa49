"""Endpoints that refuse, vanish, stay silent or close just when they are asked, and callers that leave."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.live import OK, Client, Closed, Sidecar, Upstream, Wire, answering, free_port, until

ONCE = "[defaults]\nretry = false\n"


def orders(*addresses: str, more: str = "") -> str:
    return f"[services.orders]\nendpoints = {list(addresses)}\n{more}"


def closes_at_once(wire: Wire) -> None:
    """Accepts, and that was it."""


def resets_at_once(wire: Wire) -> None:
    wire.reset()


@contextmanager
def black_hole() -> Iterator[str]:
    """An address whose accept queue is full: the kernel drops whoever wants to connect."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = []
        try:
            while True:
                filler = socket.socket()
                fillers.append(filler)
                filler.settimeout(0.2)
                try:
                    filler.connect(listener.getsockname())
                except TimeoutError:
                    break
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            for filler in fillers:
                filler.close()


def test_an_endpoint_that_nobody_listens_on_is_a_502() -> None:
    """The reason says that no connection could be made, and the detail names the address."""
    nobody = f"127.0.0.1:{free_port()}"
    with Sidecar(ONCE + orders(nobody)) as sidecar, Client(sidecar.ports["outbound"]) as client:
        answer = client.get("orders", method="POST")
    assert (answer.status, answer.reason) == (502, "connect_failed")
    assert nobody.encode() in answer.body


@pytest.mark.parametrize("script", [closes_at_once, resets_at_once])
def test_an_endpoint_that_hangs_up_on_everybody_is_a_502(script: object) -> None:
    """Whether it closes before or after the request has been sent, each of many callers is told at once."""
    with (
        Upstream(script) as server,  # type: ignore[arg-type]
        Sidecar(ONCE + orders(server.address, more="breaker = false\n")) as sidecar,
        Client(sidecar.ports["outbound"]) as client,
    ):
        answers = [client.get("orders", method="POST") for _ in range(50)]
        assert {answer.status for answer in answers} == {502}
        assert {answer.reason for answer in answers} <= {"connect_failed", "upstream_reset"}
        assert "Traceback" not in sidecar.log()


def test_an_endpoint_that_does_not_accept_is_a_504_after_the_connect_timeout() -> None:
    """A second by default: neither much less nor much more."""
    with (
        black_hole() as address,
        Sidecar(ONCE + orders(address)) as sidecar,
        Client(sidecar.ports["outbound"]) as client,
    ):
        began = time.monotonic()
        answer = client.get("orders")
        took = time.monotonic() - began
    assert (answer.status, answer.reason) == (504, "connect_timeout")
    assert 0.95 < took < 2.0


def test_a_good_endpoint_makes_up_for_every_kind_of_bad_one() -> None:
    """Even a POST gets its 200: where no connection was made, nothing can have been processed."""
    with black_hole() as hole, Upstream(answering()) as good:
        refusing = f"127.0.0.1:{free_port()}"
        toml = orders(refusing, hole, good.address, more='connect_timeout = "100ms"\n')
        with Sidecar(toml) as sidecar, Client(sidecar.ports["outbound"]) as client:
            assert [client.get("orders", method="POST").status for _ in range(6)] == [200] * 6
            # The one that refuses is left out from then on, the one that is silent is not.
            assert sidecar.metric("sidecar_retries_total", service="orders", reason="connect_failed") == 1
            assert sidecar.metric("sidecar_retries_total", service="orders", reason="connect_timeout") >= 2


@pytest.mark.parametrize("reset", [False, True])
def test_an_idempotent_request_never_feels_that_its_connection_was_just_being_closed(reset: bool) -> None:
    """The endpoint answers once on each connection and drops it when the next request comes; nobody notices."""

    def answers_once(wire: Wire) -> None:
        wire.head()
        wire.send(OK)
        wire.head()
        if reset:
            wire.reset()

    with (
        Upstream(answers_once) as server,
        Sidecar(orders(server.address, more="retry = false\n")) as sidecar,
        Client(sidecar.ports["outbound"]) as client,
    ):
        assert {client.get("orders").status for _ in range(500)} == {200}
        assert server.accepted >= 500
        assert sidecar.metric("sidecar_breaker_transitions_total", to="open") == 0
        assert sidecar.requests(service="orders", status=200, reason="") == 500


def test_a_post_keeps_away_from_a_connection_that_may_just_be_closing() -> None:
    """The endpoint announces one second and breaks what is used later than that; POSTs at that very age all pass."""
    announced = b"HTTP/1.1 200 OK\r\nkeep-alive: timeout=1\r\ncontent-length: 2\r\n\r\nok"

    def closes_after_a_second(wire: Wire) -> None:
        answered = 0.0
        while True:
            wire.head()
            if answered and time.monotonic() - answered > 0.6:
                return
            wire.send(announced)
            answered = time.monotonic()

    with Upstream(closes_after_a_second) as server, Sidecar(ONCE + orders(server.address)) as sidecar:
        clients = [Client(sidecar.ports["outbound"]) for _ in range(10)]
        pause = threading.Event()
        for _ in range(3):
            for client in clients:
                client.ask("orders", method="POST")
            assert {client.response().status for client in clients} == {200}
            pause.wait(0.75)  # The age of a connection is what this is about.
        for client in clients:
            client.close()


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("begun", [False, True])
def test_a_caller_that_leaves_takes_its_attempt_along(reset: bool, begun: bool) -> None:
    """By FIN or RST, before the response or in the middle of it: the endpoint sees the end, metrics count a 499."""
    asked: queue.Queue[bytes] = queue.Queue()
    gone = threading.Event()

    def waits_for_the_end(wire: Wire) -> None:
        asked.put(wire.head())
        if begun:
            wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        wire.wait_for_end()
        gone.set()

    with Upstream(waits_for_the_end) as server, Sidecar(orders(server.address)) as sidecar:
        client = Client(sidecar.ports["outbound"])
        client.ask("orders")
        asked.get(timeout=10)
        if begun:
            assert client.head().startswith(b"HTTP/1.1 200")
        if reset:
            client.reset()
        else:
            client.close()
        assert gone.wait(10)
        until(lambda: sidecar.requests(status=499, reason="client_gone") == 1, "the 499 is counted")
        assert sidecar.metric("sidecar_requests_in_flight", direction="outbound", service="orders") == 0
        until(lambda: sidecar.metric("sidecar_connections", side="upstream") == 0, "its connection is gone")


def test_localhost_is_tried_by_each_connection() -> None:
    """In whichever family the application listens; nobody has to know which comes first."""
    with Upstream(answering()) as server:
        toml = orders(f"localhost:{server.port}")
        with Sidecar(toml) as sidecar, Client(sidecar.ports["outbound"]) as client:
            assert client.get("orders").status == 200


def test_a_name_that_no_resolver_can_be_asked_for_is_a_502() -> None:
    """The connection pool is whole afterwards: the next caller is told as well, and at once."""
    with Sidecar(ONCE) as sidecar:
        for _ in range(2):
            with Client(sidecar.ports["outbound"]) as client:
                name = "a" * 64 + ".invalid"
                client.send(f"GET http://{name}/ HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
                answer = client.response()
                assert (answer.status, answer.reason) == (502, "connect_failed")


def test_a_response_that_breaks_off_is_never_taken_for_whole() -> None:
    """Its length was announced: the caller sees the connection end before that."""

    def breaks_off(wire: Wire) -> None:
        wire.head()
        wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")

    with Upstream(breaks_off) as server, Sidecar(orders(server.address)) as sidecar:
        with Client(sidecar.ports["outbound"]) as client, pytest.raises(Closed):
            client.get("orders")
        until(lambda: sidecar.requests(status=200, reason="upstream_reset") == 1, "the reset is counted")
