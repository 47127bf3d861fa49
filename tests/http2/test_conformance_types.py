"""Each type of frame, sections 6.1 to 6.8 and 6.10 of RFC 9113: h2spec's http2/6.1 to 6.8 and 6.10, and more."""

from __future__ import annotations

import pytest

from tests.support.http2 import (
    ACK,
    Code,
    Setting,
    Type,
    continuation,
    data,
    frame,
    goaway,
    headers,
    ping,
    priority,
    rst_stream,
    settings,
)
from tests.support.http2_peers import Conversation


def test_6_1_data_belongs_to_a_stream(peer: Conversation) -> None:
    """PROTOCOL_ERROR of the connection (http2/6.1/1)."""
    peer.send(data(0, b"test", end=True))
    peer.connection_error(Code.PROTOCOL_ERROR)


@pytest.mark.parametrize(
    "payload", [b"\x06Test", b"\x05Test", b"\x01", b"\xff"], ids=["more", "as-long", "alone", "255"]
)
def test_6_1_padding_is_shorter_than_the_frame(peer: Conversation, payload: bytes) -> None:
    """PROTOCOL_ERROR of the connection (http2/6.1/3)."""
    peer.send(peer.request(1, ("content-length", "4"), method="POST", end=False), frame(Type.DATA, 0x9, 1, payload))
    peer.connection_error(Code.PROTOCOL_ERROR)


def test_6_1_padding_has_its_length(peer: Conversation) -> None:
    """A padded frame without any byte is an error of the connection."""
    peer.send(peer.request(1, method="POST", end=False), frame(Type.DATA, 0x9, 1))
    peer.connection_error(Code.FRAME_SIZE_ERROR, Code.PROTOCOL_ERROR)


def test_6_2_headers_belong_to_a_stream(peer: Conversation) -> None:
    """PROTOCOL_ERROR of the connection (http2/6.2/3)."""
    peer.send(headers(0, peer.block(peer.fields())))
    peer.connection_error(Code.PROTOCOL_ERROR)


@pytest.mark.parametrize("more", [1, 2])
def test_6_2_padding_leaves_room_for_the_block(peer: Conversation, more: int) -> None:
    """PROTOCOL_ERROR (http2/6.2/4)."""
    block = peer.block(peer.fields())
    peer.send(frame(Type.HEADERS, 0xD, 1, bytes([len(block) + more]) + block))
    peer.connection_error(Code.PROTOCOL_ERROR)


def test_6_2_padding_leaves_room_for_the_priority(peer: Conversation) -> None:
    """PROTOCOL_ERROR, or FRAME_SIZE_ERROR."""
    peer.send(frame(Type.HEADERS, 0x2D, 1, b"\x04" + b"\0" * 6))
    peer.connection_error(Code.PROTOCOL_ERROR, Code.FRAME_SIZE_ERROR)


def test_6_3_priority_belongs_to_a_stream(peer: Conversation) -> None:
    """PROTOCOL_ERROR of the connection (http2/6.3/1)."""
    peer.send(priority(0, weight=256))
    peer.connection_error(Code.PROTOCOL_ERROR)


@pytest.mark.parametrize("size", [0, 4, 6])
def test_6_3_priority_has_five_bytes(peer: Conversation, size: int) -> None:
    """FRAME_SIZE_ERROR of the stream (http2/6.3/2)."""
    peer.send(peer.request(1), frame(Type.PRIORITY, 0, 1, b"\x80\0\0\x03\x10\x10"[:size]))
    peer.stream_error(1, Code.FRAME_SIZE_ERROR)


def test_6_4_rst_stream_belongs_to_a_stream(peer: Conversation) -> None:
    """PROTOCOL_ERROR of the connection (http2/6.4/1)."""
    peer.send(rst_stream(0))
    peer.connection_error(Code.PROTOCOL_ERROR)


@pytest.mark.parametrize("size", [0, 3, 5])
def test_6_4_rst_stream_has_four_bytes(peer: Conversation, size: int) -> None:
    """FRAME_SIZE_ERROR of the connection (http2/6.4/3)."""
    peer.send(peer.request(1), frame(Type.RST_STREAM, 0, 1, bytes(size)))
    peer.connection_error(Code.FRAME_SIZE_ERROR)


def test_6_4_a_reset_stream_gets_nothing_more(peer: Conversation) -> None:
    """What the endpoint answers is thrown away, and RST_STREAM is not answered with RST_STREAM."""
    peer.send(settings((Setting.INITIAL_WINDOW_SIZE, 0)), peer.request(1), rst_stream(1))
    peer.pong(b"before..")
    peer.frames()
    peer.send(settings((Setting.INITIAL_WINDOW_SIZE, 65535)))
    peer.pong(b"after...")
    assert not [one for one in peer.seen if one.stream == 1 and one.type in (Type.DATA, Type.RST_STREAM)]


@pytest.mark.parametrize("payload", [b"\0", b"\0\3\0\0\0\x64"], ids=["one-byte", "one-setting"])
def test_6_5_an_acknowledgement_is_empty(peer: Conversation, payload: bytes) -> None:
    """FRAME_SIZE_ERROR of the connection (http2/6.5/1)."""
    peer.send(frame(Type.SETTINGS, ACK, 0, payload))
    peer.connection_error(Code.FRAME_SIZE_ERROR)


@pytest.mark.parametrize("stream", [1, 2])
def test_6_5_settings_belong_to_no_stream(peer: Conversation, stream: int) -> None:
    """PROTOCOL_ERROR of the connection (http2/6.5/2)."""
    peer.send(frame(Type.SETTINGS, 0, stream, b"\0\3\0\0\0\x64"))
    peer.connection_error(Code.PROTOCOL_ERROR)


@pytest.mark.parametrize("size", [3, 8, 9])
def test_6_5_settings_have_six_bytes_each(peer: Conversation, size: int) -> None:
    """FRAME_SIZE_ERROR of the connection (http2/6.5/3)."""
    peer.send(frame(Type.SETTINGS, payload=b"\0\3\0\0\0\x64\0\2\0"[:size]))
    peer.connection_error(Code.FRAME_SIZE_ERROR)


@pytest.mark.parametrize(
    ("setting", "value", "code"),
    [
        pytest.param(Setting.ENABLE_PUSH, 2, Code.PROTOCOL_ERROR, id="enable-push"),
        pytest.param(Setting.INITIAL_WINDOW_SIZE, 2**31, Code.FLOW_CONTROL_ERROR, id="window"),
        pytest.param(Setting.INITIAL_WINDOW_SIZE, 2**32 - 1, Code.FLOW_CONTROL_ERROR, id="largest-window"),
        pytest.param(Setting.MAX_FRAME_SIZE, 16383, Code.PROTOCOL_ERROR, id="frame-too-small"),
        pytest.param(Setting.MAX_FRAME_SIZE, 0, Code.PROTOCOL_ERROR, id="no-frame"),
        pytest.param(Setting.MAX_FRAME_SIZE, 2**24, Code.PROTOCOL_ERROR, id="frame-too-large"),
    ],
)
def test_6_5_2_settings_have_their_limits(peer: Conversation, setting: int, value: int, code: Code) -> None:
    """Behind them is an error of the connection (http2/6.5.2/1 to 4, 6.9.2/3)."""
    peer.send(settings((setting, value)))
    peer.connection_error(code)


@pytest.mark.parametrize("identifier", [0xFF, 0, 0xFFFF, 8])
def test_6_5_2_an_unknown_setting_is_ignored(peer: Conversation, identifier: int) -> None:
    """Settings of extensions, and those that nobody knows (http2/6.5.2/5)."""
    peer.change((identifier, 1))
    peer.pong()


def test_6_5_2_the_limits_of_settings_are_allowed(peer: Conversation) -> None:
    """Also all of them at once."""
    peer.change(
        (Setting.HEADER_TABLE_SIZE, 0),
        (Setting.ENABLE_PUSH, 0),
        (Setting.MAX_CONCURRENT_STREAMS, 0),
        (Setting.INITIAL_WINDOW_SIZE, 2**31 - 1),
        (Setting.MAX_FRAME_SIZE, 2**24 - 1),
        (Setting.MAX_HEADER_LIST_SIZE, 2**32 - 1),
    )
    peer.send(peer.request(1))
    peer.response(1)


def test_6_5_2_the_server_says_nothing_of_push(peer: Conversation) -> None:
    """ENABLE_PUSH is for clients; of a server it would have to be 0."""
    assert peer.settings.get(Setting.ENABLE_PUSH, 0) == 0


def test_6_5_3_settings_are_acknowledged_at_once(peer: Conversation) -> None:
    """Each frame of its own (http2/6.5.3/2)."""
    peer.send(settings((Setting.ENABLE_PUSH, 0)), settings(), settings((Setting.ENABLE_PUSH, 1)))
    peer.pong()
    assert sum(one.type == Type.SETTINGS and one.ack for one in peer.seen) == 4


def test_6_7_an_answer_to_ping_is_not_answered(peer: Conversation) -> None:
    """Also if nothing was asked (http2/6.7/2)."""
    peer.send(ping(b"invalid\0", ack=True))
    peer.pong(b"h2spec\0\0")
    assert [one.payload for one in peer.seen if one.type == Type.PING] == [b"h2spec\0\0"]


def test_6_7_ping_belongs_to_no_stream(peer: Conversation) -> None:
    """PROTOCOL_ERROR of the connection (http2/6.7/3)."""
    peer.send(frame(Type.PING, 0, 1, b"\0" * 8))
    peer.connection_error(Code.PROTOCOL_ERROR)


@pytest.mark.parametrize("flags", [0, ACK])
def test_6_7_ping_has_eight_bytes(peer: Conversation, flags: int) -> None:
    """FRAME_SIZE_ERROR of the connection."""
    peer.send(frame(Type.PING, flags, 0, b"\0" * 6))
    peer.connection_error(Code.FRAME_SIZE_ERROR)


def test_6_7_two_errors_of_a_ping_are_one(peer: Conversation) -> None:
    """A stream, and six bytes (http2/6.7/4 as it once was)."""
    peer.send(frame(Type.PING, 0, 1, b"\0" * 6))
    peer.connection_error(Code.FRAME_SIZE_ERROR, Code.PROTOCOL_ERROR)


def test_6_8_goaway_belongs_to_no_stream(peer: Conversation) -> None:
    """PROTOCOL_ERROR of the connection (http2/6.8/1)."""
    peer.send(frame(Type.GOAWAY, 0, 1, b"\0" * 8))
    peer.connection_error(Code.PROTOCOL_ERROR)


def test_6_8_what_was_asked_before_goaway_is_answered(peer: Conversation) -> None:
    """A client that opens no more streams still wants its response."""
    peer.send(peer.request(1), goaway(0, Code.NO_ERROR))
    peer.response(1)
    peer.closes()


def test_6_10_a_block_goes_on_in_large_continuations(peer: Conversation) -> None:
    """In as many frames as it likes (http2/6.10/1)."""
    first = headers(1, peer.block(peer.fields()), whole=False)
    second = continuation(1, peer.block([("x-dummy0", "x" * 4000)]), whole=False)
    peer.send(first, second, continuation(1, peer.block([("x-dummy0", "x" * 4000)])))
    peer.response(1)


@pytest.mark.parametrize("before", ["headers", "continuation", "data"])
def test_6_10_continuation_continues_something(peer: Conversation, before: str) -> None:
    """PROTOCOL_ERROR of the connection (http2/6.10/4 to 6)."""
    block, rest = peer.block(peer.fields("POST")), [peer.block([(f"x-dummy{at}", "x" * 4000)]) for at in range(2)]
    begin = {
        "headers": headers(1, block),
        "continuation": headers(1, block, whole=False) + continuation(1, rest[0]),
        "data": headers(1, block, end=False) + data(1, b"test", end=True),
    }[before]
    peer.send(begin, continuation(1, rest[1]))
    peer.connection_error(Code.PROTOCOL_ERROR)


def test_6_10_continuation_belongs_to_a_stream(peer: Conversation) -> None:
    """PROTOCOL_ERROR of the connection (http2/6.10/3)."""
    peer.send(headers(1, peer.block(peer.fields()), whole=False), continuation(0, peer.block([("x-dummy0", "x")])))
    peer.connection_error(Code.PROTOCOL_ERROR)
