"""The conformance tests of tests/http2 once more, over sockets, against a sidecar in a process of its own."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from types import ModuleType

import pytest

from tests.http2 import (
    test_conformance_flow,
    test_conformance_frames,
    test_conformance_generic,
    test_conformance_hpack,
    test_conformance_messages,
    test_conformance_streams,
    test_conformance_types,
)
from tests.support.http2_peers import HELLO, Conversation, SocketPipe
from tests.support.live import PATIENCE, Sidecar, Upstream, answering, services

PLAIN = 'protocol = "http1"\nretry = false\nbreaker = false\n'


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(HELLO), HELLO)
    with Upstream(answering(answer)) as orders, Sidecar(services(orders=orders.address) + PLAIN) as sidecar:
        yield sidecar.ports["outbound"]


@pytest.fixture
def fresh(port: int) -> Iterator[Conversation]:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as raw:
        yield Conversation(SocketPipe(raw))


@pytest.fixture
def peer(fresh: Conversation) -> Conversation:
    return fresh.handshake()


def _tests(*modules: ModuleType) -> dict[str, object]:
    """The functions themselves: here they find the fixtures above. A name that is there twice would hide a test."""
    found = [(name, value) for module in modules for name, value in vars(module).items() if name.startswith("test_")]
    assert len(dict(found)) == len(found)
    return dict(found)


globals().update(
    _tests(
        test_conformance_flow,
        test_conformance_frames,
        test_conformance_generic,
        test_conformance_hpack,
        test_conformance_messages,
        test_conformance_streams,
        test_conformance_types,
    )
)
