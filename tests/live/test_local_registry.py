"""Processes that find each other through a directory: killed, stopped, and many at once."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from sidecar.clock import Clock
from sidecar.discovery.local.alarm import Alarm
from sidecar.discovery.local.directory import Directory, place
from sidecar.discovery.local.owner import Processes
from sidecar.discovery.local.running import running
from sidecar.discovery.local.view import EXPIRY_SECONDS, LOOK_SECONDS, View
from sidecar.discovery.source import Instance
from tests.support.live import ROOT, until

MEMBER = """
import asyncio, signal, sys
from sidecar.clock import Clock, Random
from sidecar.discovery.local.registry import LocalRegistry
from sidecar.discovery.source import Instance

async def main(path, service, port, *watched):
    loop = asyncio.get_running_loop()
    registry = LocalRegistry(loop, Clock(), Random(), path)
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    registry.announce(service, admin="127.0.0.1:" + port)
    registry.register(Instance(service=service, host="127.0.0.1", port=int(port)))
    for other in watched:
        registry.subscribe(other, lambda found: print(*(one.port for one in found), flush=True))
    await registry.start()
    print("up", flush=True)
    await ended.wait()
    await registry.deregister()
    await registry.close()

asyncio.run(main(*sys.argv[1:]))
"""
CROWD = """
import os, sys
from sidecar.clock import Clock
from sidecar.discovery.local.announcement import Announcement
from sidecar.discovery.local.directory import Directory, place
from sidecar.discovery.local.owner import ourselves
from sidecar.discovery.local.post import Post
from sidecar.discovery.source import Instance

path, members, writes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for number in range(members):
    if os.fork() == 0:
        try:
            sys.stdin.readline()
            directory, post, owner = Directory(place(path)), Post(Clock()), ourselves()
            for weight in range(1, writes + 1):
                instance = Instance(service="crowd", host="127.0.0.1", port=number + 1, weight=weight)
                post.keep(Announcement(service="crowd", id=f"{number:016x}", owner=owner, instance=instance), directory)
            os.write(1, b".")
            os.read(3, 1)
        finally:
            os._exit(0)
"""


@contextmanager
def member(path: Path, service: str, port: int, *watched: str) -> Iterator[subprocess.Popen[str]]:
    """A process that is registered; what it is told comes on its standard output, the ports of one service a line."""
    command = [sys.executable, "-c", MEMBER, str(path), service, str(port), *watched]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            until_line(process, "up")
            yield process
        finally:
            process.kill()


def until_line(process: subprocess.Popen[str], wanted: str) -> None:
    """Reads up to the line ``wanted``."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.rstrip("\n") == wanted:
            return
    raise AssertionError(f"the process ended without saying {wanted!r}")


class Looks:
    """Our own view of the services, and a clock that a look moves by what lies between two."""

    def __init__(self, path: Path, *services: str) -> None:
        self.now = 0.0
        self.directory = Directory(place(str(path)))
        self.services = services
        self._view = View(Clock(lambda: self.now), Processes())

    def __enter__(self) -> Callable[[str], list[int]]:
        return self.ports

    def __exit__(self, *error: object) -> None:
        self.directory.close()

    def ports(self, service: str) -> list[int]:
        return [one.port for one in self.look()[service]]

    def look(self) -> dict[str, tuple[Instance, ...]]:
        self.now += LOOK_SECONDS
        return self._view.look(self.services, self.directory)


@pytest.mark.parametrize("reaped", [True, False])
def test_a_killed_process_is_gone_within_two_looks(tmp_path: Path, reaped: bool) -> None:
    """Also one that nobody has waited for, which still has its process id; the file goes with it."""
    path = tmp_path / "registry"
    with member(path, "orders", 8001) as process, Looks(path, "orders") as ports:
        assert ports("orders") == [8001]
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        if reaped:
            process.wait()
        ports("orders")
        assert ports("orders") == []
        assert list(path.iterdir()) == []


def test_a_stopped_process_stays(tmp_path: Path) -> None:
    """It lives, however long its heart stands still."""
    path = tmp_path / "registry"
    with member(path, "orders", 8001) as process, Looks(path, "orders") as ports:
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        for _ in range(int(3 * EXPIRY_SECONDS / LOOK_SECONDS)):
            assert ports("orders") == [8001]
        process.kill()
        process.wait()
        ports("orders")
        assert ports("orders") == []


def test_processes_tell_each_other_of_births_and_deaths(tmp_path: Path) -> None:
    """Registered, killed, registered anew elsewhere, ended in order: the third is told of each."""
    path = tmp_path / "registry"
    with member(path, "shop", 7000, "orders") as shop:
        with member(path, "orders", 8001) as first:
            until_line(shop, "8001")
            with member(path, "orders", 8002) as second:
                until_line(shop, "8001 8002")
                first.kill()
                until_line(shop, "8002")
                with member(path, "orders", 8001):
                    until_line(shop, "8001 8002")
                    second.terminate()
                    until_line(shop, "8001")
                    assert second.wait() == 0
    assert [one.service for one in running(str(path))] == []


def test_the_directory_deleted_while_all_run_is_missed_by_nobody(tmp_path: Path) -> None:
    """All is put back, and in between everybody goes by what was there."""
    path = tmp_path / "registry"
    with member(path, "orders", 8001), member(path, "orders", 8002), Looks(path, "orders") as ports:
        assert ports("orders") == [8001, 8002]
        path.rename(tmp_path / "gone")
        until(lambda: path.is_dir() and len(list(path.glob("orders@*.json"))) == 2, "the files are back")
        assert [one.admin for one in running(str(path))] == ["127.0.0.1:8001", "127.0.0.1:8002"]


def test_an_orderly_end_leaves_nothing_on_disk(tmp_path: Path) -> None:
    """Neither a file nor a lock."""
    path = tmp_path / "registry"
    with member(path, "orders", 8001) as process:
        assert len(list(path.iterdir())) == 1
        process.terminate()
        assert process.wait() == 0
        assert list(path.iterdir()) == []


def test_fifty_that_write_at_once_lose_and_break_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever looks meanwhile sees each as it was or as it is, and never half of it."""
    path, members, writes = tmp_path / "registry", 50, 40
    Directory(place(str(path))).close()
    hold, release = os.pipe()
    with ExitStack() as stack:
        crowd = subprocess.Popen(
            [sys.executable, "-c", CROWD.replace("os.read(3", f"os.read({hold}"), str(path), str(members), str(writes)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[hold],
        )
        stack.enter_context(crowd)
        stack.callback(os.close, hold)
        stack.callback(os.close, release)
        assert crowd.stdin is not None and crowd.stdout is not None
        os.set_blocking(crowd.stdout.fileno(), False)
        looks = Looks(path, "crowd")
        stack.callback(looks.directory.close)
        done, seen = 0, [0] * (members + 1)
        crowd.stdin.write(b"\n" * members)
        crowd.stdin.close()

        def all_done() -> bool:
            nonlocal done
            check(looks.look()["crowd"], seen)
            done += len(crowd.stdout.read() or b"")  # type: ignore[union-attr]
            return done == members

        until(all_done, "all have written", 60)
        check(looks.look()["crowd"], seen)
        found = looks.look()["crowd"]
        assert [(one.port, one.weight) for one in found] == [(port + 1, writes) for port in range(members)]
        assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
        assert len(list(path.iterdir())) == members


def check(found: Sequence[Instance], seen: list[int]) -> None:
    """Nobody falls back behind what was seen, and nobody who was seen is missing."""
    weights = {one.port: one.weight for one in found}
    assert len(weights) == len(found)
    for port, before in enumerate(seen):
        assert weights.get(port, 0) >= before
        seen[port] = weights.get(port, 0)


def test_whoever_is_killed_while_writing_leaves_nothing_that_anybody_takes_for_an_instance(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At whatever moment it happens."""
    path = tmp_path / "registry"
    Directory(place(str(path))).close()
    with Looks(path, "crowd") as ports:
        for _ in range(5):
            with subprocess.Popen(
                [sys.executable, "-c", CROWD, str(path), "1", "1000000"], cwd=ROOT, stdin=subprocess.PIPE
            ) as crowd:
                assert crowd.stdin is not None
                crowd.stdin.write(b"\n")
                crowd.stdin.close()
                until(lambda: ports("crowd") == [1], "it has begun to write")
                (one,) = running(str(path))
                os.kill(one.owner.pid, signal.SIGKILL)
            until(lambda: ports("crowd") == [], "it is gone")
            assert not list(path.glob("crowd@*.json"))
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


# Watching


class Watched:
    """A directory with an alarm on it; ``rung`` counts."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.path = path
        self.rung = 0
        self.alarm = Alarm(self._ring)
        self.alarm.follow(str(path))

    def _ring(self) -> None:
        self.rung += 1

    def put(self, name: str) -> None:
        """As an announcement is written."""
        unfinished = self.path / f".{name}.tmp"
        unfinished.write_bytes(b"new")
        unfinished.rename(self.path / name)

    def rings_for(self, change: Callable[[], object]) -> None:
        before = self.rung
        change()
        until(lambda: self.rung > before, "the alarm rings")


def test_a_change_rings_at_once_and_a_heartbeat_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new file, one written anew, one removed."""
    watchfiles = pytest.importorskip("watchfiles")
    heard: list[tuple[object, str]] = []
    watch = watchfiles.watch

    def listen(*paths: str, **settings: object) -> Iterator[set[tuple[object, str]]]:
        for changes in watch(*paths, **settings):
            yield changes
            # Only now has the alarm done with them.
            heard.extend(changes)

    monkeypatch.setattr(watchfiles, "watch", listen)
    watched = Watched(tmp_path / "first")
    # It begins in its own time; from the first ring on it is there.
    until(lambda: watched.put("a") or watched.rung, "the alarm has begun")
    watched.rings_for(lambda: watched.put("b"))
    watched.rings_for(lambda: watched.put("b"))
    watched.rings_for((watched.path / "b").unlink)
    beats = (watchfiles.Change.modified, str(watched.path / "a"))

    def hear_one() -> None:
        before = heard.count(beats)
        until(lambda: os.utime(watched.path / "a") or heard.count(beats) > before, "the heartbeat is heard")

    hear_one()  # And with it everything that came before it.
    before = watched.rung
    hear_one()
    assert watched.rung == before
    watched.alarm.close()


def test_a_member_hears_of_changes_through_watchfiles(tmp_path: Path) -> None:
    """The library is loaded by whoever uses the registry, and sees what the next look would have."""
    pytest.importorskip("watchfiles")
    path = tmp_path / "registry"
    with member(path, "shop", 7000, "orders") as shop, member(path, "orders", 8001) as orders:
        until_line(shop, "8001")
        maps = Path(f"/proc/{shop.pid}/maps").read_text()
        assert "watchfiles" in maps
        orders.terminate()
        until_line(shop, "")


class Broken(types.ModuleType):
    def watch(self, *paths: str, **settings: object) -> Iterator[object]:
        raise OSError("inotify watch limit reached")


@pytest.mark.parametrize("library", [None, Broken("watchfiles")])
def test_without_a_library_that_works_looks_are_all_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: types.ModuleType | None, caplog: pytest.LogCaptureFixture
) -> None:
    """It is optional, and the system may have no watch left; the log says so, and nothing else is different."""
    caplog.set_level(logging.INFO)
    monkeypatch.setitem(sys.modules, "watchfiles", library)
    watched = Watched(tmp_path / "first")
    assert watched.alarm._thread is not None
    watched.alarm._thread.join()
    watched.alarm.close()
    assert watched.rung == 0
    assert ("inotify watch limit reached" in caplog.text) == (library is not None)
