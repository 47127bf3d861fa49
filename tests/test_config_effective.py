"""What is in effect, where it came from, and what a reload changes."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.effective import changes, leaves
from sidecar.config.load import ConfigError, Loaded, Setting, load, load_with_origins
from sidecar.config.render import as_json, as_toml, changed
from sidecar.config.schema import Config
from sidecar.config.write import key, toml
from sidecar.telemetry.secrets import is_secret

EXAMPLE = Path(__file__).resolve().parent.parent / "config.example.toml"
TEXT = """\
[service]
app = "127.0.0.1:8080"
[timeouts]
slow = "60s"
[defaults]
timeout = "slow"
retry = { max_retries = 2 }
[services.pay]
endpoints = ["a:1", { address = "b:2", weight = 3, zone = "" }, { address = "c:3" }]
breaker = false
timeout = "1500ms"
[services.ship]
retry = false
[[routes]]
name = "one"
service = "pay"
attempt_timeout = "500ms"
[[routes]]
name = "two"
match = { host = "x", headers = { x-canary = "yes" } }
split = [{ service = "pay", weight = 95 }, { service = "ship", weight = 5 }]
retry = { max_retries = 7 }
[profiles.production]
defaults.stall_timeout = "9s"
services.ship.connect_timeout = "2s"
"""

Read = Callable[..., Loaded]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Loads a text that stands in ``sidecar.toml``."""
    monkeypatch.chdir(tmp_path)

    def read(text: str = TEXT, environ: dict[str, str] | None = None, profile: str | None = None) -> Loaded:
        Path("sidecar.toml").write_text(text)
        return load_with_origins("sidecar.toml", environ or {}, [], profile)

    return read


def origins(loaded: Loaded) -> dict[str, tuple[str, str]]:
    return {entry.key: (entry.value, entry.origin) for entry in loaded.entries()}


# Where values came from


def test_every_value_says_where_it_was_written(read: Read) -> None:
    """The file's line, the profile's, the variable, or that it is the default."""
    found = origins(
        read(environ={"SIDECAR_SERVICE__VERSION": "3", "SIDECAR_LISTEN__ADMIN": "none"}, profile="production")
    )
    expected = {
        "service.app": ('"127.0.0.1:8080"', "sidecar.toml:2"),
        "service.version": ('"3"', "SIDECAR_SERVICE__VERSION"),
        "service.name": ('"app"', "default"),
        "listen.admin": ('"none"', "SIDECAR_LISTEN__ADMIN"),
        "timeouts.slow": ('"1m"', "sidecar.toml:4"),
        "timeouts.api": ('"30s"', "default"),
        "defaults.timeout": ('"slow"', "sidecar.toml:6"),
        "defaults.retry.max_retries": ("2", "sidecar.toml:7"),
        "defaults.retry.multiplier": ("2", "default"),
        "defaults.stall_timeout": ('"9s"', "profile production (sidecar.toml:24)"),
        "limits.header_bytes": ('"64KiB"', "default"),
    }
    assert {name: found[name] for name in expected} == expected


def test_what_a_service_inherits_names_the_table_that_it_is_from(read: Read) -> None:
    """Nobody has to inherit in his head."""
    found = origins(read(environ={"SIDECAR_DEFAULTS__BALANCE": "random"}, profile="production"))
    expected = {
        "services.pay.timeout": ('"1500ms"', "sidecar.toml:11"),
        "services.pay.retry.max_retries": ("2", "[defaults] sidecar.toml:7"),
        "services.pay.breaker": ("false", "sidecar.toml:10"),
        "services.pay.endpoints": ('["a:1", { address = "b:2", weight = 3 }, "c:3"]', "sidecar.toml:9"),
        "services.pay.balance": ('"random"', "[defaults] SIDECAR_DEFAULTS__BALANCE"),
        "services.pay.stall_timeout": ('"9s"', "[defaults] profile production (sidecar.toml:24)"),
        "services.pay.connect_timeout": ('"1s"', "default"),
        "services.ship.timeout": ('"slow"', "[defaults] sidecar.toml:6"),
        "services.ship.retry": ("false", "sidecar.toml:13"),
        "services.ship.connect_timeout": ('"2s"', "profile production (sidecar.toml:25)"),
    }
    assert {name: found[name] for name in expected} == expected


def test_a_route_shows_what_it_asks_and_what_it_inherits_from_its_service(read: Read) -> None:
    """What a split leaves open depends on the service that is chosen, so only its own policies are shown."""
    found = {name: value for name, value in origins(read()).items() if name.startswith("routes")}
    retry = {name.rpartition(".")[2]: value for name, value in found.items() if name.startswith("routes[0].retry.")}
    assert (retry["max_retries"], retry["jitter"]) == (("2", "[defaults] sidecar.toml:7"), ('"full"', "default"))
    assert {name: value for name, value in found.items() if not name.startswith("routes[0].retry.")} == {
        "routes[0].name": ('"one"', "sidecar.toml:15"),
        "routes[0].service": ('"pay"', "sidecar.toml:16"),
        "routes[0].timeout": ('"1500ms"', "[services.pay] sidecar.toml:11"),
        "routes[0].attempt_timeout": ('"500ms"', "sidecar.toml:17"),
        "routes[1].name": ('"two"', "sidecar.toml:19"),
        "routes[1].match.host": ('"x"', "sidecar.toml:20"),
        "routes[1].match.headers.x-canary": ('"yes"', "sidecar.toml:20"),
        "routes[1].split": (
            '[{ service = "pay", weight = 95 }, { service = "ship", weight = 5 }]',
            "sidecar.toml:21",
        ),
        "routes[1].retry.max_retries": ("7", "sidecar.toml:22"),
    }


def test_a_configuration_without_a_file_has_origins_too() -> None:
    """Flags and defaults are all there is."""
    loaded = load_with_origins(None, {}, [Setting("--app", "service.app", "a:1")])
    assert {entry.origin for entry in loaded.entries()} == {"default", "--app"}


# Secrets


@pytest.mark.parametrize(
    "name", ["Authorization", "cookie", "proxy-authorization", "x-api-key", "db_password", "aToken"]
)
def test_a_name_tells_a_secret(name: str) -> None:
    """By the words that people use for credentials."""
    assert is_secret(name)
    assert not is_secret(f"{name[:2]}-canary")


def test_secrets_are_not_shown_but_their_change_is_told(read: Read) -> None:
    """Neither entries, nor texts, nor changes hold the value."""
    text = TEXT + '[service.meta]\napi_token = "geheim-1"\nteam = "shop"\n'
    text = text.replace("x-canary =", "authorization =").replace('"yes"', '"geheim-2"')
    old, new = read(text), read(text.replace("geheim", "neu"))
    found = origins(old)
    assert found["service.meta.api_token"][0] == found["routes[1].match.headers.authorization"][0] == '"(redacted)"'
    assert found["service.meta.team"][0] == '"shop"'
    assert "geheim" not in as_toml(leaves(old.layers), True) + as_json(leaves(old.layers))
    assert changes(old, new) == [
        "service.meta.api_token: changed",
        "routes.two.match.headers.authorization: changed",
    ]


def test_what_is_wrong_about_a_secret_is_told_without_it(read: Read) -> None:
    """Problems are logged, and a password of digits is easily written without quotes."""
    with pytest.raises(ConfigError) as caught:
        read('[service]\napp = "a:1"\nmeta = { password = 12345, team = 7 }\n')
    assert [problem.partition(": ")[2] for problem in caught.value.problems] == [
        "service.meta.password: expected a text",
        "service.meta.team: expected a text, not 7",
    ]


# What it looks like


def test_the_text_is_a_configuration_that_means_the_same(read: Read, tmp_path: Path) -> None:
    """Shown, written to a file and loaded, nothing has changed: neither without nor with a profile."""
    for loaded in (read(), read(profile="production"), load_with_origins(str(EXAMPLE), {}, [], "production")):
        shown = tmp_path / "shown.toml"
        shown.write_text(as_toml(leaves(loaded.layers), origins=True))
        assert unmoved(load(str(shown))) == unmoved(loaded.config)
        shown.write_text(as_toml(leaves(loaded.layers), origins=False))
        again = load_with_origins(str(shown))
        assert unmoved(again.config) == unmoved(loaded.config)
        assert changes(loaded, again) == []


def unmoved(config: Config) -> Config:
    """Without what has to do with who has written an address, which is the one thing that a text cannot show."""
    return msgspec.structs.replace(config, movable=frozenset())


def test_origins_stand_beside_the_values(read: Read) -> None:
    """In a column, and none where they were not asked for."""
    found = changed(leaves(read().layers))
    assert as_toml(found, origins=True).startswith(
        '[service]\napp = "127.0.0.1:8080"  # sidecar.toml:2\n\n[defaults]\ntimeout = "slow"  # sidecar.toml:6\n\n'
        "[defaults.retry]\nmax_retries = 2  # sidecar.toml:7\n\n[services.pay]\n"
        'timeout = "1500ms"  # sidecar.toml:11\nbreaker = false     # sidecar.toml:10\n'
    )
    assert "#" not in as_toml(found, origins=False)


def test_no_file_name_breaks_the_text(tmp_path: Path) -> None:
    """A comment ends at the end of its line."""
    path = tmp_path / "a\nb\x7f.toml"
    path.write_text(TEXT)
    shown = as_toml(leaves(load_with_origins(str(path)).layers), origins=True)
    assert tomllib.loads(shown)["service"]["app"] == "127.0.0.1:8080"


def test_json_is_a_list_of_keys_values_and_origins(read: Read) -> None:
    """A number is a number there."""
    rows = json.loads(as_json(leaves(read().layers)))
    assert {"key": "defaults.retry.max_retries", "value": 2, "origin": "sidecar.toml:7"} in rows
    assert {"key": "services.ship.retry", "value": False, "origin": "sidecar.toml:13"} in rows


@given(
    st.recursive(
        st.text() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    )
)
def test_what_is_printed_as_toml_is_read_as_the_same(value: object) -> None:
    """Every text, whatever is in it, every number, and any nesting of them."""
    assert tomllib.loads(f"value = {toml(value)}") == {"value": value}


@given(st.text())
def test_every_key_can_be_written(name: str) -> None:
    """Quoted where it must be."""
    assert tomllib.loads(f"{key(name)} = 1") == {name: 1}


# What a reload changes


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ('timeout = "1500ms"', 'timeout = "3s"', ["services.pay.timeout: 1500ms -> 3s"]),
        ('timeout = "1500ms"', 'timeout = "1.5s"', []),
        ('timeout = "slow"', 'timeout = "none"', ["defaults.timeout: slow -> none"]),
        ('slow = "60s"', 'slow = "1m"', []),
        ("breaker = false", "", ["services.pay.breaker: false -> (unset)"]),
        ("[defaults]", "[defaults]\nstall_timeout = '7s'", ["defaults.stall_timeout: 1m -> 7s"]),
        ("retry = { max_retries = 2 }", "", ["defaults.retry.max_retries: 2 -> 5"]),
        ('"a:1"', '"d:4"', ["services.pay.endpoints: d:4 added, a:1 removed"]),
        ("[services.ship]", "[services.new]\n[services.ship]", ["services.new: added"]),
        (
            "[[routes]]\nname",
            "[[routes]]\nservice = 'ship'\nname = 'zero.x'\n[[routes]]\nname",
            ['routes."zero.x": added'],
        ),
        ('name = "one"', 'name = "uno"', ["routes.uno: added", "routes.one: removed"]),
        ('host = "x"', 'path = "/"', ["routes.two.match.path: (unset) -> /", "routes.two.match.host: x -> (unset)"]),
        ('app = "127.0.0.1:8080"', 'app = "127.0.0.1:8080"\nzone = "a b"', ['service.zone: "" -> "a b"']),
        ('"9s"', '"8s"', []),
        ("weight = 95", "weight = 95 ", []),
    ],
)
def test_changes_are_told_by_value_and_once(read: Read, old: str, new: str, lines: list[str]) -> None:
    """What is only spelled otherwise is no change; what is inherited is told where it is inherited from."""
    assert old in TEXT
    before, after = read(), read(TEXT.replace(old, new, 1))
    assert changes(before, after) == lines


def test_another_order_of_routes_is_a_change(read: Read) -> None:
    """The first that matches wins, so order has a meaning."""
    parts = TEXT.partition("[profiles")[0].split("[[routes]]\n")
    text = parts[0] + "".join(f"[[routes]]\n{part}" for part in reversed(parts[1:]))
    assert changes(read(), read(text)) == ["routes: the order is now two, one"]


def test_a_line_of_a_change_is_bounded(read: Read) -> None:
    """A thousand new endpoints do not make a line of a log unreadable."""
    many = ", ".join(f'"10.0.{number // 250}.{number % 250}:80"' for number in range(1000))
    (line,) = changes(read(), read(TEXT.replace('"a:1"', many)))
    assert line.startswith("services.pay.endpoints: 10.0.0.0:80 added, 10.0.0.1:80 added")
    assert len(line) < 300
