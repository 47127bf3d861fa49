"""H07, H09, H10 and H13: streams too many or out of order, frames amiss, and the preface where it has no place.

That each is an error is in the conformance tests; here is that nothing of it reaches an endpoint and nobody else notices.
"""

from __future__ import annotations

import pytest

from tests.http2.attack import Attack, bounded
from tests.support.http2 import PREFACE, Code, Gone, Setting, Type, data, frame, headers, settings
from tests.support.http2_peers import Conversation, Http1Endpoints, WorldPipe
from tests.support.world import World

HEAD = b"\x82\x86\x84\x01\x06orders"
GET = b"GET / HTTP/1.1\r\nHost: orders\r\n\r\n"


def test_h07_streams_too_many_before_the_settings_are_acknowledged() -> None:
    """A client that has not seen our limit may try again what it sent beyond it: nothing was done."""
    world = World(
        '[service]\nname = "shop"\napp = "127.0.0.1:8080"\n[services.orders]\nendpoints = ["10.0.0.1:9001"]\n'
    )
    client = world.client()
    peer = Conversation(WorldPipe(world, client))
    streams = range(1, 2 * 150, 2)
    peer.send(PREFACE, settings(), *(peer.request(stream, end=False) for stream in streams))
    frames = peer.frames()
    limit = next(one for one in frames if one.type == Type.SETTINGS).settings[Setting.MAX_CONCURRENT_STREAMS]
    resets = {one.stream: one.code for one in frames if one.type == Type.RST_STREAM}
    assert resets == dict.fromkeys(streams[limit:], Code.REFUSED_STREAM)
    assert world.endpoints[0].in_flight == limit and not client.over


def test_h07_streams_too_many_again_and_again_are_calmed() -> None:
    """Each refusal is a reset, and paid as one."""
    attack = Attack(silent=True)
    attack.send(*(attack.request(stream, end=False) for stream in range(1, 2000, 2)))
    attack.endpoints()
    attack.calmed()
    assert attack.silent.received.count(b"GET / ") <= attack.settings[Setting.MAX_CONCURRENT_STREAMS]


def test_h07_the_fields_of_a_refused_stream_are_known_afterwards() -> None:
    """Its block was read for its tables' sake, and the next request says the same in a byte."""
    attack = Attack(silent=True)
    limit = attack.settings[Setting.MAX_CONCURRENT_STREAMS]
    attack.send(*(attack.request(stream, end=False) for stream in range(1, 2 * limit, 2)))
    attack.send(attack.request(2 * limit + 1, ("x-new", "to the table")))
    assert attack.of(Type.RST_STREAM, 2 * limit + 1).code == Code.REFUSED_STREAM
    attack.endpoints()
    attack.silent.peers[0].send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    attack.send(data(1, end=True))
    attack.response(1)
    attack.send(attack.request(2 * limit + 3, ("x-new", "to the table")))
    attack.stands()
    attack.endpoints()
    assert attack.silent.received.count(b"x-new: to the table\r\n") == 1


@pytest.mark.parametrize(
    "amid",
    [
        pytest.param((headers(1, b"\x00\x01x\x01y", end=False),), id="trailers-without-end"),
        pytest.param((headers(1, b"\x82"),), id="pseudo-field-in-trailers"),
        pytest.param((headers(1, HEAD, end=False), data(1, b"test", end=True)), id="headers-amid-the-body"),
        pytest.param((headers(1, HEAD),), id="request-as-trailers"),
    ],
)
@pytest.mark.parametrize("http2", [False, True])
def test_h09_fields_amid_a_body(http2: bool, amid: tuple[bytes, ...]) -> None:
    """The stream is reset, its endpoint has no whole request, and both connections go on (CVE-2026-73513)."""
    attack = Attack(http2=http2)
    attack.send(attack.request(1, method="POST", end=False), data(1, b"test"))
    attack.frames()
    attack.send(*amid)
    attack.stream_error(1, Code.PROTOCOL_ERROR)
    attack.endpoints()
    if http2:
        (request,) = attack.http2.requests
        assert not request.whole and request.reset is not None
    else:
        assert b"0\r\n\r\n" not in attack.http1.received
    attack.send(attack.request(3))
    assert attack.response(3).status == 200


@pytest.mark.parametrize(
    ("code", "frames"),
    [
        pytest.param(Code.PROTOCOL_ERROR, headers(2, HEAD), id="even"),
        pytest.param(Code.PROTOCOL_ERROR, headers(13, HEAD) + headers(11, HEAD), id="decreasing"),
        pytest.param(Code.STREAM_CLOSED, headers(5, HEAD), id="reused"),
        pytest.param(Code.PROTOCOL_ERROR, headers(0, HEAD), id="headers-of-no-stream"),
        pytest.param(Code.PROTOCOL_ERROR, data(0, b"x"), id="data-of-no-stream"),
        pytest.param(Code.PROTOCOL_ERROR, frame(Type.DATA, 0x8, 7, b"\x05x"), id="padding-of-data"),
        pytest.param(Code.PROTOCOL_ERROR, frame(Type.HEADERS, 0xD, 9, b"\xff" + HEAD), id="padding-of-headers"),
        pytest.param(Code.FRAME_SIZE_ERROR, frame(Type.DATA, 0, 7, length=16385), id="size-of-data"),
        pytest.param(Code.FRAME_SIZE_ERROR, frame(Type.UNKNOWN, length=2**24 - 1), id="size-of-unknown"),
    ],
)
def test_h10_an_error_of_the_connection_ends_all_that_is_on_it(code: Code, frames: bytes) -> None:
    """Attempts are cancelled, nothing more is begun, nothing is held, and somebody else is served."""
    attack = Attack()
    attack.send(attack.request(5))
    attack.response(5)
    before = len(attack.http1.requests)
    attack.send(attack.request(7, method="POST", end=False), data(7, b"half of it"))
    attack.frames()
    with bounded(300_000):
        attack.send(frames)
    attack.connection_error(code)
    assert attack.world.endpoints[0].in_flight == 0
    attack.serves_others()
    assert [request.method for request in attack.http1.requests[before:]].count(b"GET") <= 2
    assert b"half of it" not in attack.http1.bodies[:before]


@pytest.mark.parametrize("bytewise", [False, True])
@pytest.mark.parametrize("first", [GET, GET + GET], ids=["one-request", "two"])
def test_h13_the_preface_behind_a_request_of_http1(first: bytes, bytewise: bool) -> None:
    """A connection is what its first bytes said: here PRI is a method of a version that we do not speak."""
    attack = Attack()
    client = attack.world.client()
    pipe = WorldPipe(attack.world, client, attack.http1, bytewise)
    pipe.send(first + PREFACE + settings() + headers(1, HEAD))
    came = b""
    try:
        while more := pipe.receive():
            came += more
    except Gone:
        pass
    assert came.count(b"HTTP/1.1 200 ") == first.count(b"GET") and b"HTTP/1.1 505 " in came
    assert came.endswith(b"}\n") and (client.over or client.half_closed)
    assert len(attack.http1.requests) == first.count(b"GET") and b"PRI" not in attack.http1.received
    attack.serves_others()


def test_h13_a_preface_in_pieces_is_one() -> None:
    """Wherever it is cut."""
    for at in range(1, len(PREFACE)):
        world = World()
        client = world.client()
        client.send(PREFACE[:at])
        client.send(PREFACE[at:] + settings())
        peer = Conversation(WorldPipe(world, client, Http1Endpoints(world)))
        assert peer.of(Type.SETTINGS).settings
        peer.pong()


@pytest.mark.parametrize("size", range(1, len(PREFACE)))
def test_h13_a_preface_that_stops_is_not_waited_for(size: int) -> None:
    """It has the time of a head."""
    world = World()
    client = world.client()
    client.send(PREFACE[:size])
    world.pass_time(9.0, step=0.1)
    assert not client.over
    world.pass_time(5.0, step=0.1)
    assert client.over or client.half_closed


def test_h13_the_whole_preface_and_no_settings() -> None:
    """A client that never says anything more is idle at most, and holds no stream."""
    world = World('[service]\nname = "shop"\napp = "127.0.0.1:8080"\n[limits]\nidle_timeout = "60s"\n')
    client = world.client()
    client.send(PREFACE)
    world.pass_time(70.0, step=1.0)
    assert client.over
