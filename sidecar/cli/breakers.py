"""``sidecar breakers``: which endpoints are left alone, and until when."""

from __future__ import annotations

from itertools import takewhile

import click

from sidecar.cli.options import Where, output_option, where_options

HEADER = ("SERVICE", "ENDPOINT", "STATE", "FAILURES", "OPENED", "RETRY-AFTER", "TRIPPED")


@click.command()
@click.option("--open", "only_open", is_flag=True, help="Only those that are not closed.")
@where_options
@output_option("table", "json")
def breakers(only_open: bool, where: Where, output: str) -> None:
    """List the circuit breakers of all endpoints.

    \b
    Example:
      sidecar breakers --open
    """
    from sidecar.cli.client import find
    from sidecar.cli.output import echo, print_json, print_table, seconds

    all_ = find(where).rows("/breakers?sort=-state" if only_open else "/breakers")
    rows = list(takewhile(lambda row: row["state"] != "closed", all_) if only_open else all_)
    if output == "json":
        print_json({"data": rows})
        return
    print_table(
        HEADER,
        [
            (
                row["service"], row["endpoint"], row["state"],
                row["failures"], row["openedAt"], seconds(row["retryAfterSeconds"] or None), row["transitions"]["open"],
            )
            for row in rows
        ],
    )  # fmt: skip
    if not rows:
        echo("all breakers are closed" if only_open else "no endpoint has a breaker", err=True)
