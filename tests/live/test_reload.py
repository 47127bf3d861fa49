"""Another configuration while requests run: real signals, files and sockets, and no request that fails."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.support.live import Client, Closed, Sidecar, Upstream, answering, free_port, until

BAD = "[services.orders]\nendpoints = 7\n"


def body(text: str) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(text), text.encode())


class Load:
    """Connections that ask again and again, and open anew when they are told that a response was the last."""

    def __init__(self, port: int, connections: int) -> None:
        self.answered = 0
        self.failures: list[object] = []
        self._port = port
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(connections)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                with Client(self._port) as client:
                    self._ask(client)
            except (OSError, Closed) as error:
                self.failures.append(error)
                return

    def _ask(self, client: Client) -> None:
        while not self._over.is_set():
            answer = client.get("orders")
            with self._lock:
                self.answered += 1
            if answer.status != 200:
                self.failures.append(answer)
            if answer.fields.get("connection") == "close":
                return

    def reach(self, number: int) -> None:
        until(lambda: self.answered >= number or self.failures, f"{number} requests are answered", 60)

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(20)


@contextmanager
def two_versions() -> Iterator[tuple[Callable[[int], str], Sidecar]]:
    """A sidecar on the first of two configurations; the text of either by its number."""
    with Upstream(answering(body("one"))) as one, Upstream(answering(body("two"))) as two:

        def text(number: int) -> str:
            first, second = (one, two) if number % 2 else (two, one)
            return (
                f'[services.orders]\ntimeout = "{20 + number}s"\nendpoints = ["{first.address}", "{second.address}"]\n'
                f'[services.s{number}]\nendpoints = ["127.0.0.1:1"]\n'
                f'[[routes]]\nname = "r{number % 3}"\nservice = "orders"\nmatch = {{ path_prefix = "/r{number}" }}\n'
            )

        with Sidecar(text(0)) as sidecar:
            yield text, sidecar


def read_anew(sidecar: Sidecar) -> None:
    """Sends SIGHUP; returns when the log tells of one more reload."""
    before = sidecar.log().count(": reloaded, ")
    sidecar.signal(signal.SIGHUP)
    until(lambda: sidecar.log().count(": reloaded, ") > before, "the file is read")


def test_fifty_thousand_requests_through_fifty_reloads_and_ten_bad_files_and_a_drain_all_succeed() -> None:
    """The figure that the issue asks for, at full size: each reload changes services, routes, timeouts and endpoints."""
    with two_versions() as (text, sidecar):
        load = Load(sidecar.ports["outbound"], 8)
        for number in range(1, 61):
            load.reach(number * 50_000 // 60)
            if number % 6 == 0:
                sidecar.write(BAD)
                sidecar.signal(signal.SIGHUP)
                until(lambda: sidecar.metric("sidecar_config_last_reload_successful") == 0, "the bad file is refused")
            else:
                sidecar.write(text(number))
                read_anew(sidecar)
        load.reach(50_000)
        sidecar.signal(signal.SIGTERM)
        until(lambda: sidecar.probe("/health/ready").status == 503, "the drain begins")
        load.end()
        assert sidecar.exit_code(20) == 0
        assert load.failures == []
        assert load.answered >= 50_000


def test_a_bad_configuration_changes_nothing_and_is_seen_in_log_and_metric() -> None:
    """Until there is a good one again."""
    with two_versions() as (text, sidecar):
        assert sidecar.metric("sidecar_config_last_reload_successful") == 1
        sidecar.write(BAD)
        sidecar.signal(signal.SIGHUP)
        until(lambda: sidecar.metric("sidecar_config_last_reload_successful") == 0, "the metric falls")
        told = "services.orders.endpoints: expected an array, not 7"
        until(lambda: told in sidecar.log(), "the log says what is wrong")
        with Client(sidecar.ports["outbound"]) as client:
            assert client.get("orders").status == 200
        sidecar.write(text(1))
        sidecar.signal(signal.SIGHUP)
        until(lambda: sidecar.metric("sidecar_config_last_reload_successful") == 1, "the metric rises")


def test_a_changed_file_is_read_without_being_told() -> None:
    """Whoever edits the file has said what is wanted; links in its path are followed, as the kubelet swaps them."""
    with two_versions() as (text, sidecar):
        sidecar.write(text(0) + '[services.new]\nendpoints = ["127.0.0.1:1"]\n')
        until(lambda: "services.new: added" in sidecar.log(), "the change is told")


def test_a_connection_that_stands_goes_by_the_new_routes() -> None:
    """Keep-alive is no reason to go on with what is no longer configured."""
    with (
        Upstream(answering(body("one"))) as one,
        Upstream(answering(body("two"))) as two,
        Sidecar(f'[services.orders]\nendpoints = ["{one.address}"]\n') as sidecar,
        Client(sidecar.ports["outbound"]) as client,
    ):
        assert client.get("orders").body == b"one"
        sidecar.write(f'[services.orders]\nendpoints = ["{two.address}"]\n')
        read_anew(sidecar)
        assert client.get("orders").body == b"two"


def test_a_listener_moves_while_its_old_connections_are_served_to_their_end() -> None:
    """New callers find the new address; the old one is left to others, and no request on it is cut."""
    go = threading.Event()

    def slow(wire) -> None:  # type: ignore[no-untyped-def]
        wire.head()
        assert go.wait(10)
        wire.send(body("slow"))

    with Upstream(slow) as orders, Sidecar(f'[services.orders]\nendpoints = ["{orders.address}"]\n') as sidecar:
        old = sidecar.ports["outbound"]
        new = free_port()
        with Client(old) as running, Client(old) as idle:
            running.ask("orders")
            until(lambda: orders.accepted == 1, "the request has come through")
            sidecar.move("outbound", f"127.0.0.1:{new}")
            read_anew(sidecar)
            with pytest.raises(ConnectionRefusedError):
                Client(old)
            with Client(new) as client:
                client.ask("orders")
                go.set()
                assert client.response().status == 200
            assert running.response().status == 200
            idle.wait_for_end()


def test_a_listener_that_is_added_serves_and_one_that_is_removed_does_not() -> None:
    """The inbound listener comes and goes with a reload."""
    with (
        Upstream(answering(body("app"))) as app,
        Sidecar("", app=app.address, inbound="none") as sidecar,
    ):
        port = free_port()
        sidecar.move("inbound", f"127.0.0.1:{port}")
        read_anew(sidecar)
        with Client(port) as client:
            assert client.get("shop").body == b"app"
        sidecar.move("inbound", "none")
        read_anew(sidecar)
        with pytest.raises(ConnectionRefusedError):
            Client(port)


def test_an_address_that_is_taken_leaves_the_old_configuration_running() -> None:
    """All of it: also what could have been changed."""
    with two_versions() as (text, sidecar), socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        sidecar.write(text(1))
        sidecar.move("outbound", f"127.0.0.1:{taken}")
        sidecar.signal(signal.SIGHUP)
        until(lambda: sidecar.metric("sidecar_config_last_reload_successful") == 0, "the reload is refused")
        until(lambda: "cannot listen" in sidecar.log() and str(taken) in sidecar.log(), "the log says why")
        with Client(sidecar.ports["outbound"]) as client:
            assert client.get("orders").status == 200


def test_another_registry_takes_a_restart_and_says_so() -> None:
    """Who is found by the one is unknown to the other."""
    with two_versions() as (text, sidecar):
        sidecar.write(text(0) + '[registry]\nkind = "static"\n')
        sidecar.signal(signal.SIGHUP)
        until(lambda: sidecar.metric("sidecar_config_last_reload_successful") == 0, "the reload is refused")
        until(lambda: "registry: which registry there is cannot change" in sidecar.log(), "the log says why")


def test_memory_does_not_grow_with_reloads() -> None:
    """What a former configuration was made of is given back."""
    with two_versions() as (text, sidecar):

        def reload(number: int) -> None:
            sidecar.write(text(number))
            read_anew(sidecar)

        for number in range(1, 20):
            reload(number)
        before = sidecar.memory("VmRSS")
        for number in range(100):
            reload(number)
        assert sidecar.memory("VmRSS") < before + 2_000_000
