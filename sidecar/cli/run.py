"""``sidecar run``: the sidecar itself."""

from __future__ import annotations

import os

import click

from sidecar.cli.config import given, loaded_or_exit, setting_options
from sidecar.cli.options import config_option, profile_option
from sidecar.config.load import Loaded, load_with_origins


@click.command()
@config_option(required=False)
@profile_option
@setting_options
def run(path: str | None, profile: str | None, **flags: str | None) -> None:
    """Run the sidecar until it is told to stop.

    A flag wins over the environment (SIDECAR_SERVICE__NAME=orders), that over the profile, and that over the file. The
    file is read again when it changes, and on SIGHUP.

    \b
    Example:
      sidecar run --config sidecar.toml --app 127.0.0.1:8080
    """
    settings = given(flags)
    loaded = loaded_or_exit(path, settings, profile)

    def read() -> Loaded:
        return load_with_origins(path, os.environ, settings, profile)

    # Only now: a mistake in the configuration is told without loading an event loop first.
    from sidecar import life

    raise SystemExit(life.run(loaded, read, path))
