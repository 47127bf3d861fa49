"""Bodies far larger than the memory that they may take, with peers that do not keep up."""

from __future__ import annotations

import hashlib
import os
import select
import threading
from collections.abc import Iterator

import pytest

from tests.support.live import OK, Client, Sidecar, Upstream, Wire, services, until

SIZE = 200_000_000
BLOCK = os.urandom(1 << 18)
MEMORY = 60_000_000
MUCH = 100_000_000
"""More than the kernel's buffers of both connections can hold: 4 MB for each sender, and up to 32 MB for each receiver."""


def blocks() -> Iterator[bytes]:
    """A body of ``SIZE`` bytes."""
    left = SIZE
    while left:
        piece = BLOCK[:left]
        left -= len(piece)
        yield piece


def digest(pieces: Iterator[bytes]) -> str:
    state = hashlib.sha1()
    for piece in pieces:
        state.update(piece)
    return state.hexdigest()


EXPECTED = digest(blocks())


class Gate:
    """A sender that fills every buffer up to a reader who only then begins to read: both are slow in turn."""

    def __init__(self) -> None:
        self.stuck = threading.Event()
        self.sent_until_stuck = 0

    def send(self, wire: Wire, chunked: bool) -> None:
        for piece in blocks():
            if not self.stuck.is_set():
                if select.select((), (wire.socket,), (), 0.25)[1]:
                    self.sent_until_stuck += len(piece)
                else:
                    self.stuck.set()
            wire.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if chunked:
            wire.send(b"0\r\n\r\n")

    def read(self, wire: Wire, head: bytes) -> str:
        assert self.stuck.wait(10), "the sender was never stopped: who holds what the reader has not taken?"
        return digest(wire.pieces(head))


def framing(chunked: bool) -> bytes:
    return b"transfer-encoding: chunked\r\n" if chunked else b"content-length: %d\r\n" % SIZE


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_200_mb_of_request_body_arrive_whole_in_little_memory(chunked: bool) -> None:
    """The caller is stopped while the endpoint does not read; what arrives is what was sent."""
    gate = Gate()
    arrived: list[str] = []

    def takes(wire: Wire) -> None:
        arrived.append(gate.read(wire, wire.head()))
        wire.send(OK)

    with (
        Upstream(takes) as server,
        Sidecar(services(orders=server.address)) as sidecar,
        Client(sidecar.ports["outbound"]) as client,
    ):
        client.send(b"PUT / HTTP/1.1\r\nHost: orders\r\n%b\r\n" % framing(chunked))
        gate.send(client, chunked)
        assert client.response().status == 200
        assert arrived == [EXPECTED]
        assert gate.sent_until_stuck < MUCH
        assert sidecar.memory("VmHWM") < MEMORY


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_200_mb_of_response_body_arrive_whole_in_little_memory(chunked: bool) -> None:
    """The endpoint is stopped while the caller does not read; what arrives is what was sent."""
    gate = Gate()

    def gives(wire: Wire) -> None:
        wire.head()
        wire.send(b"HTTP/1.1 200 OK\r\n%b\r\n" % framing(chunked))
        gate.send(wire, chunked)

    with (
        Upstream(gives) as server,
        Sidecar(services(orders=server.address)) as sidecar,
        Client(sidecar.ports["outbound"]) as client,
    ):
        client.ask("orders")
        head = client.head()
        assert gate.read(client, head) == EXPECTED
        assert gate.sent_until_stuck < MUCH
        assert sidecar.memory("VmHWM") < MEMORY
        until(lambda: sidecar.requests(status=200, reason="") == 1, "the request is counted")
