"""Health with real applications, programs and servers that fall ill and get well again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from sidecar.health.command import command
from tests.support.live import OK, Client, Sidecar, Upstream, Wire, free_port, until

QUICK = '[service.health]\npath = "/healthz"\ninterval = "100ms"\n'
BAD = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"


class Moody:
    """An application that answers as it feels: every path with ``ok``, its health with what ``healthy`` says."""

    def __init__(self) -> None:
        self.healthy = OK
        self.hangs = threading.Event()
        self.asked: list[bytes] = []

    def __call__(self, wire: Wire) -> None:
        while True:
            head = wire.head()
            if b"/healthz" not in head.split(b"\r\n")[0]:
                wire.send(OK)
                continue
            self.asked.append(head)
            if self.hangs.is_set():
                wire.wait_for_end()
            wire.send(self.healthy)


def gate(sidecar: Sidecar, name: str) -> tuple[bool, str]:
    """What a gate of readiness says."""
    gates = {one["name"]: one for one in json.loads(sidecar.probe("/health/ready").body)["gates"]}
    return gates[name]["ok"], gates[name]["detail"]


def rows(sidecar: Sidecar, path: str) -> list[dict[str, Any]]:
    with Client(sidecar.ports["admin"]) as client:
        return [row["attributes"] for row in json.loads(client.get("127.0.0.1", f"/api/v1{path}").body)["data"]]


def test_an_application_that_falls_ill_is_not_called_until_it_is_well() -> None:
    """Others learn it from the registry, with the reason; readiness says the same, and traffic that comes is served."""
    moody, well = Moody(), Moody()
    with (
        Upstream(moody) as ill_app,
        Upstream(well) as well_app,
        Sidecar(QUICK, app=ill_app.address) as ill,
        Sidecar(QUICK, app=well_app.address),
        Sidecar("[services.shop]\n") as caller,
    ):
        until(lambda: ill.probe("/health/ready").status == 200, "it is ready")
        assert moody.asked[0].startswith(b"GET /healthz HTTP/1.1\r\n")
        until(lambda: caller.metric("sidecar_endpoints", service="shop", state="available") == 2, "both are known")
        moody.healthy = BAD
        until(lambda: ill.probe("/health/ready").status == 503, "it is not ready")
        assert gate(ill, "application") == (False, "the application answers 503")
        until(lambda: caller.metric("sidecar_endpoints", service="shop", state="unhealthy") == 1, "others know")
        (row,) = [row for row in rows(caller, "/services/shop/endpoints") if row["state"] == "unhealthy"]
        assert row["why"] == "the registry: the application answers 503"
        assert row["address"] == f"127.0.0.1:{ill.ports['inbound']}"
        with Client(ill.ports["inbound"]) as client:
            assert client.get("shop").body == b"ok"
        moody.healthy = OK
        until(lambda: caller.metric("sidecar_endpoints", service="shop", state="available") == 2, "it is back")
        assert ill.probe("/health/ready").status == 200
        assert "the application answers 503" in ill.log() and "the application is well" in ill.log()


def test_an_application_that_hangs_is_ill_after_its_timeouts() -> None:
    """Its questions are given up, and leave no connection open."""
    moody = Moody()
    with (
        Upstream(moody) as app,
        Sidecar(QUICK.replace("[service.health]", '[service.health]\ntimeout = "100ms"'), app=app.address) as sidecar,
    ):
        until(lambda: sidecar.probe("/health/ready").status == 200, "it is ready")
        moody.hangs.set()
        until(lambda: sidecar.probe("/health/ready").status == 503, "it is not")
        assert gate(sidecar, "application")[1] == "the application gives no answer within 0.1 s"
        moody.hangs.clear()
        until(lambda: sidecar.probe("/health/ready").status == 200, "it is again")


def test_an_application_that_is_not_there_yet_is_found_when_it_is() -> None:
    """A moment later, and not an interval."""
    port = free_port()
    toml = '[service.health]\nkind = "tcp"\ninterval = "1m"\n'
    with Sidecar(toml, app=f"127.0.0.1:{port}") as sidecar:
        until(lambda: "takes no connections" in gate(sidecar, "application")[1], "it has been asked")
        with socket.create_server(("127.0.0.1", port)):
            until(lambda: sidecar.probe("/health/ready").status == 200, "it is ready", 3)


def test_a_peer_whose_connections_nobody_takes_is_ill() -> None:
    """Its system still listens, with a full line: whoever knocks waits, and gets no refusal."""
    with Upstream(Moody()) as other, socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        place = deaf.getsockname()
        with ExitStack() as line:
            for _ in range(3):
                knocking = line.enter_context(socket.socket())
                knocking.setblocking(False)
                knocking.connect_ex(place)
            toml = f"""
                [services.orders]
                endpoints = ["127.0.0.1:{place[1]}", "{other.address}"]
                health = {{ kind = "tcp", interval = "100ms", timeout = "100ms" }}
            """
            with Sidecar(toml) as sidecar:
                until(
                    lambda: sidecar.metric("sidecar_endpoints", service="orders", state="unhealthy") == 1, "one is ill"
                )
                whys = {row["why"] for row in rows(sidecar, "/services/orders/endpoints")}
                assert whys == {"our check: gives no answer within 0.1 s", ""}


def test_peers_are_asked_and_left_out_while_they_are_ill() -> None:
    """With what they answer; nobody else's opinion is needed."""
    moody, well = Moody(), Moody()
    with Upstream(moody) as one, Upstream(well) as other:
        toml = f"""
            [services.orders]
            endpoints = ["{one.address}", "{other.address}"]
            [services.orders.health]
            path = "/healthz"
            interval = "100ms"
        """
        with Sidecar(toml) as sidecar, Client(sidecar.ports["outbound"]) as client:
            moody.healthy = BAD
            until(lambda: sidecar.metric("sidecar_endpoints", service="orders", state="unhealthy") == 1, "one is ill")
            assert {row["why"] for row in rows(sidecar, "/services/orders/endpoints")} == {"our check: answers 503", ""}
            asked = one.accepted
            assert {client.get("orders").status for _ in range(10)} == {200}
            assert sidecar.metric("sidecar_health_checks_total", of="peers", name="orders", result="bad") >= 3
            moody.healthy = OK
            until(lambda: sidecar.metric("sidecar_endpoints", service="orders", state="available") == 2, "it is back")
            assert one.accepted > asked
            sidecar.write(toml[: toml.index("[services.orders.health]")])
            until(lambda: "reloaded" in sidecar.log(), "the checks are switched off")
            assert sidecar.metric("sidecar_health_checks_total", of="peers") == 0


def test_a_dependency_is_shown_and_gates_readiness_only_if_it_is_told_to() -> None:
    """Down from the start, up later: details, API and metrics say so."""
    port = free_port()
    toml = f"""
        [dependencies.database]
        address = "127.0.0.1:{port}"
        interval = "100ms"
        breaker = false
        [dependencies.broker]
        address = "127.0.0.1:{port}"
        interval = "100ms"
        gates = true
        breaker = false
    """
    with Sidecar(toml) as sidecar:
        until(lambda: "refused" in gate(sidecar, "dependency broker")[1].lower(), "it has been asked")
        (broker, database) = sorted(rows(sidecar, "/dependencies"), key=lambda one: one["name"])
        assert (broker["gates"], database["gates"], database["healthy"]) == (True, False, False)
        assert "takes no connections" in database["reason"]
        assert sidecar.metric("sidecar_dependency_up", dependency="database") == 0
        with socket.create_server(("127.0.0.1", port)):
            until(lambda: sidecar.probe("/health/ready").status == 200, "it is ready")
            until(lambda: sidecar.metric("sidecar_dependency_up") == 2, "both are up")
            details = json.loads(sidecar.probe("/health/detailed").body)["dependencies"]
            assert {one["name"]: one["healthy"] for one in details} == {"database": True, "broker": True}
        until(lambda: sidecar.probe("/health/ready").status == 503, "it is not")


@contextmanager
def grpc_server() -> Iterator[tuple[int, Any]]:
    """Port, and what sets its health."""
    grpc = pytest.importorskip("grpc")
    from grpc_health.v1 import health, health_pb2_grpc

    server = grpc.server(futures.ThreadPoolExecutor(2))
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port, servicer
    finally:
        server.stop(None).wait()


def test_a_grpc_server_says_itself_whether_it_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the protocol that gRPC has for it, and asked by itself: not through a proxy that the environment has for others."""
    monkeypatch.setenv("grpc_proxy", f"http://127.0.0.1:{free_port()}")
    with grpc_server() as (port, servicer):
        from grpc_health.v1.health_pb2 import HealthCheckResponse

        toml = f"""
            [dependencies.ledger]
            kind = "grpc"
            address = "127.0.0.1:{port}"
            interval = "100ms"
            timeout = "2s"
            breaker = false
        """
        with Sidecar(toml) as sidecar:
            servicer.set("", HealthCheckResponse.SERVING)
            until(lambda: sidecar.metric("sidecar_dependency_up", dependency="ledger") == 1, "it serves")
            servicer.set("", HealthCheckResponse.NOT_SERVING)
            until(lambda: sidecar.metric("sidecar_dependency_up", dependency="ledger") == 0, "it does not")
            (ledger,) = rows(sidecar, "/dependencies")
            assert ledger["reason"] == "answers NOT_SERVING"


@pytest.mark.parametrize("own", [False, True])
def test_a_program_says_by_its_exit_code(own: bool, tmp_path: Path) -> None:
    """With a COMMAND, too, where somebody else collects the children of the process."""
    marker = tmp_path / "well"
    toml = f"""
        [dependencies.disk]
        kind = "command"
        command = ["sh", "-c", "test -e {marker} || {{ echo nearly full; exit 3; }}"]
        interval = "100ms"
        breaker = false
    """
    with Sidecar(toml, command=(sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "0") if own else ()) as one:
        until(
            lambda: [row["reason"] for row in rows(one, "/dependencies")] == ["exit code 3: nearly full"], "it is ill"
        )
        marker.touch()
        until(lambda: one.metric("sidecar_dependency_up", dependency="disk") == 1, "it is well")
        marker.unlink()
        until(lambda: one.metric("sidecar_dependency_up", dependency="disk") == 0, "it is ill again")


def answer(*arguments: str, timeout: float = 5.0) -> str:
    """What such a program comes to."""
    return asyncio.run(command(arguments, timeout)())  # type: ignore[arg-type]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_program_that_hangs_is_killed_with_all_that_it_has_started(tmp_path: Path) -> None:
    """The grandchildren, too, and also those of a program that has ended in time."""
    pids = tmp_path / "pids"
    assert answer("sh", "-c", f"sleep 60 & echo $! > {pids}; wait", timeout=0.5) == "has not ended within 0.5 s"
    until(lambda: not alive(int(pids.read_text())), "its child is gone")
    assert answer("sh", "-c", f"sleep 60 & echo $! > {pids}") == ""
    until(lambda: not alive(int(pids.read_text())), "its child is gone, too")


def test_a_program_that_hangs_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """It is killed with all that it has started, long before its time is up."""
    pids = tmp_path / "pids"
    toml = f"""
        [dependencies.disk]
        kind = "command"
        command = ["sh", "-c", "sleep 60 & echo $! > {pids}; wait"]
        timeout = "1m"
        [drain]
        delay = "0s"
    """
    with Sidecar(toml) as sidecar:
        until(lambda: pids.exists() and pids.read_text().strip(), "it runs")
        sidecar.signal(signal.SIGINT)
        assert sidecar.exit_code() == 0
        until(lambda: not alive(int(pids.read_text())), "its child is gone")


def test_a_program_that_nobody_waits_for_any_more_is_killed(tmp_path: Path) -> None:
    """At once; a reload may have done away with the question."""
    pids = tmp_path / "pids"

    async def story() -> None:
        probe = asyncio.ensure_future(command(["sh", "-c", f"sleep 60 & echo $! > {pids}; wait"], 60)())
        await asyncio.to_thread(until, lambda: pids.exists() and pids.read_text().strip(), "it runs")
        probe.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probe
        # Here, because the end of the loop waits for the program's thread, however long that takes.
        await asyncio.to_thread(until, lambda: not alive(int(pids.read_text())), "its child is gone", 3)

    asyncio.run(story())


def test_a_program_that_leaves_something_printing_behind_has_ended() -> None:
    """What goes on printing is killed with it, and is not waited for."""
    assert answer("sh", "-c", "yes & exit 0") == ""


def test_what_a_program_prints_is_bounded_and_what_cannot_be_run_is_told() -> None:
    """The first line of it is part of the reason; a signal is an exit code below zero."""
    assert answer("sh", "-c", "yes | head -c 5000000; exit 1") == "exit code 1: y"
    assert answer("sh", "-c", "printf 'a\\033[31mb\\nc'; exit 1") == "exit code 1: a [31mb"
    assert answer("sh", "-c", "kill -9 $$") == f"exit code -{int(signal.SIGKILL)}"
    assert answer("/nowhere/at/all") == "cannot be run: No such file or directory"


def test_whoever_asks_after_nobody_has_loaded_nothing_of_it() -> None:
    """Neither the checks nor gRPC nor a Consul client."""
    script = (
        "import sys, asyncio, sidecar.app, sidecar.life, sidecar.sources\n"
        "from sidecar.app import Sidecar\n"
        "print([name for name in sys.modules if name.startswith(('sidecar.health.', 'grpc', 'consul', 'aiohttp'))])"
    )
    import subprocess

    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "['sidecar.health.settings']"
