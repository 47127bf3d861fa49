"""``sidecar run``: the sidecar itself."""

from __future__ import annotations

import click

from sidecar.cli.config import load_or_exit
from sidecar.cli.options import config_option
from sidecar.config.load import Setting

_KEYS = {
    "service": "service.name",
    "app": "service.app",
    "inbound": "listen.inbound",
    "outbound": "listen.outbound",
    "probes": "listen.probes",
    "admin": "listen.admin",
}
"""What each flag sets; a flag is one more layer over file and environment."""


@click.command()
@config_option(required=False)
@click.option("--service", metavar="NAME", help="The name of our own service.")
@click.option("--app", metavar="HOST:PORT", help="Where the application listens.")
@click.option("--inbound", metavar="A", help="The address that serves others on the application's behalf, or none.")
@click.option("--outbound", metavar="A", help="The address that serves the local application, or none.")
@click.option("--admin", metavar="A", help="The address of the admin API, or none.")
@click.option("--probes", metavar="A", help="The address of /health/* and /metrics, or none.")
def run(path: str | None, **flags: str | None) -> None:
    """Run the sidecar until it is told to stop.

    A flag wins over the environment (SIDECAR_SERVICE__NAME=orders), which wins over the file.

    \b
    Example:
      sidecar run --config sidecar.toml --app 127.0.0.1:8080
    """
    given = [Setting(f"--{flag}", _KEYS[flag], value) for flag, value in flags.items() if value is not None]
    config = load_or_exit(path, given)

    # Only now: a mistake in the configuration is told without loading an event loop first.
    from sidecar import life

    raise SystemExit(life.run(config))
