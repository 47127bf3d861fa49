"""Instances that die under load, as real processes that are killed: nobody who calls them notices."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.callers import Callers
from tests.support.live import Client, Sidecar, free_port, until

APPLICATION = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    def do_GET(self):
        body = sys.argv[1].encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass

ThreadingHTTPServer.request_queue_size = 128
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@contextmanager
def instance(port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process that answers with its port."""
    process = subprocess.Popen([sys.executable, "-c", APPLICATION, str(port)])
    try:
        until(lambda: _listens(port), "it listens")
        yield process
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    try:
        with Client(port) as client:
            return client.get("orders").status == 200
    except OSError:
        return False


def test_an_instance_that_is_killed_costs_no_call_and_is_out_at_once_and_back_when_it_is() -> None:
    """300 calls a second to three instances: one is killed, and started again later."""
    ports = [free_port() for _ in range(3)]
    endpoints = [f"127.0.0.1:{port}" for port in ports]
    dead = str(ports[0])
    with (
        instance(ports[1]),
        instance(ports[2]),
        Sidecar(f"[services.orders]\nendpoints = {endpoints}\n") as sidecar,
    ):
        with instance(ports[0]) as first, Callers(sidecar.ports["outbound"], "orders") as callers:
            callers.more(300)
            assert {body.decode() for _, _, body in callers.answers} == {str(port) for port in ports}
            first.kill()
            killed = time.monotonic()
            callers.more(900)
            until(lambda: sidecar.metric("sidecar_endpoints", service="orders", state="refused") == 1, "it is out")
            assert max(at for at, _, body in callers.answers if body.decode() == dead) < killed + 1.0
            with instance(ports[0]):
                callers.more(1)
                until(lambda: callers.answers[-1][2].decode() == dead, "it is called again", 15)
            assert {status for _, status, _ in callers.answers} == {200}
        assert "orders: left out until a connection succeeds" in sidecar.log()
        until(lambda: f"orders: 127.0.0.1:{dead} takes connections again" in sidecar.log(), "the log says so")
