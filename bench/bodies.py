"""Large bodies: what each MiB costs at 10 MiB, and how much memory 2 GB take.

At 2 GB the receiving side takes the first bytes and then sleeps for a second: a proxy that goes on reading collects the
rest of a body at several hundred megabytes a second. Peak memory is the kernel's high-water mark over one transfer.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial

from bench import measure, origin
from bench.figures import Figure, Quantity, each, middle, ratios
from bench.origin import PAUSE
from bench.process import Failed
from bench.proxies import ENVOY, SIDECAR, Proxy
from bench.table import Report, Verdict
from bench.transfer import download, upload
from bench.workplace import Workplace, rotated

Transfer = Callable[[socket.socket], None]

MIB = 1024**2
BIG = 2 * 1024**3
LIMIT_MB = 60

_TEN: dict[str, Transfer] = {"up": partial(upload, size=10 * MIB), "down": partial(download, size=10 * MIB)}
_BIG: dict[str, Transfer] = {
    "up, by length": partial(upload, size=BIG, path="/slow-sink"),
    "up, chunked": partial(upload, size=BIG, path="/slow-sink", chunked=True),
    "down, by length": partial(download, size=BIG, pause=PAUSE),
    "down, chunked": partial(download, size=BIG, pause=PAUSE, chunked=True),
}
_CPU = Quantity("CPU per MiB", "µs")
_SPEED = Quantity("MB/s", "MB/s", noise=0.3, more_is_better=True)
_PEAK = Quantity("peak memory", "MB", portable=True)


@dataclass(frozen=True, slots=True)
class _Sample:
    """One round: CPU microseconds per MiB, MB/s, and ``busy`` as a share of the proxy's core."""

    cpu: float
    speed: float
    busy: float


def ten_mebibytes(work: Workplace) -> Report:
    """One body after the other on one connection, for as long as a round lasts."""
    headings = ["proxy", "body", "CPU µs/MiB", "ratio to Envoy", "MB/s", "core busy"]
    report = Report("bodies-10m", "Bodies of 10 MiB, one after the other on one connection", headings)
    samples: dict[tuple[str, str], list[_Sample | None]] = {
        (proxy.name, name): [] for proxy in work.proxies for name in _TEN
    }
    with origin.python(work.directory, work.load_core) as behind:
        for turn in range(work.rounds):
            for proxy in rotated(work.proxies, turn):
                work.say(f"bodies-10m, round {turn + 1} of {work.rounds}: {proxy.name}")
                for name, transfer in _TEN.items():
                    sample = None
                    try:
                        with work.running(proxy, origin=behind) as served:
                            sample = _sustained(work, served.pid, served.port, transfer)
                    except (Failed, OSError) as error:
                        report.failures[f"{proxy.name}, {name}"] = str(error)
                    samples[proxy.name, name].append(sample)
    for (proxy_name, name), taken in samples.items():
        cpu, speed, busy = each(taken, lambda s: s.cpu), each(taken, lambda s: s.speed), each(taken, lambda s: s.busy)
        beside = middle(ratios(cpu, each(samples.get((ENVOY.name, name), []), lambda s: s.cpu)))
        shown = [(middle(cpu), ".0f"), (beside, ".2f"), (middle(speed), ",.0f"), (middle(busy), ".0%")]
        if any(taken):
            report.rows.append(
                [proxy_name, name, *("" if value is None else format(value, how) for value, how in shown)]
            )
            report.figures.append(Figure("bodies-10m", proxy_name, _CPU, cpu, name))
            report.figures.append(Figure("bodies-10m", proxy_name, _SPEED, speed, name))
        report.data[f"{proxy_name}, {name}"] = [s and asdict(s) for s in taken]
    return report


def _sustained(work: Workplace, pid: int, port: int, transfer: Transfer) -> _Sample:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        transfer(connection)
        before, began, bodies = measure.cpu_seconds(pid), time.monotonic(), 0
        while (took := time.monotonic() - began) < work.seconds:
            transfer(connection)
            bodies += 1
        used = measure.cpu_seconds(pid) - before
    return _Sample(used / (bodies * 10) * 1e6, bodies * 10 * MIB / 1e6 / took, used / took)


def big_body(work: Workplace) -> Report:
    headings = ["proxy", "body", "seconds", "MB/s", "peak RSS MB"]
    report = Report("big-body", f"{BIG / 1024**3:.0f} GB bodies, the receiver asleep for {PAUSE:.0f} s", headings)
    peaks: list[int] = []
    for proxy in work.proxies:
        if not proxy.scales:
            continue
        for name, transfer in _BIG.items():
            work.say(f"big-body: {proxy.name}, {name}")
            try:
                seconds, peak = _once(work, proxy, transfer)
            except (Failed, OSError) as error:
                report.failures[f"{proxy.name}, {name}"] = str(error)
                continue
            rate = BIG / 1e6 / (seconds - PAUSE)
            report.rows.append([proxy.name, name, f"{seconds:.1f}", f"{rate:,.0f}", f"{peak / 1e6:.1f}"])
            report.data[f"{proxy.name}, {name}"] = {"seconds": seconds, "peak_rss": peak}
            report.figures.append(Figure("big-body", proxy.name, _PEAK, [peak / 1e6], name))
            if proxy is SIDECAR:
                peaks.append(peak)
    peak_mb = max(peaks, default=0) / 1e6
    # One transfer too many is enough to condemn, all of them are needed to acquit.
    value = peak_mb if len(peaks) == len(_BIG) or peak_mb > LIMIT_MB else None
    report.verdicts = [Verdict("peak memory, 2 GB bodies", value, "MB", LIMIT_MB, LIMIT_MB)]
    return report


def _once(work: Workplace, proxy: Proxy, transfer: Transfer) -> tuple[float, int]:
    """Seconds and peak resident bytes of one transfer."""
    with origin.python(work.directory, work.load_core) as slow, work.running(proxy, origin=slow) as served:
        measure.reset_peak(served.pid)
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", served.port), timeout=60) as connection:
            transfer(connection)
        return time.monotonic() - began, measure.peak_rss(served.pid)
