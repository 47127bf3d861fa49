"""The rules of the house, so that its order does not depend on anybody's memory.

Packages stand on levels and imports point down. The table below is the whole truth about who stands where: a module
that it does not know fails, so a new package is a decision and not an accident. Imports are read from the syntax tree
wherever they stand, in functions and under ``TYPE_CHECKING`` too, since a dependency that is only typed is still one.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

LEVELS = {
    "sidecar.__main__": 7,
    "sidecar.life": 7,
    "sidecar.reload": 7,
    "sidecar.drain": 7,
    "sidecar.app": 7,
    "sidecar.answers": 7,
    "sidecar.assembly": 7,
    "sidecar.sources": 7,
    "sidecar.checks": 7,
    "sidecar.command": 7,
    "sidecar.guard": 7,
    "sidecar.marks": 7,
    "sidecar.cli": 7,
    "sidecar.demo": 7,
    "sidecar.config": 6,
    "sidecar.admin": 6,
    "sidecar.proxy": 5,
    "sidecar.discovery": 5,
    "sidecar.overload": 5,
    "sidecar.health": 5,
    "sidecar.telemetry.export": 5,
    "sidecar.exchange": 4,
    "sidecar.routing": 3,
    "sidecar.filters": 2,
    "sidecar.telemetry": 2,
    "sidecar.http": 1,
    "sidecar.balance": 1,
    "sidecar.resilience": 1,
    "sidecar.timing": 1,
    "sidecar.model": 0,
    "sidecar.errors": 0,
    "sidecar.clock": 0,
}
WORLD = {"asyncio", "socket", "ssl", "uvloop", "selectors"}
CHANCE = {"time", "random"}
MAX_LINES = 400


def room(module: str) -> str | None:
    """The entry of LEVELS that the module lies in, by its longest prefix; the package's own __init__ is in none."""
    parts = module.split(".")
    prefixes = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next((prefix for prefix in prefixes if prefix in LEVELS), None)


def imports(module: str, source: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Every ``(line, module)`` that the source imports, relative names resolved."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".") if is_package else module.split(".")[:-1]
            base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            origin = ".".join(filter(None, (base, node.module)))
            for alias in node.names:
                # What is imported from the root is one of its modules, or something like __version__.
                inner = origin.startswith("sidecar") and not alias.name.startswith("__")
                yield node.lineno, f"{origin}.{alias.name}" if inner else origin


def broken_rule(module: str, target: str) -> str | None:
    """The rule that an import of ``target`` by ``module`` breaks."""
    here = room(module)
    level = LEVELS[here] if here else 0
    top = target.split(".")[0]
    if top in CHANCE and module != "sidecar.clock":
        return f"{top} is for sidecar.clock alone: take a Clock or a Random"
    if top in WORLD and level < 5:
        return f"{top} begins at level 5, and this is level {level}"
    if top != "sidecar" or target == "sidecar":
        return None
    there = room(target)
    if there is None:
        return f"{target} stands on no level"
    if here is None:
        return "the root package imports none of its modules"
    if here == "sidecar.admin" and there == "sidecar.proxy":
        return "admin is handed snapshots and actions, and does not reach into the proxy"
    if (
        there in ("sidecar.app", "sidecar.assembly", "sidecar.life", "sidecar.reload")
        and here == "sidecar.cli"
        and module != "sidecar.cli.run"
    ):
        return "of all commands only run starts the app"
    # The rooms of level 7 are one: __main__ calls cli, cli calls app.
    if here == there or LEVELS[there] < level or LEVELS[there] == level == 7:
        return None
    return f"imports point down: {here} is level {level}, {there} is level {LEVELS[there]}"


def violations(module: str, source: str, file: str, is_package: bool = False) -> list[str]:
    """``file:line: rule`` of every import that breaks one, and of a module that the table does not know."""
    unknown = [f"{file}:1: {module} stands on no level"] if module != "sidecar" and room(module) is None else []
    found = [(line, broken_rule(module, target)) for line, target in imports(module, source, is_package)]
    return unknown + [f"{file}:{line}: {rule}" for line, rule in found if rule is not None]


def house() -> Iterator[tuple[Path, str]]:
    """Every module of the package: its file and its name."""
    for file in sorted((ROOT / "sidecar").rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        yield file, ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_imports_point_down() -> None:
    """No module of the package imports what its level forbids."""
    found = [
        line
        for file, module in house()
        for line in violations(module, file.read_text(), str(file.relative_to(ROOT)), file.name == "__init__.py")
    ]
    assert not found, "\n" + "\n".join(found)


def test_no_file_is_longer_than_one_can_hold_in_mind() -> None:
    """A file of more than 400 lines is two files that nobody has separated yet."""
    lengths = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file, _ in house()}
    long = [f"{file}: {lines} lines" for file, lines in lengths.items() if lines > MAX_LINES]
    assert not long, "\n" + "\n".join(long)


@pytest.mark.parametrize(
    ("module", "source", "rule"),
    [
        ("sidecar.http.head", "from sidecar.proxy import pool", "imports point down: sidecar.http is level 1"),
        ("sidecar.balance.random_choice", "import sidecar.resilience.breaker", "imports point down: sidecar.balance"),
        ("sidecar.proxy.pool", "from sidecar.discovery.static import Static", "imports point down: sidecar.proxy"),
        ("sidecar.admin.api", "from sidecar.proxy.pool import Pool", "admin is handed snapshots and actions"),
        ("sidecar.admin.api", "from sidecar.config.load import load", "imports point down: sidecar.admin"),
        ("sidecar.model", "from sidecar.errors import Failure", "imports point down: sidecar.model is level 0"),
        ("sidecar.exchange.machine", "import asyncio.transports", "asyncio begins at level 5, and this is level 4"),
        ("sidecar.exchange.machine", "from socket import socket", "socket begins at level 5"),
        ("sidecar.timing.wheel", "def now():\n    from time import monotonic", "time is for sidecar.clock alone"),
        ("sidecar.proxy.pool", "import random as chance", "random is for sidecar.clock alone"),
        ("sidecar.http.head", "if TYPE_CHECKING:\n    from sidecar import app", "imports point down: sidecar.http"),
        ("sidecar.http.h1.body", "from ...routing import plan", "imports point down: sidecar.http is level 1"),
        ("sidecar.cli.config", "from sidecar.app import run", "of all commands only run starts the app"),
        ("sidecar.attic.trunk", "", "sidecar.attic.trunk stands on no level"),
        ("sidecar.http.head", "from sidecar import attic", "sidecar.attic stands on no level"),
        ("sidecar", "from sidecar.app import run", "the root package imports none of its modules"),
    ],
)
def test_a_forbidden_import_is_told_with_file_line_and_rule(module: str, source: str, rule: str) -> None:
    """The checker itself: each rule is broken once, and the message says where and why."""
    found = violations(module, source, "some/file.py")
    assert len(found) == 1, found
    line = source.count("\n") + 1
    assert found[0].startswith(f"some/file.py:{line}: {rule}")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("sidecar.http.h1.body", "from sidecar.http.head import Head\nfrom ..reply import reply"),
        ("sidecar.proxy.pool", "import asyncio\nimport sidecar.exchange.seams"),
        ("sidecar.clock", "import time, random"),
        ("sidecar.__main__", "from sidecar.cli.main import main"),
        ("sidecar.cli.run", "def run():\n    from sidecar import app"),
        ("sidecar.cli.main", "from sidecar import __version__"),
        ("sidecar.config.schema", "from sidecar.resilience.breaker import Settings"),
    ],
)
def test_an_allowed_import_is_left_in_peace(module: str, source: str) -> None:
    """Imports downward and within a package break no rule."""
    assert violations(module, source, "some/file.py") == []
