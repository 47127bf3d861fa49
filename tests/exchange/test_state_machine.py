"""Everything at once: peers that do what they like in any order, and an exchange that keeps to its drawing all the same."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.errors import Failure
from sidecar.exchange.states import FINISHED, LOOKING, NEW, TRANSITIONS
from sidecar.filters import PAUSE, Reply, RequestView, Verdict
from tests.exchange.inside import all_given_back, watch, with_filters
from tests.exchange.steps import mesh, request, response
from tests.support.world import Peer, World

NARROW = """
attempt_timeout = "5s"
stall_timeout = "4s"
limits = { max_connections = 2, max_pending = 2, max_requests = 4 }
breaker = { failures = 2 }
[limits]
idle_timeout = "2m"
"""
BODY = b"0123456789" * 9000

REQUESTS = (
    request(),
    request(),
    request("POST", body=b"pay"),
    request("PUT", body=b"small, but in parts"),
    request("PUT", body=BODY),
    request("POST", body=b"small, but in parts", Expect="100-continue"),
    request("PUT", body=b"hurried", X_Request_Timeout_Ms="700"),
    request(host="nobody"),
    b"PUT / HTTP/1.1\r\nHost: orders\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;x\r\nyou\r\n0\r\nx-end: 1\r\n\r\n",
    b"PUT / HTTP/1.1\r\nHost: orders\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nthis is no chunk\r\n",
)
RESPONSES = (
    response(),
    response(),
    response(204, b""),
    response(503, b"no"),
    response(503, b"later", Retry_After="1"),
    response(503, b"x" * 3000),
    response(200, b"x" * 3000),
    b"HTTP/1.1 100 Continue\r\n\r\n" + response(),
    b"HTTP/1.1 503 X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-end: 1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    b"no HTTP at all\r\n\r\n",
)
PARTS = (40, 70, 100, 60_000, 70_000, 1_000_000)


class Walk:
    """What may happen next, each a method that takes any number and makes of it what it needs."""

    def __init__(self) -> None:
        self.world = with_filters(mesh(endpoints=2, more=NARROW), self.ponder)
        self.begun = watch(self.world)
        self.thinking: list[RequestView] = []
        self.unsaid: dict[Peer, bytes] = {}
        """What is left of a message that was begun."""
        self.verdicts = 0
        self.all_endpoints = tuple(self.world.endpoints)

    def ponder(self, view: RequestView) -> Verdict:
        self.verdicts += 1
        if self.verdicts % 5 == 4:
            self.thinking.append(view)
            return PAUSE
        return Reply(403, [], b"") if self.verdicts % 11 == 10 else None

    def clients(self) -> list[Peer]:
        return [peer for peer in self.world.peers if peer.address[0] == "127.0.0.1" and not peer.over]

    def servers(self) -> list[Peer]:
        return [peer for peer in self.world.peers if peer.address[0] != "127.0.0.1" and not peer.over]

    def say(self, peer: Peer, message: bytes, number: int) -> None:
        size = PARTS[number % len(PARTS)]
        self.unsaid[peer] = message[size:]
        peer.send(message[:size])

    def ask(self, number: int) -> None:
        free = [
            peer for peer in self.clients() if not self.unsaid.get(peer) and not peer.paused and not peer.half_closed
        ]
        client = free[0] if free and number % 3 else self.world.client()
        self.say(client, REQUESTS[number % len(REQUESTS)], number // len(REQUESTS))

    def answer(self, number: int) -> None:
        asked = [peer for peer in self.servers() if peer.received and not self.unsaid.get(peer) and not peer.paused]
        for server in asked[:1]:
            server.take()
            self.say(server, RESPONSES[number % len(RESPONSES)], number // len(RESPONSES))

    def go_on(self, number: int) -> None:
        for peer in self.clients() + self.servers():
            if self.unsaid.get(peer) and not peer.paused:
                self.say(peer, self.unsaid[peer], number)

    def accept(self, number: int) -> None:
        if self.world.dialing:
            self.world.accept()

    def refuse(self, number: int) -> None:
        if self.world.dialing:
            self.world.refuse(failure=Failure.CONNECT_TIMEOUT if number % 2 else Failure.CONNECT_FAILED)

    def leave(self, number: int) -> None:
        able = self.clients() + self.servers()
        if able:
            peer = able[number % len(able)]
            self.unsaid[peer] = b""
            peer.end() if number % 2 else peer.reset()

    def clog(self, number: int) -> None:
        able = [peer for peer in self.clients() + self.servers() if not peer.unsent and not peer.half_closed]
        if able:
            able[number % len(able)].full()

    def clear(self, number: int) -> None:
        able = [peer for peer in self.clients() + self.servers() if peer.unsent]
        if able:
            peer = able[number % len(able)]
            peer.drained() if number % 2 else setattr(peer, "unsent", peer.unsent - 1)

    def think(self, number: int) -> None:
        if self.thinking:
            view = self.thinking[number % len(self.thinking)]  # Some are answered twice, or too late.
            view.resume(Reply(401, [], b"who?") if number % 5 == 0 else None)

    def wait(self, number: int) -> None:
        self.world.pass_time((0.01, 0.15, 0.7, 3.0, 6.0, 35.0, 61.0)[number % 7])

    def change(self, number: int) -> None:
        service = self.world.sidecar.assembly.services["orders"]
        service.list(() if number % 4 == 0 else self.all_endpoints[: 1 + number % 2])

    def finish(self) -> None:
        """Nobody does anything any more, save that dials end and time passes."""
        for _ in range(20):
            while self.world.dialing:
                self.world.refuse(failure=Failure.CONNECT_TIMEOUT)
            self.world.pass_time(40, step=0.1)
        self.world.settle()


STEPS: tuple[Callable[[Walk, int], None], ...] = (
    Walk.ask, Walk.ask, Walk.ask, Walk.ask, Walk.accept, Walk.accept, Walk.accept, Walk.accept, Walk.answer, Walk.answer,
    Walk.answer, Walk.answer, Walk.go_on, Walk.go_on, Walk.go_on, Walk.wait, Walk.wait, Walk.refuse, Walk.leave, Walk.clog,
    Walk.clear, Walk.think, Walk.change,
)  # fmt: skip


class Bugs(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        error: Any = record.exc_info and record.exc_info[1]
        raise AssertionError(record.getMessage()) from error


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 1000)), min_size=70, max_size=100))
def test_whatever_happens_the_machine_keeps_to_its_drawing_and_everything_ends(
    story: list[tuple[Callable[[Walk, int], None], int]],
) -> None:
    """No transition that is not drawn, no exception, every exchange recorded once, nothing held when all is over."""
    bugs = Bugs(logging.ERROR)
    logging.getLogger("sidecar").addHandler(bugs)
    try:
        walk = Walk()
        for step, number in story:
            step(walk, number)
            if number % 3 == 0:
                walk.world.settle()
        walk.finish()
        all_given_back(walk.world, walk.begun)
    finally:
        logging.getLogger("sidecar").removeHandler(bugs)


def test_the_drawing_has_no_way_out_of_finished_and_one_into_it_from_everywhere() -> None:
    """Every path has an end, and the same one."""
    assert not TRANSITIONS[FINISHED]
    assert all(FINISHED in after for state, after in TRANSITIONS.items() if state != FINISHED)
    assert all(NEW not in after for state, after in TRANSITIONS.items() if state != LOOKING)


@pytest.mark.parametrize("end", ["refused", "answered", "left"])
def test_the_watch_would_see_what_is_left_behind(end: str) -> None:
    """The invariant is not empty: an exchange that runs does not pass it, one that ended does."""
    world: World = mesh(more="retry = false\n")
    begun = watch(world)
    client = world.client()
    client.send(request())
    with pytest.raises(AssertionError):
        all_given_back(world, begun)
    if end == "refused":
        world.refuse()
    elif end == "answered":
        world.accept().send(response())
    else:
        client.end()
        world.refuse()
    world.settle()
    all_given_back(world, begun)
