"""What a sidecar takes when nobody asks anything of it, and what it does when the machine has nothing left to give."""

from __future__ import annotations

import resource
import select
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.live import OK, ROOT, Client, Closed, Sidecar, Upstream, Wire, answering, services, until

IDLE_MEMORY = 45_000_000
PER_CONNECTION = 6_000
CONNECTIONS = 2_000
UNUSED = {
    "aiodns",
    "aiohttp",
    "consul",
    "cryptography",
    "grpc",
    "h11",
    "h2",
    "hpack",
    "jh2",
    "httptools",
    "pycares",
    "requests",
    "rich",
    "socks",
    "yaml",
}
BUILD = """
import asyncio, sys
import sidecar.life
from sidecar.app import Sidecar
from sidecar.clock import Clock, Random
from sidecar.config.load import load
loop = asyncio.new_event_loop()
Sidecar(load(sys.argv[1]), loop, Clock(), Random())
loop.close()
print("\\n".join(sys.modules))
"""


@pytest.fixture
def many_files() -> Iterator[None]:
    """As many open files as the system allows this process."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_what_is_not_configured_is_not_imported() -> None:
    """With everything configured that there is, no library of a feature that is not used is in the process."""
    command = [sys.executable, "-c", BUILD, str(ROOT / "config.example.toml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    modules = set(done.stdout.split())
    assert {"sidecar.proxy.listener", "uvloop"} <= modules
    assert modules.isdisjoint(UNUSED)


def test_an_idle_sidecar_takes_at_most_45_mb() -> None:
    """Resident, with static endpoints, after probes have asked it whether it lives."""
    with Upstream(answering()) as server, Sidecar(services(orders=server.address), app=server.address) as sidecar:
        assert sidecar.memory("VmRSS") <= IDLE_MEMORY


def test_an_idle_connection_takes_at_most_6_kb_and_stays_open(many_files: None) -> None:
    """2,000 connections that have each asked once and now say nothing."""
    with (
        Upstream(answering()) as server,
        Sidecar(services(orders=server.address)) as sidecar,
        ExitStack() as stack,
    ):
        port = sidecar.ports["outbound"]
        for _ in range(200):  # What the first requests allocate for good is not the connections'.
            with Client(port) as client:
                assert client.get("orders").status == 200
        before = sidecar.memory("VmRSS")
        clients = []
        for _ in range(CONNECTIONS):
            client = stack.enter_context(Client(port))
            assert client.get("orders").status == 200
            clients.append(client)
        each = (sidecar.memory("VmRSS") - before) / CONNECTIONS
        assert each <= PER_CONNECTION
        assert sidecar.metric("sidecar_connections", side="downstream", direction="outbound") == CONNECTIONS
        assert all(client.quiet() for client in clients)
        assert clients[0].get("orders").status == 200


def test_running_out_of_file_descriptors_turns_callers_away_and_harms_nothing_else() -> None:
    """400 callers where 256 files may be open: refused or closed, no spinning; metrics go on, and so does all later."""
    with (
        Upstream(answering()) as server,
        Sidecar(services(orders=server.address), open_files=256) as sidecar,
    ):
        port = sidecar.ports["outbound"]
        served, turned_away = [], 0
        with ExitStack() as stack:
            for _ in range(400):
                client = stack.enter_context(Client(port))
                try:
                    answer = client.get("orders")
                except Closed:
                    turned_away += 1
                    continue
                if answer.status == 200:
                    served.append(client)
                else:
                    assert (answer.status, answer.reason) == (503, "overloaded")
                    assert "retry-after" in answer.fields
                    turned_away += 1
            assert len(served) >= 90
            assert turned_away >= 200
            assert sidecar.metric("sidecar_connections", side="downstream", direction="outbound") >= len(served)
            assert all(client.get("orders").status == 200 for client in served)
            busy = sidecar.metric("process_cpu_seconds_total")
            assert sidecar.probe("/health/live").status == 200
            with Client(sidecar.ports["probes"]) as client:
                # Each answer is a turn of the loop: were it spinning, a hundred turns would take far longer than this.
                for _ in range(100):
                    assert client.get("sidecar", "/health/live").status == 200
            assert sidecar.metric("process_cpu_seconds_total") - busy < 0.5
        until(
            lambda: sidecar.metric("sidecar_connections", side="downstream", direction="outbound") == 0,
            "everybody has left",
        )
        with Client(port) as client:
            assert client.get("orders").status == 200
        assert "Traceback" not in sidecar.log()


def test_an_endpoint_that_cannot_be_reached_for_want_of_files_is_not_blamed() -> None:
    """Inbound and outbound hold 90 calls each, more than 256 files allow: what has no connection is told overloaded."""
    go = threading.Event()

    def held(wire: Wire) -> None:
        wire.head()
        assert go.wait(10)
        wire.send(OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))

    with (
        Upstream(held) as server,
        Sidecar(services(orders=server.address), app=server.address, open_files=256) as sidecar,
        ExitStack() as stack,
        Client(sidecar.ports["probes"]) as probes,
    ):
        assert probes.get("sidecar", "/health/live").status == 200
        clients = []
        for name in ("inbound", "outbound"):
            for _ in range(90):
                clients.append(stack.enter_context(Client(sidecar.ports[name])))
                clients[-1].ask("orders")
        until(lambda: select.select(clients[90:], (), (), 0)[0], "one of them is refused")
        assert probes.get("sidecar", "/health/ready").status == 200
        go.set()
        answers: Counter[object] = Counter()
        for client in clients:
            try:
                answer = client.response()
                answers[answer.status, answer.reason] += 1
            except Closed:
                answers["closed"] += 1
        assert set(answers) <= {(200, ""), (503, "overloaded"), "closed"}
        assert answers[200, ""] > 90
        assert answers[503, "overloaded"] > 0
        metrics = probes.get("sidecar", "/metrics").body.decode()
        assert "sidecar_breaker_transitions_total{endpoint" in metrics
        assert not [line for line in metrics.splitlines() if 'to="open"' in line and not line.endswith(" 0.0")]
        with Client(sidecar.ports["outbound"]) as client:
            assert client.get("orders").status == 200
