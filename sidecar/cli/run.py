"""``sidecar run``: the sidecar itself, and the application with it where COMMAND says how to start that."""

from __future__ import annotations

import click

from sidecar.cli.config import EXIT_CONFIG, config_option, load_or_exit
from sidecar.config.load import Setting

_KEYS = {
    "service": "service.name",
    "app": "service.app",
    "inbound": "listen.inbound",
    "outbound": "listen.outbound",
    "probes": "listen.probes",
}
"""What each flag sets; a flag is one more layer over file and environment."""


class _Run(click.Command):
    """Everything behind ``--`` is COMMAND's, and nothing else is: ``run sidecar.toml`` is a mistake, not a program."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ours, command = args, None
        if "--" in args:
            at = args.index("--")
            ours, command = args[:at], args[at + 1 :]
        rest = super().parse_args(ctx, ours)
        if command == []:
            raise click.UsageError("-- is followed by no COMMAND", ctx)
        ctx.params["command"] = tuple(command or ())
        return rest


@click.command(cls=_Run, options_metavar="[OPTIONS] [-- COMMAND...]")
@config_option(required=False)
@click.option("--service", metavar="NAME", help="The name of our own service.")
@click.option("--app", metavar="HOST:PORT", help="Where the application listens.")
@click.option("--inbound", metavar="A", help="The address that serves others on the application's behalf, or none.")
@click.option("--outbound", metavar="A", help="The address that serves the local application, or none.")
@click.option("--probes", metavar="A", help="The address of /health/* and /metrics, or none.")
def run(path: str | None, command: tuple[str, ...], **flags: str | None) -> None:
    """Run the sidecar until it is told to stop.

    A flag wins over the environment (SIDECAR_SERVICE__NAME=orders), which wins over the file.

    With a COMMAND the application is started too: it gets PORT, where it is to listen, and HTTP_PROXY, through which
    it finds the mesh. When it ends, the sidecar ends with its exit code.

    \b
    Example:
      sidecar run --config sidecar.toml --app 127.0.0.1:8080
      sidecar run --service orders -- python app.py
    """
    given = [Setting(f"--{flag}", _KEYS[flag], value) for flag, value in flags.items() if value is not None]
    if command:
        raise SystemExit(_with_command(path, given, command))
    config = load_or_exit(path, given)
    if config.drain.outbound == "app-exit":
        where = path or "configuration"
        click.echo(
            f'{where}: drain.outbound: "app-exit" waits for an application that the sidecar has started itself: '
            'start it by sidecar run ... -- COMMAND, or set drain.outbound = "idle"',
            err=True,
        )
        raise SystemExit(EXIT_CONFIG)

    # Only now: a mistake in the configuration is told without loading an event loop first.
    from sidecar import life

    raise SystemExit(life.run(config))


def _with_command(path: str | None, given: list[Setting], arguments: tuple[str, ...]) -> int:
    from sidecar.command import Command, reserve_port

    reserved = reserve_port()
    port: int = reserved.getsockname()[1]
    config = load_or_exit(path, given, [Setting("PORT", "service.app", f"127.0.0.1:{port}")])
    app = config.service.app
    assert app is not None
    try:
        command = Command(arguments, app.port, reserved)
    except OSError as error:
        click.echo(f"cannot start {arguments[0]}: {error.strerror}", err=True)
        return 1

    from sidecar import life

    return life.run(config, command)
