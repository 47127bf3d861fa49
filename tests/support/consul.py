"""A real Consul agent, one process, on free ports of loopback.

It keeps nothing on disk: killed and started again it is empty, on the same ports. ::

    with Consul() as consul, Sidecar(consul.toml("orders"), ...) as sidecar:
        until(lambda: consul.passing("orders") == 1, "it is registered")
        consul.kill()
        consul.start()
"""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

import pytest

from tests.support.live import free_port, until


def binary() -> str:
    """Where Consul is. Skips the test where there is none, but for CI, which installs it."""
    beside = Path(sys.executable).parent / "consul"
    found = os.environ.get("CONSUL") or (str(beside) if beside.exists() else shutil.which("consul"))
    if not found:
        assert not os.environ.get("CI"), "CI has no Consul: tests/support/get-consul has failed"
        pytest.skip("no Consul here: tests/support/get-consul .venv/bin fetches it")
    return found


class Consul:
    """``options`` are merged into its configuration; ``ask`` uses ``token``, and TLS where there is a ``certificate``."""

    def __init__(self, options: dict[str, Any] | None = None, token: str = "", certificate: str = "") -> None:
        self._binary = binary()
        self.port = free_port()
        self.token = token
        self.address = f"{'https' if certificate else 'http'}://127.0.0.1:{self.port}"
        self._context = ssl.create_default_context(cafile=certificate) if certificate else None
        ports = {name: free_port() for name in ("serf_lan", "serf_wan", "server")}
        web = {"http": -1, "https": self.port} if certificate else {"http": self.port, "https": -1}
        self._options = {
            "bind_addr": "127.0.0.1",
            "client_addr": "127.0.0.1",
            "ports": {**ports, **web, "dns": -1, "grpc": -1},
            "log_level": "warn",
            "performance": {"raft_multiplier": 1},
            **(options or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.TemporaryDirectory()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._folder.cleanup()

    def start(self) -> None:
        config = Path(self._folder.name) / "consul.json"
        config.write_text(json.dumps(self._options))
        self._log = (Path(self._folder.name) / "log").open("wb")
        self._process = subprocess.Popen(
            [self._binary, "agent", "-dev", "-config-file", str(config)],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        until(self._leads, "Consul has a leader", 30)

    def _leads(self) -> bool:
        assert self._process is not None
        log = Path(self._folder.name) / "log"
        assert self._process.poll() is None, log.read_text()
        try:
            # Once the agent itself can be found in the catalog, it takes registrations and hands them on.
            return bool(self.ask("/v1/status/leader")) and bool(self.ask("/v1/catalog/node-services/" + self._name()))
        except OSError:
            return False

    def _name(self) -> str:
        return str(self.ask("/v1/agent/self")["Config"]["NodeName"])

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._log.close()
            self._process = None

    def toml(self, more: str = "") -> str:
        """The ``[registry]`` of a sidecar of this agent."""
        return f'[registry]\nkind = "consul"\n[registry.consul]\naddress = "{self.address}"\n{more}\n'

    def ask(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """What the API answers, read as JSON. Raises ``OSError``."""
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.address + path, data, {"X-Consul-Token": self.token}, method=method)
        with urllib.request.urlopen(request, timeout=10, context=self._context) as answer:
            said = answer.read()
        return json.loads(said) if said else None

    def status(self, service: str) -> list[tuple[int, str]]:
        """Port and worst status of each instance, by port."""
        worst = ("passing", "warning", "critical")
        return sorted(
            (one["Service"]["Port"], max((check["Status"] for check in one["Checks"]), key=worst.index))
            for one in self.ask(f"/v1/health/service/{service}")
        )

    def passing(self, service: str) -> int:
        """How many of its instances are well."""
        return sum(status == "passing" for _, status in self.status(service))

    def put(self, service: str, port: int, host: str = "127.0.0.1", **more: Any) -> None:
        """Registers somebody without a sidecar."""
        self.ask(
            "/v1/agent/service/register",
            "PUT",
            {"ID": f"{service}-{port}", "Name": service, "Address": host, "Port": port, **more},
        )

    def remove(self, service: str, port: int) -> None:
        self.ask(f"/v1/agent/service/deregister/{service}-{port}", "PUT")
