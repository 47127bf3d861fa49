"""Preface, frames and blocks, sections 3.4, 4 and 5.4 to 5.5 of RFC 9113: h2spec's http2/3.5 to 4.3, 5.4.1 and 5.5, and more."""

from __future__ import annotations

import pytest

from tests.support.http2 import (
    FRAME_SIZE,
    PREFACE,
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
    push_promise,
    rst_stream,
    settings,
    settings_ack,
    unknown,
    window_update,
)
from tests.support.http2_peers import Conversation


def test_3_4_what_is_no_preface_ends_the_connection(fresh: Conversation) -> None:
    """It is neither HTTP/2 nor HTTP/1 (http2/3.5/2)."""
    fresh.pipe.send(b"INVALID CONNECTION PREFACE\r\n\r\n")
    ends_without_frames(fresh)


@pytest.mark.parametrize(
    "preface",
    [
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        b"PRI * HTTP/2.0\r\nHost: orders\r\n\r\n",
        b"PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n",
    ],
)
def test_3_4_a_preface_that_goes_wrong_ends_the_connection(fresh: Conversation, preface: bytes) -> None:
    """However well it began."""
    fresh.pipe.send(preface)
    ends_without_frames(fresh)


def ends_without_frames(fresh: Conversation) -> None:
    """A refusal in HTTP/1, GOAWAY, or nothing: only the end counts."""
    fresh.reader.feed = lambda data: []  # type: ignore[method-assign]
    fresh.closes()


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(ping(), id="ping"),
        pytest.param(window_update(0, 1), id="window-update"),
        pytest.param(unknown(), id="unknown"),
        pytest.param(headers(1, b"\x82\x86\x84\x01\x06orders"), id="headers"),
    ],
)
def test_3_4_a_client_begins_with_settings(fresh: Conversation, first: bytes) -> None:
    """Any other frame behind the preface is PROTOCOL_ERROR."""
    fresh.send(PREFACE, first)
    fresh.connection_error(Code.PROTOCOL_ERROR)


def test_3_4_a_client_need_not_wait_for_our_settings(fresh: Conversation) -> None:
    """A request may come in the same packet as the preface."""
    fresh.send(PREFACE, settings(), fresh.request(1))
    fresh.response(1)


@pytest.mark.parametrize(
    "ignored",
    [
        pytest.param(unknown(), id="type"),
        pytest.param(frame(0xFF, 0xFF, 0, b"x" * FRAME_SIZE), id="large"),
        pytest.param(unknown(1), id="idle-stream"),
        pytest.param(frame(Type.UNKNOWN, 0, 0x80000000), id="empty-reserved"),
    ],
)
def test_4_1_an_unknown_frame_is_ignored(peer: Conversation, ignored: bytes) -> None:
    """Whatever its flags and stream (http2/4.1/1, 5.5/1)."""
    peer.send(ignored)
    peer.pong()
    peer.send(peer.request(1))
    peer.response(1)


@pytest.mark.parametrize("stream", [0, 0x80000000], ids=["flags", "reserved"])
def test_4_1_flags_without_meaning_and_the_reserved_bit_are_ignored(peer: Conversation, stream: int) -> None:
    """A PING with both is a PING (http2/4.1/2 and 3)."""
    peer.send(frame(Type.PING, 0x16, stream, b"\0" * 8))
    assert peer.of(Type.PING).ack


def test_4_1_the_reserved_bit_of_a_stream_is_ignored(peer: Conversation) -> None:
    """The stream is the one without it."""
    peer.send(headers(0x80000001, peer.block(peer.fields())))
    peer.response(1)


def test_4_2_a_frame_of_the_allowed_size_is_taken(peer: Conversation) -> None:
    """2^14 bytes of DATA (http2/4.2/1)."""
    peer.send(peer.request(1, method="POST", end=False))
    peer.send(data(1, b"x" * FRAME_SIZE, end=True))
    peer.response(1)


def test_4_2_a_larger_frame_of_data_is_an_error(peer: Conversation) -> None:
    """FRAME_SIZE_ERROR, of the stream at least (http2/4.2/2)."""
    size = peer.settings.get(Setting.MAX_FRAME_SIZE, FRAME_SIZE)
    peer.send(peer.request(1, method="POST", end=False), data(1, b"x" * (size + 1), end=True))
    peer.stream_error(1, Code.FRAME_SIZE_ERROR)


def test_4_2_a_larger_frame_of_fields_ends_the_connection(peer: Conversation) -> None:
    """FRAME_SIZE_ERROR: what it says of tables is lost (http2/4.2/3)."""
    size = peer.settings.get(Setting.MAX_FRAME_SIZE, FRAME_SIZE)
    block = peer.block([*peer.fields(), *((f"x-dummy{at}", "x" * 4000) for at in range(5))])
    peer.send(headers(1, block + bytes(max(0, size + 1 - len(block)))))
    peer.connection_error(Code.FRAME_SIZE_ERROR)


@pytest.mark.parametrize("kind", [Type.SETTINGS, Type.PING, Type.GOAWAY, Type.UNKNOWN])
def test_4_2_a_larger_frame_of_the_connection_ends_it(peer: Conversation, kind: int) -> None:
    """FRAME_SIZE_ERROR; its header is enough to know it."""
    size = peer.settings.get(Setting.MAX_FRAME_SIZE, FRAME_SIZE)
    peer.send(frame(kind, length=size + 1))
    peer.connection_error(Code.FRAME_SIZE_ERROR)


@pytest.mark.parametrize(
    "short",
    [
        pytest.param(frame(Type.RST_STREAM, 0, 1, b"\0" * 3), id="rst-stream"),
        pytest.param(frame(Type.RST_STREAM, 0, 1, b"\0" * 5), id="rst-stream-long"),
        pytest.param(frame(Type.PING, payload=b"\0" * 7), id="ping"),
        pytest.param(frame(Type.PING, payload=b"\0" * 9), id="ping-long"),
        pytest.param(frame(Type.GOAWAY, payload=b"\0" * 7), id="goaway"),
        pytest.param(frame(Type.WINDOW_UPDATE, payload=b"\0" * 3), id="window-update"),
        pytest.param(frame(Type.WINDOW_UPDATE, 0, 1, b"\0\0\0\1\0"), id="window-update-long"),
        pytest.param(frame(Type.SETTINGS, payload=b"\0" * 5), id="settings"),
    ],
)
def test_4_2_a_frame_of_the_wrong_size_ends_the_connection(peer: Conversation, short: bytes) -> None:
    """FRAME_SIZE_ERROR."""
    peer.send(peer.request(1, end=False), short)
    peer.connection_error(Code.FRAME_SIZE_ERROR)


@pytest.mark.parametrize("flags", [0x8, 0x20, 0x28], ids=["padded", "priority", "both"])
def test_4_2_headers_without_room_for_what_flags_announce_end_the_connection(peer: Conversation, flags: int) -> None:
    """They cannot be told from a block that was cut short."""
    peer.send(frame(Type.HEADERS, flags | 0x5, 1, b""))
    peer.connection_error(Code.FRAME_SIZE_ERROR, Code.PROTOCOL_ERROR)


def test_4_3_a_block_that_cannot_be_decoded_ends_the_connection(peer: Conversation) -> None:
    """COMPRESSION_ERROR (http2/4.3/1)."""
    peer.send(headers(1, b"\x40"))
    peer.connection_error(Code.COMPRESSION_ERROR)


@pytest.mark.parametrize(
    "between",
    [
        pytest.param(priority(1, weight=256), id="priority"),
        pytest.param(headers(1, b"\x82\x86\x84\x01\x06orders"), id="headers"),
        pytest.param(headers(3, b"\x82\x86\x84\x01\x06orders"), id="headers-of-another-stream"),
        pytest.param(data(1, b"test", end=True), id="data"),
        pytest.param(rst_stream(1), id="rst-stream"),
        pytest.param(settings(), id="settings"),
        pytest.param(settings_ack(), id="settings-ack"),
        pytest.param(push_promise(1, 2, b"\x82"), id="push-promise"),
        pytest.param(ping(), id="ping"),
        pytest.param(goaway(), id="goaway"),
        pytest.param(window_update(0, 1), id="window-update"),
        pytest.param(continuation(3), id="continuation-of-another-stream"),
        pytest.param(continuation(0), id="continuation-of-no-stream"),
        pytest.param(unknown(), id="unknown"),
    ],
)
@pytest.mark.parametrize("parts", [1, 2], ids=["after-headers", "after-continuation"])
def test_4_3_nothing_comes_between_the_parts_of_a_block(peer: Conversation, between: bytes, parts: int) -> None:
    """PROTOCOL_ERROR for any frame (http2/4.3/2 and 3, 5.5/2, 6.2/1 and 2, 6.10/2, 3 and 6)."""
    first = headers(1, peer.block(peer.fields("POST")), end=False, whole=False)
    more = continuation(1, peer.block([("x-dummy0", "x" * 100)]), whole=False) if parts == 2 else b""
    rest = continuation(1, peer.block([("x-dummy1", "x" * 100)]))
    peer.send(first, more, between, rest)
    peer.connection_error(Code.PROTOCOL_ERROR)


def test_5_4_1_the_connection_is_closed_after_an_error(peer: Conversation) -> None:
    """GOAWAY with PROTOCOL_ERROR first (http2/5.4.1/1 and 2)."""
    peer.send(frame(Type.PING, 0, 3, b"\0" * 8))
    peer.connection_error(Code.PROTOCOL_ERROR)


def test_5_4_1_goaway_names_the_last_stream_that_was_taken(peer: Conversation) -> None:
    """What came behind it may be sent again."""
    peer.send(peer.request(1), peer.request(7))
    peer.response(1), peer.response(7)
    peer.send(frame(Type.PING, 0, 9, b"\0" * 8))
    error = peer.connection_error(Code.PROTOCOL_ERROR)
    assert error is None or error.last == 7


def test_5_4_1_goaway_names_no_stream_if_there_was_none(peer: Conversation) -> None:
    """Nothing was done."""
    peer.send(frame(Type.PING, 0, 9, b"\0" * 8))
    error = peer.connection_error(Code.PROTOCOL_ERROR)
    assert error is None or error.last == 0


def test_5_4_1_nothing_is_done_behind_an_error(peer: Conversation) -> None:
    """A request in the same packet gets no answer."""
    peer.send(frame(Type.PING, 0, 9, b"\0" * 8), peer.request(1))
    peer.connection_error(Code.PROTOCOL_ERROR)
    assert 1 not in peer.streams
