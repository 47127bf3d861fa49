"""The demo on a terminal: who there is, who calls whom, and what just happened, drawn anew at each look.

Everything is ASCII and fits into 80 columns and 24 lines; a smaller terminal cuts it at the bottom, a larger one shows more
of the story. The terminal is as before when the ``with`` block ends, however it ends.
"""

from __future__ import annotations

import os
import termios
import tty
from collections import deque
from contextlib import ExitStack, suppress
from typing import Any, Literal

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sidecar.demo.interval import Figures, Interval
from sidecar.demo.lines import milliseconds
from sidecar.demo.mesh import Mesh
from sidecar.demo.readings import Breaker, Snapshot
from sidecar.demo.topology import Instance
from sidecar.demo.wishes import VERBS

TOLD = 50
"""So much of the story is kept, for a large terminal."""
ARROWS = {b"\x1b[A": -1, b"\x1bOA": -1, b"\x1b[B": 1, b"\x1bOB": 1}
SERVES = {
    "   SERVES": 13, "WITH": 11, "REQ/S": 5, "SUCCESS": 7, "P50": 7, "P95": 7, "P99": 7, "PROCESS": 7, "ADMIN": 6,
}  # fmt: skip
CALLS = {"   CALLS": 21, "REQ/S": 5, "SUCCESS": 7, "P95": 7, "P99": 7, "RETRIES": 7, "BREAKERS": 20}
"""Columns and their widths."""
WORDS = ("   SERVES", "WITH", "   CALLS", "BREAKERS")
STYLES = {"open": "bold red", "half-open": "yellow", "closed": "green"}
KEYS = "1-6 or arrows choose   k kill   d delay   f fail   r restore   q quit"


class View:
    """On the terminal of standard input and output. ``chosen`` is the instance that keys are about."""

    every = 0.5
    span = 5.0

    def __init__(self, instances: tuple[Instance, ...], chosen: str) -> None:
        self.source = 0
        self._instances = instances
        self._chosen = [instance.name for instance in instances].index(chosen)
        self._story: deque[tuple[str, str]] = deque(maxlen=TOLD)
        self._seconds = 0.0
        self._last: tuple[Mesh, Snapshot, Interval] | None = None
        self._console = Console(highlight=False)
        self._live = Live(console=self._console, screen=True, auto_refresh=False, redirect_stdout=False)
        self._restore = ExitStack()

    def __enter__(self) -> View:
        with ExitStack() as stack:
            stack.callback(termios.tcsetattr, 0, termios.TCSAFLUSH, termios.tcgetattr(0))
            tty.setcbreak(0, termios.TCSAFLUSH)
            _without_pausing()
            stack.callback(self._leave)
            self._live.start()
            self._restore = stack.pop_all()
        self._draw()
        return self

    def _leave(self) -> None:
        with suppress(OSError):  # The terminal may be gone.
            self._live.stop()

    def __exit__(self, *of_an_error: object) -> None:
        with suppress(termios.error):
            self._restore.close()

    # What is said

    def say(self, sentence: str) -> None:
        self._story.append((_clock(self._seconds), sentence))
        self._draw()

    def introduce(self, mesh: Mesh) -> None:
        customers = mesh.places[self._instances[0].name]
        self.say(f"all answer. Elsewhere, try: curl -i -x {customers.outbound} http://web/orders/7")

    def show(self, seconds: float, mesh: Mesh, snapshot: Snapshot, interval: Interval) -> None:
        self._seconds = seconds
        self._last = mesh, snapshot, interval
        self._draw()

    # What is wished

    def read(self) -> list[str]:
        try:
            data = os.read(0, 64)
        except OSError:
            data = b""
        if not data:
            return ["quit"]  # The terminal is gone.
        if data.startswith(b"\x1b"):
            self._choose(self._chosen + ARROWS.get(data, 0))
            return []
        wishes = []
        for key in data.decode(errors="replace").lower():
            if key.isdecimal() and 0 < int(key) <= len(self._instances):
                self._choose(int(key) - 1)
            elif key in VERBS:
                wishes.append(f"{key} {self._instances[self._chosen].name}")
            elif key == "q":
                wishes.append("quit")
        return wishes

    def _choose(self, number: int) -> None:
        self._chosen = number % len(self._instances)
        self._draw()

    # What is drawn

    def _draw(self) -> None:
        width, height = self._console.size
        title = Text("customers > web > orders > payments (two), web > catalog", style="bold")
        parts: list[Any] = [title, Text()]
        used = 4
        if self._last is not None:
            mesh, snapshot, interval = self._last
            title.append(f"   {_clock(self._seconds)}", style="not bold")
            names = [instance.name for instance in self._instances]
            parts += [self._served(mesh, interval), Text(), calls(snapshot, interval, names), Text()]
            used = 6 + len(names) + len(interval.calls)
        parts += [*self._told(width, height - used - 2), Text(), Text(KEYS, style="reverse")]
        for part in parts:
            if isinstance(part, Text):
                part.no_wrap, part.overflow = True, "crop"
        self._live.update(Group(*parts), refresh=True)

    def _served(self, mesh: Mesh, interval: Interval) -> Table:
        table = _table(SERVES)
        for number, instance in enumerate(self._instances):
            chosen = number == self._chosen
            name = Text(f"{'>' if chosen else ' '}{number + 1} {instance.name}", style="bold" if chosen else "")
            place, due = mesh.places.get(instance.name), mesh.missing(instance.name)
            if due is not None:
                table.add_row(name, Text(f"dead, {due:.0f} s", style="bold red"))
            elif place is None or instance.name not in interval.served:
                table.add_row(name, Text("no answer", style="yellow"))
            else:
                figures = interval.figures(interval.served[instance.name])
                rate, success, *times = _cells(figures) if instance.serves else [Text("-")] * 5
                pid = str(mesh.crew.pids.get(instance.name, "-"))
                table.add_row(name, instance.style, rate, success, *times, pid, place.admin.rpartition(":")[2])
        return table

    def _told(self, width: int, lines: int) -> list[Text]:
        """The end of the story, in as many lines as there are, each sentence whole."""
        shown: list[Text] = []
        for at, sentence in reversed(self._story):
            indent = len(at) + 2
            rows = list(Text(sentence, style="" if shown else "bold").wrap(self._console, max(20, width - indent)))
            for number, row in enumerate(rows):
                row.pad_left(indent)
                if number == 0:
                    row.plain = f"{at}  {row.plain.lstrip()}"
            if len(shown) + len(rows) > max(1, lines):
                break
            shown = [*rows, *shown]
        return shown


def calls(snapshot: Snapshot, interval: Interval, order: list[str]) -> Table:
    """What callers got, after all that the mesh did for it, and how their breakers stand."""
    table = _table(CALLS)
    for caller, service in _pairs(interval, order):
        figures = interval.figures(interval.calls[caller, service])
        seen = snapshot.readings[caller].breakers.get(service, {}) if caller in snapshot.readings else {}
        states = Text(" ").join(_state(name, service, breaker) for name, breaker in sorted(seen.items()))
        retries = Text(str(figures.retries), style="yellow" if figures.retries else "")
        rate, success, _, p95, p99 = _cells(figures)
        table.add_row(f"   {caller} > {service or '?'}", rate, success, p95, p99, retries, states)
    return table


def _pairs(interval: Interval, order: list[str]) -> list[tuple[str, str]]:
    """Caller and service of all calls, in the order of the callers."""
    return sorted(interval.calls, key=lambda call: (order.index(call[0]), call[1]))


def _state(name: str, service: str, breaker: Breaker) -> Text:
    """``closed``, with the number where a service has several: ``1:closed 2:open 7s``."""
    number = name.removeprefix(f"{service}-")
    label = f"{number}:" if number != name else ""
    left = f" {breaker.retry_after:.0f}s" if breaker.state == "open" else ""
    return Text(f"{label}{breaker.state}{left}", style=STYLES.get(breaker.state, ""))


def _cells(figures: Figures) -> list[Text]:
    success = Text("-")
    if figures.success is not None:
        colour = "green" if figures.success >= 0.999 else "yellow" if figures.success >= 0.9 else "bold red"
        success = Text(f"{figures.success * 100:.1f}%", style=colour)
    times = (figures.p50, figures.p95, figures.p99)
    return [Text(f"{figures.rate:.1f}"), success, *(Text(milliseconds(time)) for time in times)]


def _table(columns: dict[str, int]) -> Table:
    """Columns of a fixed width, so that nothing jumps: words to the left, numbers to the right. What is too narrow cuts the
    last ones."""
    width = sum(columns.values()) + len(columns) - 1
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim", pad_edge=False, width=width)
    for title, width in columns.items():
        side: Literal["left", "right"] = "left" if title in WORDS else "right"
        table.add_column(title, justify=side, width=width, no_wrap=True, overflow="crop")
    return table


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _without_pausing() -> None:
    """Ctrl-Z would leave a drawn screen behind, and the shop running: it is a key like any other here."""
    attributes = termios.tcgetattr(0)
    attributes[6][termios.VSUSP] = b"\x00"
    termios.tcsetattr(0, termios.TCSANOW, attributes)
