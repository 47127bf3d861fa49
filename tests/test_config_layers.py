"""Where a configuration is written: problems with their lines, and profiles over the file."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from sidecar.config.load import ConfigError, Problem, Setting, load
from sidecar.resilience.retry import Settings as RetrySettings
from tests.support.configs import lined, problems, written

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    return partial(written, tmp_path)


# Where it is wrong


def test_a_problem_has_the_line_that_it_is_on(write: Write) -> None:
    """Problems come in the order of the file, what is missing at the table that lacks it; then what lies over it."""
    path = write("""
[[routes]]
service = "a"
[services.a]
endpoints = [
  "h:1",
  "h",
]
[defaults]
retry = { max_retries = 1, jitter = "ful" }
""")
    flags = [Setting("--app", "service.app", "here")]
    assert [problem.removeprefix(path) for problem in lined(path, {"SIDECAR_TRACE__SAMPLE": "2"}, flags)] == [
        ":4: routes[0].name: is missing",
        ':9: services.a.endpoints[1].address: expected host:port, such as "127.0.0.1:8080", not "h"',
        ':12: defaults.retry.jitter: expected one of full, none, not "ful" (did you mean full?)',
        '--app: service.app: expected host:port, such as "127.0.0.1:8080", not "here"',
        "SIDECAR_TRACE__SAMPLE: trace.sample: must be at most 1, not 2.0",
    ]


def test_what_makes_no_sense_has_its_line_too(write: Write) -> None:
    """The second round knows lines as well as the first."""
    path = write('[services.a]\n[[routes]]\nname = "r"\nmatch = { host = "x" }\nservice = "b"\n')
    assert lined(path) == [f'{path}:7: routes[0].service: no service "b" is configured']


def test_a_path_that_no_document_can_hold_is_spelled_out(tmp_path: Path) -> None:
    """Names of files are bytes; what goes into logs, answers and terminals is text."""
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.toml")
    for content in ("", "x"):
        with pytest.raises(ConfigError) as caught:
            load(path)
        assert caught.value.problems[0].encode().startswith(os.fsencode(tmp_path) + rb"/\udcff.toml")
        Path(path).write_text(content)


def test_a_variable_that_is_no_text_is_refused(write: Write) -> None:
    """It would reach every document that shows the configuration, and none of them can hold it."""
    with pytest.raises(ConfigError) as caught:
        load(write('[service]\napp = "127.0.0.1:1"\n', head=""), {"SIDECAR_SERVICE__META__TEAM": os.fsdecode(b"\xff")})
    assert caught.value.problems == ["SIDECAR_SERVICE__META__TEAM: is not UTF-8"]


def test_what_is_missing_in_a_table_that_is_not_there_has_no_line(write: Write) -> None:
    """There is nothing to point at."""
    (found,) = lined(path := write("", head="# Nothing yet.\n"))
    assert found.startswith(f"{path}: service.app: is missing")


def test_what_is_missing_is_not_the_fault_of_a_variable_beside_it(write: Write) -> None:
    """The file is where it belongs, at its table if there is one."""
    environ = {"SIDECAR_SERVICE__ZONE": "b"}
    (found,) = lined(path := write("", head="[service]\nname = 'a'\n"), environ)
    assert found.startswith(f"{path}:1: service.app: is missing")
    (found,) = lined(None, environ)
    assert found.startswith("configuration: service.app: is missing")


def test_a_value_that_the_environment_replaced_is_told_at_the_variable(write: Write) -> None:
    """Whoever had the last word has to take it back, also within a table that others wrote."""
    path = write("[defaults]\nretry = { max_retries = 'x', initial = '1s' }")
    assert lined(path, {"SIDECAR_DEFAULTS__RETRY__MAX_RETRIES": "y"}) == [
        'SIDECAR_DEFAULTS__RETRY__MAX_RETRIES: defaults.retry.max_retries: expected a whole number, not "y"'
    ]
    assert lined(path, {"SIDECAR_DEFAULTS__RETRY__INITIAL": "1"}) == [
        f'{path}:4: defaults.retry.max_retries: expected a whole number, not "x"',
        "SIDECAR_DEFAULTS__RETRY__INITIAL: defaults.retry.initial: expected a duration with its unit, such as "
        '"100ms", "5s" or "1h", not "1"',
    ]


def test_a_problem_has_parts_for_programs(write: Write) -> None:
    """File, line, key and message, each by itself."""
    with pytest.raises(ConfigError) as caught:
        load(path := write("[log]\nlevel = 3"), {"SIDECAR_LOG__FORMAT": "xml"})
    message = "expected one of debug, info, warning, error, not 3"
    assert caught.value.details == [
        Problem(f"{path}:4", "log.level", message, path, 4),
        Problem("SIDECAR_LOG__FORMAT", "log.format", 'expected one of text, json, not "xml"', None, 0),
    ]


def test_a_file_that_is_too_deep_is_refused(tmp_path: Path) -> None:
    """A dotted key of thousands of steps is a mistake and no exhausted stack, in a profile too."""
    path = tmp_path / "sidecar.toml"
    for text in (".".join("a" * 2_000) + " = 1", "[a." + ".".join("a" * 2_000) + "]", "a = " + "[" * 90 + "]" * 90):
        path.write_text(text)
        assert lined(str(path)) == [f"{path}: is nested too deeply"]


def test_no_problem_repeats_what_may_be_a_credential(write: Write) -> None:
    """Problems go to logs; a header's value may be a token."""
    text = "[services.a]\n[[routes]]\nname = 'r'\nservice = 'a'\nmatch = { headers = { authorization = \"geheim\u00e9\" } }"
    (found,) = problems(write(text))
    assert found == "routes[0].match.headers.authorization: expected printable ASCII characters"


# Profiles

PROFILES = """
[defaults]
timeout = "5s"
retry = { max_retries = 1, initial = "1s" }
[services.a]
endpoints = ["dev:1"]
[profiles.production.defaults]
timeout = "slow"
retry.max_retries = 2
[profiles.production.timeouts]
slow = "9s"
[profiles.production.services.a]
endpoints = ["a:1", "b:1"]
[profiles.production.services.b]
[profiles.quiet]
log.level = "error"
"""


def test_a_profile_lies_over_the_file_and_under_the_environment(write: Write) -> None:
    """Tables merge, arrays are replaced, and a variable wins over both."""
    path = write(PROFILES)
    plain, production = load(path), load(path, profile="production")
    assert (plain.defaults.timeout, plain.log.level, list(plain.services)) == (5.0, "info", ["a"])
    assert production.defaults.retry == RetrySettings(max_retries=2, initial=1.0)
    assert (production.defaults.timeout, production.policy("a").timeout) == (9.0, 9.0)
    assert [endpoint.host for endpoint in production.policy("a").endpoints] == ["a", "b"]
    assert list(production.services) == ["a", "b"]
    assert load(path, {"SIDECAR_DEFAULTS__TIMEOUT": "3s"}, profile="production").defaults.timeout == 3.0
    assert load(path, profile="quiet").log.level == "error"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("prod", " (known: production, quiet) (did you mean production?)"),
        ("xyz", " (known: production, quiet)"),
        ("", None),
    ],
)
def test_a_profile_that_is_not_there_is_told_with_those_that_are(write: Write, name: str, hint: str | None) -> None:
    """A typing error must not start the sidecar without its profile; an empty name asks for none."""
    path = write(PROFILES)
    if hint is None:
        assert load(path, profile=name) == load(path)
    else:
        assert lined(path, {}, [], name) == [f'{path}:9: profiles: there is no profile "{name}"{hint}']


def test_a_profile_needs_a_file_that_has_it(write: Write) -> None:
    """Both cases say what is missing."""
    path = write("")
    assert problems(path, {}, [], "a")[0] == 'profiles: there is no profile "a": the file has no [profiles.…]'
    assert problems(None, {}, [], "a")[0].startswith('configuration: profiles: there is no profile "a", since there is')


def test_profiles_that_were_not_chosen_are_checked_too(write: Write) -> None:
    """Each laid over the file: what is wrong in it is told once, with its own line and key, and nothing else is."""
    path = write("""
[timeouts]
mine = "1s"
[profiles.a.defaults]
timeout = "mine"
balance = "randm"
[profiles.b]
services.x.endpoints = [{ weight = 1 }]
colour = 1
[profiles.b.profiles."c d"]
[profiles.c.timeouts]
mine = 3
[profiles]
"d.e" = {}
f = 1
""")
    expected = [
        ":8: profiles.a.defaults.balance: expected one of round_robin, random, weighted, least_request, "
        'least_connections, peak_ewma, ring_hash, not "randm" '
        "(did you mean random?)",
        ":10: profiles.b.services.x.endpoints[0].address: is missing",
        ":11: profiles.b.colour: unknown key (known here: service, listen, inbound, outbound, registry, defaults, "
        "services, dependencies, timeouts, routes, limits, overload, trace, drain, log, access_log, profiles)",
        ":12: profiles.b.profiles: a profile cannot hold profiles",
        ':14: profiles.c.timeouts.mine: expected a duration with its unit, such as "3s", not 3',
        ":16: profiles.\"d.e\": expected a profile name of letters, digits, '-' and '_', not \"d.e\"",
        ":17: profiles.f: expected a table, not 1",
    ]
    for name in (None, "a", "b", "c"):
        assert [problem.removeprefix(path) for problem in lined(path, {}, [], name)] == expected


def test_profiles_are_written_in_the_file_alone(write: Write) -> None:
    """A variable that tried would change nothing, so it is told."""
    assert problems(write(PROFILES), {"SIDECAR_PROFILES__QUIET__LOG__LEVEL": "info"}) == [
        "SIDECAR_PROFILES__QUIET__LOG__LEVEL: profiles: profiles are written in the file; set the keys themselves here"
    ]
