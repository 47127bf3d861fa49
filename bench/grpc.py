"""What a unary gRPC call costs: a small message up, one of 1 KiB down, HTTP/2 in the clear on both sides.

``speed`` asks the same about HTTP/1.1. There 32 connections carry a request each; here four carry eight calls each, so
that a proxy has to take streams apart on one side and put them together on the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from statistics import median

from bench import measure
from bench.figures import CPU, Figure, Quantity, Rounds, each, middle, ratios
from bench.h2 import METADATA, UNARY, Call, Job, h2load, missing, nghttpd, wait_until_called
from bench.origin import Origin
from bench.process import Failed, free_port, running
from bench.proxies import ENVOY, SIDECAR, Place, Proxy
from bench.proxies_h2 import speaking
from bench.speed import SATURATED
from bench.table import Report, Verdict
from bench.workplace import Running, Workplace, rotated

CONNECTIONS = 4
STREAMS = 8

REAL = METADATA | {
    "grpc-accept-encoding": "identity, deflate, gzip",
    "grpc-timeout": "5S",
    "authorization": "Bearer " + "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9." + "c2lkZWNhci1iZW5jaA" * 5,
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "x-request-id": "7d9f4e1c-2b3a-4c5d-8e6f-0a1b2c3d4e5f",
    "x-tenant": "acme-europe",
}

_RATE = Quantity("calls/s", "1/s", noise=0.15, more_is_better=True)
_MEAN = Quantity("mean when busy", "ms", noise=0.2)
_MEMORY = Quantity("memory after the run", "MB", portable=True)


@dataclass(frozen=True, slots=True)
class _Sample:
    """One measured run: CPU and latency in microseconds, memory in bytes, ``busy`` as a share of the proxy's core."""

    cpu: float
    rate: float
    mean: float
    rss: int
    busy: float
    errors: int


def unary(work: Workplace) -> Report:
    report, beside = _compare(work, "grpc", "Unary gRPC calls, 128 B up, 1 KiB down, only gRPC's own metadata", UNARY)
    report.verdicts.append(Verdict("CPU per unary gRPC call", beside, "of Envoy's", 0.8, 1.0))
    return report


def real(work: Workplace) -> Report:
    title = "Unary gRPC calls with the metadata of a real call: credentials, trace, tenant, deadline"
    report, beside = _compare(work, "grpc-real", title, Call(metadata=REAL, varied=True))
    if beside is not None:
        report.notes.append(f"CPU per unary gRPC call, real metadata: {beside:.2f} of Envoy's (no goal is set for it)")
    return report


def without_tools(report: Report) -> bool:
    """Whether the programs of nghttp2 are missing, which ``report`` then says."""
    if absent := missing():
        report.failures["load generator"] = f"no {', '.join(absent)} (`--install`), so this is left out"
    return bool(absent)


@contextmanager
def calling(work: Workplace, proxy: Proxy, behind: Origin) -> Iterator[Running]:
    """Start ``proxy`` afresh and go on when a call has passed through it as a call; raises `Failed`."""
    place = Place(work.directory, free_port(), free_port(), behind.ports, 1)
    log = work.directory / f"{proxy.name}.log"
    with running(proxy.command(place), work.proxy_core, log) as child:
        wait_until_called(child, log, place.port, work.directory)
        yield Running(child, place.port)


def filling(work: Workplace, served: Running, warm_up: Job) -> Job:
    """The same load with as many calls as fill a round, by how fast the first ones went: a number is exact, time cuts off."""
    first = h2load(warm_up, work.load_core, work.directory)
    if served.child.poll() is not None or not first.calls:
        raise Failed("it ended or answered nothing under load")
    return replace(warm_up, seconds=work.seconds, times=round(first.calls / first.seconds * work.seconds))


def _compare(work: Workplace, name: str, title: str, call: Call) -> tuple[Report, float | None]:
    """The report, and the sidecar's CPU per call by Envoy's."""
    report = Report(
        name,
        title,
        ["proxy", "CPU µs/call", "ratio to Envoy", "calls/s", "mean ms", "RSS MB", "core busy", "errors"],
    )
    if without_tools(report):
        return report, None
    proxies = speaking(work.proxies)
    samples: dict[str, list[_Sample | None]] = {proxy.name: [] for proxy in proxies}
    with nghttpd(work.directory, work.load_core) as behind:
        for turn in range(work.rounds):
            for proxy in rotated(proxies, turn):
                work.say(f"{name}, round {turn + 1} of {work.rounds}: {proxy.name}")
                sample = None
                try:
                    with calling(work, proxy, behind) as served:
                        sample = _measure(work, served, call)
                except Failed as error:
                    report.failures[proxy.name] = str(error)
                samples[proxy.name].append(sample)
    envoy = each(samples.get(ENVOY.name, []), lambda s: s.cpu)
    for proxy_name, taken in samples.items():
        if any(taken):
            _tell(report, proxy_name, taken, envoy)
    report.data = {proxy_name: [s and asdict(s) for s in taken] for proxy_name, taken in samples.items()}
    own = samples.get(SIDECAR.name, [])
    if errors := sum(sample.errors for sample in own if sample is not None):
        report.failures[SIDECAR.name] = f"{errors} calls failed, so its figures do not count"
    return report, middle(ratios(each(own, lambda s: s.cpu), envoy))


def _measure(work: Workplace, served: Running, call: Call) -> _Sample:
    job = filling(work, served, Job(served.port, call, CONNECTIONS, STREAMS, work.warm_up))
    before = measure.cpu_seconds(served.pid)
    result = h2load(job, work.load_core, work.directory)
    if served.child.poll() is not None or not result.calls:
        raise Failed("it ended or answered nothing under load")
    used = measure.cpu_seconds(served.pid) - before
    return _Sample(
        cpu=used / result.calls * 1e6,
        rate=result.calls / result.seconds,
        mean=result.mean,
        rss=measure.rss(served.pid),
        busy=used / result.seconds,
        errors=result.errors,
    )


def _tell(report: Report, name: str, samples: list[_Sample | None], envoy: Rounds) -> None:
    """A line of the table, and the figures that it shows; of a core that was not full, no rate and no latency."""
    full = [sample if sample is not None and sample.busy >= SATURATED else None for sample in samples]
    cpu, memory = each(samples, lambda s: s.cpu), each(samples, lambda s: s.rss / 1e6)
    shown = [
        (cpu, ".1f"),
        (ratios(cpu, envoy), ".2f"),
        (each(samples, lambda s: s.rate), ",.0f"),
        (each(samples, lambda s: s.mean / 1e3), ".2f"),
        (memory, ".0f"),
        (each(samples, lambda s: s.busy), ".0%"),
    ]
    cells = ["" if (value := middle(rounds)) is None else format(value, how) for rounds, how in shown]
    report.rows.append([name, *cells, str(sum(sample.errors for sample in samples if sample is not None))])
    if median(sample.busy for sample in samples if sample is not None) < SATURATED:
        report.notes.append(f"core not filled, so calls/s show the load's or the machine's limit: {name}")
    figures = [
        (CPU, cpu),
        (_RATE, each(full, lambda s: s.rate)),
        (_MEAN, each(full, lambda s: s.mean / 1e3)),
        (_MEMORY, memory),
    ]
    report.figures += [
        Figure(report.name, name, quantity, rounds) for quantity, rounds in figures if middle(rounds) is not None
    ]
