"""Logs of a real process: readers that stop, leave or were never there, the end of the process, and hostile requests."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.live import ROOT, Client, Closed, Sidecar, Upstream, answering, free_port, services, until
from tests.test_access_log import FIELDS

ALL = '[access_log]\nmode = "all"\n[drain]\ndelay = "0s"\n'
LOST = re.compile(r"WARNING sidecar\.log: (\d+) lines of the access log are lost")
CRASH = """
import logging
from sidecar.clock import Clock
from sidecar.telemetry.export.install import install, new_writer
from sidecar.telemetry.log import Settings
writer = new_writer(Clock())
install(Settings(), Clock(), writer)
writer.start()
logging.getLogger("sidecar").error("last words")
raise SystemError("a crash")
"""


@pytest.fixture
def file() -> Iterator[Path]:
    with tempfile.NamedTemporaryFile() as named:
        yield Path(named.name)


def lines(text: bytes) -> list[dict[str, Any]]:
    """Every line as the object that it must be."""
    assert text.endswith(b"\n") or not text
    records = [json.loads(line) for line in text.decode().split("\n")[:-1]]
    assert all(list(record) == FIELDS for record in records)
    return records


def ask(port: int, many: int, at_once: int = 50) -> None:
    """Sends ``many`` requests on one connection; each is answered."""
    with Client(port) as client:
        for _ in range(many // at_once):
            client.send(b"GET /a HTTP/1.1\r\nHost: orders\r\n\r\n" * at_once)
            for _ in range(at_once):
                assert client.response().status == 200


def test_a_reader_that_stops_reading_holds_nobody_up_and_is_told_what_it_missed() -> None:
    """More lines than pipe and queue can hold: all requests are served; whoever reads again gets the rest, and a number."""
    reader, end = os.pipe()
    with Upstream(answering()) as server, Sidecar(services(orders=server.address) + ALL, stdout=end) as sidecar:
        os.close(end)
        ask(sidecar.ports["outbound"], 6000)
        lost = sidecar.metric("sidecar_log_lines_dropped_total", log="access")
        assert 0 < lost < 6000
        assert sidecar.probe("/health/live").status == 200

        read = bytearray()

        def drain() -> None:
            while piece := os.read(reader, 65536):
                read.extend(piece)

        reading = threading.Thread(target=drain, daemon=True)
        reading.start()
        until(lambda: read.count(b"\n") == 6000 - lost, "all that was not lost is read")
        until(lambda: LOST.findall(sidecar.log()), "the loss is told")
        with Client(sidecar.ports["outbound"]) as client:
            client.get("orders", "/later")
        until(lambda: b'"/later"' in read, "what comes later is read")
        sidecar.signal(signal.SIGTERM)
        assert sidecar.exit_code() == 0
        reading.join(10)
        assert len(lines(bytes(read))) == 6001 - lost
        told = sum(map(int, LOST.findall(sidecar.log())))
        assert 0 < told <= lost
    os.close(reader)


def test_a_reader_that_has_gone_costs_lines_and_nothing_else() -> None:
    """A broken pipe is no failure of a request, is not tried again and again, and is said once."""
    reader, end = os.pipe()
    os.close(reader)
    with Upstream(answering()) as server, Sidecar(services(orders=server.address) + ALL, stdout=end) as sidecar:
        os.close(end)
        ask(sidecar.ports["outbound"], 100)
        until(lambda: sidecar.metric("sidecar_log_lines_dropped_total", log="access") == 100, "all lines are lost")
        until(lambda: LOST.findall(sidecar.log()), "and that is told")
        busy = sidecar.metric("process_cpu_seconds_total")
        for _ in range(50):
            assert sidecar.probe("/health/live").status == 200
        assert sidecar.metric("process_cpu_seconds_total") - busy < 1
        sidecar.signal(signal.SIGTERM)
        assert sidecar.exit_code() == 0
        assert len(LOST.findall(sidecar.log())) == 1
        assert "Traceback" not in sidecar.log()


@pytest.mark.parametrize("redirect", ["2>&-", "<&- >&- 2>&-"])
def test_a_sidecar_without_standard_streams_serves_and_writes_its_lines_into_no_connection(redirect: str) -> None:
    """Their numbers must not become those of sockets."""
    ports = {"outbound": free_port(), "probes": free_port()}
    listen = {name: f"127.0.0.1:{port}" for name, port in ports.items()} | {"admin": "none"}
    with Upstream(answering()) as server:
        sidecar = Sidecar(services(orders=server.address) + ALL, stdout=subprocess.DEVNULL, redirect=redirect, **listen)
        try:
            sidecar.spawn()
            sidecar.ports = ports
            until(lambda: answers(ports["probes"]), "it has started")
            ask(ports["outbound"], 200)
            until(lambda: sidecar.metric("sidecar_log_lines_dropped_total", log="process") > 0, "lines are lost")
            ask(ports["outbound"], 200)
            sidecar.signal(signal.SIGTERM)
            assert sidecar.exit_code() == 0
        finally:
            sidecar.__exit__(None, None, None)


def answers(port: int) -> bool:
    try:
        with Client(port) as client:
            return client.get("sidecar", "/health/startup").status == 200
    except (OSError, Closed):
        return False


def test_sigterm_loses_no_line(file: Path) -> None:
    """What was logged in the last moment is written before the process ends, in both logs."""
    with (
        file.open("wb") as out,
        Upstream(answering()) as server,
        Sidecar(services(orders=server.address) + ALL, stdout=out.fileno()) as sidecar,
    ):
        ask(sidecar.ports["outbound"], 1000)
        sidecar.signal(signal.SIGTERM)
        assert sidecar.exit_code() == 0
        assert sidecar.log().endswith(" INFO sidecar: bye\n")
        records = lines(file.read_bytes())
        assert len(records) == 1000
        assert len({record["request_id"] for record in records}) == 1000


def test_a_crash_loses_no_line() -> None:
    """The words before it are those that matter."""
    done = subprocess.run([sys.executable, "-c", CRASH], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "ERROR sidecar: last words\n" in done.stderr
    assert "SystemError: a crash" in done.stderr


HOSTILE = [
    b"GET /a\x1b[31m HTTP/1.1\r\nHost: orders\r\n\r\n",
    b"GET /a%0a%1b HTTP/1.1\r\nHost: orders\r\n\r\n",
    b"GET /a\xe2\x80\xa8b HTTP/1.1\r\nHost: orders\r\n\r\n",
    b"GET /{\"a\":1} HTTP/1.1\r\nHost: orders\r\n\r\n",
    b"GET /';|{}=&~`^ HTTP/1.1\r\nHost: orders\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: orders\r\nX-Request-Id: \",\"status\":200,\"x\":\"\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: orders\r\nX-Request-Id: a b\x80\x9b\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: or\"ders\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: user:s3cret@orders\r\n\r\n",
    b"G\"ET /a HTTP/1.1\r\nHost: orders\r\n\r\n",
    b"B|R`E^W~ /a HTTP/1.1\r\nHost: orders\r\n\r\n",
    b"GET /" + b"a" * 9000 + b"?s3cret HTTP/1.1\r\nHost: orders\r\n\r\n",
    b"GET http://no.body/%22?s3cret HTTP/1.1\r\n Host: orders\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
    b"time=2026 status=200\n\n\r\n\r\n",
]  # fmt: skip


@pytest.mark.parametrize("kind", ["json", "text"])
def test_no_request_can_write_a_line_of_its_own(file: Path, kind: str) -> None:
    """One line each, of printable characters, whatever the bytes were."""
    toml = ALL.replace("[drain]", f'format = "{kind}"\n[drain]')
    with (
        file.open("wb") as out,
        Upstream(answering()) as server,
        Sidecar(services(orders=server.address) + toml, stdout=out.fileno()) as sidecar,
    ):
        for request in HOSTILE:
            with Client(sidecar.ports["outbound"]) as client:
                client.send(request)
                assert client.head().startswith(b"HTTP/1.1 ")
        sidecar.signal(signal.SIGTERM)
        assert sidecar.exit_code() == 0
        written = file.read_bytes()
        process = sidecar.log()
    assert written.count(b"\n") == len(HOSTILE)
    assert all(line.isprintable() for line in written.decode().split("\n")[:-1])
    assert all(line.isprintable() for line in process.splitlines())
    assert b"s3cret" not in written
    if kind == "json":
        assert len(lines(written)) == len(HOSTILE)
    else:
        assert all(line.startswith("time=2") for line in written.decode().splitlines())


def test_every_line_is_whole_under_load(file: Path) -> None:
    """Four callers at once: as many lines as requests, each an object, in the order of their ends."""
    with (
        file.open("wb") as out,
        Upstream(answering()) as server,
        Sidecar(services(orders=server.address) + ALL, stdout=out.fileno()) as sidecar,
    ):
        port = sidecar.ports["outbound"]
        callers = [threading.Thread(target=ask, args=(port, 500, 10), daemon=True) for _ in range(4)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(30)
        assert sidecar.requests(direction="outbound", status=200) == 2000
        sidecar.signal(signal.SIGTERM)
        assert sidecar.exit_code() == 0
        records = lines(file.read_bytes())
        assert sidecar.log().count("are lost") == 0
    assert len({record["request_id"] for record in records}) == len(records) == 2000
    assert [record["time"] for record in records] == sorted(record["time"] for record in records)
