"""``sidecar drain``: take nothing new, finish what runs, and stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sidecar.cli.options import Seconds, Where, where_options

if TYPE_CHECKING:
    from sidecar.cli.client import Client

QUIET_SECONDS = 1.0
"""How long nothing may have run or ended for the sidecar to count as idle."""


@click.command()
@click.option("--wait", is_flag=True, help="Return when nothing has run for a second.")
@click.option("--timeout", type=Seconds(), default="30s", show_default=True, help="How long to wait at most.")
@where_options
def drain(wait: bool, timeout: float, where: Where) -> None:
    """Have the sidecar finish what runs and take nothing new. It stays; see shutdown.

    \b
    Example:
      sidecar drain --wait
    """
    from sidecar.cli.client import Problem, find, wait_for
    from sidecar.clock import Clock

    client, clock = find(where), Clock()
    client.post("drain")
    if not wait:
        click.echo("draining", err=True)
        return
    ended, quiet_since = -1, clock.now()

    def idle() -> bool:
        nonlocal ended, quiet_since
        now_ended = sum(row["requests"] for row in client.rows("/routes"))
        if in_flight(client) or now_ended != ended:
            ended, quiet_since = now_ended, clock.now()
        return clock.now() >= quiet_since + QUIET_SECONDS

    if not wait_for(idle, timeout, clock):
        raise Problem(
            f"after {timeout:g} s requests still run or come: {in_flight(client)} in flight",
            "`sidecar stat -t 5s` shows where; wait for longer with --timeout, or end it with `sidecar shutdown`.",
        )
    click.echo("nothing runs any more", err=True)


def in_flight(client: Client) -> int:
    """How many requests run, in both directions."""
    return sum(row["inFlight"] for row in client.rows("/services"))
