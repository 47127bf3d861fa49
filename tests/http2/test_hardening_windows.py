"""H06: a client that does not take what it asked for, or takes it by the byte (CVE-2019-9511, 9517)."""

from __future__ import annotations

import pytest

from tests.http2.attack import Attack, bounded
from tests.support.http2 import (
    FRAME_SIZE,
    LARGEST_WINDOW,
    WINDOW,
    Code,
    Gone,
    Setting,
    Type,
    data,
    settings,
    window_update,
)
from tests.support.http2_peers import Blocked, Endpoint
from tests.support.world import Peer

HELD = 400_000
"""What a stream may hold of a response: its window's mark, and the reading that went over it."""
PIECE = b"x" * 65536


def pours(server: Peer, size: int = 100) -> int:
    """An endpoint of HTTP/1 sends a response of ``size`` pieces for as long as it is read; how many were."""
    server.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (size * len(PIECE)))
    for sent in range(size):
        if server.paused or server.over:
            return sent
        server.send(PIECE)
    return size


@pytest.mark.parametrize("window", [0, 1, 1000])
def test_h06_a_response_waits_for_its_window_at_its_endpoint(window: int) -> None:
    """The endpoint is not read any more, and we hold a little."""
    attack = Attack(silent=True)
    attack.change((Setting.INITIAL_WINDOW_SIZE, window))
    attack.send(attack.request(1))
    attack.endpoints()
    with bounded(HELD):
        assert pours(attack.silent.peers[0]) <= 3
    attack.frames()
    assert len(attack.streams[1].body) == window


def test_h06_the_window_of_the_connection_holds_all_streams_up_alike() -> None:
    """Each waits at its own endpoint."""
    attack = Attack(silent=True)
    attack.change((Setting.INITIAL_WINDOW_SIZE, LARGEST_WINDOW))
    for stream in (1, 3, 5):
        attack.send(attack.request(stream))
        attack.endpoints()
    with bounded(3 * HELD):
        for server in attack.silent.peers:
            assert pours(server) <= 4
    attack.frames()
    assert sum(len(message.body) for message in attack.streams.values()) == WINDOW
    attack.serves_others()


@pytest.mark.parametrize("http2", [False, True])
def test_h06_tiny_increments_give_tiny_frames_and_no_more_memory(http2: bool) -> None:
    """A byte at a time is what was asked for; the endpoint waits meanwhile."""
    attack = Attack(http2=http2)
    attack.endpoints._body = PIECE  # type: ignore[union-attr]
    attack.change((Setting.INITIAL_WINDOW_SIZE, 0))
    attack.send(attack.request(1))
    attack.frames()
    one = window_update(1, 1)
    with bounded(2 * HELD):
        for _ in range(500):
            attack.send(one)
        frames = attack.frames(Type.DATA)
    assert [len(frame.payload) for frame in frames] == [1] * 500
    attack.stands()


def test_h06_a_stream_whose_window_stays_shut_is_given_up() -> None:
    """After the time for a body without progress; other streams of the connection are as good as before."""
    attack = Attack(silent=True)
    attack.change((Setting.INITIAL_WINDOW_SIZE, 0))
    attack.send(attack.request(1))
    attack.endpoints()
    pours(attack.silent.peers[0])
    for _ in range(15):
        attack.world.pass_time(10.0, step=1.0)
        attack.pong()
    assert attack.streams[1].reset is not None
    assert attack.world.endpoints[0].in_flight == 0 and attack.silent.left == 0
    attack.stands()


@pytest.mark.parametrize("authority", [b"nobody", b"orders"])
def test_h06_a_whole_response_that_is_not_taken_is_given_up(authority: bytes) -> None:
    """It came from an endpoint that is long gone, or from ourselves, and nobody waits for it."""
    attack = Attack()
    attack.authority = authority
    attack.change((Setting.INITIAL_WINDOW_SIZE, 0))
    attack.send(attack.request(1))
    attack.frames()
    for _ in range(20):
        attack.world.pass_time(10.0, step=1.0)
        attack.pong()
    assert attack.streams[1].reset is not None
    attack.send(settings((Setting.INITIAL_WINDOW_SIZE, WINDOW)), attack.request(3))
    attack.response(3)


@pytest.mark.parametrize("http2", [False, True])
def test_h06_a_client_that_never_reads_is_cut_off(http2: bool) -> None:
    """Its endpoint is let go, and what we hold is bounded."""
    attack = Attack(http2=http2, silent=not http2)
    attack.send(settings((Setting.INITIAL_WINDOW_SIZE, LARGEST_WINDOW)), window_update(0, LARGEST_WINDOW - WINDOW))
    attack.frames()
    attack.send(attack.request(1))
    if http2:
        server = Endpoint.accept(attack.world)
        stream, _ = server.request()
        attack.client.full()
        with bounded(HELD):
            server.respond(stream, body=b"x" * min(WINDOW, server.settings.get(Setting.INITIAL_WINDOW_SIZE, WINDOW)))
            attack.world.settle()
        upstream = server.peer
    else:
        attack.endpoints()
        upstream = attack.silent.peers[0]
        attack.client.full()
        with bounded(HELD):
            assert pours(upstream) <= 4
    attack.world.pass_time(200.0, step=1.0)
    assert attack.over
    assert attack.world.endpoints[0].in_flight == 0
    if not http2:
        assert upstream.over
    attack.serves_others()


def test_h06_many_requests_without_reading_are_not_taken() -> None:
    """Whoever does not read its answers brings no further requests."""
    attack = Attack()
    attack.client.full()
    taken = 0
    try:
        for stream in range(1, 2000, 2):
            attack.send(attack.request(stream))
            taken += 1
    except Blocked:
        pass
    assert taken <= 100


@pytest.mark.parametrize("stream_window", [65536, 262144])
def test_h06_a_body_is_not_taken_faster_than_its_endpoint_takes_it(stream_window: int) -> None:
    """What waits is the window of a stream at most; who sends more breaks the protocol."""
    attack = Attack(silent=True, more=f"[limits]\nstream_window = {stream_window}\n")
    window = attack.settings[Setting.INITIAL_WINDOW_SIZE]
    assert window == stream_window
    attack.send(attack.request(1, method="POST", end=False))
    attack.endpoints()
    attack.silent.peers[0].full()
    piece = data(1, b"x" * FRAME_SIZE)
    with bounded(3 * window + HELD):
        for _ in range(window // FRAME_SIZE):
            attack.send(piece)
        attack.stands()
        granted = sum(one.increment for one in attack.seen if one.type == Type.WINDOW_UPDATE and one.stream == 1)
        assert granted <= 2 * 65536 + FRAME_SIZE, "the endpoint takes nothing"
        for _ in range(granted // FRAME_SIZE + 2):
            if not attack.over:
                attack.send(piece)
    attack.stream_error(1, Code.FLOW_CONTROL_ERROR)


def test_h06_more_than_the_window_of_the_connection_is_an_error() -> None:
    """FLOW_CONTROL_ERROR, if a client sends on many streams what no window allows."""
    attack = Attack(silent=True)
    streams = range(1, 200, 2)
    attack.send(*(attack.request(stream, method="POST", end=False) for stream in streams))
    attack.endpoints()
    for server in attack.silent.peers:
        server.full()
    with bounded(100 * 2 * (262144 + 65536)):
        try:
            for _ in range(40):
                for stream in streams:
                    if not attack.over:
                        attack.send(data(stream, b"x" * FRAME_SIZE))
        except (Blocked, Gone):
            pass
    codes = {one.code for one in attack.frames() if one.type in (Type.RST_STREAM, Type.GOAWAY)}
    assert codes and codes <= {Code.FLOW_CONTROL_ERROR, Code.ENHANCE_YOUR_CALM}


def test_h06_a_stalled_stream_holds_up_no_other() -> None:
    """What one endpoint does not take uses up no window of the connection."""
    attack = Attack(silent=True)
    attack.send(attack.request(1, method="POST", end=False))
    attack.endpoints()
    attack.silent.peers[0].full()
    for _ in range(attack.settings[Setting.INITIAL_WINDOW_SIZE] // FRAME_SIZE):
        attack.send(data(1, b"x" * FRAME_SIZE))
    attack.frames()
    for stream in range(3, 200, 2):
        attack.send(attack.request(stream, method="POST", end=False), data(stream, b"x" * FRAME_SIZE, end=True))
        attack.endpoints()
        server = attack.silent.peers[-1]
        server.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        attack.response(stream)
