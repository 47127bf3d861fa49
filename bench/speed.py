"""What a request costs: 32 connections kept busy, every proxy in turn, round after round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from bench import measure
from bench.figures import CPU, Figure, Quantity, each, middle, ratios
from bench.load import Job
from bench.process import Failed
from bench.proxies import ENVOY, SIDECAR, Proxy
from bench.table import Report, Verdict
from bench.workplace import Workplace, rotated

CONNECTIONS = 32
SATURATED = 0.95
"""Share of its core from which on a proxy's requests per second are its own limit and nobody else's."""

SERVICES = (1, 100, 1000)

_RATE = Quantity("requests/s", "1/s", noise=0.15, more_is_better=True)
_P50 = Quantity("p50 when busy", "ms", noise=0.2)
_P99 = Quantity("p99 when busy", "ms", noise=0.5)
_MEMORY = Quantity("memory after the run", "MB", portable=True)

FEW = {"Host": "origin"}
ELEVEN = FEW | {
    "User-Agent": "orders/1.4.2 (python-httpx/0.27.0)",
    "Accept": "application/json, text/plain;q=0.8, */*;q=0.5",
    "Accept-Encoding": "gzip, deflate, br",
    "Accept-Language": "en-GB,en;q=0.9,de;q=0.7",
    "Authorization": "Bearer " + "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9." + "c2lkZWNhci1iZW5jaA" * 5,
    "Cookie": "session=6f1c2a9e7b3d4f58a0c1e2d3b4a59687; theme=dark",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "X-Request-Id": "7d9f4e1c-2b3a-4c5d-8e6f-0a1b2c3d4e5f",
    "X-Tenant": "acme-europe",
    "Cache-Control": "no-cache",
    "Content-Type": "application/json",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured run: CPU and latencies in microseconds, memory in bytes, ``busy`` as a share of the proxy's core."""

    cpu: float
    rate: float
    p50: float
    p99: float
    rss: int
    busy: float
    errors: int


@dataclass(frozen=True, slots=True)
class Contender:
    """A line of the table. ``variant`` tells it from other lines of the same proxy."""

    proxy: Proxy
    services: int = 1
    variant: str = ""

    @property
    def label(self) -> str:
        return f"{self.proxy.name}, {self.variant}" if self.variant else self.proxy.name


Samples = dict[str, list[Sample | None]]
"""A sample for each round, by label; ``None`` where there is none."""


def median_of(samples: Sequence[Sample | None], figure: Callable[[Sample], float]) -> float:
    return median(figure(sample) for sample in samples if sample is not None)


def ratio(samples: Samples, label: str, base: str) -> float | None:
    """CPU per request of one line by that of another: taken within each round, then the median."""
    one, other = (each(samples.get(which, []), lambda s: s.cpu) for which in (label, base))
    return middle(ratios(one, other))


def few(work: Workplace) -> Report:
    title = "Few request headers (Host alone, as wrk sends it), 1 KiB response"
    report, samples = _compare(work, "few", title, FEW, "/1k", _everyone(work))
    report.verdicts.append(_beside_envoy("CPU per request, few headers", samples, 0.6, 0.75))
    return report


def eleven(work: Workplace) -> Report:
    title = "Eleven request headers beside Host, 1 KiB response"
    report, samples = _compare(work, "eleven", title, ELEVEN, "/1k", _everyone(work))
    report.verdicts.append(_beside_envoy("CPU per request, eleven headers", samples, 0.7, 0.85))
    return report


def large(work: Workplace) -> Report:
    report, samples = _compare(work, "64k", "Few request headers, 64 KiB response", FEW, "/64k", _everyone(work))
    if (value := ratio(samples, SIDECAR.name, ENVOY.name)) is not None:
        report.notes.append(f"CPU per request, 64 KiB: {value:.2f} of Envoy's (no goal is set for it)")
    return report


def churn(work: Workplace) -> Report:
    title = "A new connection for each request, few headers, 1 KiB response"
    return _compare(work, "churn", title, FEW | {"Connection": "close"}, "/1k", _everyone(work))[0]


def services(work: Workplace) -> Report:
    """All numbers of services in the same rounds, so that the factor between them is no older than its round."""
    contenders = [
        Contender(proxy, count, f"{count:,} service{'s' * (count > 1)}")
        for proxy in work.proxies
        if proxy.scales
        for count in SERVICES
    ]
    title = f"{', '.join(f'{count:,}' for count in SERVICES)} services of 10 endpoints configured, few headers, 1 KiB response"
    report, samples = _compare(work, "services", title, FEW, "/1k", contenders)
    value = ratio(samples, f"{SIDECAR.name}, 1,000 services", f"{SIDECAR.name}, 1 service")
    report.verdicts.append(Verdict("CPU per request, 1,000 services", value, "of that with one", 1.1, None))
    return report


def _everyone(work: Workplace) -> list[Contender]:
    return [Contender(proxy) for proxy in work.proxies]


def _beside_envoy(figure: str, samples: Samples, goal: float, defect: float) -> Verdict:
    return Verdict(figure, ratio(samples, SIDECAR.name, ENVOY.name), "of Envoy's", goal, defect)


def _compare(
    work: Workplace, name: str, title: str, headers: dict[str, str], path: str, contenders: Sequence[Contender]
) -> tuple[Report, Samples]:
    figures = ["CPU µs/request", "ratio to Envoy", "requests/s", "p50 ms", "p99 ms", "RSS MB", "core busy", "errors"]
    report = Report(name, title, ["proxy", *figures])
    unsaturated = []
    samples: Samples = {contender.label: [] for contender in contenders}
    for turn in range(work.rounds):
        for contender in rotated(contenders, turn):
            work.say(f"{name}, round {turn + 1} of {work.rounds}: {contender.label}")
            sample: Sample | None = None
            try:
                sample = _measure(work, contender, headers, path)
            except Failed as error:
                report.failures[contender.label] = str(error)
            samples[contender.label].append(sample)
    for contender in contenders:
        taken = [sample for sample in samples[contender.label] if sample is not None]
        if taken:
            envoy = Contender(ENVOY, contender.services, contender.variant)
            report.rows.append(_row(contender.label, taken, ratio(samples, contender.label, envoy.label)))
            report.figures += _figures(name, contender, samples[contender.label])
            if median_of(taken, lambda s: s.busy) < SATURATED:
                unsaturated.append(contender.label)
    if unsaturated:
        report.notes.append(
            f"core not filled, so requests/s show the load's or the machine's limit: {'; '.join(unsaturated)}"
        )
    if errors := sum(s.errors for c in contenders if c.proxy is SIDECAR for s in samples[c.label] if s is not None):
        report.failures[SIDECAR.name] = f"{errors} requests failed, so its figures do not count"
    report.data = {label: [s and asdict(s) for s in taken] for label, taken in samples.items()}
    return report, samples


def _measure(work: Workplace, contender: Contender, headers: dict[str, str], path: str) -> Sample:
    with work.running(contender.proxy, contender.services) as proxy:
        work.load(Job(proxy.port, path, headers, CONNECTIONS, work.warm_up), work.load_core, work.directory)
        before = measure.cpu_seconds(proxy.pid)
        job = Job(proxy.port, path, headers, CONNECTIONS, work.seconds)
        result = work.load(job, work.load_core, work.directory)
        if proxy.child.poll() is not None or not result.requests:
            raise Failed("it ended or answered nothing under load")
        used = measure.cpu_seconds(proxy.pid) - before
        return Sample(
            cpu=used / result.requests * 1e6,
            rate=result.requests / result.seconds,
            p50=result.p50,
            p99=result.p99,
            rss=measure.rss(proxy.pid),
            busy=used / result.seconds,
            errors=result.errors,
        )


def _figures(scenario: str, contender: Contender, samples: Sequence[Sample | None]) -> list[Figure]:
    """What runs can be compared by: of a proxy whose core was not full, rate and latencies are the load's, not its own."""
    full = [sample if sample is not None and sample.busy >= SATURATED else None for sample in samples]
    figures = [
        (CPU, each(samples, lambda s: s.cpu)),
        (_RATE, each(full, lambda s: s.rate)),
        (_P50, each(full, lambda s: s.p50 / 1e3)),
        (_P99, each(full, lambda s: s.p99 / 1e3)),
        (_MEMORY, each(samples, lambda s: s.rss / 1e6)),
    ]
    return [
        Figure(scenario, contender.proxy.name, quantity, rounds, contender.variant)
        for quantity, rounds in figures
        if middle(rounds) is not None
    ]


def _row(label: str, samples: Sequence[Sample], beside: float | None) -> list[str]:
    return [
        label,
        f"{median_of(samples, lambda s: s.cpu):.1f}",
        "" if beside is None else f"{beside:.2f}",
        f"{median_of(samples, lambda s: s.rate):,.0f}",
        f"{median_of(samples, lambda s: s.p50) / 1e3:.2f}",
        f"{median_of(samples, lambda s: s.p99) / 1e3:.2f}",
        f"{median_of(samples, lambda s: s.rss) / 1e6:.0f}",
        f"{median_of(samples, lambda s: s.busy):.0%}",
        str(sum(sample.errors for sample in samples)),
    ]
