"""``sidecar shutdown``: what SIGTERM does, for where no signal can be sent (an image without a shell, another container)."""

from __future__ import annotations

import click

from sidecar.cli.options import Seconds, Where, where_options


@click.command()
@click.option("--wait", is_flag=True, help="Return when it has ended.")
@click.option("--timeout", type=Seconds(), default="30s", show_default=True, help="How long to wait at most.")
@where_options
def shutdown(wait: bool, timeout: float, where: Where) -> None:
    """Have the sidecar drain and end, as SIGTERM does.

    \b
    Example:
      sidecar shutdown --wait --timeout 40s
    """
    from sidecar.cli.client import Problem, Unreachable, find, wait_for
    from sidecar.clock import Clock

    client = find(where)
    started_at = client.about()["startedAt"]
    client.post("shutdown")
    if not wait:
        click.echo("shutting down", err=True)
        return

    def ended() -> bool:
        try:
            # Whoever restarts sidecars may have put another one in its place already.
            return bool(client.about()["startedAt"] != started_at)
        except Unreachable as problem:
            return not problem.silent

    if not wait_for(ended, timeout, Clock()):
        raise Problem(
            f"it still runs after {timeout:g} s",
            "It gives requests drain.delay + drain.grace to end: wait for longer with --timeout, or see `sidecar stat`.",
        )
    click.echo("it has ended", err=True)
