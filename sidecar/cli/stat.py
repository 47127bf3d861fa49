"""``sidecar stat``: rate, success and latency of every route, since the start or over an interval."""

from __future__ import annotations

from typing import Any, NamedTuple

import click

from sidecar.cli.options import Seconds, Where, output_option, where_options

HEADER = (
    "DIRECTION", "SERVICE", "ROUTE", "REQUESTS", "RPS", "SUCCESS", "P50", "P95", "P99", "RETRIES", "IN-FLIGHT",
)  # fmt: skip


class Counts(NamedTuple):
    """What has been counted on a route; the difference of two of them is what happened in between."""

    requests: int
    failures: int
    retries: int
    durations: tuple[int, ...]

    def since(self, before: Counts) -> Counts:
        durations = tuple(now - then for now, then in zip(self.durations, before.durations, strict=True))
        return Counts(
            self.requests - before.requests, self.failures - before.failures, self.retries - before.retries, durations
        )


Key = tuple[str, str, str]


@click.command()
@click.option("-t", "--interval", type=Seconds(), help="Watch for so long, and tell what happened meanwhile.")
@click.option("--all", "everything", is_flag=True, help="Also routes without a request.")
@where_options
@output_option("table", "json")
def stat(interval: float | None, everything: bool, where: Where, output: str) -> None:
    """Tell requests, success and latency of every route, since the sidecar started.

    A request has failed if the sidecar gave a reason for it, unless its caller left, or if the application answered 5xx
    other than 501, 505 and 508. IN-FLIGHT is of the whole service.

    \b
    Example:
      sidecar stat -t 5s
    """
    from sidecar.cli.client import find, pause
    from sidecar.cli.output import echo, print_json
    from sidecar.clock import Clock

    client, clock = find(where), Clock()
    about = client.about()
    rows = list(client.rows("/routes"))
    if interval is None:
        before: dict[Key, Counts] = {}
        elapsed = _age(about, clock.wall())
    else:
        began = clock.now()
        before = {_key(row): _counts(row) for row in rows}
        pause(interval)
        rows = list(client.rows("/routes"))
        elapsed = clock.now() - began
        if client.about()["startedAt"] != about["startedAt"]:
            echo("the sidecar was restarted meanwhile; the figures are since then", err=True)
            before = {}
    figures = [_figures(row, before.get(_key(row)), elapsed) for row in rows]
    shown = [one for one in figures if everything or one["requests"] or one["inFlight"]]
    if output == "json":
        print_json({"data": shown, "meta": {"seconds": round(elapsed, 3)}})
        return
    _print(shown)
    if not shown:
        echo(f"no request has ended in {elapsed:.0f} s; --all lists the routes", err=True)


def _age(about: dict[str, Any], wall: float) -> float:
    from datetime import datetime

    return max(0.001, wall - datetime.fromisoformat(about["startedAt"].replace("Z", "+00:00")).timestamp())


def _key(row: dict[str, Any]) -> Key:
    return row["direction"], row["service"], row["route"]


def _counts(row: dict[str, Any]) -> Counts:
    return Counts(row["requests"], row["failures"], row["retries"], tuple(row["durations"]["counts"]))


def _figures(row: dict[str, Any], before: Counts | None, elapsed: float) -> dict[str, Any]:
    from sidecar.admin.figures import quantile

    now = _counts(row)
    counts = now.since(before) if before is not None else now
    return {
        "direction": row["direction"],
        "service": row["service"],
        "route": row["route"],
        "requests": counts.requests,
        "requestsPerSecond": round(counts.requests / elapsed, 3),
        "successRatio": 1 - counts.failures / counts.requests if counts.requests else None,
        "p50Seconds": quantile(counts.durations, 0.5),
        "p95Seconds": quantile(counts.durations, 0.95),
        "p99Seconds": quantile(counts.durations, 0.99),
        "retries": counts.retries,
        "inFlight": row["serviceInFlight"],
    }


def _print(figures: list[dict[str, Any]]) -> None:
    from sidecar.cli.output import print_table, seconds

    print_table(
        HEADER,
        [
            (
                one["direction"], one["service"], one["route"], one["requests"], f"{one['requestsPerSecond']:.1f}",
                None if one["successRatio"] is None else f"{one['successRatio']:.2%}",
                seconds(one["p50Seconds"]), seconds(one["p95Seconds"]), seconds(one["p99Seconds"]),
                one["retries"], one["inFlight"],
            )
            for one in figures
        ],
    )  # fmt: skip
