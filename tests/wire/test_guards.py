"""Rows D05, D10 and D11: what is done when one peer takes too much, when memory runs out, and when the loop stands still."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.clock import Clock
from sidecar.overload.memory import PAGE, Memory
from sidecar.overload.stall import BEAT_SECONDS, Pulse, Watch
from sidecar.timing.wheel import Wheel
from tests.support.world import LISTEN, Now, Peer, World
from tests.wire.peers import GET, OK, response

TEN = LISTEN + '[inbound]\nmax_connections = 10\n[services.orders]\nendpoints = ["10.0.0.1:9001"]\n'


# D05: connections from one address


def from_address(world: World, host: str, listener: str = "inbound") -> Peer:
    return world.client(listener, (host, 50000))


def test_one_address_takes_at_most_half_of_the_connections() -> None:
    """D05: the sixth of ten is told so and closed, another address is served, and one that closes makes room."""
    world = World(TEN)
    greedy = [from_address(world, "10.1.0.1") for _ in range(5)]
    excess = from_address(world, "10.1.0.1")
    excess.send(GET)
    found = response(excess)
    assert (found.status, found.reason, found.get(b"connection")) == (503, "overloaded", b"close")
    assert int(found.get(b"retry-after") or 0) >= 1
    assert b"5 connections from 10.1.0.1" in found.body
    other = from_address(world, "10.1.0.2")
    other.send(GET)
    server = world.accept()
    server.send(OK)
    assert response(other).body == b"ok"
    world.peers[5].end()
    greedy[0].end()
    late = from_address(world, "10.1.0.1")
    late.send(GET)
    server.send(OK)
    assert response(late).body == b"ok"


def test_a_flood_from_one_address_is_cut_off_without_a_word() -> None:
    """D05: as one from many is; who was there before keeps being served, and nothing is remembered of who has left."""
    world = World(TEN.replace("max_connections = 10", "max_connections = 100"))
    good = from_address(world, "10.1.0.2")
    flood = [from_address(world, "10.1.0.1") for _ in range(300)]
    world.pass_time(1.1)
    told = [peer for peer in flood if peer.take()]
    assert len(told) == 32
    assert sum(peer.over for peer in flood) == 300 - 50 - 32
    good.send(GET)
    world.accept().send(OK)
    assert response(good).body == b"ok"
    for peer in flood:
        peer.lose()
    good.end()
    listener = world.sidecar.listeners["inbound"]
    assert (listener.connections, listener._by_address) == ({}, {})


def test_the_share_of_an_address_can_be_all() -> None:
    """D05: where every caller comes by way of one proxy, its address is all that there is."""
    world = World(TEN.replace("max_connections = 10", "max_connections = 10\nshare_per_address = 1.0"))
    clients = [from_address(world, "10.1.0.1") for _ in range(10)]
    assert not any(client.take() for client in clients)
    excess = from_address(world, "10.1.0.1")
    excess.send(GET)
    assert response(excess).status == 503


def test_the_application_may_take_all_connections_of_outbound() -> None:
    """D05: it is the only one that there is, and has one address."""
    world = World(TEN)
    clients = [world.client("outbound") for _ in range(10)]
    assert not any(client.take() for client in clients)


def test_whoever_holds_connections_to_the_probes_does_not_keep_others_out() -> None:
    """D05: a pod whose kubelet is turned away would be killed."""
    world = World(TEN)
    for _ in range(200):
        from_address(world, "10.1.0.1", "probes")
    world.settle()
    kubelet = from_address(world, "10.1.0.2", "probes")
    kubelet.send(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
    assert response(kubelet).status == 200


# D10: memory


class Scarce:
    """A cgroup of version 2 with a limit of 1000 pages, as files, in which this process is alone."""

    def __init__(self, directory: Path) -> None:
        self.cgroup = directory / "cgroup"
        self.process = directory / "process"
        self.cgroup.mkdir()
        self.process.mkdir()
        (self.process / "cgroup").write_text("0::/\n")
        (self.cgroup / "memory.max").write_text(f"{1000 * PAGE}\n")
        self.use(100)
        self.memory = Memory(None, self.cgroup, self.process)

    def use(self, pages: int) -> None:
        (self.process / "statm").write_text(f"9999 {pages} 10 5 0 123 0\n")
        (self.cgroup / "memory.current").write_text(f"{(pages + 50) * PAGE}\n")
        (self.cgroup / "memory.stat").write_text(f"anon 1\ninactive_file {50 * PAGE}\nactive_file 7\n")


@pytest.fixture
def scarce(tmp_path: Path) -> Iterator[Scarce]:
    scarce = Scarce(tmp_path)
    yield scarce
    scarce.memory.close()


def guarded(scarce: Scarce) -> World:
    world = World(TEN)
    world.sidecar.guards.watch_memory(scarce.memory)
    return world


def use(world: World, scarce: Scarce, pages: int) -> None:
    """Until the guards have seen it."""
    scarce.use(pages)
    world.pass_time(0.6)


def scraped(world: World) -> bytes:
    probes = world.client("probes")
    probes.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    world.settle()
    return probes.take()


def served(world: World, client: Peer, server: Peer | None = None) -> Peer:
    """The endpoint that has answered ``client``."""
    client.send(GET)
    if world.dialing or server is None:
        server = world.accept()
    server.send(OK)
    return server


def test_as_memory_runs_out_idle_connections_are_closed_sooner(scarce: Scarce) -> None:
    """D10: after about half of the way of ratios at 0.9, after two seconds from 0.95 on; one with a request stays."""
    world = guarded(scarce)
    idle, busy = world.client(), world.client()
    busy.send(GET)
    world.accept()
    use(world, scarce, 840)
    world.pass_time(50.0)
    assert not idle.over, "there is no haste yet"
    use(world, scarce, 900)
    world.pass_time(30.0)  # An hour has become 85 s.
    assert not idle.over
    world.pass_time(5.0)
    assert idle.over
    assert not busy.over
    idle = world.client()
    use(world, scarce, 949)
    world.pass_time(2.5)
    assert idle.over
    assert idle.take() == b""


def test_a_connection_that_has_asked_for_more_is_not_idle(scarce: Scarce) -> None:
    """D10: its peer is slow to take an answer; what it asked behind that is answered all the same."""
    world = guarded(scarce)
    client = world.client()
    client.send(GET)
    client.full()
    client.send(GET)
    world.accept().send(OK)
    use(world, scarce, 940)
    world.pass_time(20.0)
    assert not client.over
    client.drained()
    world.accept().send(OK)
    assert client.take().count(b"200 OK") == 2


def test_when_memory_is_short_every_response_is_its_connections_last(scarce: Scarce) -> None:
    """D10: from 0.92 on, and idle connections to endpoints are closed; nothing is refused."""
    world = guarded(scarce)
    client = world.client()
    server = served(world, client)
    assert response(client).get(b"connection") is None
    assert not server.over
    use(world, scarce, 920)
    assert server.over
    served(world, client)
    found = response(client)
    assert (found.status, found.get(b"connection")) == (200, b"close")
    use(world, scarce, 900)
    client = world.client()
    server = served(world, client)
    assert response(client).get(b"connection") == b"close", "it is hardly better"
    use(world, scarce, 880)
    client = world.client()
    served(world, client, server)
    assert response(client).get(b"connection") is None


@pytest.mark.parametrize("listener", ["inbound", "outbound"])
def test_when_memory_is_used_up_requests_are_refused_and_probes_are_not(scarce: Scarce, listener: str) -> None:
    """D10: from 0.95 on, in both directions; what runs goes on, and what was refused can be asked again."""
    world = guarded(scarce)
    running = world.client(listener)
    running.send(GET)
    server = world.accept()
    use(world, scarce, 950)
    client = world.client(listener)
    client.send(b"GET / HTTP/1.1\r\nHost: orders\r\nX-Request-Id: r-7\r\n\r\n")
    found = response(client)
    assert (found.status, found.reason, found.get(b"connection")) == (503, "overloaded", b"close")
    assert (found.get(b"x-request-id"), found.get(b"retry-after")) == (b"r-7", b"1")
    assert b"memory" in found.body
    assert not world.dialing
    server.send(OK)
    assert response(running).body == b"ok"
    text = scraped(world)
    assert b"\nsidecar_memory_pressure 0.95\n" in text
    labels = f'direction="{listener}",method="GET",reason="overloaded",route="",service="",status="503"'
    assert f"sidecar_requests_total{{{labels}}} 1.0".encode() in text
    probes = world.client("probes")
    probes.send(b"GET /health/detailed HTTP/1.1\r\nHost: x\r\n\r\n")
    world.settle()
    assert b'"memory":{"pressure":0.95,"step":"refusing"}' in probes.take()
    use(world, scarce, 915)
    client = world.client(listener)
    served(world, client)
    assert response(client).body == b"ok"


def test_a_reload_does_not_open_the_doors_while_memory_is_used_up(scarce: Scarce) -> None:
    """D10: new routing tables are refused at as well."""
    world = guarded(scarce)
    use(world, scarce, 960)
    world.sidecar._take_over(world.sidecar.assembly)
    client = world.client()
    client.send(GET)
    assert response(client).reason == "overloaded"
    use(world, scarce, 500)
    client = world.client()
    served(world, client)
    assert response(client).body == b"ok"


def test_a_reload_can_change_what_the_process_may_have(scarce: Scarce) -> None:
    """D10: of 1,000 pages 100 are in use; then 100 are all that there may be."""
    world = guarded(scarce)
    world.pass_time(0.6)
    assert b"\nsidecar_memory_pressure 0.1\n" in scraped(world)
    config = World(TEN + f"[overload]\nmemory = {100 * PAGE}\n").sidecar.config
    world.sidecar._take_over(world.sidecar._assemble(config, world.sidecar.assembly))
    world.pass_time(0.6)
    assert b"\nsidecar_memory_pressure 1.0\n" in scraped(world)


def test_relief_from_memory_pressure_does_not_undo_a_drain(scarce: Scarce) -> None:
    """D10: a listener that ends goes on to close its connections."""
    world = guarded(scarce)
    use(world, scarce, 930)
    world.sidecar.listeners["outbound"].end()
    use(world, scarce, 100)
    client = world.client()
    served(world, client)
    assert response(client).get(b"connection") == b"close"


def test_the_log_tells_each_change_of_measures_once(scarce: Scarce, caplog: pytest.LogCaptureFixture) -> None:
    """D10: not each look at the memory, of which there are two a second."""
    caplog.set_level(logging.INFO, "sidecar.overload")
    world = guarded(scarce)
    for pages in (850, 930, 990, 930, 100):
        use(world, scarce, pages)
        world.pass_time(20.0)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "memory: 85 % of what we can have is in use: idle connections are closed sooner"),
        ("WARNING", "memory: 93 % of what we can have is in use: connections are closed after each response"),
        ("WARNING", "memory: 99 % of what we can have is in use: requests are refused until less is in use"),
        ("INFO", "memory: 10 % of what we can have is in use: no measures are taken any more"),
    ]


def test_memory_that_others_use_is_not_held_against_us(scarce: Scarce) -> None:
    """D10: an application that fills the container which it shares with us, as Java does, is not refused its requests."""
    (scarce.process / "statm").write_text("9999 20 10 5 0 123 0\n")
    (scarce.cgroup / "memory.current").write_text(f"{(980 + 50) * PAGE}\n")
    assert scarce.memory.pressure() == pytest.approx(20 / (20 + 20))


def test_the_narrowest_of_nested_limits_counts(tmp_path: Path) -> None:
    """D10: in version 1 and 2, a limit of the pod as well as one of the container; it may change while we run."""
    for version, (top, line, usage, limit, inactive) in enumerate(
        (
            ("v1/memory", "4:cpu,memory:/pod/box\n0::/\n", "usage_in_bytes", "limit_in_bytes", "total_inactive_file"),
            ("v2", "0::/pod/box\n", "current", "max", "inactive_file"),
        )
    ):
        process = tmp_path / f"process{version}"
        process.mkdir()
        (process / "cgroup").write_text(line)
        (process / "statm").write_text("9999 100 10 5 0 123 0\n")
        for where, used, most in (("pod/box", 100, 1000), ("pod", 700, 750)):
            directory = tmp_path / top / where
            directory.mkdir(parents=True, exist_ok=True)
            (directory / f"memory.{usage}").write_text(f"{(used + 3) * PAGE}\n")
            (directory / f"memory.{limit}").write_text(f"{most * PAGE}\n")
            (directory / "memory.stat").write_text(f"{inactive} {3 * PAGE}\n")
        memory = Memory(None, tmp_path / f"v{version + 1}", process)
        assert memory.pressure() == pytest.approx(100 / 150)
        (tmp_path / top / "pod" / f"memory.{limit}").write_text(f"{800 * PAGE}\n")
        assert memory.pressure() == pytest.approx(100 / 200)
        memory.close()


@pytest.mark.parametrize("limit", ["max", "9223372036854771712"])
def test_without_a_limit_there_is_no_pressure_unless_a_ceiling_is_set(tmp_path: Path, limit: str) -> None:
    """D10: ``[overload] memory`` is one for machines without cgroups, or with a cgroup that has no limit."""
    scarce = Scarce(tmp_path)
    scarce.memory.close()
    (scarce.cgroup / "memory.max").write_text(f"{limit}\n")
    memory = Memory(None, scarce.cgroup, scarce.process)
    assert memory.pressure() == 0.0
    memory.ceiling = 400 * PAGE
    assert memory.pressure() == 0.25
    memory.close()
    assert Memory(1, scarce.cgroup, tmp_path / "nothing").pressure() == 0.0


# D11: a loop that stands still


def beating() -> tuple[Now, Wheel, Pulse]:
    time = Now()
    wheel = Wheel()
    pulse = Pulse(wheel)
    pulse.start(time.now)
    return time, wheel, pulse


def turn_until(time: Now, wheel: Wheel, instant: float) -> None:
    """A loop that is never late."""
    while wheel.next_at() < instant:
        time.now = wheel.next_at()
        wheel.advance(time.now)


def test_a_loop_that_turns_has_no_lag() -> None:
    """D11: in four looks a second."""
    time, wheel, pulse = beating()
    turn_until(time, wheel, time.now + 10.1)
    assert pulse.lag.buckets == [40] + [0] * 10
    assert pulse.lag.longest < 0.001


def test_a_loop_that_stands_still_is_late_once_for_every_look_that_it_misses() -> None:
    """D11: so that a stall of two seconds weighs as much as it lasts."""
    time, wheel, pulse = beating()
    turn_until(time, wheel, time.now + 1.1)
    time.now = wheel.next_at() + 2.0
    wheel.advance(time.now)
    assert pulse.lag.longest == pytest.approx(2.0)
    late = pulse.lag.buckets
    # 2.0 to 1.25, 1.0 to 0.75, 0.5, 0.25, and 0.
    assert (late[8], late[7], late[6], late[5], late[0]) == (4, 2, 1, 1, 4 + 1)


def test_the_log_tells_of_a_late_loop_every_ten_seconds_at_most(caplog: pytest.LogCaptureFixture) -> None:
    """D11: from 100 ms on; what was not said is counted."""
    time, wheel, _ = beating()
    for late in (0.09, 0.2, 0.3, 0.4):
        time.now = wheel.next_at() + late
        wheel.advance(time.now)
    turn_until(time, wheel, time.now + 10.0)
    time.now = wheel.next_at() + 0.5
    wheel.advance(time.now)
    said = [record.getMessage().split(":")[0] for record in caplog.records]
    assert said == ["the event loop was late by 200 ms", "the event loop was late by 500 ms"]
    assert caplog.records[1].getMessage().endswith("(2 more since this was last said)")


def test_what_holds_the_loop_is_told_while_it_does(caplog: pytest.LogCaptureFixture) -> None:
    """D11: once for each stall, with the innermost frames of the loop's thread; not before half a second."""
    time, wheel, pulse = beating()
    watch = Watch(pulse, Clock(time.monotonic, time.wall), threading.get_ident())

    def looks(*seconds: float) -> None:
        for after in seconds:
            watch.look(time.now + after)

    looks(0.1, 0.5)
    assert not caplog.records
    looks(0.7, 1.2, 1.7)
    (record,) = caplog.records
    assert record.getMessage().startswith("the event loop has stood still for 0.7 s; it is in ")
    assert f"looks ({__file__}:" in record.getMessage()
    assert len(record.getMessage().split(", called by ")) == 8
    turn_until(time, wheel, time.now + BEAT_SECONDS + 0.1)
    looks(0.1)
    assert len(caplog.records) == 1
    looks(0.8)
    assert len(caplog.records) == 2


def test_a_watch_that_did_not_run_itself_blames_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """D11: the process was stopped, or the machine has starved it; the next look is one in good time."""
    time, _, pulse = beating()
    watch = Watch(pulse, Clock(time.monotonic, time.wall), threading.get_ident())
    watch.look(time.now + 30.0)
    assert not caplog.records
    watch.look(time.now + 30.5)
    assert len(caplog.records) == 1
