"""``python -m examples.demo [--seconds N]``: start the mesh, keep it busy, say each second what happened, end it."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType

from examples.demo.app import HEALTH
from examples.demo.children import Children, Failed, answers
from examples.demo.load import Load
from examples.demo.report import Report
from examples.demo.topology import Mesh, address, plan_mesh

RATE = 20
"""Requests a second."""
START_SECONDS = 20.0
"""How long the mesh may take until everybody answers."""
POLL_SECONDS = 0.05


class Stop:
    """Set by a signal and looked at by every loop: no exception ever cuts the ending of the children short."""

    def __init__(self) -> None:
        self.asked = False

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        self.asked = True


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description="A small mesh to look at.")
    parser.add_argument("--seconds", type=int, metavar="N", help="end after N seconds (default: when told to)")
    seconds = parser.parse_args().seconds
    stop = Stop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop.on_signal)
    mesh = plan_mesh()
    with tempfile.TemporaryDirectory(prefix="sidecar-demo-") as name:
        directory = Path(name)
        # The sidecars end first: they finish what runs, and for that they need the applications.
        with Children(directory) as apps, Children(directory) as sidecars:
            try:
                introduce(mesh, directory, start(mesh, directory, apps, sidecars))
                wait_until_ready(mesh, stop, apps, sidecars)
                run(mesh, stop, seconds, apps, sidecars)
            except Failed as error:
                print(f"\n{error}", file=sys.stderr)
                return 1
            print("Ending all processes ...", flush=True)
    print("Nothing is left.")
    return 0


def start(mesh: Mesh, directory: Path, apps: Children, sidecars: Children) -> dict[str, str]:
    """Start every process; their ids by the member's name, for people."""
    pids = {}
    for name, module, args in mesh.applications():
        pids[name] = f"{apps.start(name, module, *args)}, "
    for member in mesh.members:
        config = directory / f"{member.name}.toml"
        config.write_text(member.config)
        pid = sidecars.start(f"{member.name} sidecar", "sidecar", "run", "--config", str(config))
        pids[member.name] = f"{pids.get(member.name, '')}{pid}"
    return pids


def introduce(mesh: Mesh, directory: Path, pids: dict[str, str]) -> None:
    """Where everything is, and what to try."""
    shop = f"http://{address(mesh.shop.outbound)}"
    print("A small mesh on 127.0.0.1: shop > orders > payments (twice), a sidecar beside each. Ctrl-C ends it.\n")
    print(f"  {'':12}{'app':>6}{'inbound':>9}{'outbound':>10}  {'metrics':33}pids (app, sidecar)")
    for member in mesh.members:
        ports = f"{member.app or '-':>6}{member.inbound or '-':>9}{member.outbound:>10}"
        print(f"  {member.name:12}{ports}  http://{address(member.probes)}/metrics   {pids[member.name]}")
    print(f"  Configurations and logs, as long as it runs: {directory}\n")
    print(f"  Try: curl -i {shop}/orders/7 -H 'Host: orders'")
    print(f"       curl -i {shop}/ -H 'Host: nobody'")
    print(f"       curl http://{address(mesh.orders.probes)}/health/detailed\n")
    print(
        "Some answers of payments are 503 and some are late; payments-2 is ill for 8 s of every 30, first at second 10."
    )
    print("Retries hide it from the shop, and the breaker of payments-2 opens and closes.")
    print("Where a line has two values with a +, they are those of payments-1 and payments-2.\n", flush=True)


def wait_until_ready(mesh: Mesh, stop: Stop, *children: Children) -> None:
    """Return when everybody answers, or when we are to stop. Raises ``Failed``."""
    pending = [(f"{m.name}'s sidecar", m.probes, "/health/ready") for m in mesh.members]
    pending += [(member.name, member.app, HEALTH) for member in mesh.members if member.app is not None]
    give_up = time.monotonic() + START_SECONDS
    while pending and not stop.asked:
        check(*children)
        pending = [one for one in pending if not answers(*one[1:])]
        if time.monotonic() > give_up:
            raise Failed(f"Not ready after {START_SECONDS:.0f} s: {', '.join(name for name, *_ in pending)}.")
        time.sleep(POLL_SECONDS)


def check(*children: Children) -> None:
    for group in children:
        group.check()


def run(mesh: Mesh, stop: Stop, seconds: int | None, *children: Children) -> None:
    """Ask ``RATE`` times a second and print a line each second, for ``seconds`` or until we are to stop."""
    load = Load(mesh.shop.outbound)
    report = Report(mesh, load)
    began = time.monotonic()
    tick = 0
    with ThreadPoolExecutor(max_workers=RATE) as pool:
        while not stop.asked and (seconds is None or tick < seconds * RATE):
            pool.submit(load.ask, tick)
            tick += 1
            time.sleep(max(0.0, began + tick / RATE - time.monotonic()))
            if tick % RATE == 0:
                check(*children)
                print(report.line(tick // RATE), flush=True)
    print(report.total())


if __name__ == "__main__":
    sys.exit(main())
