"""``run -- COMMAND``: the application begins and ends with its sidecar, and whoever dies first leaves nobody behind."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live.test_drain import Held, Load, drain, turns_unready
from tests.support.live import (
    ROOT,
    Client,
    Sidecar,
    Upstream,
    Wire,
    answering,
    free_port,
    services,
    until,
)

APPLICATION = [sys.executable, str(ROOT / "tests/support/application.py")]
PID = re.compile(r"^(\w+)=(\d+)$", re.MULTILINE)
STUBBORN = "trap '' TERM INT HUP; while :; do sleep 1000; done"
"""Heeds nothing but SIGKILL."""


def sh(script: str) -> list[str]:
    """A COMMAND that says who it is (``command=PID`` on stderr) and goes on with ``script``."""
    return ["sh", "-c", f"echo command=$$ >&2; {script}"]


def runs(pid: int) -> bool:
    """Whether there is such a process; one that waits for its parent to take note of its end is none."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return done.stdout.strip()[:1] not in ("", "Z")


def pids(sidecar: Sidecar) -> dict[str, int]:
    """Whoever has said so far who it is."""
    return {name: int(pid) for name, pid in PID.findall(sidecar.log())}


@contextmanager
def running(script: str, *names: str, toml: str = "") -> Iterator[tuple[Sidecar, dict[str, int]]]:
    """A sidecar with ``script`` as its application, when ``names`` have said who they are."""
    with Sidecar(toml or drain(), command=sh(script)) as sidecar:
        until(lambda: {"command", *names} <= pids(sidecar).keys(), f"{names} have begun")
        yield sidecar, pids(sidecar)


@contextmanager
def spawned(*command: str, toml: str = "") -> Iterator[Sidecar]:
    """A sidecar whose application may have ended before anybody could ask it anything."""
    sidecar = Sidecar(toml, command=command)
    try:
        sidecar.spawn()
        yield sidecar
    finally:
        sidecar.__exit__(None, None, None)


def all_gone(them: dict[str, int], seconds: float = 3) -> None:
    until(lambda: not any(map(runs, them.values())), "nobody is left", seconds)


# Start


def test_the_application_is_told_where_to_listen_and_whom_to_call() -> None:
    """Real ports, although the configuration asks for free ones, and whatever else the environment has."""
    with spawned(*sh('echo "$PORT $HTTP_PROXY $http_proxy $SIDECAR_OUTBOUND_URL $NO_PROXY $HOME" >&2')) as sidecar:
        assert sidecar.exit_code() == 0
        outbound = re.findall(r"outbound on (\S+)", sidecar.log())[0]
        app = re.findall(r"inbound on \S+ -> 127\.0\.0\.1:(\d+)", sidecar.log())[0]
        url = f"http://{outbound}"
        said = f"{app} {url} {url} {url} localhost,127.0.0.1,::1 {os.environ['HOME']}"
        assert said in sidecar.log().splitlines()


def test_an_app_that_is_configured_keeps_its_port() -> None:
    """A free port is for who does not care."""
    port = free_port()
    sidecar = Sidecar("", app=f"127.0.0.1:{port}", command=sh("echo PORT is $PORT >&2"))
    try:
        sidecar.spawn()
        assert sidecar.exit_code() == 0
        assert f"PORT is {port}\n" in sidecar.log()
    finally:
        sidecar.__exit__(None, None, None)


def test_the_first_thing_it_does_may_be_a_call() -> None:
    """It begins when its sidecar listens, so nobody needs to sleep at the start."""
    call = "import urllib.request as u; print('orders said', u.urlopen('http://orders/').read(), file=__import__('sys').stderr)"
    with Upstream(answering()) as orders:
        with spawned(sys.executable, "-c", call, toml=services(orders=orders.address)) as sidecar:
            assert sidecar.exit_code() == 0
            assert "orders said b'ok'" in sidecar.log()


@pytest.mark.parametrize(
    ("command", "code", "told"),
    [
        (["no-such-program"], 127, "cannot start no-such-program: it is not in PATH"),
        (["./no/such/file"], 127, "there is no such file"),
        (["README.md"], 127, "write ./README.md"),
        (["./README.md"], 126, "chmod +x ./README.md"),
        (["./docs"], 126, "it is a directory"),
    ],
)
def test_a_command_that_cannot_be_started_is_told_with_the_way_out(command: list[str], code: int, told: str) -> None:
    """The exit codes are those of shells; nothing is left running, and there is no traceback."""
    with spawned(*command) as sidecar:
        assert sidecar.exit_code() == code
        assert told in sidecar.log()
        assert "Traceback" not in sidecar.log()


def test_a_script_whose_interpreter_is_missing_is_not_called_missing_itself(tmp_path: Path) -> None:
    """The system says the same of both; people look in different places."""
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    with spawned(str(script)) as sidecar:
        assert sidecar.exit_code() == 126
        assert "interpreter" in sidecar.log()


def test_the_application_has_the_limit_on_files_that_it_would_have_without_us() -> None:
    """Ours is raised; programs that use select() must not find theirs so."""
    limited = ["sh", "-c", 'ulimit -S -n 300; exec "$@"', "sh", sys.executable, "-m", "sidecar", "run"]
    nowhere = ["--inbound", "none", "--outbound", "none", "--admin", "none", "--probes", "none"]
    command = [*limited, *nowhere, "--", "sh", "-c", "ulimit -n"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, "300\n")


def test_without_a_command_nothing_of_all_this_is_loaded() -> None:
    """What is not used costs nothing."""
    script = "import sys, sidecar.cli.main, sidecar.life; print(*[m for m in sys.modules if m.startswith('sidecar.')])"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "sidecar.life" in loaded
    assert loaded.isdisjoint({"sidecar.command", "sidecar.guard", "sidecar.marks"})


# The application ends


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137), ("kill -TERM $$", 143), ("exit 143", 143)],
)
def test_its_exit_code_is_ours(script: str, code: int) -> None:
    """Whoever supervises us sees what it would see without us; nobody told it to end, so SIGTERM is not a success."""
    with spawned(*sh(script)) as sidecar:
        assert sidecar.exit_code() == code
        assert "Traceback" not in sidecar.log()


def test_when_it_dies_its_callers_are_told_and_nothing_waits() -> None:
    """Requests that were with it fail at once as its own; the sidecar ends within moments and with its code."""
    held = Held()
    with Upstream(held.script) as orders:
        toml = drain(delay="60s", grace="60s") + services(orders=orders.address)
        with Sidecar(toml, command=APPLICATION) as sidecar:
            until(lambda: "application: serving" in sidecar.log(), "the application serves")
            pid = int(re.findall(r"serving (\d+)", sidecar.log())[0])
            with Client(sidecar.ports["inbound"]) as client, Client(sidecar.ports["inbound"]) as idle:
                assert idle.get("shop").body == b"ok"
                client.ask("shop", "/call/held")
                held.asked.get(timeout=10)
                os.kill(pid, signal.SIGKILL)
                answer = client.response()
                assert answer.status == 502, answer
                assert sidecar.exit_code(5) == 137
            assert "Traceback" not in sidecar.log()
        held.go.set()


def test_requests_that_it_has_left_to_its_children_are_finished() -> None:
    """For a moment: they are asked to end when nobody waits for them any more."""
    held = Held()
    serve = f"{shlex.join(APPLICATION)} & trap 'exit 6' USR1; while :; do sleep 0.01; done"
    with Upstream(held.script) as orders:
        with Sidecar(drain() + services(orders=orders.address), command=sh(serve)) as sidecar:
            until(lambda: "application: serving" in sidecar.log(), "the child serves")
            with Client(sidecar.ports["inbound"]) as client:
                client.ask("shop", "/call/held")
                held.asked.get(timeout=10)
                sidecar.signal(signal.SIGUSR1)
                until(lambda: "the application has ended" in sidecar.log(), "the sidecar ends the rest")
                # Longer than the child would take to heed a SIGTERM that came at once.
                assert not threading.Event().wait(0.5)
                held.go.set()
                assert client.response().body == b"x" * 100
            assert sidecar.exit_code(5) == 6
            assert "told to end" in sidecar.log()


def test_what_it_leaves_behind_ends_with_it() -> None:
    """Children in its group, also such as ignore SIGTERM, and daemons that have left the group."""
    setsid = "setsid" if sys.platform == "linux" else ""
    script = (
        "(echo child=$(exec sh -c 'echo $PPID') >&2; exec sleep 1000) & "
        f'sh -c "echo stubborn=\\$\\$ >&2; {STUBBORN}" & '
        f"{setsid} sh -c 'echo daemon=$$ >&2; exec sleep 1000' & "
        "read line; exit 5"
    )
    read, write = os.pipe()
    with subprocess.Popen(
        [*NOWHERE, "--", "sh", "-c", script], cwd=ROOT, stdin=read, stderr=subprocess.PIPE, text=True
    ) as process:
        os.close(read)
        said: dict[str, int] = {}
        assert process.stderr is not None
        while len(said) < 3:
            said |= {name: int(pid) for name, pid in PID.findall(process.stderr.readline())}
        assert all(map(runs, said.values()))
        os.close(write)
        assert process.wait(10) == 5
        assert not any(map(runs, said.values()))


def test_without_children_it_ends_without_a_pause() -> None:
    """A job is over when it is over: no waiting for idle connections, or for processes that are not there."""
    with Sidecar(
        drain(delay="60s", grace="60s"),
        command=sh("read line < /dev/null; trap 'exit 3' USR1; while :; do sleep 0.01; done"),
    ) as sidecar:
        with Client(sidecar.ports["inbound"]) as idle:
            until(lambda: "command" in pids(sidecar), "it has begun")
            assert idle.get("shop").status == 502
            began = time.monotonic()
            sidecar.signal(signal.SIGUSR1)
            assert sidecar.exit_code(5) == 3
            assert time.monotonic() - began < 1


# The sidecar is told to end


def test_a_drain_with_requests_in_flight_in_both_directions_fails_none() -> None:
    """Inbound's request waits in the application for outbound's; both are finished, then the application is told."""
    held = Held()
    with Upstream(held.script) as orders:
        with Sidecar(drain() + services(orders=orders.address), command=APPLICATION) as sidecar:
            until(lambda: "application: serving" in sidecar.log(), "the application serves")
            clients = [Client(sidecar.ports["inbound"]) for _ in range(10)]
            for client in clients:
                client.ask("shop", "/call/held")
            for _ in clients:
                held.asked.get(timeout=10)
            sidecar.signal(signal.SIGTERM)
            turns_unready(sidecar)
            until(lambda: refused(sidecar), "inbound takes nothing new")
            assert "told to end" not in sidecar.log()
            held.go.set()
            assert [client.response().body for client in clients] == [b"x" * 100] * 10
            for client in clients:
                client.close()
            assert sidecar.exit_code() == 0
            # It could call until its end.
            assert "orders said 'ok'" in sidecar.log()
            assert "cut off" not in sidecar.log()
            assert "Traceback" not in sidecar.log()


def refused(sidecar: Sidecar) -> bool:
    with Client(sidecar.ports["inbound"]) as client:
        return client.get("shop").reason == "draining"


def test_a_drain_under_load_fails_no_request() -> None:
    """20 callers ask without a pause; half of what they ask goes on through outbound."""
    with Upstream(answering()) as orders:
        toml = drain(delay="300ms") + services(orders=orders.address)
        with Sidecar(toml, command=APPLICATION) as sidecar:
            until(lambda: "application: serving" in sidecar.log(), "the application serves")
            loads = [Load(sidecar.ports["inbound"], "shop", path) for path in ("/", "/call/x") for _ in range(10)]
            until(lambda: all(load.answers for load in loads), "everybody has been answered once")
            sidecar.signal(signal.SIGTERM)
            assert sidecar.exit_code() == 0
            for load in loads:
                load.thread.join(10)
            assert [load.failures for load in loads if load.failures] == []
            assert "orders said 'ok'" in sidecar.log()
            assert "cut off" not in sidecar.log()


def test_outbound_keeps_its_connections_until_the_application_has_ended() -> None:
    """No ``Connection: close`` for who is about to call once more, however late."""
    with Upstream(answering()) as orders:
        with Sidecar(drain(grace="4s") + services(orders=orders.address), command=sh(STUBBORN)) as sidecar:
            with Client(sidecar.ports["outbound"]) as client:
                until(lambda: "command" in pids(sidecar), "it has begun")
                sidecar.signal(signal.SIGTERM)
                until(lambda: refused(sidecar), "inbound takes nothing new")
                # Longer than outbound would wait without a COMMAND.
                assert not threading.Event().wait(1.5)
                answer = client.get("orders")
                assert (answer.status, answer.fields.get("connection")) == (200, None)
                os.kill(pids(sidecar)["command"], signal.SIGKILL)
                assert sidecar.exit_code() == 137


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("exec sleep 1000", 0),
        ("trap 'exit 143' TERM; while :; do sleep 0.01; done", 0),
        ("trap 'exit 0' TERM; while :; do sleep 0.01; done", 0),
        ("trap 'exit 3' TERM; while :; do sleep 0.01; done", 3),
    ],
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_orderly_end_is_a_success(script: str, code: int, number: signal.Signals) -> None:
    """An application that ends by the SIGTERM that it was sent has done nothing wrong; one that says otherwise has."""
    with running(script) as (sidecar, them):
        sidecar.signal(number)
        assert sidecar.exit_code() == code
        all_gone(them)


def test_during_the_delay_the_application_knows_nothing_of_it() -> None:
    """Everybody is still served, so it must be there; when it ends all the same, nobody waits any longer."""
    with running("exec sleep 1000", toml=drain(delay="60s", grace="60s")) as (sidecar, them):
        sidecar.signal(signal.SIGTERM)
        turns_unready(sidecar)
        assert runs(them["command"])
        os.kill(them["command"], signal.SIGTERM)  # As a supervisor does that signals every process of a service.
        assert sidecar.exit_code(5) == 0


def test_who_ignores_sigterm_is_killed_when_the_time_is_up() -> None:
    """With all that it has started; its exit code says so."""
    script = f'sh -c "echo child=\\$\\$ >&2; {STUBBORN}" & {STUBBORN}'
    with running(script, "child", toml=drain(grace="800ms")) as (sidecar, them):
        began = time.monotonic()
        sidecar.signal(signal.SIGTERM)
        assert sidecar.exit_code() == 137
        assert 0.7 < time.monotonic() - began < 3
        all_gone(them, 0.5)


def test_inbound_leaves_the_application_some_of_the_grace() -> None:
    """A request that never ends must not cost it the chance to end in order: the last quarter is its own."""
    go = threading.Event()

    def never(wire: Wire) -> None:
        wire.head()
        go.wait()

    with Upstream(never) as orders:
        toml = drain(grace="2s") + services(orders=orders.address)
        with Sidecar(toml, command=APPLICATION) as sidecar, Client(sidecar.ports["inbound"]) as client:
            until(lambda: "application: serving" in sidecar.log(), "the application serves")
            client.ask("shop", "/call/never")
            until(lambda: orders.accepted, "the application has called")
            sidecar.signal(signal.SIGTERM)
            until(lambda: "told to end" in sidecar.log(), "the application is told", 5)
            assert not sidecar.ended()
            assert sidecar.exit_code() == 137
            # Inbound's one, and of the application the call for it and the one in its end.
            assert "cut off: 3" in sidecar.log()
            go.set()


def test_a_second_signal_kills_all_of_it_at_once() -> None:
    """Whatever it is doing, and however long it might still."""
    script = f'sh -c "echo child=\\$\\$ >&2; {STUBBORN}" & {STUBBORN}'
    with running(script, "child", toml=drain(delay="60s", grace="60s")) as (sidecar, them):
        sidecar.signal(signal.SIGTERM)
        turns_unready(sidecar)
        sidecar.signal(signal.SIGINT)
        assert sidecar.exit_code(5) == 137
        all_gone(them, 0.5)
        assert "ending at once" in sidecar.log()
        assert "Traceback" not in sidecar.log()


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH])
def test_signals_that_mean_nothing_to_us_are_the_application_s(number: signal.Signals) -> None:
    """Rotate your log, dump your threads: whoever sends it knows one process only."""
    name = number.name.removeprefix("SIG")
    with running(f"trap 'echo got {name} >&2' {name}; echo ready=$$ >&2; while :; do sleep 0.01; done", "ready") as (
        sidecar,
        _,
    ):
        sidecar.signal(number)
        until(lambda: f"got {name}\n" in sidecar.log(), "the application has got it")
        assert not sidecar.ended()


def test_a_reload_is_not_the_application_s() -> None:
    """SIGHUP is for the sidecar, and would end most applications."""
    with running("exec sleep 1000") as (sidecar, them):
        sidecar.signal(signal.SIGHUP)
        until(lambda: "SIGHUP" in sidecar.log(), "the sidecar has got it")
        assert runs(them["command"])


# Whoever dies first

FAMILY = (
    "sh -c 'echo child=$$ >&2; sh -c \"echo grandchild=\\$\\$ >&2; exec sleep 1000\" & wait' & "
    f'sh -c "echo stubborn=\\$\\$ >&2; {STUBBORN}" & '
    "while :; do sleep 0.01; done"
)


def test_when_the_sidecar_is_killed_nobody_is_left() -> None:
    """SIGKILL leaves it no time for anything; the guardian has seen it, even to those who ignore SIGTERM."""
    with running(FAMILY, "child", "grandchild", "stubborn") as (sidecar, them):
        them["guardian"] = os.getpgid(them["command"])
        assert runs(them["guardian"])
        sidecar.process.kill()
        all_gone(them)


def test_the_group_and_its_guardian_survive_what_is_sent_to_the_group() -> None:
    """Only SIGKILL ends the guardian; a group that signals itself does not lose it."""
    with running("trap '' TERM INT HUP QUIT TSTP; echo ready=$$ >&2; exec sleep 1000", "ready") as (sidecar, them):
        guardian = os.getpgid(them["command"])
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP):
            os.killpg(guardian, number)
        sidecar.process.kill()
        all_gone(them | {"guardian": guardian})


def test_when_the_application_is_killed_nobody_is_left() -> None:
    """Its children are ended before the sidecar is."""
    with running(FAMILY, "child", "grandchild", "stubborn") as (sidecar, them):
        os.kill(them["command"], signal.SIGKILL)
        assert sidecar.exit_code() == 137
        all_gone(them, 0.5)


def test_when_the_guardian_is_killed_the_sidecar_does_its_work() -> None:
    """It says so, and ends everybody as it would have."""
    with running(FAMILY, "child", "grandchild", "stubborn") as (sidecar, them):
        os.kill(os.getpgid(them["command"]), signal.SIGKILL)
        until(lambda: "guardian was killed" in sidecar.log(), "the sidecar has noticed")
        assert all(map(runs, them.values()))
        os.kill(them["command"], signal.SIGKILL)
        assert sidecar.exit_code() == 137
        all_gone(them, 0.5)


def test_when_the_sidecar_is_killed_while_it_ends_the_rest_nobody_is_left() -> None:
    """The guardian goes on with what it has been told."""
    with running(FAMILY, "stubborn", toml=drain(grace="20s")) as (sidecar, them):
        os.kill(them["command"], signal.SIGKILL)
        until(lambda: "the application has ended" in sidecar.log(), "the sidecar ends the rest")
        sidecar.process.kill()
        all_gone(them, 5)


# Odd applications


def test_an_application_may_close_its_output() -> None:
    """It is not taken for dead."""
    with running("exec >&- 2>&-; exec sleep 1000") as (sidecar, them):
        with Client(sidecar.ports["inbound"]) as client:
            assert client.get("shop").status == 502
        assert runs(them["command"])
        sidecar.signal(signal.SIGINT)
        assert sidecar.exit_code() == 0


def test_output_to_a_pipe_is_not_touched() -> None:
    """100 MB of any bytes go past us, for they never come to us."""
    script = "import os, sys; block = bytes(range(256)) * 4096; [os.write(1, block) for _ in range(100)]"
    with subprocess.Popen([*NOWHERE, "--", sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        expected = bytes(range(256)) * 4096
        blocks = 0
        while block := process.stdout.read(len(expected)):
            assert block == expected
            blocks += 1
        assert process.wait(10) == 0
        assert blocks == 100


# Process 1

UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def can_be_process_1() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*UNSHARE, "true"], capture_output=True).returncode == 0


NOWHERE = [sys.executable, "-m", "sidecar", "run"] + [
    word for name in ("inbound", "outbound", "admin", "probes") for word in (f"--{name}", "none")
]
"""A sidecar without a listener."""
process_1 = pytest.mark.skipif(not can_be_process_1(), reason="this machine lets us make no PID namespace")


@process_1
def test_as_process_1_it_reaps_what_a_process_1_must() -> None:
    """Orphans of the application leave no zombies, and its exit code comes out of the namespace."""
    script = (
        "for i in 1 2 3 4 5 6 7 8 9; do (sh -c 'sleep 0.01' &); done; "
        "while ps -A -o stat=,comm= | grep -E '^Z|sleep'; do :; done; exit 9"
    )
    sidecar = Sidecar("", command=sh(script), inside=UNSHARE)
    try:
        sidecar.spawn()
        assert sidecar.exit_code() == 9
    finally:
        sidecar.__exit__(None, None, None)


@process_1
def test_as_process_1_it_heeds_signals() -> None:
    """The kernel protects a process 1 from signals that it does not handle; these it does."""
    with Sidecar(drain(), command=sh("exec sleep 1000"), inside=UNSHARE) as sidecar:
        until(lambda: "command" in pids(sidecar), "it has begun")
        found = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(sidecar.process.pid)], capture_output=True, text=True, check=True
        )
        os.kill(int(found.stdout), signal.SIGTERM)
        assert sidecar.exit_code() == 0
        assert "application: ended: SIGTERM" in sidecar.log()


def test_what_the_application_was_told_cannot_change_while_it_runs() -> None:
    """It would call an address at which nobody is any more; all else is taken over."""
    with Sidecar("", command=sh("exec sleep 1000")) as sidecar:
        sidecar.move("outbound", f"127.0.0.1:{free_port()}")
        sidecar.signal(signal.SIGHUP)
        until(lambda: "listen.outbound: cannot change while the sidecar runs" in sidecar.log(), "it is refused")
        sidecar.move("outbound", "127.0.0.1:0")
        sidecar.write("[trace]\nsample = 0.5\n")
        sidecar.signal(signal.SIGHUP)
        until(lambda: "trace.sample: 0.01 -> 0.5" in sidecar.log(), "it is taken over")
