"""Several sidecars on one machine: they find each other by name, move out of each other's way, and are found."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import pytest
from click.testing import CliRunner

from sidecar.cli.main import main
from tests.support.live import PATIENCE, ROOT, Client, Closed, Upstream, answering, until

BANNER = re.compile(r"sidecar: (\S+): (inbound|outbound|admin|probes) on (127\.0\.0\.1:(\d+))")


def body(text: str) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(text), text.encode())


class Plain:
    """``sidecar run --service NAME --app ADDRESS`` and nothing else: what somebody types who has read one page."""

    def __init__(self, directory: Path, service: str, app: str, *more: str) -> None:
        self._log: IO[bytes] = (directory / f"{service}-{app.replace(':', '-')}.log").open("w+b")
        environ = os.environ | {"SIDECAR_REGISTRY__LOCAL__DIRECTORY": str(directory / "registry")}
        command = [sys.executable, "-m", "sidecar", "run", "--service", service, "--app", app, *more]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=self._log, cwd=ROOT, env=environ)
        until(lambda: len(self.ports) == 4 or self.process.poll() is not None, f"{service} tells its addresses")
        assert self.process.poll() is None, self.log

    @property
    def log(self) -> str:
        return os.pread(self._log.fileno(), 1 << 20, 0).decode()

    @property
    def ports(self) -> dict[str, int]:
        return {name: int(port) for _, name, _, port in BANNER.findall(self.log)}

    def get(self, host: str) -> tuple[int, bytes]:
        with Client(self.ports["outbound"]) as client:
            answer = client.get(host)
            return answer.status, answer.body

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._log.close()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def started(machine: ExitStack, directory: Path, service: str, text: str = "", *more: str) -> Plain:
    app = machine.enter_context(Upstream(answering(body(text or service))))
    sidecar = Plain(directory, service, app.address, *more)
    machine.callback(sidecar.close)
    return sidecar


def test_two_services_call_each_other_by_name_and_nobody_has_written_an_address(
    machine: ExitStack, tmp_path: Path
) -> None:
    """The default ports are taken by one of them; the other moves, and says where it is."""
    shop = started(machine, tmp_path, "shop")
    billing = started(machine, tmp_path, "billing")
    assert not set(shop.ports.values()) & set(billing.ports.values())
    assert shop.get("billing") == (200, b"billing")
    assert billing.get("shop") == (200, b"shop")
    assert shop.get("nobody")[0] == 404


def test_an_instance_that_is_killed_is_called_no_more_and_one_that_comes_is_called(
    machine: ExitStack, tmp_path: Path
) -> None:
    """Without a failed request: what is refused is tried at the other one, until the file is gone."""
    shop = started(machine, tmp_path, "shop")
    first = started(machine, tmp_path, "billing", "first")
    until(lambda: shop.get("billing") == (200, b"first"), "the first is found")
    second = started(machine, tmp_path, "billing", "second")
    until(lambda: shop.get("billing")[1] == b"second", "the second is found")
    first.process.kill()
    first.process.wait()
    assert {shop.get("billing") for _ in range(20)} <= {(200, b"first"), (200, b"second")}
    until(lambda: listed(tmp_path, shop, "billing") == [f"127.0.0.1:{second.ports['inbound']}"], "the first is gone")
    third = started(machine, tmp_path, "billing", "third")
    until(lambda: shop.get("billing")[1] == b"third", "the third is found")
    assert third.process.poll() is None


def listed(directory: Path, sidecar: Plain, service: str) -> list[str]:
    result = command(directory, "endpoints", service, "--admin", f"127.0.0.1:{sidecar.ports['admin']}", "-o", "json")
    return [row["address"] for row in json.loads(result.stdout)["data"]] if result.exit_code == 0 else []


def command(directory: Path, *words: str):  # type: ignore[no-untyped-def]
    environ = {"SIDECAR_REGISTRY__LOCAL__DIRECTORY": str(directory / "registry"), "SIDECAR_CONFIG": None}
    return CliRunner().invoke(main, words, env=environ)


def test_a_drain_is_told_first_and_costs_no_request(machine: ExitStack, tmp_path: Path) -> None:
    """Whoever drains is called no more long before it takes nothing more."""
    shop = started(machine, tmp_path, "shop")
    first = started(machine, tmp_path, "billing", "first")
    started(machine, tmp_path, "billing", "second")
    until(lambda: len({shop.get("billing")[1] for _ in range(4)}) == 2, "both are found")
    first.process.send_signal(signal.SIGTERM)
    until(lambda: len(listed(tmp_path, shop, "billing")) == 1, "it is listed no more")
    assert first.process.poll() is None
    assert {shop.get("billing") for _ in range(50)} == {(200, b"second")}


def test_after_an_orderly_end_nothing_is_left(machine: ExitStack, tmp_path: Path) -> None:
    """No file, no temporary one, and nobody to be found."""
    shop = started(machine, tmp_path, "shop", "", "--inbound", "127.0.0.1:0")
    assert list((tmp_path / "registry").iterdir())
    shop.process.send_signal(signal.SIGINT)
    assert shop.process.wait(PATIENCE) == 0
    assert list((tmp_path / "registry").iterdir()) == []


def test_commands_find_the_sidecar_that_runs_and_ask_which_if_there_are_several(
    machine: ExitStack, tmp_path: Path
) -> None:
    """By themselves, or by the name of its service; and they say what there is."""
    shop = started(machine, tmp_path, "shop")
    directory = f'[registry.local]\ndirectory = "{tmp_path / "registry"}"\n'
    file = tmp_path / "sidecar.toml"
    file.write_text(f'[service]\nname = "shop"\napp = "127.0.0.1:1"\n{directory}')
    asking = ["stat", "--config", str(file), "-o", "json"]
    assert command(tmp_path, *asking).exit_code == 0
    started(machine, tmp_path, "billing")
    assert command(tmp_path, *asking).exit_code == 0
    assert command(tmp_path, *asking, "--service", "billing").exit_code == 0
    result = command(tmp_path, *asking, "--service", "biling")
    assert result.exit_code == 1
    assert "no sidecar of biling runs here" in result.stderr and "billing at 127.0.0.1:" in result.stderr
    started(machine, tmp_path, "shop", "another")
    result = command(tmp_path, *asking)
    assert "2 sidecars run here: shop at 127.0.0.1:" in result.stderr and "--service NAME" in result.stderr
    assert f"127.0.0.1:{shop.ports['admin']}" in result.stderr


def test_a_directory_that_others_can_write_to_is_refused_at_the_start(tmp_path: Path) -> None:
    """Who writes there decides where calls go."""
    directory = tmp_path / "registry"
    directory.mkdir()
    directory.chmod(0o777)
    environ = os.environ | {"SIDECAR_REGISTRY__LOCAL__DIRECTORY": str(directory)}
    command = [sys.executable, "-m", "sidecar", "run", "--app", "127.0.0.1:1"]
    result = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 1
    assert "the registry cannot be used" in result.stderr and str(directory) in result.stderr


def test_a_client_of_a_sidecar_that_is_killed_sees_the_end(machine: ExitStack, tmp_path: Path) -> None:
    """What the kernel does for us; nothing is left that would answer in its place."""
    shop = started(machine, tmp_path, "shop")
    with Client(shop.ports["outbound"]) as client:
        shop.process.kill()
        with pytest.raises(Closed):
            client.get("shop")
