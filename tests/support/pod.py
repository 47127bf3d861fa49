"""The manifests of k8s/ as values, and what is in their pods as processes of this machine.

A pod's containers share a loopback, and all that they say to each other is said there. So two processes with the
manifest's own configuration, script and environment are such a pod, but for its ports: those are free ones here.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sidecar.config.load import load
from sidecar.config.schema import Config
from tests.support.live import PATIENCE, ROOT, Client, Closed, free_port, until

FILES = sorted((ROOT / "k8s").glob("*.yaml"))
OUTBOUND = "127.0.0.1:15001"

Table = dict[str, Any]


def documents(file: Path) -> list[Table]:
    return [document for document in yaml.safe_load_all(file.read_text()) if document is not None]


@dataclass(frozen=True)
class Pod:
    """A pod of a manifest: what is around its template, and the configuration that is mounted into it."""

    file: str
    owner: Table
    toml: str

    @property
    def spec(self) -> Table:
        spec: Table = self.owner["spec"]["template"]["spec"]
        return spec

    @property
    def containers(self) -> list[Table]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    def container(self, name: str) -> Table:
        (found,) = (one for one in self.containers if one["name"] == name)
        return found

    @property
    def native(self) -> bool:
        return "initContainers" in self.spec

    def config(self, directory: Path) -> Config:
        """What the sidecar makes of the configuration. Raises if it is not valid."""
        return load(str(self.write(directory)))

    def write(self, directory: Path) -> Path:
        file = directory / f"{self.owner['metadata']['name']}.toml"
        file.write_text(self.toml)
        return file

    def environment(self, name: str, outbound: int) -> dict[str, str]:
        """The variables of a container, with the true port of the outbound listener."""
        return {
            one["name"]: one["value"].replace(OUTBOUND, f"127.0.0.1:{outbound}") for one in self.container(name)["env"]
        }

    def __str__(self) -> str:
        return f"{self.file}:{self.owner['kind']}"


def pods() -> list[Pod]:
    """Every pod of every file."""
    found = []
    for file in FILES:
        everything = documents(file)
        maps = {one["metadata"]["name"]: one["data"] for one in everything if one["kind"] == "ConfigMap"}
        for owner in everything:
            if owner["kind"] in ("Deployment", "Job"):
                (volume,) = owner["spec"]["template"]["spec"]["volumes"]
                found.append(Pod(file.name, owner, maps[volume["configMap"]["name"]]["sidecar.toml"]))
    return found


PODS = pods()


def pod_of(file: str, kind: str) -> Pod:
    """The one of this kind in this file."""
    (found,) = (pod for pod in PODS if (pod.file, pod.owner["kind"]) == (file, kind))
    return found


def listeners(config: Config) -> tuple[dict[str, int], dict[str, str]]:
    """A free port for each listener that there is, and the variables that say so to a sidecar."""
    names = [name for name in config.listen.__struct_fields__ if getattr(config.listen, name) is not None]
    ports = {name: free_port() for name in names}
    return ports, {f"SIDECAR_LISTEN__{name.upper()}": f"127.0.0.1:{port}" for name, port in ports.items()}


class Process:
    """A process of a pod; ``log`` is all that it has written."""

    def __init__(self, command: list[str], env: Mapping[str, str], **how: Any) -> None:
        self.environment = dict(env)
        self._log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            command, env=self.environment, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT, **how
        )

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._log.close()

    @property
    def log(self) -> str:
        return os.pread(self._log.fileno(), 1 << 20, 0).decode()

    def exit_code(self) -> int:
        return self.process.wait(PATIENCE)

    def stop(self) -> int:
        """As a kubelet does it; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.exit_code()

    def wait_for(self, port: int, path: str) -> None:
        """Until it answers 200 there."""

        def answers() -> bool:
            assert self.process.poll() is None, self.log
            try:
                with Client(port) as client:
                    return client.get("pod", path).status == 200
            except (OSError, Closed):
                return False

        until(answers, f"{path} on port {port} is answered; the log:\n{self.log}")


@contextmanager
def started(command: list[str], env: Mapping[str, str], **how: Any) -> Iterator[Process]:
    """``how`` goes to ``Popen``. Whatever is left of it at the end is killed."""
    process = Process(command, env, **how)
    try:
        yield process
    finally:
        process.close()


def python_environment() -> dict[str, str]:
    """What a Python of this machine needs to run the sidecar of this repository and its command."""
    return {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
