"""The schema that editors use and the reference that people read: both from the types, both held against the loader."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from sidecar.config.json_schema import json_schema
from sidecar.config.load import ConfigError, Setting, load
from sidecar.config.reference import reference
from sidecar.config.schema import File
from sidecar.config.write import fields, opened
from tests.support import example_registry
from tests.test_docs import TEXT, blocks

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = json_schema()
EXAMPLE = (ROOT / "config.example.toml").read_text()
SERVICE = [Setting("--service-a", "services.a.balance", "random")]
PAGE = ROOT / "docs" / "configuration.md"


def complaints(text: str, schema: Any = SCHEMA) -> list[str]:
    return [error.message for error in Draft202012Validator(schema).iter_errors(tomllib.loads(text))]


def test_it_is_a_schema() -> None:
    """Of the draft that it names."""
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(("page", "text"), [("config.example.toml", EXAMPLE), *blocks("toml")])
def test_all_that_the_pages_show_fits(page: str, text: str, tmp_path: Path) -> None:
    """What loads is not underlined in anybody's editor; registries are those that are installed there."""
    with example_registry.installed(tmp_path):
        assert complaints(text, json_schema()) == []


@pytest.mark.parametrize(
    "text",
    [
        "colour = 1",
        "[service]\nnam = 'x'",
        "[service]\nname = 'X'",
        "[service]\nname = 'a.mesh'",
        "[service]\nweight = -1",
        "[service]\nweight = 1.5",
        "[service]\napp = '127.0.0.1'",
        "[service]\nmeta = { a = 1 }",
        "[listen]\ninbound = false",
        "[listen]\ninbound = 15006",
        "[inbound]\ntrusted = '10.0.0.0/8'",
        "[inbound]\nmax_connections = 0",
        "[outbound]\npassthrough = 'some'",
        "[defaults]\ntimeout = 30",
        "[defaults]\ntimeout = '0s'",
        "[defaults]\nconnect_timeout = 'none'",
        "[defaults]\nconnect_timeout = '0.0s'",
        "[defaults]\nretry = true",
        "[defaults]\nretry = { max_retries = '3' }",
        "[defaults]\nretry = { on = ['6xx'] }",
        "[defaults]\nlimits = false",
        "[defaults]\nendpoints = []",
        "[services.A]",
        "[services.a]\nendpoints = [1]",
        "[services.a]\nendpoints = [{ weight = 1 }]",
        "[services.a]\nendpoints = [{ address = 'a:1', colour = 1 }]",
        "[timeouts]\nnone = '1s'",
        "[timeouts]\nx = 1",
        "[[routes]]\nservice = 'a'",
        "[[routes]]\nname = 'a'\nbreaker = false",
        "[[routes]]\nname = 'a'\nmatch = { path = 'x' }",
        "[[routes]]\nname = 'a'\nmatch = { headers = { X = 'x' } }",
        "[routes]\nname = 'a'",
        "[limits]\nheader_bytes = '64KB'",
        "[limits]\nheader_bytes = 0",
        "[limits]\nheaders = 0",
        "[limits]\nstreams = 0",
        "[limits]\nstream_window = 65535",
        "[inbound]\nprotocol = 'h2'",
        "[defaults]\nretry = { grpc_statuses = ['OK'] }",
        "[defaults]\nretry = { grpc_methods = ['/a.B'] }",
        "[trace]\nsample = 1.1",
        "[profiles.a]\ncolour = 1",
        "[profiles.a.profiles.b]",
        "[profiles.'a b']",
        "[profiles]\na = 1",
    ],
)
def test_what_does_not_load_does_not_fit(tmp_path: Path, text: str) -> None:
    """An editor marks what the loader would refuse."""
    path = tmp_path / "sidecar.toml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        load(str(path), {"SIDECAR_LISTEN__INBOUND": "none"} if "inbound" not in text else {}, SERVICE)
    assert complaints(text)


def tables(kind: Any, key: str, seen: set[Any]) -> Iterator[tuple[str, Any]]:
    """Every key of every table, with what its annotation says."""
    kind = opened(kind)
    if kind.is_table and kind.type not in seen:
        seen.add(kind.type)
        for name, (inner, _) in fields(kind.type).items():
            yield f"{key}.{name}", inner
            yield from tables(inner.annotation, f"{key}.{name}", seen)
    for inner in getattr(kind.type, "__args__", ()):
        yield from tables(inner, key, seen)


@pytest.mark.parametrize(("key", "kind"), list(tables(File, "", set())))
def test_every_key_says_what_it_is_for(key: str, kind: Any) -> None:
    """In a sentence of its own: schema and reference have no other source."""
    assert kind.description.endswith((".", "too.")), f"{key} has no description"
    assert "|" not in kind.description


def test_defaults_examples_and_descriptions_are_in_it() -> None:
    """What an editor shows beside a key."""
    found = SCHEMA["$defs"]["breaker"]["properties"]
    assert found["failures"] == {
        "description": "Failures within `window` that trip it, together with `failure_rate`.",
        "type": "integer",
        "minimum": 1,
        "default": 5,
    }
    assert (found["open"]["default"], "30s" in found["open"]["examples"]) == ("30s", True)


def test_the_page_has_the_reference_of_this_version() -> None:
    """To renew it: everything from its first ``### [service]`` on is what ``sidecar config reference`` prints."""
    page = PAGE.read_text()
    assert page[page.index("### [service]") :] == reference()


def test_every_table_of_the_page_is_one_that_the_test_of_defaults_reads() -> None:
    """So that the defaults which it states are held against the loader."""
    rows = [line for line in TEXT["docs/configuration.md"].splitlines() if line.startswith("| `drain.")]
    assert rows[0] == '| `drain.delay` | `"5s"` | duration | After SIGTERM: not ready, and still accepting. |'
