"""What the pages say, held against what the code does: a page that nobody compares is wrong within a month.

Everything that can be read off a page by its form is compared: TOML blocks, command lines, links, file names, and the
tables of reasons, metrics and defaults. What stands in sentences is for people to check.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote

import click
import msgspec
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from sidecar.admin.metrics import Sources, exposition
from sidecar.balance.round_robin import RoundRobin
from sidecar.cli.main import main
from sidecar.clock import Random
from sidecar.config.load import Setting, load
from sidecar.errors import Failure
from sidecar.model import Dial, Endpoint
from sidecar.resilience import breaker as breakers
from sidecar.resilience import limits
from sidecar.routing.plan import Service
from sidecar.telemetry.lag import Lag
from sidecar.telemetry.stats import Stats

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md"), *ROOT.glob("*/README.md"), *ROOT.glob("examples/**/*.md")])
TEXT = {page.relative_to(ROOT).as_posix(): page.read_text() for page in dict.fromkeys(PAGES)}
NAMES = list(TEXT)

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
FILE = re.compile(r"(?<![\w./-])[\w.-]+(?:/[\w.-]+)+\.(?:py|md|toml)\b")
METRIC = re.compile(r"\bsidecar_[a-z_]*[a-z](?=[{\[`)\s]|$)")
ANY_APP = [Setting("--app", "service.app", "127.0.0.1:8080")]


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Page and text of every block in ``language``."""
    for name, text in TEXT.items():
        for found, block in BLOCK.findall(text):
            if found == language:
                yield name, block


def rows(page: str) -> Iterator[list[str]]:
    """The cells of every table row of the page, without the marks of code."""
    for line in TEXT[f"docs/{page}"].splitlines():
        if line.startswith("| "):
            yield [cell.strip().replace("`", "") for cell in line.strip("|").split("|")]


def prose(text: str) -> str:
    return BLOCK.sub("", text)


def anchors(text: str) -> set[str]:
    """What a heading can be linked by, as code hosts make it."""
    headings = re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


# Configuration


@pytest.mark.parametrize(("page", "block"), list(blocks("toml")))
def test_every_toml_block_loads(page: str, block: str, tmp_path: Path) -> None:
    """What a page shows can be copied; a fragment without a [service] is one of a file that names an application."""
    file = tmp_path / "sidecar.toml"
    file.write_text(block)
    load(str(file), flags=() if "[service]" in block else ANY_APP)


def said_defaults() -> Iterator[tuple[str, str, str]]:
    for name, text in TEXT.items():
        for key, value in re.findall(r"^\| `([a-z_]+(?:\.[a-z_]+)+)` \| `([^`]+)` \|", text, re.MULTILINE):
            yield name, key, value


@pytest.mark.parametrize(("page", "key", "value"), list(said_defaults()))
def test_every_default_that_a_table_states_is_the_default(page: str, key: str, value: str, tmp_path: Path) -> None:
    """Writing the stated value into the file changes nothing."""
    file = tmp_path / "sidecar.toml"
    file.write_text(f"{key} = {value}\n")
    written, unwritten = load(str(file), flags=ANY_APP), load(None, flags=ANY_APP)
    assert msgspec.structs.replace(written, movable=unwritten.movable) == unwritten


def leaves(table: Mapping[str, object], prefix: str) -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def test_every_policy_has_its_row() -> None:
    """A policy that policies.md does not explain is a secret."""
    example = tomllib.loads((ROOT / "config.example.toml").read_text())
    explained = {key for page, key, _ in said_defaults() if page == "docs/policies.md"}
    assert set(leaves(example["defaults"], "defaults.")) - explained == set()


# Errors and metrics


def test_every_reason_stands_in_the_table_with_its_status_and_no_other_does() -> None:
    """Whoever looks a reason up finds it, in the order of the vocabulary."""
    said = [(cells[0], int(cells[1])) for cells in rows("errors.md") if cells[1].isdigit()]
    assert said == [(failure.reason, failure.status) for failure in Failure]


def test_every_reason_that_a_metric_query_or_a_sentence_quotes_exists() -> None:
    """``reason="…"`` is something to search for."""
    reasons = {failure.reason for failure in Failure} | {"", "5xx"}
    quoted = {word for text in TEXT.values() for word in re.findall(r'reason="(\w*)"', text)}
    assert quoted <= reasons


def families() -> list[Metric]:
    """A scrape in which every metric that there is has a sample."""
    stats = Stats("outbound", "orders", "")
    stats.record(b"GET", 200, "", 0.001)
    stats.retried("5xx")
    endpoint = Endpoint("10.0.0.1", 80)
    settings = breakers.Settings()
    endpoint.breaker = breakers.Breaker(settings)
    bounds = limits.Limits(limits.Settings())
    service = Service("orders", (endpoint,), RoundRobin(Random(1)), bounds, None, settings, Dial())
    sources = Sources(
        stats=lambda: [stats],
        services=lambda: [("outbound", service)],
        connections=lambda: [("upstream", "outbound", 1)],
        reload_successful=lambda: True,
        memory=lambda: (0.5, "calm"),
        lag=Lag,
        log_lines_dropped=lambda: [("access", 1)],
    )
    return list(text_string_to_metric_families(b"".join(exposition(sources)).decode()))


def test_every_metric_stands_in_the_table_with_its_type_and_labels() -> None:
    """And no other does."""
    emitted = {}
    for family in families():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        emitted[name] = (family.type, labels)
    said = {
        cells[0]: (cells[1], set(filter(None, cells[2].split(", "))))
        for cells in rows("observability.md")
        if cells[0].startswith(("sidecar_", "process_"))
    }
    if "process_cpu_seconds_total" not in emitted:  # Only where /proc is.
        said = {name: what for name, what in said.items() if not name.startswith("process_")}
    assert said == emitted


@pytest.mark.parametrize("page", NAMES)
def test_every_metric_that_is_named_exists(page: str) -> None:
    """In sentences, queries and alerts."""
    samples = {sample.name for family in families() for sample in family.samples} | {f.name for f in families()}
    assert set(METRIC.findall(TEXT[page])) <= samples


# Links, files, commands


@pytest.mark.parametrize("page", NAMES)
def test_every_link_leads_somewhere(page: str) -> None:
    """To a file of the repository, and to a heading that is in it. (Addresses of the web are not asked.)"""
    broken = []
    for link in LINK.findall(prose(TEXT[page])):
        if "://" in link:
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", NAMES)
def test_every_file_that_is_named_exists(page: str) -> None:
    """By its path from the repository, from the package, or from the page."""
    places = (ROOT, ROOT / "sidecar", ROOT / "sidecar/http", (ROOT / page).parent)
    text = re.sub(r"\w+://\S+", "", TEXT[page])
    missing = [file for file in FILE.findall(text) if not any((place / file).is_file() for place in places)]
    assert not missing


@pytest.mark.parametrize("page", sorted(set(NAMES) - {"docs/README.md"}))
def test_every_page_of_docs_is_in_the_index(page: str) -> None:
    """A page that the index does not name is not found."""
    if page.startswith("docs/"):
        assert page.removeprefix("docs/") in LINK.findall(TEXT["docs/README.md"])


def commands() -> Iterator[tuple[str, list[str]]]:
    """The arguments of every ``sidecar`` that a console block or a span of code calls."""
    for name, text in TEXT.items():
        lines = [line[2:] for block in BLOCK.findall(text) for line in block[1].splitlines() if line.startswith("$ ")]
        lines += re.findall(r"`(sidecar [^`]+)`", re.sub(r"\s*\n\s*", " ", prose(text)))
        for line in lines:
            for part in re.split(r"&&|\|\||[;|]", line):
                words = shlex.split(part, comments=True)
                while words and re.fullmatch(r"\w+=.*", words[0]):
                    words.pop(0)
                if words and words[0] == "sidecar":
                    yield name, words[1:]


@pytest.mark.parametrize(("page", "arguments"), list(commands()))
def test_every_command_line_is_understood(page: str, arguments: list[str]) -> None:
    """Its command and its options exist; what they mean is not carried out."""
    command: click.Command = main
    context = click.Context(main)
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        name, *arguments = arguments
        found = command.get_command(context, name)
        assert found is not None, f"there is no command {name}"
        command = found
        context = click.Context(command, parent=context)
    command.make_parser(context).parse_args(list(arguments))
