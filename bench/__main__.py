"""``python -m bench``: what can be asked, and the order in which it is answered."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from bench import grpc, h2, load, machine, origin, proxies, results, speed
from bench.bodies import big_body, ten_mebibytes
from bench.grpc_streams import many, streams
from bench.idle import idle
from bench.latency import latency
from bench.picks import picks
from bench.process import Failed
from bench.registry import registry
from bench.start import start
from bench.table import DEFECT, NOT_MEASURED, Report
from bench.workplace import Workplace

SCENARIOS: dict[str, Callable[[Workplace], Report]] = {
    "few": speed.few,
    "eleven": speed.eleven,
    "64k": speed.large,
    "services": speed.services,
    "grpc": grpc.unary,
    "grpc-real": grpc.real,
    "idle": idle,
    "start": start,
    "registry": registry,
    "latency": latency,
    "churn": speed.churn,
    "bodies-10m": ten_mebibytes,
    "big-body": big_body,
    "grpc-stream": streams,
    "grpc-many": many,
    "picks": picks,
}
DEFAULT = ("few", "eleven", "64k", "services", "grpc", "grpc-real", "idle", "start", "picks", "registry")
FORMER = {"1000-services": "services"}
"""Names that scenarios had."""

_WEAKER = "and a fast proxy may not be saturated (column `core busy`)"


def main() -> int:
    args = _arguments()
    notes = []
    if args.install and (problem := machine.install_missing()):
        notes.append(problem)
    # As with Ctrl-C, every `with` block is left in order: that is what stops the children.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with ExitStack() as stack:
        work, versions = _set_up(args, stack, notes)
        about = machine.description() | versions
        print("# Comparison\n")
        print("\n".join(f"- {name}: {value}" for name, value in about.items()))
        how = f"{work.rounds} rounds of {work.seconds:g} s after {work.warm_up:g} s of warm-up"
        print(f"- {speed.CONNECTIONS} connections, {how}; median of the rounds")
        print("".join(f"- **note**: {note}\n" for note in notes), flush=True)
        reports = []
        for name in args.scenario:
            reports.append(SCENARIOS[name](work))
            print(reports[-1], flush=True)
    _print_goals(reports)
    if args.json:
        results.write(args.json, _results(work, about, notes, reports))
    return 1 if args.gate and not _passes(reports) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="What a request costs here and elsewhere.")
    names = {proxy.name.lower(): proxy for proxy in proxies.ALL}
    parser.add_argument(
        "--scenario",
        action="append",
        type=lambda name: FORMER.get(name, name),
        choices=SCENARIOS,
        help="ask only this (may be repeated)",
    )
    parser.add_argument(
        "--full", action="store_true", help="ask everything: latency, churn, large bodies and streams too"
    )
    parser.add_argument(
        "--only", action="append", type=str.lower, choices=names, help="only this proxy (may be repeated)"
    )
    parser.add_argument("--quick", action="store_true", help="one round of 2 s: to see that it works, not to quote")
    parser.add_argument("--rounds", type=int, help="default 2")
    parser.add_argument("--seconds", type=float, help="length of a measured run, default 5")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every sample of every round")
    parser.add_argument("--gate", action="store_true", help="exit with 1 on a defect or where a goal was not measured")
    parser.add_argument("--install", action="store_true", help="as root: install what is missing from Debian")
    args = parser.parse_args()
    args.scenario = args.scenario or list(SCENARIOS if args.full else DEFAULT)
    args.rounds = max(1, args.rounds or (1 if args.quick else 2))
    args.seconds = max(1.0, args.seconds or (2.0 if args.quick else 5.0))
    args.proxies = [names[name] for name in args.only] if args.only else list(proxies.ALL)
    return args


def _set_up(args: argparse.Namespace, stack: ExitStack, notes: list[str]) -> tuple[Workplace, dict[str, str]]:
    """Start the origin and see who can run; what is missing is said in ``notes``."""
    load_core, proxy_core = machine.two_cores()
    if load_core == proxy_core:
        notes.append("only one core: proxy, origin and load generator share it, requests/s and latencies mean little")
    os.sched_setaffinity(0, {load_core})
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sidecar-bench-")))
    versions = {}
    present = []
    for proxy in args.proxies:
        version = proxy.version()
        if version is None:
            notes.append(f"{proxy.name} is not installed: left out")
        else:
            present.append(proxy)
            versions[proxy.name] = version
    if machine.find("nginx"):
        behind = stack.enter_context(origin.nginx(directory, load_core))
    else:
        behind = stack.enter_context(origin.python(directory, load_core))
        notes.append(f"nginx is missing (`--install`): the Python origin stands in, {_WEAKER}")
    generator, versions["load generator"] = load.wrk, load.version() or ""
    if not versions["load generator"]:
        generator, versions["load generator"] = load.python, "Python (uvloop)"
        notes.append(f"wrk is missing (`--install`): the Python load generator stands in, {_WEAKER}")
    versions["origin"] = behind.version
    if absent := h2.missing():
        notes.append(f"nghttp2 is missing (`--install`; no {', '.join(absent)}): the scenarios of gRPC are left out")
    else:
        versions["gRPC's load generator and origin"] = h2.version() or ""

    def say(message: str) -> None:
        print(message, file=sys.stderr, flush=True)

    work = Workplace(directory, load_core, proxy_core, behind, generator, present, args.rounds, args.seconds, 1.0, say)
    return work, versions


def _print_goals(reports: list[Report]) -> None:
    verdicts = [verdict for report in reports for verdict in report.verdicts]
    if verdicts:
        print("## Goals\n\n" + "\n".join(f"- {verdict}" for verdict in verdicts))


def _passes(reports: list[Report]) -> bool:
    """What was asked for and could not be judged does not pass."""
    judged = all(verdict.word not in (DEFECT, NOT_MEASURED) for report in reports for verdict in report.verdicts)
    sound = not any(label.startswith(proxies.SIDECAR.name) for report in reports for label in report.failures)
    return judged and sound


def _results(work: Workplace, about: dict[str, str], notes: list[str], reports: list[Report]) -> results.Results:
    return results.Results(
        format=results.FORMAT,
        about=about,
        rounds=work.rounds,
        seconds=work.seconds,
        notes=notes,
        figures=[figure for report in reports for figure in report.figures],
        goals=[verdict for report in reports for verdict in report.verdicts],
        failures={report.name: report.failures for report in reports if report.failures},
        samples={report.name: report.data for report in reports},
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
