"""``sidecar reload``: have the configuration read again."""

from __future__ import annotations

import click

from sidecar.cli.options import Where, where_options

PATIENCE = 60.0
"""Seconds that it may take to compile a configuration and to look up the names in it."""


@click.command()
@where_options
def reload(where: Where) -> None:
    """Have the sidecar read its configuration again. If it is wrong, the one that runs goes on.

    \b
    Example:
      sidecar reload
    """
    from sidecar.cli.client import Client, Refused, find

    client = Client(find(where).address, PATIENCE)
    try:
        client.post("reload")
    except Refused as refused:
        if refused.status != 422:
            raise
        for detail in refused.details:
            click.echo(detail, err=True)
        click.echo("The configuration that ran goes on. Correct the new one, and reload again.", err=True)
        raise SystemExit(1) from None
    click.echo("the new configuration runs", err=True)
