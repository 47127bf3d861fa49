"""Whatever a configuration is, the answer is a configuration or problems for people: never a traceback."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.cli.main import main
from sidecar.config.effective import changes
from sidecar.config.load import ConfigError, Loaded, load_with_origins
from sidecar.config.write import key, toml

EXAMPLE = (Path(__file__).resolve().parent.parent / "config.example.toml").read_text()
TABLES = tomllib.loads(EXAMPLE)

NAMES = [None, None, None, "x", "name", "profiles", "", "a.b", "ü\n"]
VALUES = [
    0,
    1,
    5,
    "10s",
    "idle",
    -1,
    1.5,
    True,
    False,
    "",
    "none",
    "5s",
    "a:1",
    "api",
    "\0",
    "é" * 300,
    [],
    [1],
    ["a:1"],
    [{}],
    {},
    {"a": 1},
]
FRAGMENTS = [
    "[",
    "]",
    "[[",
    "{",
    "}",
    '"',
    '"""',
    "'''",
    "\n",
    "\r\n",
    ".",
    "=",
    "#",
    "\\",
    "\x00",
    "é",
    "1",
    "[routes]",
]


def steps(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value of the example."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in items:
        yield from steps(inner, (*path, step))


PATHS = list(steps(TABLES))


def replaced(value: Any, path: tuple[Any, ...], new: object, name: str | None) -> Any:
    """The tables with another value at ``path``, or with another key there."""
    if not path:
        return new
    first, *rest = path
    if isinstance(value, list):
        return [replaced(item, tuple(rest), new, name) if index == first else item for index, item in enumerate(value)]
    changed = replaced(value[first], tuple(rest), new, name) if rest or name is None else value[first]
    renamed = name if name is not None and not rest else first
    return {(renamed if step == first else step): changed if step == first else item for step, item in value.items()}


@st.composite
def bent(draw: st.DrawFn) -> str:
    """The example with values of the wrong type, and keys of another name, at a few places."""
    tables = TABLES
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(list(steps(tables))))
        name = draw(st.sampled_from(NAMES)) if isinstance(path[-1], str) else None
        kind = type(reduce(getitem, path, tables))
        alike = [value for value in (reduce(getitem, path, TABLES) for path in PATHS) if type(value) is kind]
        tables = replaced(tables, path, draw(st.sampled_from(alike or VALUES) | st.sampled_from(VALUES)), name)
    return "".join(f"{key(name)} = {toml(value)}\n" for name, value in tables.items())


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """The example with pieces cut out and others put in."""
    text = EXAMPLE
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = start + draw(st.integers(0, 40))
        text = text[:start] + draw(st.sampled_from(FRAGMENTS) | st.text(max_size=5)) + text[end:]
    return text


CONTENTS = st.binary(max_size=200) | st.one_of(bent(), bent(), mutated()).map(lambda text: text.encode())
PROFILES = st.sampled_from([None, None, "production", "x"])


def answer(path: Path, profile: str | None) -> Loaded | ConfigError:
    try:
        return load_with_origins(str(path), {"SIDECAR_SERVICE__ZONE": "b"}, (), profile)
    except ConfigError as error:
        return error


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "sidecar.toml"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    file = tmp_path_factory.mktemp("example") / "sidecar.toml"
    file.write_text(EXAMPLE)
    return load_with_origins(str(file))


@settings(max_examples=250, derandomize=True)
@given(content=CONTENTS, profile=PROFILES)
def test_any_file_is_a_configuration_or_problems(
    path: Path, example: Loaded, content: bytes, profile: str | None
) -> None:
    """Each problem is one line that begins with its origin; a line that is named is one that the file has.

    And what is a configuration can be shown, and be compared with another.
    """
    path.write_bytes(content)
    found = answer(path, profile)
    if isinstance(found, Loaded):
        assert found.entries()
        assert isinstance(changes(example, found), list)
        return
    assert found.problems
    for problem in found.details:
        assert re.match(rf"({re.escape(str(path))}(:\d+)?|SIDECAR_SERVICE__ZONE): ", str(problem)), problem
        assert len(str(problem).splitlines()) == 1
        assert problem.line <= content.count(b"\n") + 1


@settings(max_examples=60, derandomize=True)
@given(content=CONTENTS, profile=PROFILES)
def test_any_file_gives_the_command_line_an_answer(path: Path, content: bytes, profile: str | None) -> None:
    """0 or 78, and for each problem a line on standard error; nothing else is printed then."""
    path.write_bytes(content)
    with_profile = [] if profile is None else ["--profile", profile]
    for command in (["validate"], ["show"]):
        result = CliRunner().invoke(
            main, ["config", *command, "--config", str(path), *with_profile], prog_name="sidecar"
        )
        assert result.exit_code in (0, 78), result.exception
        assert isinstance(result.exception, SystemExit | None)
        if result.exit_code:
            assert result.stdout == ""
            assert all(line.startswith(str(path)) for line in result.stderr.splitlines())


def test_the_fuzz_reaches_both_answers(path: Path) -> None:
    """A generator of nothing but broken syntax would prove little: bent files are TOML, and some are configurations."""
    answers: list[Loaded | ConfigError] = []

    @settings(max_examples=80, derandomize=True)
    @given(bent())
    def collect(text: str) -> None:
        path.write_text(text)
        answers.append(answer(path, None))

    collect()
    refused = [found for found in answers if isinstance(found, ConfigError)]
    assert 5 < len(refused) < len(answers) - 2
    assert not any("is not TOML" in problem for error in refused for problem in error.problems)
