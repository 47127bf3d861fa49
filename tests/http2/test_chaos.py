"""Calls, answers, resets, lost connections and time in any order: when all is over, nothing is left of it.

What is counted per service and endpoint is counted up and down in many places; a path that forgets one of them leaks until
nobody is served any more. So peers do at random whatever they may, and then everything must be as it was.
"""

from __future__ import annotations

import random

import pytest

from sidecar.resilience.breaker import HALF_OPEN, Breaker
from tests.support.http2 import Code, Setting, data, goaway, headers, rst_stream, window_update
from tests.support.http2_peers import Blocked, Conversation, Endpoint, WorldPipe
from tests.support.world import TWO_ENDPOINTS, World

TOML = (
    TWO_ENDPOINTS
    + 'timeout = "3s"\nattempt_timeout = "1s"\nbreaker = { failures = 3, open = "1s" }\n'
    + 'retry = { initial = "10ms", grpc_statuses = ["UNAVAILABLE"], grpc_methods = ["/s/*"] }\nlimits = { max_connections = 2 }\n'
)
MESSAGE = b"\0\0\0\0\x05hello"
GRPC = (("content-type", "application/grpc"), ("te", "trailers"))


class Chaos:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.world = World(TOML, seed=seed)
        self.clients = [self.client() for _ in range(2)]
        self.next = {id(client): 1 for client in self.clients}
        self.endpoints: list[Endpoint] = []
        self.begun: list[tuple[Endpoint, int]] = []

    def client(self) -> Conversation:
        return Conversation(WorldPipe(self.world, self.world.client()), strict=False).handshake()

    def step(self) -> None:
        client = self.random.choice(self.clients)
        endpoint = self.random.choice(self.endpoints) if self.endpoints else None
        what = self.random.choice(
            ["call", "call", "call", "half", "more", "cancel", "accept", "accept", "refuse", "answer", "answer", "answer",
             "trailers", "head", "reset", "refused", "goaway", "lose", "time", "time", "long", "leave", "window"]
        )  # fmt: skip
        try:
            self.do(what, client, endpoint)
        except Blocked:
            pass
        self.world.settle()
        for one in self.endpoints:
            if not one.peer.over:
                one.receive(patient=False)

    def do(self, what: str, client: Conversation, endpoint: Endpoint | None) -> None:
        pick = self.random
        stream = self.next[id(client)]
        grpc = GRPC if pick.random() < 0.7 else ()
        deadline = (("grpc-timeout", "300m"),) if grpc and pick.random() < 0.3 else ()
        head = lambda end: client.request(stream, *grpc, *deadline, method="POST", path="/s/m", end=end)  # noqa: E731
        if what == "call":
            client.send(head(False) + data(stream, MESSAGE, end=True))
            self.next[id(client)] += 2
        elif what == "half":
            client.send(head(False))
            self.next[id(client)] += 2
        elif what == "more" and stream > 1:
            client.send(data(pick.randrange(1, stream, 2), MESSAGE, end=pick.random() < 0.5))
        elif what == "cancel" and stream > 1:
            client.send(rst_stream(pick.randrange(1, stream, 2)))
        elif what == "accept" and self.world.dialing:
            few = ((Setting.MAX_CONCURRENT_STREAMS, pick.choice([0, 1, 2, 100])),)
            self.endpoints.append(Endpoint.accept(self.world, values=few))
        elif what == "refuse" and self.world.dialing:
            self.world.refuse(nobody=pick.random() < 0.5)
        elif what == "leave":
            client.pipe.peer.reset()  # type: ignore[attr-defined]
            self.clients[self.clients.index(client)] = new = self.client()
            self.next[id(new)] = 1
        elif what == "time":
            self.world.pass_time(pick.random() * 0.2)
        elif what == "long":
            self.world.pass_time(pick.random() * 4.0, step=0.1)
        elif what == "window":
            client.send(window_update(0, 1000))
        elif endpoint is not None and not endpoint.peer.over and not endpoint.peer.paused:
            self.endpoint(what, endpoint)

    def endpoint(self, what: str, endpoint: Endpoint) -> None:
        pick = self.random
        streams = list(endpoint.streams)
        if what == "goaway":
            endpoint.send(goaway(pick.choice([0, *streams])))
        elif what == "lose":
            endpoint.peer.end() if pick.random() < 0.5 else endpoint.peer.reset()
        if not streams or endpoint.peer.over:
            return
        stream = pick.choice(streams)
        status = [("grpc-status", pick.choice(["0", "14", "5", "13"]))]
        if what == "answer":
            endpoint.respond(stream, [GRPC[0]], MESSAGE, status)
        elif what == "trailers":
            endpoint.respond(stream, status if pick.random() < 0.8 else [], status=pick.choice([200, 200, 503]))
        elif what == "head":
            endpoint.send(headers(stream, endpoint.block([(":status", "200"), GRPC[0]]), end=False))
        elif what == "reset":
            endpoint.reset(stream, Code.INTERNAL_ERROR)
        elif what == "refused":
            endpoint.reset(stream, Code.REFUSED_STREAM)

    def end(self) -> None:
        for client in self.clients:
            client.pipe.peer.reset()  # type: ignore[attr-defined]
        self.world.settle()
        self.world.pass_time(0.5)


@pytest.mark.parametrize("seed", range(100))
def test_nothing_is_left_of_what_is_over(seed: int) -> None:
    """No exchange, no attempt, nobody in line, no probe of a breaker, no stream on a connection."""
    chaos = Chaos(seed)
    for _ in range(150):
        chaos.step()
    chaos.end()
    world = chaos.world
    service = world.sidecar.assembly.services["orders"]
    assert (service.limits.in_flight, service.limits.pending) == (0, 0)
    for endpoint in service.listed:
        assert endpoint.in_flight == 0
        if isinstance(endpoint.breaker, Breaker) and endpoint.breaker.state == HALF_OPEN:
            assert endpoint.breaker._probing == 0
        for pool in endpoint.pools:
            assert len(pool.waiters) == 0
            assert pool.open == sum(
                not one.peer.over and one.peer.address[0] == endpoint.host for one in chaos.endpoints
            )
    for one in chaos.endpoints:
        if not one.peer.over:
            assert one.peer.protocol.streams == {}
    assert not world.sidecar.listeners["outbound"].connections
