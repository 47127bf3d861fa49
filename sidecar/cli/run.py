"""``sidecar run``: the sidecar itself, and the application with it where COMMAND says how to start that."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import click

from sidecar.cli.config import given, or_exit, setting_options
from sidecar.cli.options import config_option, profile_option
from sidecar.config.load import ConfigError, Loaded, Setting, load_with_origins
from sidecar.config.watch import Watch


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
@profile_option
@setting_options
def run(path: str | None, profile: str | None, command: tuple[str, ...], **flags: str | None) -> None:
    """Run the sidecar until it is told to stop.

    A flag wins over the environment (SIDECAR_SERVICE__NAME=orders), that over the profile, and that over the file. The
    file is read again when it changes, and on SIGHUP.

    With a COMMAND the application is started too: it gets PORT, where it is to listen, and HTTP_PROXY, through which
    it finds the mesh. When it ends, the sidecar ends with its exit code.

    \b
    Example:
      sidecar run --config sidecar.toml --app 127.0.0.1:8080
      sidecar run --service orders -- python app.py
    """
    settings = given(flags)

    def read(beneath: Sequence[Setting] = ()) -> Loaded:
        loaded = load_with_origins(path, os.environ, settings, profile, beneath)
        if loaded.config.drain.outbound == "app-exit" and not command:
            raise ConfigError([loaded.layers.problem(("drain", "outbound"), _NO_COMMAND)])
        return loaded

    watch = Watch(path) if path is not None else None
    raise SystemExit(_with_command(read, watch, command) if command else _alone(read, watch))


_NO_COMMAND = (
    '"app-exit" waits for an application that the sidecar has started itself: start it by sidecar run ... -- COMMAND, '
    'or set drain.outbound = "idle"'
)


def _alone(read: Callable[[], Loaded], watch: Watch | None) -> int:
    loaded = or_exit(read)

    # Only now: a mistake in the configuration is told without loading an event loop first.
    from sidecar import life

    return life.run(loaded, read, watch)


def _with_command(read: Callable[[Sequence[Setting]], Loaded], watch: Watch | None, arguments: tuple[str, ...]) -> int:
    from sidecar.command import Command, reserve_port

    reserved = reserve_port()
    # The application's address if nobody says another, also when the configuration is read again.
    beneath = [Setting("PORT", "service.app", f"127.0.0.1:{reserved.getsockname()[1]}")]

    def read_again() -> Loaded:
        return read(beneath)

    loaded = or_exit(read_again)
    app = loaded.config.service.app
    assert app is not None
    try:
        command = Command(arguments, app.port, reserved)
    except OSError as error:
        click.echo(f"cannot start {arguments[0]}: {error.strerror}", err=True)
        return 1

    from sidecar import life

    return life.run(loaded, read_again, watch, command)
