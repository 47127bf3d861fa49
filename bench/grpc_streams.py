"""Long streams and many of them: what a MiB of a gRPC stream costs, and what a thousand calls at a time hold in memory.

A stream is measured with the windows of a real client: 1 MiB a stream and a connection on both ends, which is where
grpc-java begins. (grpc-go and the C++ core begin with 64 KiB and let them grow; h2load's own gigabyte would ask nothing
of a proxy's flow control.) How much a proxy itself takes in advance is its own affair, and shows in its memory.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from bench import measure
from bench.figures import Figure, Quantity, Rounds, each, middle, ratios
from bench.grpc import calling, filling, without_tools
from bench.h2 import MIB, UNARY, Call, Job, h2load, nghttpd
from bench.process import Failed
from bench.proxies import ENVOY, SIDECAR, Proxy
from bench.proxies_h2 import speaking
from bench.slow_calls import slow_calls
from bench.table import Report, Verdict
from bench.workplace import Running, Workplace, rotated

WINDOW = 20
"""1 MiB, as a power of two."""
STREAMS = (1, 8)

_CALLS = {"up": Call(down="128", up="10m"), "down": Call(down="10m", up="128")}
_SIZE = 10

MANY = (10, 100)
"""Connections, and calls at a time on each."""
GROWTH_MB = 20

_CPU = Quantity("CPU per MiB", "µs")
_SPEED = Quantity("MB/s", "MB/s", noise=0.3, more_is_better=True)
_PEAK = Quantity("peak memory above rest", "MB", noise=0.2, portable=True)


@dataclass(frozen=True, slots=True)
class _Sample:
    """One round: CPU microseconds per MiB, MB/s, ``busy`` as a share of the proxy's core, peak resident bytes."""

    cpu: float
    speed: float
    busy: float
    peak: int
    errors: int


def streams(work: Workplace) -> Report:
    """Messages of 10 MiB on one connection, one after the other on each of its streams, for as long as a round lasts."""
    headings = ["proxy", "streams", "CPU µs/MiB", "ratio to Envoy", "MB/s", "core busy", "peak RSS MB", "errors"]
    title = "gRPC messages of 10 MiB on one connection, windows of 1 MiB"
    report = Report("grpc-stream", title, headings)
    if without_tools(report):
        return report
    proxies = speaking(work.proxies)
    lines = {f"{count} {way}": (call, count) for way, call in _CALLS.items() for count in STREAMS}
    samples: dict[tuple[str, str], list[_Sample | None]] = {
        (proxy.name, line): [] for proxy in proxies for line in lines
    }
    with nghttpd(work.directory, work.load_core, WINDOW) as behind:
        for turn in range(work.rounds):
            for proxy in rotated(proxies, turn):
                for line, (call, count) in lines.items():
                    work.say(f"grpc-stream, round {turn + 1} of {work.rounds}: {proxy.name}, {line}")
                    sample = None
                    try:
                        with calling(work, proxy, behind) as served:
                            sample = _sustained(work, served, call, count)
                    except Failed as error:
                        report.failures[f"{proxy.name}, {line}"] = str(error)
                    samples[proxy.name, line].append(sample)
    for (name, line), taken in samples.items():
        if any(taken):
            _tell(report, name, line, taken, each(samples.get((ENVOY.name, line), []), lambda s: s.cpu))
        report.data[f"{name}, {line}"] = [s and asdict(s) for s in taken]
    return report


def _sustained(work: Workplace, served: Running, call: Call, count: int) -> _Sample:
    """A whole number of messages on each stream, as many as fill a round: what is cut off would count for nothing."""

    def send(each_stream: int) -> tuple[float, int]:
        job = Job(served.port, call, 1, count, work.seconds, count * each_stream, WINDOW)
        result = h2load(job, work.load_core, work.directory)
        return result.seconds, result.errors

    warm_up, _ = send(2)
    times = max(1, round(work.seconds / warm_up * 2))
    measure.reset_peak(served.pid)
    before = measure.cpu_seconds(served.pid)
    seconds, errors = send(times)
    used = measure.cpu_seconds(served.pid) - before
    mebibytes = count * times * _SIZE
    return _Sample(
        cpu=used / mebibytes * 1e6,
        speed=mebibytes * MIB / 1e6 / seconds,
        busy=used / seconds,
        peak=measure.peak_rss(served.pid),
        errors=errors,
    )


def _tell(report: Report, name: str, line: str, taken: list[_Sample | None], envoy: Rounds) -> None:
    cpu, speed = each(taken, lambda s: s.cpu), each(taken, lambda s: s.speed)
    shown = [
        (cpu, ".0f"),
        (ratios(cpu, envoy), ".2f"),
        (speed, ",.0f"),
        (each(taken, lambda s: s.busy), ".0%"),
        (each(taken, lambda s: s.peak / 1e6), ".0f"),
    ]
    cells = ["" if (value := middle(rounds)) is None else format(value, how) for rounds, how in shown]
    errors = sum(sample.errors for sample in taken if sample is not None)
    report.rows.append([name, line, *cells, str(errors)])
    report.figures += [Figure(report.name, name, _CPU, cpu, line), Figure(report.name, name, _SPEED, speed, line)]
    if errors:
        report.failures[f"{name}, {line}"] = f"{errors} calls failed, so its figures do not count"


def many(work: Workplace) -> Report:
    """A thousand calls at a time: served as fast as they come, and waiting for an origin that thinks for a second."""
    connections, count = MANY
    headings = ["proxy", "calls", "RSS MB before", "peak MB", "peak above rest MB", "MB after", "calls/s", "errors"]
    title = f"{connections * count:,} gRPC calls at a time on {connections} connections, 128 B up, 1 KiB down"
    report = Report("grpc-many", title, headings)
    own: list[float] = []
    if not without_tools(report):
        origins = {"at once": nghttpd, "after a second": slow_calls}
        for line, start in origins.items():
            with start(work.directory, work.load_core) as behind:
                for proxy in speaking(work.proxies):
                    work.say(f"grpc-many: {proxy.name}, answered {line}")
                    try:
                        with calling(work, proxy, behind) as served:
                            growth = _held(work, report, proxy, served, line)
                    except Failed as error:
                        report.failures[f"{proxy.name}, {line}"] = str(error)
                        continue
                    if proxy is SIDECAR:
                        own.append(growth)
        own = own if len(own) == len(origins) or max(own, default=0) > GROWTH_MB else []
    value = max(own, default=None)
    report.verdicts = [Verdict("peak memory of 1,000 calls above rest", value, "MB", GROWTH_MB, None)]
    return report


def _held(work: Workplace, report: Report, proxy: Proxy, served: Running, line: str) -> float:
    """Megabytes by which the peak exceeds what was there before."""
    before = measure.rss(served.pid)
    measure.reset_peak(served.pid)
    # Of two seconds, as the first answers of the slow origin come after one.
    job = filling(work, served, Job(served.port, UNARY, *MANY, seconds=2.0))
    result = h2load(job, work.load_core, work.directory)
    if served.child.poll() is not None or not result.calls:
        raise Failed("it ended or answered nothing under load")
    peak, after = measure.peak_rss(served.pid), measure.rss(served.pid)
    growth = (peak - before) / 1e6
    amounts = [f"{value / 1e6:.1f}" for value in (before, peak, peak - before, after)]
    rate = result.calls / result.seconds
    report.rows.append([proxy.name, line, *amounts, f"{rate:,.0f}", str(result.errors)])
    report.figures.append(Figure(report.name, proxy.name, _PEAK, [growth], line))
    report.data[f"{proxy.name}, {line}"] = {"before": before, "peak": peak, "after": after} | asdict(result)
    if result.errors:
        report.failures[f"{proxy.name}, {line}"] = f"{result.errors} calls failed, so its figures do not count"
    return growth
