"""What a stream takes in each of its states, sections 5.1 to 5.3 of RFC 9113: h2spec's http2/5.1 to 5.3.1, and more."""

from __future__ import annotations

import pytest

from tests.support.http2 import (
    Code,
    Setting,
    Type,
    continuation,
    data,
    headers,
    priority,
    rst_stream,
    settings,
    weight_of,
    window_update,
)
from tests.support.http2_peers import Conversation


@pytest.mark.parametrize(
    "early",
    [
        pytest.param(data(1, b"test", end=True), id="data"),
        pytest.param(rst_stream(1), id="rst-stream"),
        pytest.param(window_update(1, 100), id="window-update"),
        pytest.param(continuation(1, b"\x82\x86\x84\x01\x06orders"), id="continuation"),
    ],
)
def test_5_1_an_idle_stream_takes_headers_and_priority_only(peer: Conversation, early: bytes) -> None:
    """PROTOCOL_ERROR of the connection (http2/5.1/1 to 4, 6.4/2)."""
    peer.send(early)
    peer.connection_error(Code.PROTOCOL_ERROR)


@pytest.mark.parametrize("stream", [2, 1000])
@pytest.mark.parametrize("kind", ["data", "rst_stream", "window_update"])
def test_5_1_a_stream_of_ours_is_idle_forever(peer: Conversation, kind: str, stream: int) -> None:
    """We push nothing, so nothing can be said of an even number."""
    peer.send(
        {"data": data(stream, b"x"), "rst_stream": rst_stream(stream), "window_update": window_update(stream, 1)}[kind]
    )
    peer.connection_error(Code.PROTOCOL_ERROR)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_5_1_a_half_closed_stream_takes_no_data(peer: Conversation, method: str) -> None:
    """STREAM_CLOSED (http2/5.1/5, 6.1/2)."""
    peer.send(peer.request(1, method=method), data(1, b"test", end=True))
    peer.stream_error(1, Code.STREAM_CLOSED)


@pytest.mark.parametrize("stream", [1, 5])
def test_5_1_a_half_closed_stream_takes_no_headers(peer: Conversation, stream: int) -> None:
    """STREAM_CLOSED (http2/5.1/6, 5.1.1/3)."""
    peer.send(peer.request(stream), peer.request(stream))
    peer.stream_error(stream, Code.STREAM_CLOSED)


def test_5_1_a_half_closed_stream_takes_no_continuation(peer: Conversation) -> None:
    """STREAM_CLOSED or PROTOCOL_ERROR (http2/5.1/7, 6.10/4)."""
    block = peer.block(peer.fields())
    peer.send(headers(1, block), continuation(1, peer.block(peer.fields())))
    peer.connection_error(Code.STREAM_CLOSED, Code.PROTOCOL_ERROR)


def test_5_1_a_stream_that_was_reset_takes_no_data(peer: Conversation) -> None:
    """STREAM_CLOSED (http2/5.1/8)."""
    peer.send(peer.request(1, end=False), rst_stream(1), data(1, b"test", end=True))
    peer.stream_error(1, Code.STREAM_CLOSED)


def test_5_1_a_stream_that_was_reset_takes_no_headers(peer: Conversation) -> None:
    """STREAM_CLOSED (http2/5.1/9)."""
    peer.send(peer.request(1, end=False), rst_stream(1), peer.request(1))
    peer.stream_error(1, Code.STREAM_CLOSED)


def test_5_1_a_stream_that_was_reset_takes_no_continuation(peer: Conversation) -> None:
    """STREAM_CLOSED or PROTOCOL_ERROR (http2/5.1/10)."""
    peer.send(peer.request(1, end=False), rst_stream(1), continuation(1, peer.block([("x-dummy0", "x" * 4000)])))
    peer.stream_error(1, Code.STREAM_CLOSED, Code.PROTOCOL_ERROR)


def test_5_1_data_on_a_closed_stream_ends_the_connection(peer: Conversation) -> None:
    """STREAM_CLOSED (http2/5.1/11)."""
    peer.send(peer.request(1))
    peer.response(1)
    peer.send(data(1, b"test", end=True))
    peer.connection_error(Code.STREAM_CLOSED)


def test_5_1_headers_on_a_closed_stream_end_the_connection(peer: Conversation) -> None:
    """STREAM_CLOSED; a stream is never opened again (http2/5.1/12)."""
    block = peer.block(peer.fields())
    peer.send(headers(1, block))
    peer.response(1)
    peer.send(headers(1, block))
    peer.connection_error(Code.STREAM_CLOSED)


def test_5_1_continuation_on_a_closed_stream_ends_the_connection(peer: Conversation) -> None:
    """STREAM_CLOSED or PROTOCOL_ERROR (http2/5.1/13)."""
    peer.send(peer.request(1))
    peer.response(1)
    peer.send(continuation(1, peer.block([("x-dummy0", "x" * 4000)])))
    peer.connection_error(Code.STREAM_CLOSED, Code.PROTOCOL_ERROR)


@pytest.mark.parametrize("late", [window_update(1, 1), rst_stream(1)], ids=["window-update", "rst-stream"])
def test_5_1_what_crossed_the_end_of_a_stream_is_ignored(peer: Conversation, late: bytes) -> None:
    """Both may have been sent before the client knew that it had ended."""
    peer.send(peer.request(1))
    peer.response(1)
    peer.send(late)
    peer.pong()


def test_5_1_what_crossed_our_reset_is_ignored(peer: Conversation) -> None:
    """A body on its way when its request was found malformed is no second error, and is not held."""
    peer.send(peer.request(1, ("X-UPPER", "malformed"), method="POST", end=False))
    assert peer.of(Type.RST_STREAM, 1).code == Code.PROTOCOL_ERROR
    peer.send(data(1, b"x" * 1000), data(1, b"x" * 1000), headers(1, peer.block([("x-trailer", "late")])))
    peer.pong()
    assert not [one for one in peer.seen if one.type == Type.GOAWAY]


@pytest.mark.parametrize("stream", [0, 2, 2**31 - 2])
def test_5_1_1_a_client_opens_odd_streams(peer: Conversation, stream: int) -> None:
    """PROTOCOL_ERROR of the connection (http2/5.1.1/1, 6.2/3)."""
    peer.send(peer.request(stream))
    peer.connection_error(Code.PROTOCOL_ERROR)


def test_5_1_1_streams_are_opened_in_order(peer: Conversation) -> None:
    """PROTOCOL_ERROR of the connection (http2/5.1.1/2)."""
    peer.send(peer.request(5), peer.request(3))
    peer.connection_error(Code.PROTOCOL_ERROR)


def test_5_1_1_a_stream_that_was_passed_over_is_closed(peer: Conversation) -> None:
    """DATA for it is an error, of the stream at least."""
    peer.send(peer.request(5), data(3, b"test"))
    peer.stream_error(3, Code.STREAM_CLOSED, Code.PROTOCOL_ERROR)


def test_5_1_1_the_highest_stream_is_one(peer: Conversation) -> None:
    """2^31 - 1 can be used."""
    peer.send(peer.request(2**31 - 1))
    peer.response(2**31 - 1)


def test_5_1_2_a_stream_too_many_is_refused(peer: Conversation) -> None:
    """With REFUSED_STREAM, or PROTOCOL_ERROR, and the others stand (http2/5.1.2/1)."""
    limit = peer.settings[Setting.MAX_CONCURRENT_STREAMS]
    streams = range(1, 2 * limit + 3, 2)
    peer.send(settings((Setting.INITIAL_WINDOW_SIZE, 0)), *map(peer.request, streams))
    peer.stream_error(streams[-1], Code.PROTOCOL_ERROR, Code.REFUSED_STREAM)
    assert not any(peer.streams[stream].reset for stream in streams[:-1] if stream in peer.streams)


def test_5_1_2_the_place_of_a_stream_that_ended_is_free(peer: Conversation) -> None:
    """Requests one after the other are no more than one, however many."""
    for stream in range(1, 2 * peer.settings[Setting.MAX_CONCURRENT_STREAMS] + 11, 2):
        peer.send(peer.request(stream))
        peer.response(stream)


def test_5_3_a_stream_that_depends_on_itself_is_an_error(peer: Conversation) -> None:
    """PROTOCOL_ERROR of the stream, as RFC 7540 wanted it (http2/5.3.1/1)."""
    peer.send(headers(1, peer.block(peer.fields()), priority=weight_of(1, 256)))
    peer.stream_error(1, Code.PROTOCOL_ERROR)


def test_5_3_a_priority_that_depends_on_itself_is_an_error(peer: Conversation) -> None:
    """PROTOCOL_ERROR of the stream, as RFC 7540 wanted it (http2/5.3.1/2)."""
    peer.send(priority(1, on=1, weight=256))
    peer.stream_error(1, Code.PROTOCOL_ERROR)
