"""The guards of the process, in a process: real addresses, real memory, a loop that really stands still."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from contextlib import ExitStack

import pytest
import uvloop

from sidecar.clock import Clock
from sidecar.overload.memory import Memory, give_back
from sidecar.overload.stall import Pulse, Watch
from sidecar.proxy.loop_timer import LoopTimer
from sidecar.timing.wheel import Wheel
from tests.support.live import PATIENCE, Client, Closed, Sidecar, Upstream, Wire, answering, services, until


def connection_from(address: str, port: int) -> Client:
    """A connection from an address of this machine's choosing: all of 127.0.0.0/8 is loopback."""
    client = Client.__new__(Client)
    Wire.__init__(client, socket.create_connection(("127.0.0.1", port), PATIENCE, (address, 0)))
    return client


def test_a_flood_from_one_address_leaves_room_for_others() -> None:
    """400 connections of one address where 100 are taken: half of them get in, and another address is served at once."""
    with (
        Upstream(answering()) as app,
        Sidecar("[inbound]\nmax_connections = 100\n", app=app.address) as sidecar,
        ExitStack() as stack,
    ):
        port = sidecar.ports["inbound"]
        served = 0
        for _ in range(400):
            client = stack.enter_context(connection_from("127.0.0.2", port))
            try:
                answer = client.get("shop")
            except Closed:
                continue
            served += answer.status == 200
            assert answer.status == 200 or answer.reason == "overloaded"
        assert served == 50
        other = stack.enter_context(connection_from("127.0.0.3", port))
        assert other.get("shop").status == 200
        assert sidecar.probe("/health/ready").status == 200


def test_a_sidecar_beyond_its_memory_refuses_requests_and_answers_probes() -> None:
    """What it has is more than it may have from the start; the log says so once, and the metric by how much."""
    with (
        Upstream(answering()) as app,
        Sidecar('[overload]\nmemory = "10MiB"\n' + services(orders=app.address), app=app.address) as sidecar,
    ):
        until(lambda: sidecar.metric("sidecar_memory_pressure") > 1.0, "the memory is looked at")
        for name, host in (("inbound", "shop"), ("outbound", "orders")):
            with Client(sidecar.ports[name]) as client:
                answer = client.get(host)
                assert (answer.status, answer.reason) == (503, "overloaded")
                assert answer.fields["connection"] == "close"
        assert app.accepted == 0
        assert sidecar.probe("/health/ready").status == 200
        assert b'"step":"refusing"' in sidecar.probe("/health/detailed").body
        assert sidecar.log().count("requests are refused until less is in use") == 1


def test_the_memory_of_a_process_is_read_from_the_kernel() -> None:
    """What it allocates is seen, and what it frees is given back."""
    memory = Memory()
    give_back()  # What tests before this one have left.
    before = memory.resident()
    held = [bytes(2048) for _ in range(50_000)]
    assert memory.resident() - before > 60_000_000
    last = held.pop()  # It lies behind all others, so that freeing them does not shrink the heap by itself.
    del held
    give_back()
    assert memory.resident() - before < 40_000_000
    assert len(last) == 2048
    assert memory.pressure() >= 0.0
    memory.close()


def test_how_late_the_loop_is_can_be_scraped() -> None:
    """It beats by itself, without anybody's request."""
    with Sidecar("") as sidecar:
        until(lambda: sidecar.metric("sidecar_loop_lag_seconds_count") >= 4, "the loop beats")


def test_a_loop_that_is_blocked_says_by_what_while_it_is(caplog: pytest.LogCaptureFixture) -> None:
    """A callback waits for something that only comes when the log has told of it."""
    caplog.set_level(logging.WARNING, "sidecar.overload")
    told = threading.Event()
    clock = Clock()

    def reads_a_file_over_the_network() -> None:
        assert told.wait(PATIENCE)

    async def live() -> None:
        loop = asyncio.get_running_loop()
        wheel = Wheel()
        timer = LoopTimer(wheel, clock, loop)
        pulse = Pulse(wheel)
        pulse.start(clock.now())
        watch = Watch(pulse, clock, threading.get_ident())
        watch.start()
        loop.call_soon(reads_a_file_over_the_network)
        async with asyncio.timeout(PATIENCE):
            while not pulse.lag.longest:
                await asyncio.sleep(0)
        watch.stop()
        pulse.stop()
        timer.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        thread = threading.Thread(target=runner.run, args=(live(),))
        thread.start()
        until(lambda: "has stood still for" in caplog.text, "the watch tells of the stall")
        told.set()
        thread.join(PATIENCE)
    stalls = [record.getMessage() for record in caplog.records if "has stood still" in record.getMessage()]
    assert len(stalls) == 1
    assert "reads_a_file_over_the_network" in stalls[0]
    assert "the event loop was late by" in caplog.text
