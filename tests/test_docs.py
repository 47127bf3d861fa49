"""What the pages say, held against what the code does: a page that nobody compares is wrong within a month.

Everything that can be read off a page by its form is compared: TOML blocks, command lines, links, file names, and the
tables of reasons, metrics, defaults, levels and steps. What the first pages and the how-tos show is run, by
``tests/live/test_pages.py``; what is not, is named here with a reason. What stands in sentences is for people to check.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import click
import msgspec
import pytest
import yaml
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from sidecar.admin.metrics import Sources, exposition
from sidecar.balance.round_robin import RoundRobin
from sidecar.cli.main import main
from sidecar.clock import Random
from sidecar.config.load import Setting, load
from sidecar.errors import GRPC_STATUSES, Failure
from sidecar.model import Dial, Endpoint
from sidecar.resilience import breaker as breakers
from sidecar.resilience import limits
from sidecar.routing.plan import Service
from sidecar.telemetry.http2 import LIMITS, Http2Stats
from sidecar.telemetry.lag import Lag
from sidecar.telemetry.stats import Stats
from tests.support import example_registry, pages
from tests.test_house import LEVELS

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("**/*.md"), *ROOT.glob("*/README.md"), *ROOT.glob("examples/**/*.md")])
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
    with example_registry.installed(tmp_path):
        load(str(file), flags=() if "[service]" in block else ANY_APP)


def said_defaults() -> Iterator[tuple[str, str, str]]:
    for name, text in TEXT.items():
        for key, value in re.findall(r"^\| `([a-z_]+(?:\.[a-z_]+)+)` \| `([^`]+)` \|", text, re.MULTILINE):
            yield name, key, value


@pytest.mark.parametrize(("page", "key", "value"), list(said_defaults()))
def test_every_default_that_a_table_states_is_the_default(page: str, key: str, value: str, tmp_path: Path) -> None:
    """Writing the stated value into the file changes nothing; where its table is one that switches something on by being
    there, the table alone does the same."""
    file = tmp_path / "sidecar.toml"
    table = f"[{key.rpartition('.')[0]}]\n" if ".health." in key else ""
    file.write_text(table)
    unwritten = load(str(file), flags=ANY_APP)
    file.write_text(f"{key} = {value}\n")
    written = load(str(file), flags=ANY_APP)
    assert msgspec.structs.replace(written, movable=unwritten.movable) == unwritten


def leaves(table: Mapping[str, object], prefix: str) -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def test_every_policy_has_its_row() -> None:
    """A policy that neither policies.md nor balancing.md explains is a secret."""
    example = tomllib.loads((ROOT / "config.example.toml").read_text())
    explained = {key for page, key, _ in said_defaults() if page in ("docs/policies.md", "docs/balancing.md")}
    assert set(leaves(example["defaults"], "defaults.")) - explained == set()


# Errors and metrics


def test_every_reason_stands_in_the_table_with_its_status_and_no_other_does() -> None:
    """Whoever looks a reason up finds it, in the order of the vocabulary, with what gRPC's callers see."""
    said = [(cells[0], int(cells[1]), cells[2]) for cells in rows("errors.md") if cells[1].isdigit()]
    assert said == [(failure.reason, failure.status, GRPC_STATUSES[failure.grpc]) for failure in Failure]


def test_every_limit_of_http_2_that_is_counted_has_its_row() -> None:
    """Whoever sees the metric rise finds what was reached."""
    said = [cells[0] for cells in rows("http2.md") if cells[0] in LIMITS]
    assert said == list(LIMITS)


def test_every_reason_that_a_metric_query_or_a_sentence_quotes_exists() -> None:
    """``reason="…"`` is something to search for."""
    reasons = {failure.reason for failure in Failure} | {"", "5xx"}
    quoted = {word for text in TEXT.values() for word in re.findall(r'reason="(\w*)"', text)}
    assert quoted <= reasons


def families() -> list[Metric]:
    """A scrape in which every metric that there is has a sample."""
    stats = Stats("outbound", "orders", "")
    stats.record(b"GET", 200, "", 0.001)
    stats.record_grpc(0, "")
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
        http2=lambda: [("inbound", Http2Stats().ended)],
        reload_successful=lambda: True,
        memory=lambda: (0.5, "calm"),
        lag=Lag,
        log_lines_dropped=lambda: [("access", 1)],
        registry=lambda: (0.0, True),
        checks=lambda: [("peers", "orders", SimpleNamespace(good=1, bad=0))],
        dependencies=lambda: [("database", True)],
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


SELECTOR = re.compile(r"\b((?:sidecar|process)_[a-z_]+)\{([^}]*)\}")
ALERTS = TEXT["docs/howto/alerts.md"]
FROM_PROMETHEUS = {"job", "instance", "le"}
"""Labels that the one who scrapes adds, and the one of a histogram's bounds."""


def queries() -> Iterator[str]:
    """Every expression that a page shows, and each rule of the alerts."""
    for name, text in TEXT.items():
        for language, block in BLOCK.findall(text):
            if language == "promql":
                yield from (line for line in block.splitlines() if line and not line.startswith("#"))
            elif language == "yaml" and name == "docs/howto/alerts.md":
                yield from (rule["expr"] for rule in rules(block))


def rules(block: str) -> list[dict[str, str]]:
    document = yaml.safe_load(block)
    return [rule for group in document.get("groups", ()) for rule in group["rules"]]


@pytest.mark.parametrize("query", list(queries()))
def test_every_query_asks_for_labels_that_there_are(query: str) -> None:
    """A selector with a wrong label is empty for ever, and an alert on it never fires."""
    labels = {sample.name: set(sample.labels) for family in families() for sample in family.samples}
    for metric, selectors in SELECTOR.findall(query):
        asked = set(re.findall(r"(\w+)(?:=~|!~|!=|=)", selectors))
        assert asked <= labels[metric] | FROM_PROMETHEUS
    known = set().union(*labels.values()) | FROM_PROMETHEUS
    grouped = {label for group in re.findall(r"\b(?:by|ignoring) \(([^)]*)\)", query) for label in group.split(", ")}
    assert grouped <= known


def test_every_rule_has_its_row_and_the_thresholds_are_those_that_were_asked_for() -> None:
    """Whoever is woken up finds what to look at."""
    found = {rule["alert"]: rule for _, block in BLOCK.findall(ALERTS) if "groups:" in block for rule in rules(block)}
    for rule, threshold, time in (
        ("SlowerThanPromised", "0.5", "5m"),
        ("TooManyErrors", "0.02", "5m"),
        ("DependencyFails", "0.02", "5m"),
        ("ProcessorBusy", "0.8", "5m"),
        ("MemoryShort", "0.8", "5m"),
    ):
        assert (found[rule]["expr"].split()[-1], found[rule]["for"]) == (threshold, time)
    explained = {name for cells in rows("howto/alerts.md") for name in cells[0].split(", ")}
    assert set(found) - explained <= {"SidecarIsGone"}


# Inside


def test_the_table_of_levels_is_the_one_that_imports_are_held_against() -> None:
    """Every room, on its level."""
    said = {
        room.removesuffix("/"): int(level)
        for level, holds in re.findall(r"^\| (\d) \| (.*) \|$", TEXT["CONTRIBUTING.md"], re.MULTILINE)
        for room in re.findall(r"`([\w.]+)`", holds)
    }
    assert said == {room.removeprefix("sidecar."): level for room, level in LEVELS.items()}


def test_the_steps_of_a_request_are_those_of_the_machine() -> None:
    """In words for operators, and in the table for whoever reads the code."""
    source = (ROOT / "sidecar/exchange/machine.py").read_text()
    steps = re.findall(r"^\| (\w+) +\|", source, re.MULTILINE)[1:]
    drawn = re.findall(r"^  ([a-z]+) (?: |<)", TEXT["docs/concepts.md"], re.MULTILINE)
    told = re.findall(
        r"^\| (\w+)[:|]? ?[^|]*\| `?(?:exchange|routing|resilience|balance|proxy|telemetry)/",
        TEXT["docs/architecture.md"],
        re.MULTILINE,
    )
    assert drawn == steps
    assert told == steps


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


def test_every_test_that_is_named_exists() -> None:
    """A row that points to a test which was renamed proves nothing."""
    there = {
        name for file in (ROOT / "tests").glob("**/*.py") for name in re.findall(r"def (test_\w+)", file.read_text())
    }
    named = {name for text in TEXT.values() for name in re.findall(r"`(test_\w+)`", text)}
    assert named - there == set()
    assert named


@pytest.mark.parametrize("page", sorted(set(NAMES) - {"docs/README.md"}))
def test_every_page_of_docs_is_in_the_index(page: str) -> None:
    """A page that the index does not name is not found."""
    if page.startswith("docs/"):
        assert page.removeprefix("docs/") in LINK.findall(TEXT["docs/README.md"])


def simple_commands(line: str) -> Iterator[list[str]]:
    """What a shell would run one after the other; redirections end one too."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    for operator, words in groupby(lexer, lambda word: set(word) <= set(lexer.punctuation_chars)):
        if not operator:
            yield list(words)


def commands() -> Iterator[tuple[str, list[str]]]:
    """The arguments of every ``sidecar`` that a console block or a span of code calls."""
    for name, text in TEXT.items():
        shown = [re.sub(r"\\\n\s*", "", block[1]) for block in BLOCK.findall(text)]
        lines = [line[2:] for block in shown for line in block.splitlines() if line.startswith("$ ")]
        lines += re.findall(r"`(sidecar [^`]+)`", re.sub(r"\s*\n\s*", " ", prose(text)))
        for line in lines:
            for words in simple_commands(line):
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


NOT_RUN = {
    "README.md: make run": "the demo has tests of its own, tests/live/test_demo.py",
    "docs/demo.md: sidecar": "the same; and ports that are different each time",
    "docs/demo.md: curl": "a port that is different each time",
    "docs/demo.md: kill": "a process that is different each time; tests/live/test_demo.py kills all kinds",
    "README.md: pip install": "needs a package index; tests/test_wheel.py installs what would come from there",
    "docs/start.md: pip install": "needs a package index; tests/test_wheel.py installs what would come from there",
    "docs/kubernetes.md: docker": "needs a container engine; tests/test_image.py builds the image without one",
    "docs/kubernetes.md: kubectl": "needs a cluster; tests/test_manifests.py runs what is in the pods",
    "docs/cli.md: sidecar": "other states than the ordinary one; tests/test_cli_commands.py and tests/live have each",
    "docs/admin.md: curl": "output of a state that takes long to reach; tests/test_admin_api.py asks the same",
    "docs/configuration.md: sidecar": "without output; tests/test_config*.py",
    "docs/configuration.md: SIDECAR_": "stays; tests/test_config_layers.py",
    "docs/lifecycle.md: sidecar": "stays until it is told to end; tests/live/test_drain.py and test_command.py",
    "docs/logs.md: grep": "several machines; docs/howto/logs.md does it on one",
    "docs/observability.md: curl": "tests/test_health.py compares the document",
    "docs/routing.md: curl": "needs a service payments; docs/start.md calls in all three ways",
    "docs/routing.md: HTTP_PROXY": "an application of the reader's own",
}
"""Commands that no test runs as they stand, by page and beginning, and why."""
RUN = ("docs/start.md", "docs/howto/", "README.md")
"""Pages that ``tests/live/test_pages.py`` follows."""


def test_every_command_of_a_page_is_run_or_there_is_a_reason() -> None:
    """And no reason outlives its command."""
    used = set()
    for name, block in blocks("console"):
        for command, _ in pages.commands(block):
            reasons = {key for key in NOT_RUN if f"{name}: {command}".startswith(key)}
            used |= reasons
            assert reasons or name.startswith(RUN), f"{name}: $ {command} is neither run nor excused"
    assert used == set(NOT_RUN)
