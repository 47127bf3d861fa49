"""The command ``sidecar`` itself: what it is, its version, and where the commands are.

Exit codes: 0 good, 1 failed at run time, 2 wrong usage (click's own), 78 configuration (``EX_CONFIG`` of BSD's
sysexits.h, so that a supervisor can tell that trying again is of no use).
"""

from __future__ import annotations

from importlib import import_module
from typing import Final

import click

from sidecar import __version__

COMMANDS: Final = {
    "run": "run:run",
    "check": "check:check",
    "config": "config:config",
    "endpoints": "endpoints:endpoints",
    "breakers": "breakers:breakers",
    "stat": "stat:stat",
    "reload": "reload:reload",
    "await": "await_:await_",
    "drain": "drain:drain",
    "shutdown": "shutdown:shutdown",
    "demo": "demo:demo",
    "completion": "completion:completion",
}
"""Module and function of each command, in the order of the help. One is imported when it is called: they are used in
scripts and probes, many times."""


class Commands(click.Group):
    """The commands, loaded as they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        command = getattr(import_module(f"sidecar.cli.{module}"), name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sidecar", message="%(prog)s %(version)s")
def main() -> None:
    """A service-mesh sidecar: one small process beside each instance of an application.

    \b
    Example:
      sidecar run --config sidecar.toml --app 127.0.0.1:8080
      curl http://127.0.0.1:15001/ -H 'Host: payments'
    """
