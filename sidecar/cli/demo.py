"""``sidecar demo``: a small shop in a mesh, to look at and to break."""

from __future__ import annotations

import click

from sidecar.cli.options import Seconds


@click.command()
@click.option("--for", "seconds", type=Seconds(), help="End after so long; without it, when told to.")
@click.option("--plain", is_flag=True, help="A line a second, also on a terminal.")
def demo(seconds: float | None, plain: bool) -> None:
    """Run a small shop in a mesh on this machine, and show what happens.

    Six instances of five services, each beside its own sidecar, with steady traffic. One fails now and then, one is slow
    now and then; keys let you kill, delay and restore them. On a terminal it is a live view, elsewhere a line a second.
    Ctrl-C ends it, and nothing is left.

    \b
    Example:
      sidecar demo
      sidecar demo --for 30s | tee demo.log
    """
    from sidecar.demo.run import demonstrate

    raise SystemExit(demonstrate(seconds, plain))
