"""What every server of HTTP/2 does: h2spec's generic/1 to generic/4, case by case. Names begin with sections of RFC 9113."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.support.http2 import (
    PREFACE,
    WINDOW,
    Code,
    Setting,
    Type,
    continuation,
    data,
    goaway,
    headers,
    priority,
    rst_stream,
    settings,
    weight_of,
    window_update,
)
from tests.support.http2_peers import Conversation


def test_3_4_the_first_frame_is_settings(fresh: Conversation) -> None:
    """The server's preface is a SETTINGS frame that acknowledges nothing (generic/1/1, http2/3.5/1)."""
    fresh.send(PREFACE, settings((Setting.INITIAL_WINDOW_SIZE, WINDOW)))
    first = fresh.until(lambda one: True, "a preface")
    assert first.type == Type.SETTINGS and not first.ack and first.stream == 0


def test_5_1_priority_is_taken_on_an_idle_stream(peer: Conversation) -> None:
    """It opens nothing (generic/2/1)."""
    peer.send(priority(1, weight=256))
    peer.pong()


def test_5_1_window_update_is_taken_on_a_half_closed_stream(peer: Conversation) -> None:
    """A response that waits for its window goes on with it (generic/2/2)."""
    peer.send(settings((Setting.INITIAL_WINDOW_SIZE, 0)), peer.request(1), window_update(1, 1))
    assert len(peer.of(Type.DATA, 1).payload) == 1


def test_5_1_priority_is_taken_on_a_half_closed_stream(peer: Conversation) -> None:
    """It changes nothing about a response (generic/2/3)."""
    peer.send(settings((Setting.INITIAL_WINDOW_SIZE, 0)), peer.request(1), priority(1, weight=256), window_update(1, 1))
    assert len(peer.of(Type.DATA, 1).payload) == 1


def test_5_1_rst_stream_is_taken_on_a_half_closed_stream(peer: Conversation) -> None:
    """Who does not want the response any more says so, and the connection goes on (generic/2/4)."""
    peer.send(peer.request(1), rst_stream(1))
    peer.pong()


def test_5_1_priority_is_taken_on_a_closed_stream(peer: Conversation) -> None:
    """It comes late and means nothing (generic/2/5)."""
    peer.send(peer.request(1))
    peer.response(1)
    peer.send(priority(1, weight=256))
    peer.pong()


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param((data(1, b"test", end=True),), id="one"),
        pytest.param((data(1, b"test"), data(1, b"test", end=True)), id="two"),
        pytest.param((data(1, b"test", end=True, padding=6),), id="padded"),
        pytest.param((data(1, b"test"), data(1, end=True)), id="empty-last"),
        pytest.param(
            (data(1, padding=255), data(1, b"test", padding=0), data(1, end=True, padding=1)), id="padding-alone"
        ),
    ],
)
def test_6_1_a_body_comes_in_data_frames(peer: Conversation, frames: tuple[bytes, ...]) -> None:
    """One or more, with and without padding (generic/3.1/1 to 3, generic/4/3)."""
    peer.send(peer.request(1, method="POST", end=False), *frames)
    peer.response(1)


@pytest.mark.parametrize("padding", [None, 0, 8, 255])
@pytest.mark.parametrize("on", [None, 0])
def test_6_2_a_request_comes_in_headers(peer: Conversation, padding: int | None, on: int | None) -> None:
    """With and without padding and priority (generic/3.2/1 to 3, generic/4/1)."""
    block = peer.block(peer.fields())
    peer.send(headers(1, block, padding=padding, priority=None if on is None else weight_of(on, 256)))
    peer.response(1)


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(priority(1, weight=1), id="lowest"),
        pytest.param(priority(1, weight=256), id="highest"),
        pytest.param(priority(3, on=1, weight=1), id="dependent"),
        pytest.param(priority(1, weight=1, exclusive=True), id="exclusive"),
        pytest.param(priority(3, weight=256), id="higher-stream"),
    ],
)
def test_6_3_priority_is_taken_before_a_request(peer: Conversation, before: bytes) -> None:
    """Of any weight and dependency, and for streams that are not opened yet (generic/3.3/1 to 5, http2/6.3/3)."""
    peer.send(before, peer.request(1))
    peer.response(1)


def test_6_4_a_request_is_taken_back_with_rst_stream(peer: Conversation) -> None:
    """In the middle of it, and the connection goes on (generic/3.4/1)."""
    peer.send(peer.request(1, end=False), rst_stream(1))
    peer.pong()
    peer.send(peer.request(3))
    peer.response(3)


def test_6_5_settings_are_acknowledged(peer: Conversation) -> None:
    """All of those that are defined (generic/3.5/1)."""
    peer.change(
        (Setting.HEADER_TABLE_SIZE, 4096),
        (Setting.ENABLE_PUSH, 1),
        (Setting.MAX_CONCURRENT_STREAMS, 100),
        (Setting.INITIAL_WINDOW_SIZE, 65535),
        (Setting.MAX_FRAME_SIZE, 16384),
        (Setting.MAX_HEADER_LIST_SIZE, 100),
    )


def test_6_7_ping_is_answered(peer: Conversation) -> None:
    """With the same payload (generic/3.7/1, http2/6.7/1)."""
    peer.pong(b"h2spec\0\0")


def test_6_8_a_connection_without_streams_ends_after_goaway(peer: Conversation) -> None:
    """Who leaves is let go (generic/3.8/1)."""
    peer.send(goaway(0, Code.NO_ERROR, b"h2spec"))
    peer.closes()


@pytest.mark.parametrize("stream", [0, 1])
def test_6_9_window_update_is_taken(peer: Conversation, stream: int) -> None:
    """For the connection and for a stream (generic/3.9/1 and 2)."""
    peer.send(peer.request(1), window_update(stream, 1))
    peer.pong()
    peer.response(1)


@pytest.mark.parametrize("cuts", [(5,), (5, 10), (0,), (1, 1, 2, 3)], ids=str)
def test_6_10_a_block_goes_on_in_continuation(peer: Conversation, cuts: tuple[int, ...]) -> None:
    """In any number of parts, empty ones too (generic/3.10/1 and 2)."""
    block = peer.block(peer.fields())
    ends = [*cuts, len(block)]
    parts = [block[start:end] for start, end in pairwise(ends)]
    rest = [continuation(1, part, whole=at == len(parts)) for at, part in enumerate(parts, 1)]
    peer.send(headers(1, block[: cuts[0]], whole=False), *rest)
    peer.response(1)


def test_8_1_a_request_gets_a_response(peer: Conversation) -> None:
    """On the same stream, its status first, its names in lower case (generic/4/1)."""
    peer.send(peer.request(1))
    response = peer.response(1)
    assert response.fields[0][0] == b":status" and response.status in (200, 404)
    assert all(name == name.lower() for name, _ in response.fields)
    assert response.body


def test_8_1_a_response_to_head_has_no_body(peer: Conversation) -> None:
    """It ends with its fields, or an empty frame (generic/4/2)."""
    peer.send(peer.request(1, method="HEAD"))
    assert peer.response(1).body == b""


def test_8_1_a_request_with_trailers_gets_a_response(peer: Conversation) -> None:
    """They end it in place of a DATA frame (generic/4/4)."""
    peer.send(
        peer.request(1, ("trailer", "x-test"), method="POST", end=False),
        data(1, b"test"),
        headers(1, peer.block([("x-test", "ok")])),
    )
    peer.response(1)
