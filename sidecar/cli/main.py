"""The command ``sidecar`` itself: what it is, its version, and where the commands are.

Exit codes: 0 good, 1 failed at run time, 2 wrong usage (click's own), 78 configuration (``EX_CONFIG`` of BSD's
sysexits.h, so that a supervisor can tell that trying again is of no use).
"""

from __future__ import annotations

import click

from sidecar import __version__
from sidecar.cli.config import config
from sidecar.cli.run import run


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sidecar", message="%(prog)s %(version)s")
def main() -> None:
    """A service-mesh sidecar: one small process beside each instance of an application.

    \b
    Example:
      sidecar run --config sidecar.toml --app 127.0.0.1:8080
      curl http://127.0.0.1:15001/ -H 'Host: payments'
    """


main.add_command(run)
main.add_command(config)
