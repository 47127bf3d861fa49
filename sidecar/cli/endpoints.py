"""``sidecar endpoints``: where calls go."""

from __future__ import annotations

import click

from sidecar.cli.options import Where, output_option, where_options

HEADER = (
    "SERVICE", "DIRECTION", "ADDRESS", "STATE", "WEIGHT", "ZONE", "BREAKER", "IN-FLIGHT", "CONNECTIONS", "IDLE",
    "RETRY-AFTER", "WHY",
)  # fmt: skip


@click.command()
@click.argument("service", required=False)
@where_options
@output_option("table", "json")
def endpoints(service: str | None, where: Where, output: str) -> None:
    """List the endpoints of all services, or of SERVICE.

    \b
    Example:
      sidecar endpoints payments
    """
    from urllib.parse import quote

    from sidecar.cli.client import Problem, Refused, find
    from sidecar.cli.output import print_json, print_table, seconds

    listing = "/endpoints" if service is None else f"/services/{quote(service, safe='')}/endpoints"
    client = find(where)
    try:
        rows = list(client.rows(listing))
    except Refused as refused:
        if refused.status != 404:
            raise
        names = sorted({row["name"] for row in client.rows("/services")})
        some = f"{', '.join(names[:20])}{' and more' if len(names) > 20 else ''}" or "none"
        raise Problem(f"there is no service {service!r}", f"There are: {some}.") from None
    if output == "json":
        print_json({"data": rows})
        return
    print_table(
        HEADER,
        [
            (
                row["service"], row["direction"], row["address"], row["state"], row["weight"], row["zone"],
                row["breaker"], row["inFlight"], row["connections"], row["idle"],
                seconds(row["retryAfterSeconds"] or None), row["why"],
            )
            for row in rows
        ],
    )  # fmt: skip
