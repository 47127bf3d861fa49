"""``sidecar config``: what can be said about a configuration without running it. Also how all commands load theirs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from sidecar.config.load import ConfigError, Setting, load
from sidecar.config.schema import Config

EXIT_CONFIG = 78

Command = TypeVar("Command", bound=Callable[..., Any])


def config_option(required: bool) -> Callable[[Command], Command]:
    """``--config FILE``, the same on every command; ``SIDECAR_CONFIG`` says it too."""
    return click.option(
        "--config",
        "path",
        metavar="FILE",
        envvar="SIDECAR_CONFIG",
        show_envvar=True,
        required=required,
        help="The configuration, a TOML file.",
    )


def load_or_exit(path: str | None, flags: Iterable[Setting] = (), beneath: Iterable[Setting] = ()) -> Config:
    """The configuration; or all its problems on standard error, a line each, and exit code 78."""
    try:
        return load(path, os.environ, flags, beneath)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        raise SystemExit(EXIT_CONFIG) from None


@click.group()
def config() -> None:
    """Look at a configuration without running it."""


@config.command()
@config_option(required=True)
def validate(path: str) -> None:
    """Say whether a configuration is valid, or list all that is wrong with it.

    \b
    Example:
      sidecar config validate --config sidecar.toml
    """
    load_or_exit(path)
    click.echo(f"{click.format_filename(path)}: valid")
