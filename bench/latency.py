"""What a proxy adds to a call when it is not busy: 1,000 requests a second, each due at its instant.

``steady`` sends them, with and without a proxy in between; in each round the difference between the two, percentile by
percentile, is what the proxy added. A run in which the generator was late itself says nothing about the proxy: it is
taken once more, and left out if it was late again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import asdict

from bench.figures import Figure, Quantity, each, middle
from bench.process import Failed
from bench.proxies import ENVOY, SIDECAR, Proxy
from bench.speed import CONNECTIONS, FEW
from bench.steady import Job, Result, steady
from bench.table import Report, Verdict
from bench.workplace import Workplace, rotated

RATE = 1000.0
LATE = 1000.0
"""The generator's own 99th percentile of lateness, in microseconds, from which on a run does not count."""
DIRECT = "no proxy"
PATIENCE = 2
"""How often a run is taken in which the generator was late."""

Taken = Sequence[Result | None]

_SHARES: dict[str, Callable[[Result], float]] = {
    "p50": lambda result: result.p50,
    "p90": lambda result: result.p90,
    "p99": lambda result: result.p99,
    "p99.9": lambda result: result.p999,
    "max": lambda result: result.max,
}
_JUDGED = {
    "p50": Quantity("p50 at 1,000 requests/s", "µs", noise=0.2),
    "p90": Quantity("p90 at 1,000 requests/s", "µs", noise=0.3),
    "p99": Quantity("p99 at 1,000 requests/s", "µs", noise=0.5),
}


class _Late(Failed):
    """The generator was not on time, so what it saw is not the proxy's."""


def latency(work: Workplace) -> Report:
    headings = ["proxy", *(f"{share} ms" for share in _SHARES), "p50 added", "p99 added", "p99.9 added"]
    headings += ["p99 added, of Envoy's", "generator late by, p99 ms", "errors"]
    report = Report(
        "latency", f"Latency at {RATE:,.0f} requests/s at fixed instants, few headers, 1 KiB response", headings
    )
    contenders: list[Proxy | None] = [None, *work.proxies]
    results: dict[str, list[Result | None]] = {_name(proxy): [] for proxy in contenders}
    for turn in range(work.rounds):
        for proxy in rotated(contenders, turn):
            name = _name(proxy)
            work.say(f"latency, round {turn + 1} of {work.rounds}: {name}")
            result = None
            try:
                result = _measure(work, proxy)
            except _Late as late:
                report.notes.append(f"{name}, round {turn + 1} is left out: {late}")
            except (Failed, OSError) as error:
                report.failures[name] = str(error)
            results[name].append(result)
    envoy = added(results.get(ENVOY.name, []), results[DIRECT], "p99")
    for proxy in contenders:
        name = _name(proxy)
        there = [result for result in results[name] if result is not None]
        if not there:
            continue
        row = [name, *(_ms(middle([figure(result) for result in there])) for figure in _SHARES.values())]
        if proxy is None:
            row += [""] * 4
        else:
            row += [_ms(added(results[name], results[DIRECT], share)) for share in ("p50", "p99", "p99.9")]
            beside = _ratio(added(results[name], results[DIRECT], "p99"), envoy)
            row.append("" if beside is None else f"{beside:.2f}")
            for share, quantity in _JUDGED.items():
                report.figures.append(Figure("latency", name, quantity, each(results[name], _SHARES[share])))
        report.rows.append([*row, _ms(middle([r.lag_p99 for r in there])), str(sum(r.errors for r in there))])
        report.data[name] = [result and asdict(result) for result in results[name]]
    own = _ratio(added(results.get(SIDECAR.name, []), results[DIRECT], "p99"), envoy)
    report.verdicts = [Verdict("p99 added at 1,000 requests/s", own, "of Envoy's", 1.0, None)]
    if errors := sum(result.errors for result in results.get(SIDECAR.name, []) if result is not None):
        report.failures.setdefault(SIDECAR.name, f"{errors} requests failed, so its figures do not count")
    return report


def added(through: Taken, direct: Taken, share: str) -> float | None:
    """Microseconds that a proxy added at ``share``: the difference within each round, then the median."""
    figure = _SHARES[share]
    pairs = zip(through, direct, strict=False)
    return middle([figure(one) - figure(other) for one, other in pairs if one is not None and other is not None])


def _name(proxy: Proxy | None) -> str:
    return DIRECT if proxy is None else proxy.name


def _ms(microseconds: float | None) -> str:
    return "" if microseconds is None else f"{microseconds / 1e3:.2f}"


def _ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other is not None and other > 0 else None


def _measure(work: Workplace, proxy: Proxy | None) -> Result:
    if proxy is None:
        return _send(work, work.origin.ports[0])
    with work.running(proxy) as served:
        return _send(work, served.port)


def _send(work: Workplace, port: int) -> Result:
    """Twice as long as other runs: the rarest thousandth needs requests to be found among."""

    def send(seconds: float) -> Result:
        return steady(Job(port, "/1k", FEW, CONNECTIONS, seconds, RATE), work.load_core, work.directory)

    send(work.warm_up)
    for _ in range(PATIENCE):
        result = send(2 * work.seconds)
        if result.lag_p99 <= LATE:
            return result
    raise _Late(
        f"the load generator itself was {result.lag_p99 / 1e3:.1f} ms late at its 99th percentile, {PATIENCE} times running"
        "; something else keeps its core busy"
    )
