"""Options that are the same on every command that has them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def config_option(required: bool) -> Callable[[Command], Command]:
    """``--config FILE``; ``SIDECAR_CONFIG`` says it too."""
    return click.option(
        "--config",
        "-c",
        "path",
        metavar="FILE",
        envvar="SIDECAR_CONFIG",
        show_envvar=True,
        required=required,
        help="The configuration, a TOML file.",
    )


profile_option = click.option(
    "--profile",
    metavar="NAME",
    envvar="SIDECAR_PROFILE",
    show_envvar=True,
    help="Tables of the file under [profiles.NAME] that are laid over the others.",
)
"""``--profile NAME``, the same on every command that loads a configuration."""


class Where(NamedTuple):
    """Which sidecar is meant, as it was said: a configuration, one of its profiles, an address, a service."""

    path: str | None
    profile: str | None
    admin: str | None
    service: str | None = None


def where_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--service NAME`` and ``--admin ADDRESS``, ``--config`` and ``--profile`` to look it up: the command gets a
    ``where``."""

    @wraps(command)
    def gathered(
        path: str | None, profile: str | None, admin: str | None, of_service: str | None, **options: Any
    ) -> Any:
        return command(where=Where(path, profile, admin, of_service), **options)

    option = click.option(
        "--admin",
        metavar="HOST:PORT",
        envvar="SIDECAR_LISTEN__ADMIN",
        show_envvar=True,
        help="Where the sidecar's admin API listens; else where the one that runs here says.",
    )
    service = click.option(
        "--service", "of_service", metavar="NAME", help="The sidecar of this service, on this machine."
    )
    return config_option(required=False)(profile_option(service(option(gathered))))


def output_option(*forms: str) -> Callable[[Command], Command]:
    """``-o FORM``; the first is the default."""
    return click.option("--output", "-o", type=click.Choice(forms), default=forms[0], show_default=True, help="Form.")


class Seconds(click.ParamType[float]):
    """A duration with its unit, as in the configuration."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from sidecar.config.units import parse_positive_duration

        if isinstance(value, float):
            return value
        try:
            return parse_positive_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
