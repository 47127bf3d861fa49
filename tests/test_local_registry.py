"""Sidecars that find each other through a directory, whatever happens to it, to them and to the clocks."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shutil
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.clock import Clock
from sidecar.discovery.endpoint_set import EndpointSet
from sidecar.discovery.local.announcement import MAX_BYTES, Announcement, decode, encode, prefix
from sidecar.discovery.local.directory import Directory, Refused, Stamp, place
from sidecar.discovery.local.owner import Owner, Processes, ourselves
from sidecar.discovery.local.post import HEARTBEAT_SECONDS
from sidecar.discovery.local.registry import REPEAT_SECONDS
from sidecar.discovery.local.running import running
from sidecar.discovery.local.sweep import SWEEP_SECONDS
from sidecar.discovery.local.view import EXPIRY_SECONDS, LOOK_SECONDS, RESTORE_SECONDS, View
from sidecar.discovery.source import Instance, Source
from tests.support.machine import Machine, Node
from tests.support.virtual import VirtualLoop

LOOK = LOOK_SECONDS + 0.01
"""In which every sidecar has looked once."""


@pytest.fixture
def machine(loop: VirtualLoop, tmp_path: Path) -> Machine:
    return Machine(loop, tmp_path / "registry")


def wait(machine: Machine, seconds: float = LOOK) -> None:
    machine.loop.run_until_complete(asyncio.sleep(seconds))


# Who is there


def test_two_sidecars_find_each_other(machine: Machine) -> None:
    """Whichever of them came first, with all that was registered."""
    shop = machine.start("shop", 8001)
    shop.watch("orders", "shop")
    orders = machine.start("orders", 8002, weight=3, zone="a", tags=("v2",), meta={"team": "x"}, version="2.0")
    orders.watch("shop")
    wait(machine)
    assert shop.sees("orders") == ["127.0.0.1:8002"]
    assert orders.sees("shop") == shop.sees("shop") == ["127.0.0.1:8001"]
    found = shop.told["orders"][-1][0]
    assert (found.weight, found.zone, found.tags, found.meta, found.version) == (3, "a", ("v2",), {"team": "x"}, "2.0")


def test_that_there_is_nobody_is_told_once(machine: Machine) -> None:
    """An answer too: whoever waits for it need not wait longer."""
    node = machine.start()
    node.watch("orders")
    wait(machine, 10)
    assert node.told["orders"] == [()]
    assert node.registry.state().seen


def test_nothing_is_told_that_is_not_new(machine: Machine) -> None:
    """Heartbeats, other services and files that are written again are no news."""
    node = machine.start()
    node.watch("orders")
    machine.start("orders", 8002)
    machine.start("other", 8003)
    wait(machine, 10 * HEARTBEAT_SECONDS)
    assert len(node.told["orders"]) == 2 and node.told["orders"][0] == ()


def test_a_change_of_the_registration_is_told_and_keeps_the_endpoint(machine: Machine) -> None:
    """With its breaker and connections; the new weight is its own."""
    node = machine.start()
    node.watch("orders")
    orders = machine.start("orders", 8002)
    wait(machine)
    endpoints = EndpointSet("orders")
    first = endpoints.update(node.told["orders"][-1])
    orders.registry.register(Instance(service="orders", host="127.0.0.1", port=8002, weight=7, zone="b"))
    wait(machine)
    second = endpoints.update(node.told["orders"][-1])
    assert first is not None and second is not None and first[0] is second[0]
    assert (second[0].weight, second[0].zone) == (7, "b")
    assert endpoints.update(node.told["orders"][-1]) is None


def test_a_change_within_the_same_instant_of_the_file_system_is_seen(machine: Machine) -> None:
    """Its clock is coarse: the directory looks as it did when we listed it, and is not."""
    node = machine.start()
    node.watch("orders")
    machine.start("orders", 8001)
    wait(machine)
    before = machine.path.stat()
    late = machine.start("orders", 8002)
    machine.pause(late)
    os.utime(machine.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    wait(machine)
    assert node.sees("orders") == ["127.0.0.1:8001", "127.0.0.1:8002"]


def test_the_latest_counts_where_two_have_the_same_address(machine: Machine) -> None:
    """One of them died where nobody could see it, and its port was given to the other."""
    node = machine.start()
    node.watch("orders")
    old = machine.start("orders", 8001, elsewhere=True, version="1")
    machine.pause(old)
    wait(machine, 1)
    machine.start("orders", 8001, elsewhere=True, version="2")
    wait(machine)
    assert [one.version for one in node.told["orders"][-1]] == ["2", "1"]


def test_who_is_unsubscribed_is_told_no_more(machine: Machine) -> None:
    """Not even what was found meanwhile; whoever asks again is answered again."""
    node = machine.start()
    node.watch("orders")
    wait(machine)
    node.registry.unsubscribe("orders")
    machine.start("orders", 8002)
    wait(machine)
    assert node.told["orders"] == [()]
    node.watch("orders")
    wait(machine, 0.01)
    assert node.sees("orders") == ["127.0.0.1:8002"]


def test_one_who_cannot_cope_with_what_it_is_told_ends_nothing(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    """The defect is logged, and the looks go on."""
    node = machine.start()
    node.registry.subscribe("orders", lambda instances: 1 / len(instances))  # type: ignore[arg-type, return-value]
    node.watch("shop")
    wait(machine)
    assert node.told["shop"] == [()]
    assert "a defect in what follows the instances of orders" in caplog.text


def test_a_defect_of_ours_does_not_end_the_looks(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and whatever comes after it is seen."""

    def fail(*args: object) -> None:
        raise KeyError("defect")

    node = machine.start()
    with monkeypatch.context() as patch:
        patch.setattr(View, "look", fail)
        wait(machine)
    assert "a defect in the local registry" in caplog.text
    node.watch("shop")
    wait(machine)
    assert node.told["shop"] == [()]


def test_what_others_could_not_read_is_not_registered(machine: Machine) -> None:
    """It is told to whoever asked for it, and not to everybody who reads."""
    node = machine.start()
    for bad in ({"port": 0}, {"zone": "a\nb"}, {"host": "a b"}, {"weight": -1}, {"meta": {"x": "y" * 300}}):
        with pytest.raises(ValueError):
            node.registry.register(
                msgspec.structs.replace(Instance(service="orders", host="127.0.0.1", port=1), **bad)  # type: ignore[arg-type]
            )
    with pytest.raises(ValueError, match="larger than"):
        node.registry.announce("orders", listeners={str(number): "x" * 250 for number in range(300)})
    wait(machine)
    assert machine.files() == []


def test_nobody_is_told_anything_after_the_end(machine: Machine) -> None:
    """Not even what a last look has found on the way; ending twice is ending once."""
    node = machine.start("shop", 8001)
    node.watch("orders")
    wait(machine)
    machine.start("orders", 8002)

    async def end() -> None:
        await asyncio.gather(node.registry.deregister(), node.registry.close())
        await node.registry.deregister()
        await node.registry.close()

    machine.loop.run_until_complete(end())
    wait(machine, 10)
    assert node.told["orders"] == [()]
    assert [name.partition("@")[0] for name in machine.files()] == ["orders"]


# Going


def test_who_deregisters_is_gone_while_its_process_lives(machine: Machine) -> None:
    """Others must not call it from the first moment of its drain; its file goes when it has ended."""
    node = machine.start()
    node.watch("orders")
    orders = machine.start("orders", 8002)
    wait(machine)
    machine.loop.run_until_complete(orders.registry.deregister())
    assert not orders.registry.state().registered
    wait(machine)
    assert node.sees("orders") == []
    assert len(machine.files()) == 1
    machine.loop.run_until_complete(orders.registry.close())
    assert machine.files() == []


def test_who_died_is_gone_at_the_next_look_and_so_is_its_file(machine: Machine) -> None:
    """The system is asked, not the heartbeat."""
    node = machine.start()
    node.watch("orders")
    orders = machine.start("orders", 8002)
    wait(machine)
    machine.kill(orders)
    wait(machine)
    assert node.sees("orders") == []
    assert machine.files() == []


def test_who_does_nothing_but_lives_stays(machine: Machine) -> None:
    """In a debugger, stopped or swapped out: whether it answers is for its breaker to find out."""
    node = machine.start()
    node.watch("orders")
    machine.pause(machine.start("orders", 8002))
    wait(machine, 10 * EXPIRY_SECONDS)
    assert node.sees("orders") == ["127.0.0.1:8002"]
    assert len(node.told["orders"]) == 2


def test_nothing_is_left_on_disk(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the directory of this user too, once the last one has gone; a directory that somebody asked for stays."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    first, second = machine.start("orders", 8001, path=None), machine.start("orders", 8002, path=None)
    assert len(list((tmp_path / "sidecar" / "registry").iterdir())) == 2
    machine.loop.run_until_complete(first.registry.close())
    machine.loop.run_until_complete(second.registry.close())
    assert list(tmp_path.iterdir()) == []
    machine.loop.run_until_complete(machine.start("orders", 8001).registry.close())
    assert machine.files() == []


# Files that disappear


def delete_file(path: Path) -> None:
    for file in path.iterdir():
        file.unlink()


def delete_directory(path: Path) -> None:
    shutil.rmtree(path)


def replace_directory(path: Path) -> None:
    path.rename(path.with_name("old"))
    path.mkdir(0o700)


def replace_file(path: Path) -> None:
    for file in path.iterdir():
        copy = path / "copy"
        copy.write_bytes(b"{}")
        copy.rename(file)


@pytest.mark.parametrize("damage", [delete_file, delete_directory, replace_directory, replace_file])
def test_what_somebody_deletes_is_back_within_a_second(machine: Machine, damage: Callable[[Path], None]) -> None:
    """Everybody puts back what is theirs."""
    node = machine.start()
    orders = machine.start("orders", 8002)
    wait(machine)
    before = machine.files()
    damage(machine.path)
    wait(machine)
    assert machine.files() == before
    assert stat.S_IMODE(machine.path.stat().st_mode) == 0o700
    node.watch("orders")
    wait(machine)
    assert node.sees("orders") == ["127.0.0.1:8002"]
    assert orders.registry.state().registered


@pytest.mark.parametrize("damage", [delete_file, delete_directory, replace_directory])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_nobody_misses_what_is_deleted_and_put_back(
    machine: Machine, damage: Callable[[Path], None], elsewhere: bool
) -> None:
    """Its owner lives and has not said that it goes, so calls go on."""
    node = machine.start()
    node.watch("orders")
    machine.start("orders", 8002, elsewhere=elsewhere)
    wait(machine)
    for _ in range(5):
        damage(machine.path)
        shutil.rmtree(machine.path.with_name("old"), ignore_errors=True)
        wait(machine, 3 * LOOK)
    assert [len(told) for told in node.told["orders"]] == [0, 1]


def test_a_file_that_is_not_put_back_is_gone_after_all(machine: Machine) -> None:
    """Its owner is stopped, or has no disk to write to."""
    node = machine.start()
    node.watch("orders")
    machine.pause(machine.start("orders", 8002))
    wait(machine)
    delete_file(machine.path)
    wait(machine, RESTORE_SECONDS - 2 * LOOK)
    assert node.sees("orders") == ["127.0.0.1:8002"]
    wait(machine, 4 * LOOK)
    assert node.sees("orders") == []


# Owners that the system does not tell us of


def test_a_heartbeat_keeps_those_that_cannot_be_asked(machine: Machine) -> None:
    """In containers that share the directory and not the processes."""
    node = machine.start()
    node.watch("orders")
    machine.start("orders", 8002, elsewhere=True)
    wait(machine, 10 * EXPIRY_SECONDS)
    assert [len(told) for told in node.told["orders"]] == [0, 1]


def test_without_a_heartbeat_they_expire_and_with_one_they_are_back(machine: Machine) -> None:
    """Whoever was only frozen finds its file gone, and writes it anew."""
    node = machine.start()
    node.watch("orders")
    orders = machine.start("orders", 8002, elsewhere=True)
    wait(machine)
    machine.pause(orders)
    wait(machine, EXPIRY_SECONDS - HEARTBEAT_SECONDS)
    assert node.sees("orders") == ["127.0.0.1:8002"]
    wait(machine, HEARTBEAT_SECONDS + LOOK)
    assert node.sees("orders") == []
    assert machine.files() == []
    machine.go_on(orders)
    wait(machine, 2 * LOOK)
    assert node.sees("orders") == ["127.0.0.1:8002"]


def test_whoever_comes_back_while_its_file_is_cleared_away_keeps_it(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what has not changed since it was judged is removed, and then it is looked at again."""
    node = machine.start()
    node.watch("orders")
    machine.pause(machine.start("orders", 8002, elsewhere=True))
    wait(machine)
    remove = Directory.remove

    def late(directory: Directory, name: str, seen: Stamp | None = None) -> None:
        directory.touch(name, machine.clock.wall())
        remove(directory, name, seen)

    monkeypatch.setattr(Directory, "remove", late)
    before = machine.files()
    wait(machine, EXPIRY_SECONDS + 2 * LOOK)
    assert [len(told) for told in node.told["orders"]] == [0, 1, 0, 1]
    assert machine.files() == before


@pytest.mark.parametrize("skew", [-3600.0, 3600.0])
def test_a_heartbeat_with_another_clock_is_a_heartbeat(machine: Machine, skew: float) -> None:
    """At first it looks like something left over; then it moves."""
    machine.start("orders", 8002, elsewhere=True, skew=skew)
    node = machine.start()
    node.watch("orders")
    wait(machine, HEARTBEAT_SECONDS + LOOK)
    assert [len(told) for told in node.told["orders"]] == [0, 1]


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_jumps_makes_nobody_expire(machine: Machine, hours: int) -> None:
    """Only whether a heartbeat comes counts, not what time it says."""
    node = machine.start()
    node.watch("orders")
    machine.start("orders", 8002, elsewhere=True)
    wait(machine)
    machine.wall_offset += hours * 3600
    wait(machine, 3 * EXPIRY_SECONDS)
    assert [len(told) for told in node.told["orders"]] == [0, 1]
    late = machine.start()
    late.watch("orders")
    wait(machine, HEARTBEAT_SECONDS + LOOK)
    assert late.sees("orders") == ["127.0.0.1:8002"]


def test_who_slept_itself_misses_nobody_on_waking(machine: Machine) -> None:
    """Seconds in which nobody looked count for nothing: the others may have slept as well."""
    node = machine.start()
    node.watch("orders")
    orders = machine.start("orders", 8002, elsewhere=True)
    wait(machine)
    machine.pause(orders)
    machine.pause(node)
    wait(machine, 3600)
    machine.go_on(node)
    machine.go_on(orders)
    wait(machine, EXPIRY_SECONDS)
    assert [len(told) for told in node.told["orders"]] == [0, 1]


@pytest.mark.parametrize("age", [3600, -3600])
def test_what_is_left_from_another_life_of_the_machine_is_never_called(machine: Machine, age: int) -> None:
    """Whatever its clock was then; and it is cleared away."""
    old = machine.start("orders", 8002, elsewhere=True)
    machine.pause(old)
    for file in machine.path.iterdir():
        os.utime(file, (0, machine.clock.wall() - age))
    node = machine.start()
    node.watch("orders")
    wait(machine, EXPIRY_SECONDS + 2 * LOOK)
    assert node.told["orders"] == [()]
    assert machine.files() == []


def test_a_refused_connection_asks_for_a_heartbeat(machine: Machine) -> None:
    """Where it cannot be asked whether the owner lives, this is as good as its death, until it shows itself again."""
    node = machine.start()
    node.watch("orders")
    dead, alive = machine.start("orders", 8001, elsewhere=True), machine.start("orders", 8002, elsewhere=True)
    known = machine.start("orders", 8003)
    wait(machine)
    machine.pause(dead)
    machine.pause(known)
    for port in (8001, 8002, 8003):
        node.registry.suspect("127.0.0.1", port)
    wait(machine, 0.01)
    assert node.sees("orders") == ["127.0.0.1:8003"]
    wait(machine, HEARTBEAT_SECONDS + LOOK)
    assert node.sees("orders") == ["127.0.0.1:8002", "127.0.0.1:8003"]
    machine.pause(alive)


# Processes


def test_a_process_id_that_was_given_out_again_is_not_the_owner() -> None:
    """The moment of its beginning tells."""
    processes, we = Processes(), ourselves()
    assert processes.knows(we) and processes.alive(we)
    other = msgspec.structs.replace(we, started=we.started + 1)
    assert processes.knows(other) and not processes.alive(other)


def test_whom_we_do_not_know_yet_we_examine_thoroughly(tmp_path: Path) -> None:
    """What was left by a process whose id somebody else has now is not called once."""
    path, we, view = tmp_path / "registry", ourselves(), View(Clock(lambda: 0.0), Processes())
    for number in (1, 2):
        other = msgspec.structs.replace(we, started=we.started + number)
        address = Instance(service="orders", host="127.0.0.1", port=number)
        announced(path, "orders", number, other, 1.0, instance=address)
    directory = Directory(place(str(path)))
    assert view.look(["orders"], directory) == {"orders": ()}
    assert list(path.iterdir()) == []
    directory.close()


@pytest.mark.parametrize("system", ["", "another boot pid:[1]"])
def test_of_processes_elsewhere_nothing_is_known(system: str) -> None:
    """Of another run of the kernel or another namespace, or if we do not know where they are."""
    assert not Processes().knows(Owner(pid=os.getpid(), system=system))
    assert not Processes("").knows(Owner(pid=os.getpid(), system=system))


def test_no_descriptor_left_is_no_death(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who cannot be examined lives."""

    def fail(*args: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    we = ourselves()
    monkeypatch.setattr(os, "open", fail)
    assert Processes().alive(we)


# Files that make no sense

GOOD = encode(
    Announcement(
        service="orders",
        id="0" * 16,
        owner=Owner(pid=1, started=1, system="here"),
        instance=Instance(service="orders", host="127.0.0.1", port=8080, tags=("a",), meta={"b": "c"}),
    )
)
NAME = f"orders@{'0' * 16}.json"
FOREIGN = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")


def plain(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def linked(path: Path) -> None:
    target = path.parent.parent / "elsewhere"
    target.write_bytes(GOOD)
    path.symlink_to(target)


def foreign(path: Path) -> None:
    path.write_bytes(GOOD)
    os.chown(path, 12345, 12345)


@pytest.mark.parametrize(
    "make",
    [
        plain(b""),
        plain(GOOD[:-20]),
        plain(GOOD + b"{}"),
        plain(b'{"x":' + b"[" * 60000),
        plain(GOOD.replace(b'"schema": 1', b'"schema": 2')),
        plain(GOOD.replace(b'"orders"', b'"shop"')),
        plain(b'"shop"'.join(GOOD.rsplit(b'"orders"', 1))),
        plain(GOOD.replace(b'"pid": 1', b'"pid": 0')),
        plain(GOOD.replace(b'"pid": 1', b'"pid": 99999999999')),
        plain(GOOD.replace(b"127.0.0.1", b"127.0.0.1\\r\\nx: y")),
        plain(GOOD.replace(b"8080", b"80800")),
        plain(GOOD + b" " * MAX_BYTES),
        plain(b"\xff\xfe\x00"),
        os.mkfifo,
        Path.mkdir,
        linked,
        pytest.param(foreign, marks=FOREIGN),
    ],
)
def test_a_file_that_makes_no_sense_is_told_of_once_and_left_alone(
    machine: Machine, make: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody else may know what it is; the services beside it are found."""
    node = machine.start()
    make(machine.path / NAME)
    machine.start("orders", 8002)
    node.watch("orders")
    wait(machine, 3 * SWEEP_SECONDS)
    os.utime(machine.path / NAME, (0, 0), follow_symlinks=False)
    machine.start("orders", 8003)
    wait(machine)
    assert node.sees("orders") == ["127.0.0.1:8002", "127.0.0.1:8003"]
    assert (machine.path / NAME).lstat()
    assert len([one for one in caplog.messages if NAME in one and "ignoring" in one]) == 1


def test_a_file_that_makes_sense_at_last_is_read(machine: Machine) -> None:
    """As any other change."""
    node = machine.start()
    node.watch("orders")
    path = machine.path / NAME
    path.write_bytes(b"{")
    wait(machine)
    new = path.with_name("new")
    new.write_bytes(GOOD)
    new.rename(path)
    wait(machine)
    assert node.sees("orders") == ["127.0.0.1:8080"]


@given(st.binary(max_size=300))
def test_random_bytes_are_refused_and_nothing_else(data: bytes) -> None:
    """Never another exception, and never an instance."""
    with pytest.raises(ValueError):
        decode(data, NAME)


@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=0, max_size=3), st.integers(0, 4))
def test_a_damaged_file_is_refused_or_still_an_announcement(at: int, instead: bytes, length: int) -> None:
    """What comes through can be written and read again, and its address is one."""
    try:
        read = decode(GOOD[:at] + instead + GOOD[at + length :], NAME)
    except ValueError:
        return
    assert decode(encode(read), NAME) == read
    assert read.service == "orders"
    assert read.instance is None or (0 < read.instance.port < 65536 and read.instance.host.isprintable())


def test_services_are_told_apart_by_the_names_of_their_files() -> None:
    """Whatever a service is called, the name is one that every file system takes, and nobody else's."""
    services = ["orders", "Orders", "a/b", "..", "a@b", "x" * 250, "y" * 253, "ü", "orders.v1", "_x"]
    prefixes = {prefix(service) for service in services}
    assert len(prefixes) == len(services)
    assert all(len(one) <= 200 and "/" not in one and "@" not in one and one[0] != "." for one in prefixes)
    assert all(one == one.lower() for one in prefixes)


# The directory


@pytest.mark.parametrize("make", ["link", "open", "file", pytest.param("foreign", marks=FOREIGN)])
def test_a_directory_that_is_not_ours_alone_is_refused(
    machine: Machine, make: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever could write to it could send our calls anywhere; the error says what to do."""
    path = machine.path
    if make == "link":
        path.with_name("real").mkdir(0o700)
        path.symlink_to("real")
    elif make == "file":
        path.write_bytes(b"")
    else:
        path.mkdir(0o700)
        if make == "open":
            path.chmod(0o770)
        else:
            os.chown(path, 12345, 12345)
    with pytest.raises(Refused, match=f"{path} (is a link|is no directory|is open to others|belongs to another user)"):
        machine.start("orders", 8001)
    assert caplog.text == "", "the error says it all, and nothing is tried again"


def test_a_directory_that_is_opened_to_others_later_is_not_believed_any_more(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    """What was known stays, until it is ours alone again."""
    node = machine.start()
    node.watch("orders")
    machine.start("orders", 8001, elsewhere=True)
    wait(machine)
    machine.path.chmod(0o777)
    machine.path.joinpath(NAME).write_bytes(GOOD)
    wait(machine, 2 * EXPIRY_SECONDS)
    assert node.sees("orders") == ["127.0.0.1:8001"]
    assert "is open to others" in node.registry.state().trouble
    machine.path.joinpath(NAME).unlink()
    machine.path.chmod(0o700)
    wait(machine)
    assert node.registry.state().trouble == ""


def test_the_directory_of_this_user_is_in_the_runtime_directory_if_that_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise in the one for temporary files, with our number in its name."""
    monkeypatch.setattr("tempfile.tempdir", "/somewhere")
    fallback = f"/somewhere/sidecar-{os.geteuid()}/registry"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert place().path == f"{tmp_path}/sidecar/registry"
    monkeypatch.setenv("XDG_RUNTIME_DIR", "relative")
    assert place().path == fallback
    monkeypatch.setenv("XDG_RUNTIME_DIR", f"{tmp_path}/missing")
    assert place().path == fallback
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert place().path == fallback
    monkeypatch.setattr("os.geteuid", lambda: 4242)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert place().path == "/somewhere/sidecar-4242/registry"


# Trouble


def test_a_full_disk_keeps_nobody_from_finding_others(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told once a minute, and tried at every look."""
    caplog.set_level(logging.INFO)

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    machine.start("orders", 8001)
    with monkeypatch.context() as patch:
        patch.setattr(Directory, "write", full)
        node = machine.start("shop", 8002)
        node.watch("orders")
        wait(machine, REPEAT_SECONDS - 1)
        assert node.sees("orders") == ["127.0.0.1:8001"]
        assert caplog.text.count("cannot register in") == 1
        assert f"{machine.path}: No space left on device" in caplog.text
        assert not node.registry.state().registered
        assert node.registry.state().stale_since is None
        wait(machine, 2)
        assert caplog.text.count("cannot register in") == 2
    wait(machine)
    assert node.registry.state().registered
    assert caplog.text.count("works again") == 1


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither half a file nor an open one; what was there before is still there."""
    directory = Directory(place(str(tmp_path / "registry")))
    directory.write(NAME, b"before", 1.0)

    def fail(*args: object, **more: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OSError, match="Input/output"):
        directory.write(NAME, b"after", 2.0)
    directory.close()
    assert [(file.name, file.read_bytes()) for file in (tmp_path / "registry").iterdir()] == [(NAME, b"before")]


def test_without_the_directory_what_is_known_is_kept_and_who_dies_is_noticed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system still tells of processes; heartbeats that cannot be seen are not missed."""
    node = machine.start()
    node.watch("orders")
    mortal = machine.start("orders", 8001)
    machine.start("orders", 8002)
    machine.start("orders", 8003, elsewhere=True)
    wait(machine)

    def fail(*args: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Directory, "changed_ns", fail)
        wait(machine)
        stale_since = node.registry.state().stale_since
        assert stale_since is not None and machine.loop.time() - LOOK <= stale_since
        wait(machine, 2 * EXPIRY_SECONDS)
        assert node.sees("orders") == ["127.0.0.1:8001", "127.0.0.1:8002", "127.0.0.1:8003"]
        assert node.registry.state().stale_since == stale_since
        machine.kill(mortal)
        wait(machine, 2 * LOOK)
        assert node.sees("orders") == ["127.0.0.1:8002", "127.0.0.1:8003"]
        node.watch("unknown")
        wait(machine)
        assert node.told["unknown"] == [], "that nobody is there is not known"
    wait(machine)
    assert node.told["unknown"] == [()]
    assert node.registry.state().stale_since is None


def test_a_directory_that_could_not_be_listed_for_a_while_is_listed_then(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although it has not changed since the first time that it could not."""

    def fail(*args: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    node = machine.start()
    node.watch("orders")
    with monkeypatch.context() as patch:
        patch.setattr(Directory, "names", fail)
        machine.pause(machine.start("orders", 8001))
        wait(machine, 5 * LOOK)
        assert node.told["orders"] == []
    wait(machine)
    assert node.sees("orders") == ["127.0.0.1:8001"]


def test_a_directory_that_cannot_be_made_is_made_later(machine: Machine) -> None:
    """The start is not held up by it."""
    machine.path = machine.path / "below"
    node = machine.start("orders", 8001)
    assert not node.registry.state().seen
    machine.path.parent.mkdir()
    wait(machine)
    assert node.registry.state().seen and node.registry.state().registered


# Sweeping


def test_the_dead_of_services_that_nobody_calls_are_cleared_away(machine: Machine) -> None:
    """At the start at once, then once a minute; what moves or makes no sense is left alone."""
    machine.kill(machine.start("dead", 8001))
    machine.pause(machine.start("silent", 8002, elsewhere=True))
    machine.start("alive", 8003)
    machine.start("beating", 8004, elsewhere=True)
    unfinished = machine.path / f".{NAME}.tmp"
    unfinished.write_bytes(b"half")
    strange = [machine.path / "notes.txt", machine.path / ".bashrc", machine.path / ".x.json.tmp", machine.path / NAME]
    for path in strange:
        path.write_bytes(b"mine")
    node = machine.start()
    assert not [name for name in machine.files() if name.startswith("dead")]
    wait(machine, 2 * SWEEP_SECONDS + LOOK)
    left = {name.partition("@")[0] for name in machine.files() if name != NAME}
    assert left == {"alive", "beating", "notes.txt", ".bashrc", ".x.json.tmp"}
    assert all(path.read_bytes() == b"mine" for path in strange)
    machine.pause(node)


# Which sidecars run


def announced(path: Path | None, service: str, ident: int, owner: Owner, written: float, **more: object) -> None:
    one = Announcement(service=service, id=f"{ident:016x}", owner=owner, written=written, **more)  # type: ignore[arg-type]
    directory = Directory(place(str(path) if path is not None else None))
    directory.write(one.file, encode(one), written)
    directory.close()


def test_the_sidecars_that_run_are_found_with_their_admin_addresses(tmp_path: Path) -> None:
    """Also those that nobody can call; not those that have died, and not what makes no sense."""
    path, we, clock = tmp_path / "registry", ourselves(), Clock(wall=lambda: 1000.0)
    elsewhere = Owner(pid=7, system="elsewhere")
    announced(path, "shop", 1, we, 10.0, admin="127.0.0.1:15001", listeners={"outbound": "127.0.0.1:16001"})
    announced(path, "shop", 2, we, 5.0, admin="127.0.0.1:15000")
    announced(path, "orders", 3, elsewhere, 990.0)
    announced(path, "dead", 4, msgspec.structs.replace(we, started=we.started + 1), 999.0)
    announced(path, "silent", 5, elsewhere, 980.0)
    (path / f"odd@{6:016x}.json").write_bytes(b"{")
    found = running(str(path), clock)
    assert [(one.service, one.admin) for one in found] == [
        ("orders", ""),
        ("shop", "127.0.0.1:15000"),
        ("shop", "127.0.0.1:15001"),
    ]
    assert found[2].listeners == {"outbound": "127.0.0.1:16001"}
    assert found[2].owner.pid == os.getpid()
    assert len(list(path.iterdir())) == 6


def test_they_are_found_wherever_a_sidecar_of_this_user_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was started without a login session, and is asked from within one, say."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    for service in ("timer", "shop"):
        announced(None, service, 1, ourselves(), 1.0)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert [one.service for one in running()] == ["shop", "timer"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sidecar", f"sidecar-{os.geteuid()}"]


def test_where_there_is_no_directory_no_sidecar_runs(tmp_path: Path) -> None:
    """Asking does not make it."""
    assert running(str(tmp_path / "registry")) == []
    assert list(tmp_path.iterdir()) == []


def test_a_sidecar_that_nobody_can_call_announces_itself_all_the_same(machine: Machine) -> None:
    """And stays announced from its registration through its drain to its end."""
    node = machine.start()
    node.registry.announce("cron", "127.0.0.1:15000", {"outbound": "127.0.0.1:15001"})
    watcher = machine.start()
    watcher.watch("cron")
    wait(machine)
    assert watcher.sees("cron") == []

    def said() -> Announcement:
        (name,) = machine.files()
        return decode((machine.path / name).read_bytes(), name)

    assert (said().admin, said().instance) == ("127.0.0.1:15000", None)
    node.registry.register(Instance(service="cron", host="127.0.0.1", port=1))
    wait(machine)
    assert (said().admin, said().instance is not None) == ("127.0.0.1:15000", True)
    machine.loop.run_until_complete(node.registry.deregister())
    assert (said().admin, said().instance) == ("127.0.0.1:15000", None)
    machine.loop.run_until_complete(node.registry.close())
    assert machine.files() == []


def test_a_sidecar_that_changes_its_service_leaves_no_trace_of_the_former(machine: Machine) -> None:
    """One sidecar, one file."""
    node = machine.start("orders", 8001)
    node.registry.announce("shop")
    wait(machine)
    assert [name.partition("@")[0] for name in machine.files()] == ["shop"]


# What it costs


def test_a_look_at_hundreds_of_services_reads_nothing_that_has_not_changed(
    loop: VirtualLoop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is anything read of services that nobody has asked for."""
    path, we = tmp_path / "registry", ourselves()
    services = [f"service-{number}" for number in range(300)]
    for number, service in enumerate(services):
        address = Instance(service=service, host="127.0.0.1", port=number + 1)
        announced(path, service, number, we, 1.0, instance=address)
    reads: list[str] = []
    lists: list[int] = []
    read, names = Directory.read, Directory.names
    monkeypatch.setattr(Directory, "read", lambda self, name, limit: reads.append(name) or read(self, name, limit))  # type: ignore[func-returns-value]
    monkeypatch.setattr(Directory, "names", lambda self: lists.append(1) or names(self))  # type: ignore[func-returns-value]
    directory = Directory(place(str(path)))
    view = View(Clock(loop.time, loop.time), Processes())
    assert all(view.look(services[:200], directory).values())
    assert len(reads) == 200
    view.look(services[:200], directory)
    reads.clear()
    lists.clear()
    for _ in range(100):
        assert all(view.look(services[:200], directory).values())
    assert (reads, lists) == ([], [])
    directory.close()


def test_it_is_a_source(machine: Machine) -> None:
    """As every registry that the app can go by."""
    node: Node = machine.start()
    source: Source = node.registry
    told: list[Sequence[Instance]] = []
    source.subscribe("orders", told.append)
    assert told == [], "never from within a call"
