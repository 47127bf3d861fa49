"""From the first signal to the exit code: nothing that was accepted is lost, and nothing takes longer than it may."""

from __future__ import annotations

import queue
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.live import (
    OK,
    Client,
    Closed,
    Response,
    Script,
    Sidecar,
    Upstream,
    Wire,
    answering,
    free_port,
    services,
    until,
)
from tests.support.world import ONE_ENDPOINT, World

HEAD_OF_100 = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n"


def drain(delay: str = "0s", grace: str = "10s") -> str:
    return f'[drain]\ndelay = "{delay}"\ngrace = "{grace}"\n'


@contextmanager
def mesh(toml: str, script: Script) -> Iterator[Sidecar]:
    """A sidecar whose application and whose one service, orders, are the same server."""
    with Upstream(script) as server, Sidecar(toml + services(orders=server.address), app=server.address) as sidecar:
        yield sidecar


def turns_unready(sidecar: Sidecar) -> None:
    until(lambda: sidecar.probe("/health/ready").status == 503, "the drain begins")


def is_last(answer: Response) -> bool:
    """Whether a drain has got to this connection. Unready comes before that, and until then all is served as ever."""
    assert answer.status == 200
    return answer.fields.get("connection") == "close"


class Held:
    """A server that begins a response at once and ends it when it is let go."""

    def __init__(self) -> None:
        self.asked: queue.Queue[bytes] = queue.Queue()
        self.go = threading.Event()

    def script(self, wire: Wire) -> None:
        while True:
            head = wire.head()
            if not head.startswith(b"GET /held"):
                wire.send(OK)
                continue
            wire.send(HEAD_OF_100)
            self.asked.put(head)
            assert self.go.wait(10)
            wire.send(b"x" * 100)


class Load:
    """One connection that asks again and again until a response says that it was the last."""

    def __init__(self, port: int, host: str, path: str = "/") -> None:
        self.answers: list[float] = []
        self.failures: list[object] = []
        self._port = port
        self._host = host
        self._path = path
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        with Client(self._port) as client:
            while True:
                try:
                    answer = client.get(self._host, self._path)
                except Closed as closed:
                    self.failures.append(closed)
                    return
                self.answers.append(time.monotonic())
                if answer.status != 200:
                    self.failures.append(answer)
                if answer.fields.get("connection") == "close":
                    return


def test_a_drain_under_load_fails_no_request_of_anybody_who_heeds_connection_close() -> None:
    """50 connections ask without a pause, inbound and outbound; each is told in time that it is over, and none is cut."""
    with mesh(drain(delay="300ms", grace="5s"), answering()) as sidecar:
        loads = [Load(sidecar.ports[name], "orders") for name in ("inbound", "outbound") for _ in range(25)]
        until(lambda: all(load.answers for load in loads), "everybody has been answered once")
        began = time.monotonic()
        sidecar.signal(signal.SIGTERM)
        assert sidecar.exit_code() == 0
        took = time.monotonic() - began
        for load in loads:
            load.thread.join(10)
        assert [load.failures for load in loads if load.failures] == []
        # The delay is what load balancers need to look elsewhere: all that time everybody is served.
        assert all(load.answers[-1] - began > 0.25 for load in loads)
        assert 0.3 < took < 5.3
        assert "Traceback" not in sidecar.log()
        assert "cut off" not in sidecar.log()


def test_readiness_ends_at_once_and_service_does_not() -> None:
    """During the delay who looks is told to stay away, and who comes all the same is served."""
    with mesh(drain(delay="60s"), answering()) as sidecar:
        sidecar.signal(signal.SIGTERM)
        turns_unready(sidecar)
        assert b'"draining"' in sidecar.probe("/health/ready").body
        assert sidecar.probe("/health/live").status == 200
        for name in ("inbound", "outbound"):
            with Client(sidecar.ports[name]) as client:
                answer = client.get("orders")
                assert (answer.status, answer.fields.get("connection")) == (200, None)


def test_a_request_on_an_address_that_a_reload_has_left_is_finished_too() -> None:
    """It was accepted; where callers find us today is no affair of its."""
    held = Held()
    with mesh(drain(), held.script) as sidecar, Client(sidecar.ports["inbound"]) as client:
        client.ask("orders", "/held")
        held.asked.get(timeout=10)
        sidecar.move("inbound", f"127.0.0.1:{free_port()}")
        until(lambda: ": reloaded, " in sidecar.log(), "the listener has moved")
        sidecar.signal(signal.SIGTERM)
        turns_unready(sidecar)
        threading.Timer(2.5, held.go.set).start()
        assert client.response().status == 200
        assert sidecar.exit_code() == 0
        assert "cut off" not in sidecar.log()


def test_an_interrupt_skips_the_delay() -> None:
    """Who presses Ctrl-C waits for nothing but what runs."""
    with mesh(drain(delay="60s", grace="60s"), answering()) as sidecar:
        with Client(sidecar.ports["outbound"]) as client:
            assert client.get("orders").status == 200
            sidecar.signal(signal.SIGINT)
            assert sidecar.exit_code(5) == 0
        assert "Traceback" not in sidecar.log()


def test_a_second_signal_ends_at_once() -> None:
    """Whatever runs, and however long it might still."""
    held = Held()
    with mesh(drain(delay="60s", grace="60s"), held.script) as sidecar, Client(sidecar.ports["inbound"]) as client:
        client.ask("orders", "/held")
        held.asked.get(timeout=10)
        sidecar.signal(signal.SIGTERM)
        turns_unready(sidecar)
        began = time.monotonic()
        sidecar.signal(signal.SIGTERM)
        assert sidecar.exit_code(5) == 0
        assert time.monotonic() - began < 1.5
        assert "ending at once" in sidecar.log()
        assert "Traceback" not in sidecar.log()
        held.go.set()


def test_while_inbound_finishes_idle_connections_close_new_ones_are_refused_and_outbound_serves() -> None:
    """An idle connection may bring one last request; the response in flight is finished, and then it is over."""
    held = Held()
    with mesh(drain(), held.script) as sidecar:
        inbound = sidecar.ports["inbound"]
        with Client(inbound) as busy, Client(inbound) as idle, Client(inbound) as late:
            assert idle.get("orders").status == late.get("orders").status == 200
            busy.ask("orders", "/held")
            held.asked.get(timeout=10)
            sidecar.signal(signal.SIGTERM)
            turns_unready(sidecar)

            until(lambda: is_last(late.get("orders")), "an idle connection is told that its response is the last")
            with Client(inbound) as new:
                refused = new.response()
            assert (refused.status, refused.reason, refused.fields["connection"]) == (503, "draining", "close")
            idle.wait_for_end()
            with Client(sidecar.ports["outbound"]) as client:
                assert client.get("orders").status == 200

            assert not sidecar.ended()
            held.go.set()
            assert busy.response().body == b"x" * 100
            assert sidecar.exit_code() == 0
            assert "cut off" not in sidecar.log()


def test_outbound_finishes_what_passes_through_as_well() -> None:
    """A call to a host that is no service of ours counts as much as any other."""
    held = Held()
    with mesh(drain(), held.script) as sidecar, Upstream(held.script) as elsewhere:
        with Client(sidecar.ports["outbound"]) as client:
            client.send(f"GET http://{elsewhere.address}/held HTTP/1.1\r\nHost: {elsewhere.address}\r\n\r\n".encode())
            held.asked.get(timeout=10)
            assert client.head().startswith(b"HTTP/1.1 200")
            sidecar.signal(signal.SIGTERM)
            turns_unready(sidecar)
            # Longer than outbound would wait if nothing ran.
            assert not threading.Event().wait(1.5)
            assert not sidecar.ended()
            held.go.set()
            assert b"".join(client.pieces(HEAD_OF_100)) == b"x" * 100
        assert sidecar.exit_code() == 0


def test_a_hangup_does_not_end_it() -> None:
    """It asks for a reload, and everything goes on."""
    with mesh(drain(), answering()) as sidecar, Client(sidecar.ports["outbound"]) as client:
        sidecar.signal(signal.SIGHUP)
        until(lambda: "SIGHUP" in sidecar.log(), "the log tells what was read again")
        assert client.get("orders").status == 200


def test_what_does_not_end_within_the_grace_is_cut_off() -> None:
    """The platform would kill us a moment later anyway: better to say what was lost."""
    held = Held()
    with mesh(drain(grace="500ms"), held.script) as sidecar, Client(sidecar.ports["outbound"]) as client:
        client.ask("orders", "/held")
        held.asked.get(timeout=10)
        began = time.monotonic()
        sidecar.signal(signal.SIGTERM)
        assert sidecar.exit_code() == 0
        assert 0.4 < time.monotonic() - began < 2
        assert "cut off: 1" in sidecar.log()
        held.go.set()


def test_a_port_that_is_taken_is_told_with_the_way_out() -> None:
    """Exit code 1, the address, and the flag that chooses another; no traceback."""
    with Upstream(answering()) as server:
        sidecar = Sidecar("", outbound=server.address)
        try:
            sidecar.spawn()
            assert sidecar.exit_code() == 1
            assert str(server.port) in sidecar.log()
            assert "in use" in sidecar.log()
            assert "--outbound" in sidecar.log()
            assert "Traceback" not in sidecar.log()
        finally:
            sidecar.__exit__(None, None, None)


def test_a_response_is_owed_until_its_last_byte_is_taken() -> None:
    """It may have been written long before: a drain that did not look would cut it off."""
    world = World(ONE_ENDPOINT)
    listener = world.sidecar.listeners["outbound"]
    client = world.client()
    assert listener.owing() == 0
    client.send(b"GET / HTTP/1.1\r\nHost: orders\r\n\r\n")
    assert listener.owing() == 1
    client.full()
    world.accept().send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    assert listener.owing() == 1
    client.drained()
    assert listener.owing() == 0


def test_the_signal_behind_a_hook_that_has_shut_down_is_not_a_second_one() -> None:
    """Kubernetes calls preStop and then sends SIGTERM: what runs is finished all the same. A third reason ends at once."""
    held = Held()
    with mesh(drain(), held.script) as sidecar, Client(sidecar.ports["outbound"]) as client:
        client.ask("orders", "/held")
        held.asked.get(timeout=10)
        post(sidecar, "shutdown")
        turns_unready(sidecar)
        post(sidecar, "shutdown")
        sidecar.signal(signal.SIGTERM)
        held.go.set()
        assert client.response().status == 200
        assert sidecar.exit_code() == 0
    held = Held()
    with mesh(drain(), held.script) as sidecar, Client(sidecar.ports["outbound"]) as client:
        client.ask("orders", "/held")
        held.asked.get(timeout=10)
        post(sidecar, "shutdown")
        sidecar.signal(signal.SIGTERM)
        sidecar.signal(signal.SIGINT)
        assert sidecar.exit_code(5) == 0
        until(lambda: "SIGINT: ending at once" in sidecar.log(), "the log says so")
        held.go.set()


def post(sidecar: Sidecar, action: str) -> None:
    with Client(sidecar.ports["admin"]) as client:
        fields = "Content-Type: application/json\r\n"
        assert client.get("127.0.0.1", f"/api/v1/{action}", "POST", fields).status == 202
