"""The commands that talk to a running sidecar: their options, how they find it, and what they say when it is not there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from sidecar.cli.main import COMMANDS, main
from sidecar.cli.output import ERROR
from sidecar.config.schema import Listen
from tests.support.live import OK, Upstream, answering, free_port

ASKING = ["check", "endpoints", "breakers", "stat", "reload", "await", "drain", "shutdown"]
ASKING_NOW = [command for command in ASKING if command not in ("check", "await")]


BREAKER = {
    "service": "orders",
    "failures": 0,
    "openedAt": None,
    "retryAfterSeconds": 0.0,
    "transitions": {"closed": 0, "halfOpen": 0, "open": 1},
}


def call(*args: str, **environ: str | None) -> Result:
    """The command run in this process, with no variables but these."""
    nothing = {"SIDECAR_CONFIG": None, "SIDECAR_LISTEN__ADMIN": None}
    return CliRunner().invoke(main, args, env=nothing | environ, prog_name="sidecar")


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with its words; groups are left out."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from leaves(found, (*path, name))
    else:
        yield path, command


def by_words(one: object) -> str:
    return "-".join(one) if isinstance(one, tuple) else ""


def sidecar_toml(tmp_path: Path, **listen: str) -> str:
    file = tmp_path / "sidecar.toml"
    addresses = {"inbound": "none", "outbound": "127.0.0.1:0", "probes": "none"} | listen
    file.write_text("[listen]\n" + "".join(f'{name} = "{address}"\n' for name, address in addresses.items()))
    return str(file)


@pytest.mark.parametrize(("words", "command"), list(leaves(main)), ids=by_words)
def test_every_help_has_an_example_and_no_option_is_without_one(words: tuple[str, ...], command: click.Command) -> None:
    """What can be copied, and what each option means."""
    result = call(*words, "--help")
    assert result.exit_code == 0
    assert re.search(rf"Example:\n +sidecar {' '.join(words)}", result.output)
    assert all(one.help for one in command.params if isinstance(one, click.Option))


@pytest.mark.parametrize("name", ASKING)
def test_every_command_that_asks_can_be_told_whom(name: str) -> None:
    """By address, or by configuration; the short form of the latter too."""
    command = main.get_command(click.Context(main), name)
    assert command is not None
    options = {option for one in command.params for option in one.opts}
    assert {"--admin", "--config", "-c"} <= options


@pytest.mark.parametrize("name", ASKING_NOW)
def test_without_a_sidecar_the_error_says_what_to_do(name: str) -> None:
    """Exit code 1, nothing on standard output, and the way on."""
    port = free_port()
    result = call(name, "--admin", f"127.0.0.1:{port}")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"no sidecar answers at 127.0.0.1:{port}: Connection refused\n" in result.stderr
    assert "`sidecar run`" in result.stderr and "--admin HOST:PORT" in result.stderr


def test_what_is_no_sidecar_is_told_apart_from_nothing() -> None:
    """Another program at the address is another mistake."""
    with Upstream(answering(OK)) as other:
        result = call("stat", "--admin", other.address)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"what answers at {other.address} is not the admin API of a sidecar" in result.stderr


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b"3", b'{"data": []}', b'{"data": {"type": "user", "attributes": {}}}', b"<html>"]
)
@pytest.mark.parametrize("status", [b"200 OK", b"404 Not Found"])
def test_documents_of_another_program_are_no_sidecar_s(body: bytes, status: bytes) -> None:
    """Whatever JSON it speaks."""
    answer = b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)
    with Upstream(answering(answer)) as other:
        result = call("shutdown", "--admin", other.address)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "is not the admin API of a sidecar" in result.stderr


def test_what_speaks_no_http_is_no_sidecar() -> None:
    """As somebody finds out who names the port of a database."""
    with Upstream(answering(b"SSH-2.0-OpenSSH_9.2\r\n")) as other:
        result = call("stat", "--admin", other.address)
    assert result.exit_code == 1
    assert "is not the admin API of a sidecar" in result.stderr


def test_who_closes_without_an_answer_is_told_as_such() -> None:
    """And no traceback."""
    with Upstream(lambda wire: None) as other:
        result = call("endpoints", "--admin", other.address)
    assert result.exit_code == 1
    assert f"no sidecar answers at {other.address}" in result.stderr


def asked_at(*args: str, **environ: str | None) -> str:
    """The address at which the command looked for a sidecar, and found none."""
    result = call("breakers", *args, **environ)
    found = re.search(r"no sidecar answers at (\S+): ", result.stderr)
    assert found is not None, result.output
    return found[1]


def test_the_address_is_looked_for_from_the_nearest_place_outward(tmp_path: Path) -> None:
    """Flag, then variable, then configuration."""
    flag, variable, written = (f"127.0.0.1:{free_port()}" for _ in range(3))
    config = sidecar_toml(tmp_path, admin=written)
    assert asked_at("--admin", flag, "-c", config, SIDECAR_LISTEN__ADMIN=variable) == flag
    assert asked_at("-c", config, SIDECAR_LISTEN__ADMIN=variable) == variable
    assert asked_at("--config", config) == asked_at(SIDECAR_CONFIG=config) == written


def test_the_configuration_need_not_say_where_the_application_listens(tmp_path: Path) -> None:
    """A sidecar that has started it (``run -- COMMAND``) knows; who wants to ask that sidecar need not."""
    config = tmp_path / "sidecar.toml"
    config.write_text(f'[listen]\ninbound = "0.0.0.0:8080"\nadmin = "127.0.0.1:{free_port()}"\n')
    assert call("endpoints", "--config", str(config)).exit_code == 1


def test_without_anything_it_is_the_default_address() -> None:
    """What a sidecar without a configuration listens on. (Somebody may run one here: then it answers.)"""
    result = call("breakers")
    assert result.exit_code == 0 or f"answers at {Listen().admin}" in result.stderr


def test_a_sidecar_that_listens_everywhere_is_asked_on_this_machine(tmp_path: Path) -> None:
    """0.0.0.0 is no place to connect to."""
    with Upstream(answering(OK)) as other:
        result = call("stat", "-c", sidecar_toml(tmp_path, admin=f"0.0.0.0:{other.port}"))
    assert "is not the admin API" in result.stderr and other.accepted == 1


@pytest.mark.parametrize("name", ASKING_NOW)
def test_without_an_admin_listener_the_error_says_so(name: str, tmp_path: Path) -> None:
    """Nothing is tried that cannot succeed."""
    result = call(name, "--config", sidecar_toml(tmp_path, admin="none"))
    assert result.exit_code == 1 and 'listen.admin is "none"' in result.stderr
    assert call(name, SIDECAR_LISTEN__ADMIN="none").exit_code == 1
    result = call(name, "--config", sidecar_toml(tmp_path, admin="127.0.0.1:0"))
    assert result.exit_code == 1 and "a free port was taken" in result.stderr


@pytest.mark.parametrize("admin", ["nowhere", "127.0.0.1:99999", "http://127.0.0.1:15000"])
def test_a_malformed_address_is_wrong_usage(admin: str) -> None:
    """2, with the form that it should have."""
    result = call("stat", "--admin", admin)
    assert result.exit_code == 2 and "--admin" in result.stderr


def test_a_wrong_configuration_is_78(tmp_path: Path) -> None:
    """As everywhere."""
    file = tmp_path / "sidecar.toml"
    file.write_text("[listen]\nadmn = 1\n")
    result = call("stat", "--config", str(file))
    assert result.exit_code == 78 and "listen.admn: unknown key" in result.stderr


@pytest.mark.parametrize(("option", "value"), [("--timeout", "5"), ("--timeout", "0s"), ("--for", "ever")])
def test_a_malformed_option_of_await_is_wrong_usage(option: str, value: str) -> None:
    """A duration has its unit here too."""
    assert call("await", option, value).exit_code == 2


def test_await_gives_up_and_says_what_it_waited_for() -> None:
    """Nobody there: 1, with the reason."""
    port = free_port()
    result = call("await", "--admin", f"127.0.0.1:{port}", "--timeout", "10ms")
    assert result.exit_code == 1
    assert f"not started after 0.01 s: no sidecar answers at 127.0.0.1:{port}: Connection refused" in result.stderr


def test_await_needs_an_address_that_is_known(tmp_path: Path) -> None:
    """With neither admin nor probes there is nobody to ask."""
    result = call("await", "--config", sidecar_toml(tmp_path, admin="none"))
    assert result.exit_code == 1 and "neither listen.admin nor listen.probes" in result.stderr


def test_open_breakers_are_all_that_are_not_closed() -> None:
    """Half-open is not well yet. What comes behind the first closed one is not asked for."""
    states = ["open", "half-open", "closed"]
    rows = [
        {"id": state, "type": "breaker", "attributes": BREAKER | {"state": state, "endpoint": f"{state}:1"}}
        for state in states
    ]
    body = json.dumps({"data": rows, "meta": {}, "links": {"next": "/api/v1/nowhere"}}).encode()
    with Upstream(answering(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))) as canned:
        result = call("breakers", "--open", "--admin", canned.address)
    assert result.exit_code == 0
    assert [line.split()[2] for line in result.stdout.splitlines()[1:]] == ["open", "half-open"]


# Completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_and_how_to_install_it(shell: str) -> None:
    """The last line can be copied."""
    result = call("completion", shell)
    assert result.exit_code == 0
    assert "_SIDECAR_COMPLETE" in result.output
    assert result.output.splitlines()[-1].startswith(f"#   sidecar completion {shell} > ")


def test_an_unknown_shell_is_wrong_usage() -> None:
    """The message names those that there are."""
    result = call("completion", "tcsh")
    assert result.exit_code == 2 and "'bash', 'zsh', 'fish'" in result.stderr


def test_the_script_completes_what_there_is() -> None:
    """What the script asks for is what the command answers: here the commands that begin with s."""
    result = subprocess.run(
        [sys.executable, "-m", "sidecar"],
        env={"_SIDECAR_COMPLETE": "bash_complete", "COMP_WORDS": "sidecar s", "COMP_CWORD": "1", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.split() == ["plain,stat", "plain,shutdown"]


# Loading


def test_a_command_loads_nothing_that_it_does_not_use() -> None:
    """They are called in scripts and probes, again and again: neither a loop nor the configuration is there."""
    script = (
        "import sys\n"
        "from sidecar.cli.main import main\n"
        f"main(['breakers', '--admin', '127.0.0.1:{free_port()}'], standalone_mode=False)\n"
    )
    check = (
        "import sys, atexit\n"
        "heavy = {'asyncio', 'uvloop', 'prometheus_client', 'sidecar.app', 'sidecar.config.load', 'sidecar.cli.run'}\n"
        "atexit.register(lambda: print(sorted(heavy & set(sys.modules))))\n"
    )
    result = subprocess.run([sys.executable, "-c", check + script], capture_output=True, text=True, check=False)
    assert "no sidecar answers" in result.stderr
    assert result.stdout == "[]\n"


def test_the_list_of_commands_is_what_can_be_called() -> None:
    """Each of them loads, and the word that calls it is its name."""
    assert {words[0] for words, _ in leaves(main)} == set(COMMANDS)
    assert all(main.get_command(click.Context(main), name).name == name for name in COMMANDS)  # type: ignore[union-attr]


# check


def checks(result: Result) -> dict[str, list[tuple[str, str]]]:
    """Of ``-o json``: result and description of each check, by category."""
    document = json.loads(result.stdout)
    assert document["success"] is (result.exit_code == 0)
    return {
        category["categoryName"]: [(one["result"], one["description"]) for one in category["checks"]]
        for category in document["categories"]
    }


def test_check_tells_all_problems_of_a_configuration(tmp_path: Path) -> None:
    """And no more: what is around it would be that of a configuration that nobody meant. 78."""
    file = tmp_path / "sidecar.toml"
    file.write_text('[service]\nnam = "x"\napp = "here"\n')
    result = call("check", "--config", str(file), "-o", "json")
    assert result.exit_code == 78
    (problems,) = checks(result).values()
    assert [kind for kind, _ in problems] == ["error", "error"]
    assert problems[0][1] == f"{file}:2: service.nam: unknown key (did you mean name?)"


def test_check_finds_what_is_there_and_what_is_not(tmp_path: Path) -> None:
    """An application and an endpoint that listen, one that does not (a warning), and no sidecar yet: good, with a hint."""
    file = tmp_path / "sidecar.toml"
    free = free_port()
    with Upstream(answering(OK)) as app:
        file.write_text(
            f'[service]\nname = "shop"\napp = "{app.address}"\n'
            f'[listen]\ninbound = "127.0.0.1:0"\noutbound = "127.0.0.1:{free_port()}"\n'
            f'probes = "none"\nadmin = "127.0.0.1:{free_port()}"\n'
            f'[services.orders]\nendpoints = ["{app.address}", "127.0.0.1:{free}"]\n'
        )
        result = call("check", "--config", str(file), "-o", "json")
    found = checks(result)
    assert result.exit_code == 0
    assert list(found) == ["configuration", "machine", "listeners", "application", "endpoints", "running sidecar"]
    assert found["application"] == [("success", f"the application takes connections at {app.address}")]
    assert found["endpoints"] == [
        ("success", "the hosts of endpoints resolve: 1"),
        ("warning", f"orders: 127.0.0.1:{free} takes no connections: Connection refused"),
    ]
    assert [kind for kind, _ in found["listeners"]] == ["success"] * 3
    assert found["running sidecar"][0][1].startswith("none answers at 127.0.0.1:")


def test_check_tries_dependencies(tmp_path: Path) -> None:
    """A warning for one that takes no connections, also beside one at the same place; programs are not run."""
    free, run = free_port(), tmp_path / "run"
    file = tmp_path / "sidecar.toml"
    with Upstream(answering(OK)) as there:
        file.write_text(
            '[listen]\ninbound = "none"\noutbound = "none"\nprobes = "none"\nadmin = "none"\n'
            f'[dependencies.broker]\naddress = "{there.address}"\n'
            f'[dependencies.database]\naddress = "127.0.0.1:{free}"\n'
            f'[dependencies.replica]\nkind = "http"\naddress = "127.0.0.1:{free}"\n'
            f'[dependencies.disk]\nkind = "command"\ncommand = ["touch", "{run}"]\n'
        )
        result = call("check", "--config", str(file), "-o", "json")
        assert result.exit_code == 0
        assert checks(result)["dependencies"] == [
            ("warning", f"{name}: 127.0.0.1:{free} takes no connections: Connection refused")
            for name in ("database", "replica")
        ]
        assert not run.exists()
        file.write_text(f'[service]\napp = "{there.address}"\n[dependencies.broker]\naddress = "{there.address}"\n')
        result = call("check", "--config", str(file), "-o", "json")
    assert checks(result)["dependencies"] == [("success", "the dependencies take connections: 1")]


def test_check_fails_when_another_program_has_the_address(tmp_path: Path) -> None:
    """1, with the listener's name and what to do; the last line says so too."""
    with Upstream(answering(OK)) as other:
        config = sidecar_toml(tmp_path, outbound=other.address, admin="none")
        result = call("check", "--config", config)
    assert result.exit_code == 1
    assert f"{ERROR} outbound cannot listen on {other.address}: Address already in use\n" in result.stdout
    assert (
        "    another program listens there: end it, or choose another address with listen.outbound\n" in result.stdout
    )
    assert result.stdout.splitlines()[-1] == f"Status check results are {ERROR}"


def test_check_fails_when_a_name_does_not_resolve(tmp_path: Path) -> None:
    """.invalid never does (RFC 6761)."""
    config = sidecar_toml(tmp_path, admin="none")
    with open(config, "a") as file:
        file.write('[services.orders]\nendpoints = ["orders.invalid:80"]\n')
    result = call("check", "--config", config, "-o", "json")
    assert result.exit_code == 1
    ((kind, what),) = [one for one in checks(result)["endpoints"] if "orders.invalid" in one[1]]
    assert kind == "error" and what.startswith("orders.invalid does not resolve: ")


def test_check_fails_when_the_admin_address_is_that_of_something_else(tmp_path: Path) -> None:
    """Whoever answers there, it is not us."""
    with Upstream(answering(OK)) as other:
        result = call("check", "--config", sidecar_toml(tmp_path, admin=other.address), "-o", "json")
    assert result.exit_code == 1
    assert checks(result)["running sidecar"][0][0] == "error"


def test_check_ends_its_good_news_with_a_mark(tmp_path: Path) -> None:
    """Headers are underlined, each check is a line."""
    result = call("check", "--config", sidecar_toml(tmp_path, admin="none"))
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert lines[:3] == ["configuration", "-------------", f"√ {tmp_path}/sidecar.toml is valid"]
    assert lines[-1] == "Status check results are √"


def test_where_the_marks_cannot_be_written_there_are_letters(tmp_path: Path) -> None:
    """A terminal or a log that knows ASCII alone is no reason to fail."""
    command = [sys.executable, "-m", "sidecar", "check", "--config", sidecar_toml(tmp_path, admin="none")]
    result = subprocess.run(command, env={"PYTHONIOENCODING": "ascii"}, capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.endswith(b"\nStatus check results are ok\n")


# Documentation

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "cli.md").read_text()
SECTIONS = dict(re.findall(r"^## sidecar ([a-z ]+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


def test_the_page_of_the_documentation_has_every_command() -> None:
    """In the order of the help, and no other."""
    assert list(SECTIONS) == [" ".join(words) for words, _ in leaves(main)]


@pytest.mark.parametrize(("words", "command"), list(leaves(main)), ids=by_words)
def test_the_page_of_the_documentation_has_every_option(words: tuple[str, ...], command: click.Command) -> None:
    """In the order of the help, as it is written; and an example."""
    section = SECTIONS[" ".join(words)]
    said = re.findall(r"^\| ((?:`-[^`]+`(?:, )?)+) \|", section, re.MULTILINE)
    options = [one for one in command.params if isinstance(one, click.Option)]
    assert said == [", ".join(f"`{name}`" for name in one.opts) for one in options]
    assert re.search(rf"^\$ sidecar {' '.join(words)}\b", section, re.MULTILINE)
