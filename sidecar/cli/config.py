"""``sidecar config``: what can be said about a configuration without running it. Also how all commands load theirs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Final

import click

from sidecar.cli.options import Command, config_option, output_option, profile_option
from sidecar.config.load import ConfigError, Loaded, Problem, Setting, load, load_with_origins

EXIT_CONFIG = 78

_SETTINGS: Final = {
    "service": ("service.name", "NAME", "The name of our own service."),
    "app": ("service.app", "HOST:PORT", "Where the application listens."),
    "inbound": ("listen.inbound", "A", "The address that serves others on the application's behalf, or none."),
    "outbound": ("listen.outbound", "A", "The address that serves the local application, or none."),
    "admin": ("listen.admin", "A", "The address that the commands talk to, or none."),
    "probes": ("listen.probes", "A", "The address of /health/* and /metrics, or none."),
    "registry": (
        "registry.kind",
        "KIND|URL",
        "Where endpoints come from that are not configured: local, static, consul, dns, ...",
    ),
}
"""The flags that set a key, one more layer over file and environment: key, form and help of each."""


def setting_options(command: Command) -> Command:
    """The flags that set a key. :func:`given` makes settings of them."""
    for flag, (_, form, what) in reversed(_SETTINGS.items()):
        command = click.option(f"--{flag}", metavar=form, help=what)(command)
    return command


def given(flags: Mapping[str, str | None]) -> list[Setting]:
    """What those of the :func:`setting_options` set that were given."""
    found = []
    for flag, value in flags.items():
        if flag == "registry" and value is not None and "://" in value:
            found += [Setting("--registry", key, part) for key, part in _registry_at(value)]
        elif value is not None:
            found.append(Setting(f"--{flag}", _SETTINGS[flag][0], value))
    return found


def _registry_at(url: str) -> list[tuple[str, str]]:
    """The keys that the URL of a registry sets: its kind, and where it is. ``http`` alone means a Consul agent."""
    scheme, _, rest = url.partition("://")
    kind, _, over = scheme.partition("+")
    if scheme in ("http", "https"):
        kind, over = "consul", scheme
    return [("registry.kind", kind), (f"registry.{kind}.address", f"{over or 'http'}://{rest.rstrip('/')}")]


def loaded_or_exit(
    path: str | None, flags: Iterable[Setting] = (), profile: str | None = None, beneath: Iterable[Setting] = ()
) -> Loaded:
    """The configuration; or all its problems on standard error, a line each, and exit code 78."""
    return or_exit(lambda: load_with_origins(path, os.environ, flags, profile, beneath))


def or_exit(read: Callable[[], Loaded]) -> Loaded:
    """What ``read`` reads; or all problems on standard error, a line each, and exit code 78."""
    try:
        return read()
    except ConfigError as error:
        _tell(error.details)
        raise SystemExit(EXIT_CONFIG) from None


@click.group()
def config() -> None:
    """Look at a configuration without running it.

    \b
    Example:
      sidecar config show --config sidecar.toml --changed
    """


@config.command()
@config_option(required=True)
@profile_option
@setting_options
@output_option("text", "json")
def validate(path: str, profile: str | None, output: str, **flags: str | None) -> None:
    """Say whether a configuration is valid, or list all that is wrong with it.

    Without --profile it is held against each of its profiles, too. The exit code is 0 or 78.

    \b
    Example:
      sidecar config validate --config sidecar.toml
      sidecar config validate --config sidecar.toml --output json
    """
    problems, profiles = _all_problems(path, given(flags), profile)
    if output == "json":
        keys = ("file", "line", "key", "message", "origin")
        rows = [{key: getattr(problem, key) or None for key in keys} for problem in problems]
        click.echo(json.dumps({"valid": not problems, "problems": rows}, indent=2))
    elif problems:
        _tell(problems)
    else:
        with_them = f" (profiles, too: {', '.join(profiles)})" if profiles else ""
        click.echo(f"{click.format_filename(path)}: valid{with_them}")
    raise SystemExit(EXIT_CONFIG if problems else 0)


@config.command()
@config_option(required=False)
@profile_option
@setting_options
@output_option("text", "json", "toml")
@click.option("--changed", is_flag=True, help="Only what was written, without defaults and what is inherited.")
def show(path: str | None, profile: str | None, output: str, changed: bool, **flags: str | None) -> None:
    """Print the configuration that is in effect, and where each value of it was written.

    The text is TOML, with origins as comments; it could be loaded in place of everything that it was made from.
    Values that look like credentials are replaced.

    \b
    Example:
      sidecar config show --config sidecar.toml
      sidecar config show --config sidecar.toml --profile production --changed
      sidecar config show --app 127.0.0.1:8080 --output json
    """
    loaded = loaded_or_exit(path, given(flags), profile)

    from sidecar.config import effective, render

    leaves = list(effective.leaves(loaded.layers))
    if changed:
        leaves = render.changed(leaves)
    text = render.as_json(leaves) if output == "json" else render.as_toml(leaves, origins=output == "text")
    click.echo(text, nl=False)


@config.command()
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors.

    An editor that knows TOML (taplo, Even Better TOML) completes, explains and checks the keys of a file whose first
    line names the schema: #:schema ./sidecar.schema.json

    \b
    Example:
      sidecar config schema > sidecar.schema.json
    """
    from sidecar.config.json_schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2))


@config.command()
def reference() -> None:
    """Print every key with its default, type and meaning, as Markdown.

    \b
    Example:
      sidecar config reference | less
    """
    from sidecar.config.reference import reference

    click.echo(reference(), nl=False)


def _all_problems(path: str, flags: list[Setting], profile: str | None) -> tuple[list[Problem], tuple[str, ...]]:
    """What is wrong, with the profile that was asked for or with any; and the names of those that were tried unasked."""
    from sidecar.config.layers import lowest, profile_names

    try:
        names = () if profile else profile_names(lowest(path))
    except ConfigError as error:
        return error.details, ()
    found: list[Problem] = []
    for name in (profile, *names):
        try:
            load(path, os.environ, flags, name)
        except ConfigError as error:
            new = [problem for problem in error.details if problem not in found]
            if name in names:
                new = [problem._replace(message=f"{problem.message} (with profile {name})") for problem in new]
            found += new
    return sorted(found, key=attrgetter("place")), names


def _tell(problems: Iterable[Problem]) -> None:
    for problem in problems:
        click.echo(str(problem), err=True)
