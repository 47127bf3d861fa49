"""What a registry costs: watching a thousand services of a real Consul, and a service of ten thousand endpoints that changes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from bench import measure
from bench.figures import Figure, Quantity
from bench.process import Failed, free_port, running, wait_until_ready
from bench.proxies import SIDECAR
from bench.table import Report, Verdict
from bench.workplace import Workplace
from sidecar.balance.round_robin import RoundRobin
from sidecar.clock import Random
from sidecar.discovery.consul.instances import parse
from sidecar.discovery.consul.watch import in_turns
from sidecar.discovery.doubt import Doubt
from sidecar.discovery.endpoint_set import EndpointSet
from sidecar.model import Dial
from sidecar.resilience.limits import Limits, Settings
from sidecar.routing.plan import Service

SERVICES = 1000
ENDPOINTS = 10_000
UPDATES = 10
WATCHED_SECONDS = 20.0
GOAL_MEMORY = 60.0
"""Megabytes of a sidecar with Consul."""

_TIME = Quantity("time of an update", "ms", noise=0.3)
_STALL = Quantity("longest hold of the loop", "ms", noise=0.5)
_CPU = Quantity("CPU of watching", "ms/s", noise=0.3)
_MEMORY = Quantity("resident memory", "MB", portable=True)


def registry(work: Workplace) -> Report:
    """The sidecar alone: the others have no such thing, or have it in another process."""
    title = f"Registry: {SERVICES:,} services watched, {ENDPOINTS:,} endpoints changed"
    report = Report("registry", title, ["what", "value"])
    _update(report)
    try:
        _watch(work, report)
    except Failed as error:
        report.failures[SIDECAR.name] = str(error)
    found = [one.value for one in report.figures if one.quantity is _MEMORY and one.variant == "one service"]
    memory = found[0] if found else None
    report.verdicts = [Verdict("resident memory with Consul", memory, "MB", GOAL_MEMORY, GOAL_MEMORY)]
    return report


def _note(report: Report, what: str, quantity: Quantity, values: list[float]) -> None:
    report.rows.append([f"{quantity.name}, {what}", f"{median(values):.1f} {quantity.unit}"])
    report.figures.append(Figure("registry", SIDECAR.name, quantity, list(values), what))


# An update


def _update(report: Report) -> None:
    """The way of an answer from its bytes to the endpoints that may be picked, beside a loop that counts its lateness."""
    taken, held = asyncio.run(_updates())
    _note(report, f"{ENDPOINTS:,} endpoints, one of them new", _TIME, taken)
    _note(report, f"{ENDPOINTS:,} endpoints, one of them new", _STALL, held)


async def _updates() -> tuple[list[float], list[float]]:
    endpoints, doubt = EndpointSet("orders"), Doubt(60.0)
    service = Service("orders", (), RoundRobin(Random(1)), Limits(Settings()), None, None, Dial())
    taken, held = [], []
    for number in range(UPDATES + 1):
        body = _answer(number)
        with _lateness() as late:
            await asyncio.sleep(0.02)
            began = time.perf_counter()
            parsed = await in_turns(parse("orders", body))
            listed = endpoints.update(doubt.hear(parsed.instances, 0.0))
            assert listed is not None
            service.list(listed)
            service.balancer.pick(service.endpoints, 0.0, (), None)
            taken.append((time.perf_counter() - began) * 1e3)
            await asyncio.sleep(0.02)
        held.append(max(late) * 1e3)
    return taken[1:], held[1:]  # The first makes all endpoints; it is a start and no update.


@contextlib.contextmanager
def _lateness() -> Iterator[list[float]]:
    """By how much the loop was late, again and again; as a request would feel it."""
    late = [0.0]

    async def tick() -> None:
        while True:
            due = time.perf_counter() + 0.001
            await asyncio.sleep(0.001)
            late.append(time.perf_counter() - due)

    task = asyncio.get_running_loop().create_task(tick())
    try:
        yield late
    finally:
        task.cancel()


def _answer(number: int) -> bytes:
    """As Consul would say it, of ten thousand instances from the ``number``-th on."""
    return json.dumps(
        [
            {
                "Node": {"Node": f"n{at}", "Address": "10.0.0.1", "Datacenter": "dc1", "Meta": {"a": "b"}},
                "Service": {
                    "ID": f"orders-{at}",
                    "Service": "orders",
                    "Tags": ["v1"],
                    "Address": f"10.{at >> 16}.{at >> 8 & 255}.{at & 255}",
                    "Meta": {"zone": "a", "version": "1.2.3"},
                    "Port": 15006,
                    "Weights": {"Passing": 1, "Warning": 1},
                },
                "Checks": [
                    {"CheckID": "serfHealth", "Name": "Serf Health Status", "Status": "passing", "Output": "alive"},
                    {"CheckID": f"service:orders-{at}", "Name": "sidecar of orders", "Status": "passing", "Output": ""},
                ],
            }
            for at in range(number, number + ENDPOINTS)
        ]
    ).encode()


# Watching


def _watch(work: Workplace, report: Report) -> None:
    program = shutil.which("consul") or str(Path(sys.executable).parent / "consul")
    if not Path(program).exists():
        raise Failed("Consul is missing: tests/support/get-consul .venv/bin fetches it")
    port, ports = free_port(), {name: free_port() for name in ("serf_lan", "serf_wan", "server")}
    config = work.directory / "consul.json"
    config.write_text(
        json.dumps(
            {
                "bind_addr": "127.0.0.1",
                "ports": {**ports, "http": port, "dns": -1, "grpc": -1},
                "log_level": "err",
                "limits": {"http_max_conns_per_client": 400},
            }
        )
    )
    command = [program, "agent", "-dev", "-config-file", str(config)]
    with running(command, work.load_core, work.directory / "consul.log") as agent:
        wait_until_ready(agent, work.directory / "consul.log", port, "/v1/catalog/services")
        _registered(port)
        for what, count in (("one service", 1), (f"{SERVICES:,} services", SERVICES)):
            work.say(f"registry: {what}")
            cpu, memory = _watched(work, port, count)
            _note(report, what, _CPU, [cpu])
            _note(report, what, _MEMORY, [memory])


def _registered(port: int) -> None:
    deadline = time.monotonic() + 30
    for number in range(SERVICES):
        body: dict[str, Any] = {"Name": f"s{number}", "ID": f"s{number}", "Address": "127.0.0.1", "Port": 1 + number}
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/agent/service/register", json.dumps(body).encode(), method="PUT"
        )
        while True:
            try:
                urllib.request.urlopen(request, timeout=5).close()
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise Failed(f"Consul takes no registration: {error}") from None
                time.sleep(0.1)


def _watched(work: Workplace, port: int, count: int) -> tuple[float, float]:
    """Milliseconds of CPU in a second, and megabytes, once everything is known."""
    probes = free_port()
    config = work.directory / "watching.toml"
    config.write_text(
        f'[listen]\ninbound = "none"\noutbound = "none"\nadmin = "none"\nprobes = "127.0.0.1:{probes}"\n'
        f'[registry]\nkind = "consul"\n[registry.consul]\naddress = "http://127.0.0.1:{port}"\n'
        + "".join(f"[services.s{number}]\n" for number in range(count))
    )
    log = work.directory / "watching.log"
    command = [sys.executable, "-m", "sidecar", "run", "--config", str(config)]
    with running(command, work.proxy_core, log) as child:
        wait_until_ready(child, log, probes, "/health/startup", 60.0)
        time.sleep(5.0)
        before, began = measure.cpu_seconds(child.pid), time.monotonic()
        time.sleep(WATCHED_SECONDS)
        used = (measure.cpu_seconds(child.pid) - before) / (time.monotonic() - began)
        return used * 1e3, measure.rss(child.pid) / 1e6
