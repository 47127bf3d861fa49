"""Flow control, section 6.9 of RFC 9113 and what it has in 6.5.3: h2spec's http2/6.5.3 and 6.9 to 6.9.2, and more."""

from __future__ import annotations

import pytest

from tests.support.http2 import (
    FRAME_SIZE,
    LARGEST_WINDOW,
    WINDOW,
    Code,
    Setting,
    Type,
    data,
    frame,
    settings,
    window_update,
)
from tests.support.http2_peers import Conversation

INITIAL = Setting.INITIAL_WINDOW_SIZE


def test_6_5_3_settings_are_taken_in_their_order(peer: Conversation) -> None:
    """The last value of the same setting counts (http2/6.5.3/1)."""
    peer.change((INITIAL, 100), (INITIAL, 1))
    peer.send(peer.request(1))
    assert len(peer.of(Type.DATA, 1).payload) == 1


def test_6_9_no_increment_ends_the_connection(peer: Conversation) -> None:
    """PROTOCOL_ERROR, for its own window (http2/6.9/1)."""
    peer.send(window_update(0, 0))
    peer.connection_error(Code.PROTOCOL_ERROR)


def test_6_9_no_increment_for_a_stream_is_its_error(peer: Conversation) -> None:
    """PROTOCOL_ERROR of the stream (http2/6.9/2)."""
    peer.send(peer.request(1, end=False), window_update(1, 0))
    peer.stream_error(1, Code.PROTOCOL_ERROR)


@pytest.mark.parametrize("size", [0, 3, 5])
@pytest.mark.parametrize("stream", [0, 1])
def test_6_9_window_update_has_four_bytes(peer: Conversation, size: int, stream: int) -> None:
    """FRAME_SIZE_ERROR of the connection (http2/6.9/3)."""
    peer.send(peer.request(1, end=False), frame(Type.WINDOW_UPDATE, 0, stream, (b"\0\0\1\0\0")[:size]))
    peer.connection_error(Code.FRAME_SIZE_ERROR)


def test_6_9_the_reserved_bit_of_an_increment_is_ignored(peer: Conversation) -> None:
    """The increment is the one without it."""
    peer.change((INITIAL, 0))
    peer.send(peer.request(1), window_update(1, 0x80000001))
    assert len(peer.of(Type.DATA, 1).payload) == 1


@pytest.mark.parametrize("window", [1, 3])
def test_6_9_1_no_more_is_sent_than_the_window_of_a_stream_allows(peer: Conversation, window: int) -> None:
    """And then as much as it is widened by, to the end (http2/6.9.1/1)."""
    peer.change((INITIAL, window))
    peer.send(peer.request(1))
    assert len(peer.of(Type.DATA, 1).payload) == window
    peer.pong()
    assert len(peer.streams[1].body) == window
    peer.send(window_update(1, 2))
    assert len(peer.of(Type.DATA, 1).payload) == 2
    peer.send(window_update(1, WINDOW))
    peer.response(1)


def test_6_9_1_the_window_of_the_connection_outgrows_no_31_bits(peer: Conversation) -> None:
    """FLOW_CONTROL_ERROR of the connection (http2/6.9.1/2)."""
    peer.send(window_update(0, LARGEST_WINDOW), window_update(0, LARGEST_WINDOW))
    peer.connection_error(Code.FLOW_CONTROL_ERROR)


def test_6_9_1_the_window_of_a_stream_outgrows_no_31_bits(peer: Conversation) -> None:
    """FLOW_CONTROL_ERROR of the stream (http2/6.9.1/3)."""
    peer.send(peer.request(1, end=False), window_update(1, LARGEST_WINDOW), window_update(1, LARGEST_WINDOW))
    peer.stream_error(1, Code.FLOW_CONTROL_ERROR)


def test_6_9_1_a_window_may_become_the_largest(peer: Conversation) -> None:
    """2^31 - 1 bytes, of connection and stream."""
    most = LARGEST_WINDOW - WINDOW
    peer.send(peer.request(1, end=False), window_update(0, most), window_update(1, most), data(1, end=True))
    peer.response(1)


def test_6_9_2_windows_of_open_streams_change_with_the_setting(peer: Conversation) -> None:
    """By the difference (http2/6.9.2/1)."""
    peer.change((INITIAL, 0))
    peer.send(peer.request(1))
    peer.of(Type.HEADERS, 1)
    peer.send(settings((INITIAL, 1)))
    assert len(peer.of(Type.DATA, 1).payload) == 1
    peer.pong()
    assert len(peer.streams[1].body) == 1


def test_6_9_2_a_window_can_be_negative(peer: Conversation) -> None:
    """Nothing is sent until it is positive again (http2/6.9.2/2)."""
    peer.change((INITIAL, 3))
    peer.send(peer.request(1))
    assert len(peer.of(Type.DATA, 1).payload) == 3
    peer.change((INITIAL, 2))
    peer.send(window_update(1, 2))
    assert len(peer.of(Type.DATA, 1).payload) == 1
    peer.pong()
    assert len(peer.streams[1].body) == 4


def test_6_9_2_the_setting_leaves_the_window_of_the_connection_alone(peer: Conversation) -> None:
    """It still is 65,535, and a response fits."""
    peer.change((INITIAL, 0))
    peer.change((INITIAL, 1000))
    peer.send(peer.request(1))
    peer.response(1)


def test_6_9_2_a_setting_that_makes_a_window_too_large_ends_the_connection(peer: Conversation) -> None:
    """FLOW_CONTROL_ERROR: it is that of a stream, but nobody can say of which."""
    peer.send(
        peer.request(1, end=False), window_update(1, LARGEST_WINDOW - WINDOW), settings((INITIAL, LARGEST_WINDOW))
    )
    peer.connection_error(Code.FLOW_CONTROL_ERROR)


class Window:
    """What the client may still send, on a stream or on the connection."""

    def __init__(self, peer: Conversation, stream: int) -> None:
        self._peer = peer
        self._stream = stream
        self._looked = 0
        self.room = peer.settings.get(INITIAL, WINDOW) if stream else WINDOW

    def take(self, size: int) -> bool:
        """Waits for room, unless the stream ends before there is any."""
        while True:
            for one in self._peer.seen[self._looked :]:
                self._looked += 1
                if one.ends:
                    return False
                if one.type == Type.WINDOW_UPDATE and one.stream == self._stream:
                    self.room += one.increment
            if self.room >= size:
                self.room -= size
                return True
            self._peer.until(lambda one: one.ends or one.type == Type.WINDOW_UPDATE, "a wider window")


@pytest.mark.parametrize("padding", [None, 255], ids=["plain", "padded"])
def test_6_9_the_window_of_a_stream_is_given_back(peer: Conversation, padding: int | None) -> None:
    """A body larger than it gets through, also if half of it is padding, which counts."""
    body = b"x" * (256 if padding else FRAME_SIZE)
    size = len(body) + (0 if padding is None else 1 + padding)
    peer.send(peer.request(1, method="POST", end=False))
    window = Window(peer, 1)
    for _ in range(2 * window.room // size):
        if not window.take(size):
            return  # The sidecar has answered by itself: nobody waits for the rest.
        peer.send(data(1, body, padding=padding))
    peer.send(data(1, end=True))
    peer.response(1)


def test_6_9_1_data_of_closed_streams_gives_the_window_of_the_connection_back(peer: Conversation) -> None:
    """Or bodies that nobody wants would use it up."""
    window = Window(peer, 0)
    for stream in range(1, 40, 2):
        peer.send(peer.request(stream, ("X-UPPER", "malformed"), method="POST", end=False))
        peer.of(Type.RST_STREAM, stream)
        window.take(FRAME_SIZE)
        peer.send(data(stream, b"x" * FRAME_SIZE))
    peer.pong()
