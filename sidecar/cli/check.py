"""``sidecar check``: is the configuration right, and is everything there that it needs?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from sidecar.cli.options import Where, output_option, where_options

if TYPE_CHECKING:
    from sidecar.cli.client import Client
    from sidecar.cli.surroundings import Check
    from sidecar.config.schema import Config

Category = tuple[str, "list[Check]"]


@click.command()
@where_options
@output_option("table", "json")
def check(where: Where, output: str) -> None:
    """Check the configuration and what is around it: addresses, application, endpoints, and the sidecar if it runs.

    Errors give exit code 78 if the configuration is wrong, 1 if something else is; warnings do not.

    \b
    Example:
      sidecar check --config sidecar.toml
    """
    from sidecar.cli.output import ERROR, SUCCESS, echo, mark

    categories = []
    for category in _categories(where):
        categories.append(category)
        if output == "table":
            _print(category, first=len(categories) == 1)
    failed = [name for name, checks in categories for one in checks if one.sign == ERROR]
    if output == "json":
        _print_json(categories, not failed)
    else:
        echo(f"\nStatus check results are {mark(ERROR if failed else SUCCESS)}")
    if failed:
        from sidecar.cli.config import EXIT_CONFIG

        raise SystemExit(EXIT_CONFIG if failed[0] == "configuration" else 1)


def _categories(where: Where) -> Iterator[Category]:
    """One after the other, since some of them take a second."""
    import os

    from sidecar.cli import surroundings
    from sidecar.cli.output import ERROR, SUCCESS
    from sidecar.cli.surroundings import Check
    from sidecar.clock import Clock
    from sidecar.config.load import ConfigError, load

    try:
        config = load(where.path, os.environ, profile=where.profile)
    except ConfigError as error:
        hint = "" if where.path is not None else "name the file with --config"
        yield "configuration", [Check(ERROR, problem, hint) for problem in error.problems]
        return
    yield (
        "configuration",
        [Check(SUCCESS, f"{click.format_filename(where.path) if where.path else 'the environment'} is valid")],
    )
    yield "machine", list(surroundings.machine(config, where.path, Clock()))
    about, checks = surroundings.running(config, _client(config, where))
    yield "listeners", list(surroundings.addresses(config, about))
    for name, found in (
        ("application", surroundings.application(config)),
        ("registry", surroundings.registry(config)),
        ("endpoints", surroundings.endpoints(config)),
        ("dependencies", surroundings.dependencies(config)),
    ):
        some = list(found)
        if some:
            yield name, some
    yield "running sidecar", checks


def _client(config: Config, where: Where) -> Client | None:
    from sidecar.cli.client import Client, admin_address

    address = config.listen.admin if where.admin is None else admin_address(where)
    return Client(address) if address is not None and address.port else None


def _print(category: Category, first: bool) -> None:
    from sidecar.cli.output import echo, mark

    name, checks = category
    echo(f"{'' if first else chr(10)}{name}\n{'-' * len(name)}")
    for one in checks:
        echo(f"{mark(one.sign)} {one.description}")
        if one.hint:
            echo(f"    {one.hint}")


def _print_json(categories: list[Category], success: bool) -> None:
    from sidecar.cli.output import ERROR, SUCCESS, WARNING, print_json

    words = {SUCCESS: "success", WARNING: "warning", ERROR: "error"}
    print_json(
        {
            "success": success,
            "categories": [
                {
                    "categoryName": name,
                    "checks": [
                        {"description": one.description, "result": words[one.sign], "hint": one.hint or None}
                        for one in checks
                    ],
                }
                for name, checks in categories
            ],
        }
    )
