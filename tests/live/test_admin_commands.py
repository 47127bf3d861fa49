"""The commands against a sidecar that runs."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import sidecar as package
from sidecar.cli.main import main
from tests.support.live import OK, ROOT, Client, Sidecar, Upstream, answering, free_port, services, until

BROKEN = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n"
NO_RETRY = "[defaults]\nretry = false\n"
ESCAPE = b"\x1b["


class Running:
    """A sidecar whose process does what the API asks; orders answers, payments is broken."""

    def __init__(self, sidecar: Sidecar) -> None:
        self.sidecar = sidecar
        self.admin = f"127.0.0.1:{sidecar.ports['admin']}"

    def call(self, *args: str) -> Result:
        return CliRunner().invoke(main, [*args, "--admin", self.admin], prog_name="sidecar")

    def json(self, *args: str) -> list[dict[str, object]]:
        result = self.call(*args, "-o", "json")
        assert (result.exit_code, result.stderr) == (0, ""), result.output
        rows: list[dict[str, object]] = json.loads(result.stdout)["data"]
        return rows

    def ask(self, service: str, times: int = 1) -> None:
        with Client(self.sidecar.ports["outbound"]) as client:
            for _ in range(times):
                client.get(service)


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """Shared by tests that only look; payments has been called until its breaker opened."""
    with Upstream(answering(OK)) as orders, Upstream(answering(BROKEN)) as payments:
        toml = NO_RETRY + services(orders=orders.address, payments=payments.address)
        with Sidecar(toml) as sidecar:
            one = Running(sidecar)
            one.ask("orders", 20)
            one.ask("payments", 6)
            yield one


def test_endpoints_are_a_table_for_people(running: Running) -> None:
    """A row each, with its breaker; -o json has the same and more."""
    result = running.call("endpoints")
    assert result.exit_code == 0
    header, orders, payments = (line.split() for line in result.stdout.splitlines())
    assert header[:7] == ["SERVICE", "DIRECTION", "ADDRESS", "STATE", "WEIGHT", "ZONE", "BREAKER"]
    assert (orders[0], orders[3], orders[6]) == ("orders", "available", "closed")
    assert (payments[0], payments[3], payments[6]) == ("payments", "barred", "open")
    assert [one["breaker"] for one in running.json("endpoints")] == ["closed", "open"]


def test_endpoints_of_one_service(running: Running) -> None:
    """A name that is none is told with those that there are."""
    assert [one["service"] for one in running.json("endpoints", "orders")] == ["orders"]
    result = running.call("endpoints", "../config")
    assert result.exit_code == 1
    assert "there is no service '../config'" in result.stderr and "There are: orders, payments." in result.stderr


def test_breakers_that_are_open(running: Running) -> None:
    """--open leaves out what is well."""
    assert {one["state"] for one in running.json("breakers")} == {"closed", "open"}
    (one,) = running.json("breakers", "--open")
    assert (one["service"], one["state"], one["transitions"]) == (
        "payments",
        "open",
        {"closed": 0, "halfOpen": 0, "open": 1},
    )


def test_stat_since_the_start(running: Running) -> None:
    """What has happened so far, route by route; those without a request are left out."""
    rows = {one["service"]: one for one in running.json("stat")}
    assert set(rows) == {"orders", "payments"}
    assert rows["orders"]["requests"] == 20 and rows["orders"]["successRatio"] == 1
    assert rows["payments"]["requests"] == 6 and rows["payments"]["successRatio"] == 0
    assert {"orders", "payments", "passthrough", ""} <= {one["service"] for one in running.json("stat", "--all")}
    table = running.call("stat").stdout.splitlines()
    assert table[0].split() == [
        "DIRECTION", "SERVICE", "ROUTE", "REQUESTS", "RPS", "SUCCESS", "P50", "P95", "P99", "RETRIES", "IN-FLIGHT",
    ]  # fmt: skip
    assert re.match(r"outbound +orders +- +20 +[\d.]+ +100\.00% +[\d.]+ms", table[1])


def test_stat_over_an_interval_counts_what_happened_in_it() -> None:
    """Requests from before are not in it, and the rate is that of the interval."""
    with Upstream(answering(OK)) as orders, Sidecar(services(orders=orders.address)) as sidecar:
        one = Running(sidecar)
        one.ask("orders", 50)
        stop = threading.Event()
        with Client(sidecar.ports["outbound"]) as client:

            def ask() -> None:
                while not stop.is_set():
                    client.get("orders")

            thread = threading.Thread(target=ask, daemon=True)
            thread.start()
            try:
                (row,) = one.json("stat", "-t", "300ms")
            finally:
                stop.set()
                thread.join()
        total = sidecar.requests(service="orders")
        requests = row["requests"]
        assert isinstance(requests, int) and 0 < requests <= total - 50
        assert row["successRatio"] == 1 and row["p50Seconds"] is not None
        rate = row["requestsPerSecond"]
        assert isinstance(rate, float) and 0 < rate <= requests / 0.3


def test_more_than_a_page_is_fetched_page_by_page() -> None:
    """A table is whole, however much there is."""
    names = [f"s{number:04}" for number in range(1100)]
    with Sidecar(
        "".join(f'[services.{name}]\nendpoints = ["10.0.0.1:{at + 1}"]\n' for at, name in enumerate(names))
    ) as sidecar:
        one = Running(sidecar)
        assert [row["service"] for row in one.json("endpoints")] == names
        assert len(one.json("breakers")) == 1100
        assert one.call("breakers", "--open").stderr == "all breakers are closed\n"
        assert {row["service"] for row in one.json("stat", "--all")} > set(names)


def test_check_knows_the_sidecar_that_runs(tmp_path: Path) -> None:
    """Its addresses are its own, its version is ours, and it goes by this configuration until the file is changed."""
    with Upstream(answering(OK)) as app:
        ports = {name: f"127.0.0.1:{free_port()}" for name in ("inbound", "outbound", "probes", "admin")}
        with Sidecar(services(orders=app.address), app=app.address, **ports) as sidecar:
            result = CliRunner().invoke(main, ["check", "-c", str(sidecar.config), "-o", "json"])
            found = {one["categoryName"]: one["checks"] for one in json.loads(result.stdout)["categories"]}
            assert result.exit_code == 0, result.output
            pid = sidecar.process.pid
            assert [one["description"] for one in found["listeners"]] == [
                f"{name} listens on {address}, in process {pid}" for name, address in ports.items()
            ]
            assert [one["description"] for one in found["running sidecar"]] == [
                f"shop runs in process {pid}",
                f"it has our version, {package.__version__}",
                "it goes by this configuration",
            ]
            changed = tmp_path / "sidecar.toml"
            changed.write_text(sidecar.config.read_text() + '[services.payments]\nendpoints = ["127.0.0.1:1"]\n')
            result = CliRunner().invoke(main, ["check", "-c", str(changed)])
            assert result.exit_code == 0
            assert "‼ it goes by another configuration than this one\n    `sidecar reload`" in result.stdout


def test_check_knows_the_sidecar_of_another_service(running: Running, tmp_path: Path) -> None:
    """Whose port 15000 it is may surprise; it is an error, since ours could not start."""
    file = tmp_path / "sidecar.toml"
    file.write_text(
        f'[service]\nname = "other"\n[listen]\ninbound = "none"\noutbound = "none"\nprobes = "none"\nadmin = "{running.admin}"\n'
    )
    result = CliRunner().invoke(main, ["check", "-c", str(file)])
    assert result.exit_code == 1
    assert f"at {running.admin} runs the sidecar of shop, not of other\n" in result.stdout
    assert f"admin cannot listen on {running.admin}: Address already in use\n" in result.stdout


def test_reload_takes_a_file_over_or_tells_what_is_wrong_with_it() -> None:
    """0 when it runs; 1 with every problem, and the old one goes on."""
    with Upstream(answering(OK)) as orders:
        with Sidecar(services(orders=orders.address)) as sidecar:
            one = Running(sidecar)
            written = sidecar.config.read_text()
            sidecar.config.write_text(written + services(payments=orders.address))
            result = one.call("reload")
            assert (result.exit_code, result.stdout) == (0, "")
            assert [row["service"] for row in one.json("endpoints")] == ["orders", "payments"]

            sidecar.config.write_text(written + "[dran]\n[drain]\ndelay = 5\n")
            result = one.call("reload")
            assert (result.exit_code, result.stdout) == (1, "")
            assert "dran: unknown key" in result.stderr and "drain.delay: expected a duration" in result.stderr
            assert "The configuration that ran goes on." in result.stderr
            assert [row["service"] for row in one.json("endpoints")] == ["orders", "payments"]


def test_drain_waits_until_nothing_runs() -> None:
    """A request that is under way holds it up to the timeout; when it has ended, so does the wait."""
    answer = threading.Event()

    def slow(wire: object) -> None:
        wire.head()  # type: ignore[attr-defined]
        answer.wait(10)
        wire.send(OK)  # type: ignore[attr-defined]

    with Upstream(slow) as orders, Sidecar(services(orders=orders.address)) as sidecar:
        one = Running(sidecar)
        with Client(sidecar.ports["outbound"]) as client:
            client.ask("orders")
            until(lambda: orders.accepted, "the request has reached its endpoint")
            result = one.call("drain", "--wait", "--timeout", "1500ms")
            assert result.exit_code == 1 and "1 in flight" in result.stderr
            assert sidecar.probe("/health/ready").status == 503
            answer.set()
            result = one.call("drain", "--wait")
            assert result.exit_code == 0 and "nothing runs any more" in result.stderr
            assert client.response().status == 200
        assert not sidecar.ended()


def test_shutdown_waits_for_the_end() -> None:
    """As SIGTERM does it; 0 when it has ended, and the process is gone."""
    toml = '[drain]\ndelay = "0s"\ngrace = "5s"\n'
    with Sidecar(toml) as sidecar:
        result = Running(sidecar).call("shutdown", "--wait")
        assert result.exit_code == 0 and "it has ended" in result.stderr
        assert sidecar.exit_code() == 0


def test_shutdown_that_takes_too_long_is_told() -> None:
    """The drain has its time, and the wait has less."""
    with Sidecar('[drain]\ndelay = "1m"\n') as sidecar:
        result = Running(sidecar).call("shutdown", "--wait", "--timeout", "100ms")
        assert result.exit_code == 1 and "it still runs after 0.1 s" in result.stderr


def test_await_works_before_the_sidecar_exists() -> None:
    """As in a start hook: it is there first, and returns when the sidecar has bound its listeners."""
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "sidecar", "await", "--for", "ready", "--admin", address]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as waiting:
        try:
            assert waiting.poll() is None
            with Sidecar(admin=address):
                assert waiting.wait(10) == 0
            assert waiting.stderr is not None and waiting.stderr.read() == ""
        finally:
            waiting.kill()


def test_await_says_which_gate_is_closed_and_asks_the_probes_without_admin() -> None:
    """A sidecar that drains has started, and is not ready."""
    probes = f"127.0.0.1:{free_port()}"
    with Sidecar('[drain]\ndelay = "1m"\n', admin="none", probes=probes) as sidecar:
        asking = ["await", "--config", str(sidecar.config), "--timeout", "100ms", "--for"]
        assert CliRunner().invoke(main, [*asking, "ready"]).exit_code == 0
        sidecar.signal(signal.SIGTERM)
        until(lambda: sidecar.probe("/health/ready").status == 503, "it is not ready any more")
        result = CliRunner().invoke(main, [*asking, "ready"])
        assert result.exit_code == 1 and "not ready after 0.1 s: drain: draining" in result.stderr
        for state in ("started", "live"):
            assert CliRunner().invoke(main, [*asking, state]).exit_code == 0


def on_a_terminal(*args: str, **environ: str) -> bytes:
    """What the command writes to a terminal."""
    main_side, its_side = pty.openpty()
    environment = (
        {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm"} | environ
    )
    with subprocess.Popen(
        [sys.executable, "-m", "sidecar", *args],
        cwd=ROOT,
        stdin=its_side,
        stdout=its_side,
        stderr=its_side,
        env=environment,
    ) as process:
        os.close(its_side)
        written = b""
        with suppress(OSError):  # EIO: the other side has closed.
            while piece := os.read(main_side, 65536):
                written += piece
        os.close(main_side)
        assert process.wait(10) == 0, written
    return written


def test_colours_are_for_terminals_alone(running: Running) -> None:
    """And there, not for those who said that they want none (no-color.org)."""
    command = ["breakers", "--open", "--admin", running.admin]
    assert b"\x1b[31mopen" in on_a_terminal(*command)
    assert ESCAPE not in on_a_terminal(*command, NO_COLOR="1")
    assert ESCAPE not in on_a_terminal(*command, TERM="dumb")
    piped = subprocess.run(
        [sys.executable, "-m", "sidecar", *command],
        cwd=ROOT,
        capture_output=True,
        check=True,
        env=os.environ | {"TERM": "xterm"},
    )
    assert b"open" in piped.stdout and ESCAPE not in piped.stdout


def test_a_page_of_another_host_is_refused_on_the_wire(running: Running) -> None:
    """DNS rebinding against a real listener, which knows its address."""
    with Client(running.sidecar.ports["admin"]) as client:
        refused = client.get("evil.example", "/api/v1")
        assert (refused.status, refused.reason) == (403, "forbidden")
        assert client.get("127.0.0.1", "/api/v1").status == 200
        assert client.get("localhost", "/health/ready").status == 200
