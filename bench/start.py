"""How long it takes from the start of the process until it says that it has started."""

from __future__ import annotations

import time
from http.client import HTTPException
from statistics import median

from bench.figures import Figure, Quantity
from bench.process import Failed, free_port, get, last_words, running
from bench.proxies import SIDECAR, Place, Proxy
from bench.table import Report, Verdict
from bench.workplace import Workplace

STARTS = 10
PATIENCE = 30.0

_TIME = Quantity("time to start", "ms", noise=0.2)


def start(work: Workplace) -> Report:
    """Each proxy is started ten times; the first start, which may find cold disks, counts like the others."""
    report = Report(
        "start", f"Start: from the process to its first good answer, {STARTS} times", ["proxy", "ms", "worst ms"]
    )
    for proxy in work.proxies:
        work.say(f"start: {proxy.name}")
        try:
            taken = [_once(work, proxy) for _ in range(STARTS)]
        except Failed as error:
            report.failures[proxy.name] = str(error)
            continue
        report.rows.append([proxy.name, f"{median(taken) * 1e3:.0f}", f"{max(taken) * 1e3:.0f}"])
        report.data[proxy.name] = {"median": median(taken), "seconds": taken}
        report.figures.append(Figure("start", proxy.name, _TIME, [seconds * 1e3 for seconds in taken]))
    own = report.data.get(SIDECAR.name)
    report.verdicts = [Verdict("start to /health/startup", own and own["median"] * 1e3, "ms", 300, 300)]
    return report


def _once(work: Workplace, proxy: Proxy) -> float:
    place = Place(work.directory, free_port(), free_port(), work.origin.ports, 1)
    log = work.directory / f"{proxy.name}.log"
    command = proxy.command(place)
    port, path = proxy.ready(place)
    began = time.monotonic()
    with running(command, work.proxy_core, log) as child:
        while time.monotonic() < began + PATIENCE:
            if child.poll() is not None:
                raise Failed(f"ended with status {child.returncode}: {last_words(log)}")
            try:
                if get(port, path)[0] == 200:
                    return time.monotonic() - began
            except (OSError, HTTPException):
                time.sleep(0.002)
    raise Failed(f"not started after {PATIENCE:.0f} s: {last_words(log)}")
