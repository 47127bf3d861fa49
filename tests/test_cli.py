"""The command line: what it says, and the exit code that tells a supervisor what happened."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from socket import socket
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

import sidecar
from sidecar.cli.main import main
from sidecar.config.schema import Config

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
    double = SimpleNamespace(run=run)
    monkeypatch.setitem(sys.modules, "sidecar.life", double)
    monkeypatch.setattr(sidecar, "life", double, raising=False)


def test_the_version_is_the_package_s() -> None:
    """--version is one line for scripts."""
    result = call("--version")
    assert (result.exit_code, result.output) == (0, f"sidecar {sidecar.__version__}\n")


@pytest.mark.parametrize("command", [[], ["run"], ["config", "validate"]])
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


def test_flags_win_over_the_environment_and_the_file(started: Started) -> None:
    """Every flag of run sets the key that it stands for."""
    flags = ["--service", "cart", "--app", "[::1]:1", "--inbound", "none", "--outbound", "h:2", "--probes", "h:3"]
    assert call("run", "--config", EXAMPLE, *flags, SIDECAR_SERVICE__NAME="environ").exit_code == 0
    (config,) = started
    assert (config.service.name, str(config.service.app), config.listen.inbound) == ("cart", "[::1]:1", None)
    assert (str(config.listen.outbound), str(config.listen.probes)) == ("h:2", "h:3")


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
        f"{path}: service.nam: unknown key (did you mean name?)",
        f'{path}: service.app: expected host:port, such as "127.0.0.1:8080", not "here"',
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


def test_validate_says_that_a_file_is_valid() -> None:
    """One line and 0, for a pipeline."""
    result = call("config", "validate", "--config", EXAMPLE)
    assert (result.exit_code, result.output) == (0, f"{EXAMPLE}: valid\n")


def test_a_file_whose_name_is_no_text_is_still_named(tmp_path: Path) -> None:
    """A path of arbitrary bytes gives an answer and no traceback."""
    path = tmp_path / "\udcff.toml"
    path.write_text('[service]\napp = "a:1"\n')
    assert call("config", "validate", "--config", str(path)).output.endswith(".toml: valid\n")
    assert call("config", "validate", "--config", f"{path}x").exit_code == 78
