"""What a proxy adds to a call when it is not busy: 1,000 requests a second, sent on schedule.

The Python generator sends them (``load`` says why not wrk), with and without a proxy in between; the difference at the
99th percentile is what the proxy added.
"""

from __future__ import annotations

from dataclasses import asdict
from statistics import median

from bench import load
from bench.load import Job, Result
from bench.process import Failed
from bench.proxies import ENVOY, SIDECAR, Proxy
from bench.speed import CONNECTIONS, FEW
from bench.table import Report, Verdict
from bench.workplace import Workplace, rotated

RATE = 1000.0
DIRECT = "no proxy"


def latency(work: Workplace) -> Report:
    headings = ["proxy", "p50 ms", "p99 ms", "p99 added ms", "ratio to Envoy", "errors"]
    report = Report("latency", f"Latency at {RATE:,.0f} requests/s, few headers, 1 KiB response", headings)
    contenders: list[Proxy | None] = [None, *work.proxies]
    results: dict[str, list[Result]] = {}
    added: dict[str, float] = {}
    for turn in range(work.rounds):
        for proxy in rotated(contenders, turn):
            name = DIRECT if proxy is None else proxy.name
            work.say(f"latency, round {turn + 1} of {work.rounds}: {name}")
            try:
                results.setdefault(name, []).append(_measure(work, proxy))
            except Failed as error:
                report.failures[name] = str(error)
    for name, taken in results.items():
        if taken and DIRECT in results:
            added[name] = median(r.p99 for r in taken) - median(r.p99 for r in results[DIRECT])
    for proxy in contenders:
        name = DIRECT if proxy is None else proxy.name
        if taken := results.get(name, []):
            p50, p99 = (median(getattr(result, figure) for result in taken) / 1e3 for figure in ("p50", "p99"))
            beside = _ratio(added, name)
            shown = "" if proxy is None or beside is None else f"{beside:.2f}"
            more = "" if proxy is None else f"{added[name] / 1e3:.2f}"
            report.rows.append([name, f"{p50:.2f}", f"{p99:.2f}", more, shown, str(sum(r.errors for r in taken))])
    report.verdicts = [Verdict("p99 added at 1,000 requests/s", _ratio(added, SIDECAR.name), "of Envoy's", 1.0, None)]
    report.data = {name: [asdict(result) for result in taken] for name, taken in results.items()}
    return report


def _ratio(added: dict[str, float], name: str) -> float | None:
    base = added.get(ENVOY.name, 0.0)
    return added[name] / base if name in added and base > 0 else None


def _measure(work: Workplace, proxy: Proxy | None) -> Result:
    if proxy is None:
        return _send(work, work.origin.ports[0])
    with work.running(proxy) as served:
        return _send(work, served.port)


def _send(work: Workplace, port: int) -> Result:
    for seconds in (work.warm_up, work.seconds):
        result = load.python(Job(port, "/1k", FEW, CONNECTIONS, seconds, RATE), work.load_core, work.directory)
        if not result.requests:
            raise Failed("nothing was answered")
    return result
