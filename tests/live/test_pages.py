"""What the pages show, done by a newcomer: every command is run, and prints what the page says."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.consul import binary
from tests.support.live import until
from tests.support.pages import Reader, missing

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="the pages call with curl, which is not here")


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    with Reader(tmp_path) as reader:
        yield reader


def test_the_five_minutes_of_the_readme(tmp_path: Path) -> None:
    """An application behind a sidecar, another that calls it by name, and an answer of the sidecar itself."""
    with Reader(tmp_path, moves=True) as reader:
        reader.follow("README.md", "Five minutes")
        assert {command.partition(" ")[0] for command in reader.ran} == {"echo", "sidecar"}


@pytest.mark.parametrize("page", ["alerts", "breakers", "logs", "retries", "routing", "timeouts"])
def test_a_how_to_does_what_it_says(page: str, reader: Reader) -> None:
    """Beside the application that all of them call."""
    if page == "logs" and shutil.which("jq") is None:
        pytest.skip("the page reads logs with jq, which is not here")
    reader.follow("docs/howto/README.md")
    reader.follow(f"docs/howto/{page}.md")


def test_instances_find_each_other_through_consul(reader: Reader) -> None:
    """With a Consul of the page's own."""
    reader.put("consul", binary())
    reader.follow("docs/howto/README.md")
    for heading in ("A Consul", "Two instances", "A caller"):
        reader.follow("docs/howto/consul.md", heading)


def test_services_are_found_by_dns(reader: Reader) -> None:
    """Beside a DNS server that is started by hand, and is ended by it."""
    if shutil.which("dnsmasq") is None:
        assert "CI" not in os.environ, "dnsmasq is missing (Debian: dnsmasq-base)"
        pytest.skip("the page needs dnsmasq, which is not here")
    reader.follow("docs/howto/README.md")
    reader.follow("docs/howto/dns.md", acts={"Ctrl-C ends dnsmasq": lambda: reader.stop("second")})


def test_a_sidecar_beside_an_application_that_runs(reader: Reader) -> None:
    """The second half of the first page."""
    reader.follow("docs/start.md", "Beside an application that runs already")


def test_two_applications_find_each_other_without_an_address(tmp_path: Path) -> None:
    """The first half: both are started by their sidecars, and one calls the other by its name."""
    with Reader(tmp_path, moves=True) as reader:
        reader.follow("docs/start.md", "Two applications that find each other")
        call = "sidecar run --service shop -- curl -s http://orders/"
        answers: set[str] = set()

        def both_have_answered() -> bool:
            answers.update(re.findall(r"from process \d+", reader.run(call)))
            return len(answers) == 2

        until(both_have_answered, "calls go to both", 20)


CLI_IN_OTHER_STATES = (
    "sidecar run", "sidecar reload", "sidecar await", "sidecar drain", "sidecar shutdown", "sidecar completion",
    "sidecar endpoints\n", "sidecar stat --interval", "sidecar demo",
)  # fmt: skip
LISTENING = """
[service]
name = "shop"
app = "127.0.0.1:8080"

[services.payments]
endpoints = ["127.0.0.1:8080"]

[services.orders]
endpoints = ["127.0.0.1:8080"]
"""


def test_pages_of_reference_can_be_typed_too(reader: Reader) -> None:
    """What they show in the ordinary state, beside a sidecar that is in it."""
    reader.follow("docs/howto/README.md")
    reader.begin("sidecar.toml", LISTENING, "sidecar run --config sidecar.toml")
    reader.run("sidecar await --for ready")
    reader.look_up("docs/routing.md", ["HTTP_PROXY"])
    reader.look_up(
        "docs/configuration.md", ["sidecar run", "sidecar config show --config sidecar.toml --profile", "SIDECAR_"]
    )
    reader.look_up("docs/observability.md")
    reader.look_up("docs/admin.md")
    reader.look_up("docs/lifecycle.md", ["sidecar run"])
    reader.look_up("docs/cli.md", CLI_IN_OTHER_STATES, headings_only=True)


def test_output_that_differs_is_found() -> None:
    """The comparison forgives numbers, times and ids, and nothing else."""
    shown = ["outbound on 127.0.0.1:15001", "x-request-id: a50f18f42d33949d4a79e8da5a00a2fd", '{"status":"ready",…}']
    output = (
        'new\noutbound on 127.0.0.1:5\nx-request-id: 780a4f1d0f182db4789c3cb4367b4fed\r\n{"status":"ready","a":1}\n'
    )
    assert missing(shown, output) is None
    assert missing(shown, output.replace("ready", "not ready")) == shown[2]
    assert missing(shown, output.replace("outbound", "inbound")) == shown[0]
    assert missing([shown[1], shown[0]], output) == shown[0]
    assert missing(["hell"], "hello\n") == "hell"
