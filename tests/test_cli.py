"""The command line: what it says, and the exit code that tells a supervisor what happened."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from socket import socket
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

import sidecar
from sidecar.cli.main import main
from sidecar.config.load import Loaded
from sidecar.config.schema import Config
from sidecar.config.watch import Watch

EXAMPLE = str(Path(__file__).resolve().parent.parent / "config.example.toml")

Started = list[Config]


def call(*args: str, **environ: str | None) -> Result:
    """The command run in this process, as it would be with these variables."""
    return CliRunner().invoke(main, args, env=environ, prog_name="sidecar")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """Takes the place of the app; the configurations that it was started with."""
    configs: Started = []

    def run(config: Config) -> int:
        configs.append(config)
        return 0

    take_place_of_app(monkeypatch, run)
    return configs


def take_place_of_app(monkeypatch: pytest.MonkeyPatch, run: Callable[..., int]) -> None:
    """``run`` is called in place of ``life.run``, with the configuration, and COMMAND if there is one."""
    take_place_of_life(monkeypatch, lambda loaded, read, watch, *command: run(loaded.config, *command))


def take_place_of_life(monkeypatch: pytest.MonkeyPatch, run: Callable[..., int]) -> None:
    double = SimpleNamespace(run=run)
    monkeypatch.setitem(sys.modules, "sidecar.life", double)
    monkeypatch.setattr(sidecar, "life", double, raising=False)


@pytest.mark.parametrize(
    "command", [[], ["run"], ["config"], *(["config", name] for name in ("validate", "show", "schema", "reference"))]
)
def test_help_shows_an_example(command: list[str]) -> None:
    """Every help has a line that can be copied."""
    result = call(*command, "--help")
    assert result.exit_code == 0
    assert re.search(r"Example:\n +sidecar ", result.output)


@pytest.mark.parametrize(
    "args",
    [
        ["nonsense"],
        ["run", "--colour"],
        ["run", "extra"],
        ["run", "--"],
        ["run", "a", "--", "b"],
        ["config", "validate"],
    ],
)
def test_wrong_usage_is_2(args: list[str], started: Started) -> None:
    """A mistake in the command is told apart from one in the configuration, and nothing is started."""
    result = call(*args)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr
    assert not started


def test_run_starts_the_app_with_the_configuration(started: Started) -> None:
    """The loaded file reaches the app, and good is 0."""
    assert call("run", "--config", EXAMPLE).exit_code == 0
    assert [config.service.name for config in started] == ["orders"]


@pytest.mark.parametrize("code", [0, 1])
def test_run_exits_as_the_app_says(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """A failure at run time is the app's to tell."""
    take_place_of_app(monkeypatch, lambda config: code)
    assert call("run", "--config", EXAMPLE).exit_code == code


def test_a_file_that_changes_while_the_sidecar_starts_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts is what was read, however long it takes until somebody looks at the file again."""
    path = tmp_path / "sidecar.toml"
    path.write_text('[service]\napp = "127.0.0.1:8080"\n')

    def run(loaded: Loaded, read: Callable[[], Loaded], watch: Watch) -> int:
        path.write_text("# It has become longer.\n" + path.read_text())
        return 41 if [watch.changed() for _ in range(3)] == [False, True, False] else 40

    take_place_of_life(monkeypatch, run)
    assert call("run", "--config", str(path)).exit_code == 41


def test_flags_win_over_the_environment_and_the_file(started: Started) -> None:
    """Every flag of run sets the key that it stands for."""
    flags = ["--service", "cart", "--app", "[::1]:1", "--inbound", "none", "--outbound", "h:2", "--probes", "h:3"]
    flags += ["--admin", "h:4", "--registry", "static"]
    assert call("run", "--config", EXAMPLE, *flags, SIDECAR_SERVICE__NAME="environ").exit_code == 0
    (config,) = started
    assert (config.service.name, str(config.service.app), config.listen.inbound) == ("cart", "[::1]:1", None)
    assert (str(config.listen.outbound), str(config.listen.probes), str(config.listen.admin)) == ("h:2", "h:3", "h:4")
    assert config.registry.kind == "static"


def test_the_environment_names_the_file_and_lies_over_it(started: Started) -> None:
    """SIDECAR_CONFIG is --config; variables with two underscores are keys."""
    assert call("run", SIDECAR_CONFIG=EXAMPLE, SIDECAR_SERVICE__ZONE="b").exit_code == 0
    assert [(config.service.name, config.service.zone) for config in started] == [("orders", "b")]


def test_no_file_is_needed(started: Started) -> None:
    """Two flags are enough for a sidecar with every default."""
    assert call("run", "--service", "cart", "--app", "127.0.0.1:8080", SIDECAR_CONFIG=None).exit_code == 0
    assert [config.service.name for config in started] == ["cart"]


@pytest.mark.parametrize("command", [["run"], ["config", "validate"]])
def test_a_wrong_configuration_is_78_and_all_of_it_is_told(
    command: list[str], tmp_path: Path, started: Started
) -> None:
    """Each problem has a line on standard error that begins with the file; nothing is started."""
    path = tmp_path / "sidecar.toml"
    path.write_text('[service]\nnam = "x"\napp = "here"\n')
    result = call(*command, "--config", str(path))
    assert (result.exit_code, result.stdout) == (78, "")
    assert result.stderr.splitlines() == [
        f"{path}:2: service.nam: unknown key (did you mean name?)",
        f'{path}:3: service.app: expected host:port, such as "127.0.0.1:8080", not "here"',
    ]
    assert not started


@pytest.mark.parametrize(("flags", "app"), [(["--app", "10.0.0.1:8080"], "10.0.0.1:8080"), ([], None)])
def test_behind_two_dashes_everything_is_the_application_s(
    flags: list[str], app: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Options of the same name too. It listens where the configuration says, or on a port that is free."""
    started = []

    def make(arguments: tuple[str, ...], port: int, reserved: socket) -> SimpleNamespace:
        reserved.close()
        return SimpleNamespace(arguments=arguments, port=port)

    monkeypatch.setattr("sidecar.command.Command", make)
    take_place_of_app(monkeypatch, lambda config, command: started.append((config, command)) or 5)
    assert call("run", "--service", "cart", *flags, "--", "app.py", "--service", "--", "x").exit_code == 5
    ((config, command),) = started
    assert command.arguments == ("app.py", "--service", "--", "x")
    assert config.service.name == "cart"
    assert str(config.service.app) == (app or f"127.0.0.1:{command.port}")


def test_to_wait_for_the_end_of_an_application_takes_one_that_we_have_started(started: Started) -> None:
    """drain.outbound = "app-exit" without a COMMAND would wait for something that nobody can see."""
    result = call("run", "--app", "127.0.0.1:8080", SIDECAR_DRAIN__OUTBOUND="app-exit")
    assert result.exit_code == 78
    assert 'drain.outbound: "app-exit"' in result.stderr
    assert "-- COMMAND" in result.stderr
    assert not started


def test_a_wrong_flag_is_told_by_its_name(started: Started) -> None:
    """Flags are part of the configuration, so their mistakes are in the same list."""
    result = call("run", "--config", EXAMPLE, "--app", "here")
    assert result.exit_code == 78
    assert result.stderr.startswith("--app: service.app: expected host:port")


@pytest.mark.parametrize("command", ["run", "config show", "config validate"])
def test_a_file_that_is_not_there_is_fatal(command: str, tmp_path: Path, started: Started) -> None:
    """Nothing starts with the defaults because a name was misspelled."""
    path = tmp_path / "missing.toml"
    result = call(*command.split(), "-c", str(path), "--app", "a:1")
    assert (result.exit_code, result.stderr) == (78, f"{path}: cannot be read: No such file or directory\n")
    assert not started


def test_a_registry_that_there_is_not_is_told_by_its_flag(started: Started) -> None:
    """Kinds are those of the configuration."""
    result = call("run", "--app", "a:1", "--registry", "etcd://127.0.0.1:2379")
    assert result.exit_code == 78
    assert "--registry: registry.kind: expected one of local, static, consul, dns, not" in result.stderr


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("consul://10.0.0.1:8500", "http://10.0.0.1:8500"),
        ("consul+https://agent.example:8501/", "https://agent.example:8501"),
        ("http://10.0.0.1:8500", "http://10.0.0.1:8500"),
        ("https://agent.example", "https://agent.example"),
    ],
)
def test_a_registry_can_be_named_by_its_address(url: str, address: str, started: Started) -> None:
    """HTTP alone means the agent of a Consul."""
    assert call("run", "--app", "a:1", "--registry", url).exit_code == 0
    (config,) = started
    assert (config.registry.kind, config.registry.consul.address) == ("consul", address)


def test_a_kind_of_registry_alone_is_enough(started: Started) -> None:
    """It is where it usually is."""
    assert call("run", "--app", "a:1", "--registry", "consul").exit_code == 0
    assert started[0].registry.consul.address == "http://127.0.0.1:8500"


@pytest.mark.parametrize("how", [{"SIDECAR_PROFILE": "production"}, {}])
def test_a_profile_is_chosen_by_flag_or_variable(how: dict[str, str], started: Started) -> None:
    """The flag wins; without either the file stands alone."""
    flag = [] if how else ["--profile", "production"]
    assert call("run", "-c", EXAMPLE, *flag, **how).exit_code == 0
    assert call("run", "-c", EXAMPLE, SIDECAR_PROFILE=None).exit_code == 0
    assert [config.log.format for config in started] == ["json", "text"]
    result = call("run", "-c", EXAMPLE, "--profile", "prod", SIDECAR_PROFILE="production")
    assert result.exit_code == 78
    assert "(did you mean production?)" in result.stderr


def test_validate_says_that_a_file_is_valid() -> None:
    """One line and 0, for a pipeline; with the profiles that were held against it, or the one that was named."""
    result = call("config", "validate", "--config", EXAMPLE)
    assert (result.exit_code, result.output) == (0, f"{EXAMPLE}: valid (profiles, too: production)\n")
    result = call("config", "validate", "--config", EXAMPLE, "--profile", "production")
    assert (result.exit_code, result.output) == (0, f"{EXAMPLE}: valid\n")


def test_validate_tries_every_profile(tmp_path: Path) -> None:
    """What makes no sense with one of them alone is told with its name; what is wrong anyway is told once."""
    path = tmp_path / "sidecar.toml"
    path.write_text(
        '[service]\napp = "a:1"\n[listen]\nprobes = "127.0.0.1:15020"\n'
        '[profiles.a.listen]\nadmin = "127.0.0.1:15020"\n[profiles.b.service]\napp = "a:2"\n'
    )
    result = call("config", "validate", "--config", str(path))
    assert (result.exit_code, result.stdout) == (78, "")
    assert result.stderr == (
        f"{path}:4: listen.probes: 127.0.0.1:15020 is taken by listen.admin, 127.0.0.1:15020 (with profile a)\n"
    )
    assert call("config", "validate", "--config", str(path), "--profile", "b").exit_code == 0
    path.write_text('[service]\napp = "a"\n[profiles.a]\n[profiles.b.service]\nzone = 1\n')
    result = call("config", "validate", "--config", str(path))
    assert [line.split(": ")[:2] for line in result.stderr.splitlines()] == [
        [f"{path}:2", "service.app"],
        [f"{path}:5", "profiles.b.service.zone"],
    ]


def test_validate_answers_programs_with_one_document(tmp_path: Path) -> None:
    """On standard output, and with the same exit codes."""
    path = tmp_path / "sidecar.toml"
    path.write_text('[service]\nnam = "x"\napp = "a:1"\n')
    result = call("config", "validate", "-c", str(path), "-o", "json", SIDECAR_TRACE__SAMPLE="2")
    assert (result.exit_code, result.stderr) == (78, "")
    assert json.loads(result.stdout) == {
        "valid": False,
        "problems": [
            {
                "file": str(path),
                "line": 2,
                "key": "service.nam",
                "message": "unknown key (did you mean name?)",
                "origin": f"{path}:2",
            },
            {
                "file": None,
                "line": None,
                "key": "trace.sample",
                "message": "must be at most 1, not 2.0",
                "origin": "SIDECAR_TRACE__SAMPLE",
            },
        ],
    }
    result = call("config", "validate", "-c", EXAMPLE, "-o", "json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"valid": True, "problems": []})
    result = call("config", "validate", "-c", f"{path}x", "-o", "json")
    assert (result.exit_code, json.loads(result.stdout)["problems"][0]["key"]) == (78, None)


def test_show_prints_what_is_in_effect_and_why(tmp_path: Path) -> None:
    """Flag, variable, file, profile, default; as a configuration, or for programs."""
    path = tmp_path / "sidecar.toml"
    path.write_text('[service]\napp = "a:1"\n[profiles.p.drain]\ngrace = "9s"\n')
    args = ["config", "show", "-c", str(path), "--profile", "p", "--service", "cart"]
    result = call(*args, "--changed", SIDECAR_SERVICE__ZONE="b")
    assert (result.exit_code, result.stdout) == (
        0,
        f'[service]\nname = "cart"  # --service\napp = "a:1"    # {path}:2\nzone = "b"     # SIDECAR_SERVICE__ZONE\n\n'
        f'[drain]\ngrace = "9s"  # profile p ({path}:4)\n',
    )
    shown = tmp_path / "shown.toml"
    shown.write_text(call(*args).stdout)
    assert 'delay = "5s"       # default\n' in shown.read_text()
    assert call("config", "validate", "-c", str(shown)).exit_code == 0
    assert tomllib.loads(call(*args, "-o", "toml").stdout) == tomllib.loads(shown.read_text())
    rows = json.loads(call(*args, "-o", "json").stdout)
    assert {"key": "drain.grace", "value": "9s", "origin": f"profile p ({path}:4)"} in rows


def test_show_needs_no_file() -> None:
    """Flags and defaults are a configuration; without an application there is none, and the message says what to do."""
    assert call("config", "show", "--app", "a:1", SIDECAR_CONFIG=None).exit_code == 0
    result = call("config", "show", SIDECAR_CONFIG=None)
    assert result.exit_code == 78
    assert "where does the application listen? (or start it by sidecar run -- COMMAND" in result.stderr


def test_schema_and_reference_are_printed() -> None:
    """For editors and for people, from the version that is installed."""
    assert json.loads(call("config", "schema").stdout)["properties"].keys() >= {"service", "defaults", "profiles"}
    assert call("config", "reference").stdout.startswith("### [service]\n")


def test_a_file_whose_name_is_no_text_is_still_named(tmp_path: Path) -> None:
    """A path of arbitrary bytes gives an answer and no traceback."""
    path = tmp_path / "\udcff.toml"
    path.write_text('[service]\napp = "a:1"\n')
    assert call("config", "validate", "--config", str(path)).output.endswith(".toml: valid\n")
    assert call("config", "validate", "--config", f"{path}x").exit_code == 78
