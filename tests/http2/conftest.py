"""The client that the conformance tests are told as: ``fresh`` has said nothing yet, ``peer`` has shaken hands."""

from __future__ import annotations

import pytest

from tests.support.http2_peers import Conversation, Http1Endpoints, Http2Endpoints, WorldPipe
from tests.support.world import ONE_ENDPOINT, World


@pytest.fixture(params=["http1", "bytewise", "http2", "refused"])
def fresh(request: pytest.FixtureRequest) -> Conversation:
    """An endpoint of HTTP/1 answers, to what comes in one read or byte by byte, or one of HTTP/2; ``refused``: the sidecar
    itself does, with 404."""
    http2 = request.param == "http2"
    world = World(ONE_ENDPOINT + f'protocol = "{"http2" if http2 else "http1"}"\n')
    endpoints = Http2Endpoints(world) if http2 else Http1Endpoints(world)
    pipe = WorldPipe(world, world.client(), endpoints, bytewise=request.param == "bytewise")
    return Conversation(pipe, authority=b"nobody" if request.param == "refused" else b"orders")


@pytest.fixture
def peer(fresh: Conversation) -> Conversation:
    return fresh.handshake()
