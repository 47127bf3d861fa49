"""The demo where there is no terminal to draw on: a line a second, and a line for all that happens.

A line of figures begins with the second and ``s |``, all others with the second and ``s !``::

      12 s | customers  30.0/s  100.0 % ok  p50    5.1 ms  p95   28.0 ms  p99    262 ms  retries  3  barred payments-2
      12 s ! payments-2 failed 5 times in 10 s: orders' breaker is open for 10 s, calls go to payments-1
"""

from __future__ import annotations

import os
import stat
import sys

from sidecar.cli.output import echo
from sidecar.demo.interval import Figures, Interval
from sidecar.demo.mesh import Mesh
from sidecar.demo.readings import NOTHING, Snapshot, together


class Lines:
    """On standard output, with wishes from standard input where there is somebody."""

    every = 1.0
    span = 1.0

    def __init__(self) -> None:
        self._second = 0.0
        self._rest = b""
        self.source = _readable(0)

    def say(self, sentence: str) -> None:
        echo(f"{self._second:5.0f} s ! {sentence}")
        sys.stdout.flush()

    def introduce(self, mesh: Mesh) -> None:
        echo("A small shop on 127.0.0.1: customers > web > orders > payments (twice), and web > catalog; each beside")
        echo("its own sidecar. Ctrl-C ends it, and nothing is left.\n")
        echo(f"  {'':12}{'written with':14}{'process':>8}  {'admin API and metrics':24}called at")
        for instance in mesh.instances:
            place = mesh.places.get(instance.name)
            if place is not None:
                pid = mesh.crew.pids.get(instance.name, 0)
                where = f"http://{place.admin:17}{place.inbound or '-':18}"
                echo(f"  {instance.name:12}{instance.style:14}{pid:>8}  {where}".rstrip())
        customers = mesh.places[mesh.instances[0].name]
        orders = mesh.places["orders"]
        echo(f"\n  Try: curl -i -x {customers.outbound} http://web/orders/7")
        echo(f"       sidecar breakers --admin {orders.admin}")
        echo(f"       kill -9 {mesh.crew.pids.get('payments-2', 0)}")
        if self.source is not None:
            echo("  Or type: kill payments-2, delay payments-1, fail catalog, restore catalog, quit")
        echo("")
        sys.stdout.flush()

    def show(self, seconds: float, mesh: Mesh, snapshot: Snapshot, interval: Interval) -> None:
        self._second = seconds
        counts = interval.calls.get(("customers", "web"), NOTHING)
        retries = NOTHING
        for each in interval.calls.values():
            retries = together(retries, each)
        echo(f"{seconds:5.0f} s | {line(interval.figures(counts), retries.retries, barred(snapshot))}")
        sys.stdout.flush()

    def read(self) -> list[str]:
        if self.source is None:
            return []
        try:
            data = os.read(self.source, 4096)
        except OSError:
            data = b""  # We are in the background of a terminal.
        if not data:
            self.source = None
            return []
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line.decode(errors="replace") for line in lines]


def line(figures: Figures, retries: int, barred: list[str]) -> str:
    """What the customers got, the retries of all that made it so, and whose breaker is open or half-open."""
    success = "    - % ok" if figures.success is None else f"{figures.success * 100:5.1f} % ok"
    percentiles = "  ".join(
        f"{name} {milliseconds(value):>9}"
        for name, value in (("p50", figures.p50), ("p95", figures.p95), ("p99", figures.p99))
    )
    return f"customers {figures.rate:5.1f}/s  {success}  {percentiles}  retries {retries:2d}  barred {','.join(barred) or '-'}"


def barred(snapshot: Snapshot) -> list[str]:
    """The endpoints that somebody's breaker keeps out or only tries."""
    return sorted(
        {
            endpoint
            for reading in snapshot.readings.values()
            for seen in reading.breakers.values()
            for endpoint, breaker in seen.items()
            if breaker.state != "closed"
        }
    )


def milliseconds(value: float | None) -> str:
    """``-`` if there is none."""
    if value is None:
        return "-"
    return f"{value * 1000:.1f} ms" if value < 0.1 else f"{value * 1000:.0f} ms"


def _readable(file: int) -> int | None:
    """Standard input, if somebody may write there: not where it is closed, nothing, or a terminal that we are in the
    background of."""
    try:
        if os.isatty(file):
            return file if os.tcgetpgrp(file) == os.getpgrp() else None
        return None if stat.S_ISCHR(os.fstat(file).st_mode) else file
    except OSError:
        return None
