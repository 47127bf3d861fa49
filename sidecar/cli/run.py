"""``sidecar run``: the sidecar itself."""

from __future__ import annotations

import click

from sidecar.cli.config import config_option, given, load_or_exit, profile_option, setting_options


@click.command()
@config_option(required=False)
@profile_option
@setting_options
def run(path: str | None, profile: str | None, **flags: str | None) -> None:
    """Run the sidecar until it is told to stop.

    A flag wins over the environment (SIDECAR_SERVICE__NAME=orders), which wins over the file.

    \b
    Example:
      sidecar run --config sidecar.toml --app 127.0.0.1:8080
    """
    config = load_or_exit(path, given(flags), profile)

    # Only now: a mistake in the configuration is told without loading an event loop first.
    from sidecar import life

    raise SystemExit(life.run(config))
