"""Endpoints of HTTP/2 are not trusted either: what they do wrong ends their stream or connection, never a client's.

The client speaks HTTP/2 as well, and hears 502, or a reset if it has part of the response already.
"""

from __future__ import annotations

import pytest

from tests.http2.attack import HTTP2, bounded
from tests.support.http2 import (
    FRAME_SIZE,
    LARGEST_WINDOW,
    Code,
    Setting,
    Type,
    continuation,
    data,
    frame,
    headers,
    literal,
    ping,
    priority,
    push_promise,
    rst_stream,
    settings,
    unknown,
    window_update,
)
from tests.support.http2_peers import HELLO, Conversation, Endpoint, Http2Endpoints, WorldPipe
from tests.support.world import World

OK = b"\x88"


class Scene:
    """A client whose request, stream 1, is at an endpoint."""

    def __init__(self) -> None:
        self.world = World(HTTP2)
        self.client = Conversation(WorldPipe(self.world, self.world.client())).handshake()
        self.client.send(self.client.request(1))
        self.server = Endpoint.accept(self.world)
        self.stream, _ = self.server.request()

    def failed(self) -> None:
        """The client hears that its endpoint failed, and is served by the next connection or the same."""
        one = self.client.until(
            lambda one: one.stream == 1 and (one.ends or one.type == Type.RST_STREAM), "the end of the stream"
        )
        response = self.client.streams[1]
        if response.status == 200:
            assert one.type == Type.RST_STREAM and one.code != Code.NO_ERROR, one
        else:
            assert (response.status, response.reason) in (
                (502, "upstream_protocol"),
                (502, "upstream_reset"),
            ), response
        assert self.world.endpoints[0].in_flight == 0
        self.goes_on()

    def goes_on(self) -> None:
        endpoints = Http2Endpoints(self.world)
        if not self.server.peer.over:
            endpoints.open.append(self.server)
        self.client.pipe = WorldPipe(self.world, self.client.pipe.peer, endpoints)  # type: ignore[attr-defined]
        self.client.send(self.client.request(3))
        assert self.client.response(3).body == HELLO

    def server_is_gone(self, *codes: int) -> None:
        """Our GOAWAY says why."""
        assert self.server.of(Type.GOAWAY).code in codes
        assert self.server.peer.half_closed or self.server.peer.over
        self.world.pass_time(5.0, step=0.1)
        assert self.server.peer.over


BROKEN_CONNECTIONS = {
    "push-promise": (Code.PROTOCOL_ERROR, push_promise(1, 2, b"\x82\x86\x84\x01\x06orders")),
    "push-allowed": (Code.PROTOCOL_ERROR, settings((Setting.ENABLE_PUSH, 1))),
    "stream-of-its-own": (Code.PROTOCOL_ERROR, headers(2, OK)),
    "answer-to-nothing": (Code.PROTOCOL_ERROR, headers(3, OK)),
    "data-for-nothing": (Code.PROTOCOL_ERROR, data(3, b"x")),
    "data-on-no-stream": (Code.PROTOCOL_ERROR, data(0, b"x")),
    "window-update-for-nothing": (Code.PROTOCOL_ERROR, window_update(5, 1)),
    "reset-of-nothing": (Code.PROTOCOL_ERROR, rst_stream(5)),
    "no-increment": (Code.PROTOCOL_ERROR, window_update(0, 0)),
    "window-too-large": (Code.FLOW_CONTROL_ERROR, window_update(0, LARGEST_WINDOW)),
    "frame-too-large": (Code.FRAME_SIZE_ERROR, frame(Type.DATA, 0, 1, length=FRAME_SIZE + 1)),
    "padding": (Code.PROTOCOL_ERROR, headers(1, OK, end=False) + frame(Type.DATA, 0x8, 1, b"\x09x")),
    "compression": (Code.COMPRESSION_ERROR, headers(1, b"\xff\xff\xff\xff\xff\xff\x7f")),
    "interleaved": (Code.PROTOCOL_ERROR, headers(1, OK, whole=False) + ping()),
    "ping-of-seven-bytes": (Code.FRAME_SIZE_ERROR, frame(Type.PING, payload=b"\0" * 7)),
    "continuation-flood": (Code.ENHANCE_YOUR_CALM, headers(1, OK, whole=False) + continuation(1, whole=False) * 70),
    "ping-flood": (Code.ENHANCE_YOUR_CALM, ping() * 3000),
    "settings-flood": (Code.ENHANCE_YOUR_CALM, settings() * 3000),
    "priority-flood": (Code.ENHANCE_YOUR_CALM, priority(1) * 3000),
    "unknown-flood": (Code.ENHANCE_YOUR_CALM, unknown(payload=b"") * 3000),
    "window-update-flood": (Code.ENHANCE_YOUR_CALM, window_update(0, 1) * 3000),
    "empty-data": (Code.ENHANCE_YOUR_CALM, headers(1, OK, end=False) + data(1) * 50),
}


@pytest.mark.parametrize("kind", BROKEN_CONNECTIONS)
def test_an_endpoint_that_breaks_its_connection(kind: str) -> None:
    """It gets GOAWAY, the request fails, and the next one has another connection."""
    code, frames = BROKEN_CONNECTIONS[kind]
    scene = Scene()
    with bounded(1_000_000):
        scene.server.send(frames)
    scene.server_is_gone(code)
    scene.failed()


BROKEN_STREAMS = {
    "data-before-the-head": data(1, b"x", end=True),
    "no-status": headers(1, literal(b"x", b"y")),
    "empty-head": headers(1, b""),
    "status-of-two-digits": headers(1, literal(b":status", b"20")),
    "status-of-four-digits": headers(1, literal(b":status", b"2000")),
    "status-099": headers(1, literal(b":status", b"099")),
    "status-in-words": headers(1, literal(b":status", b"OK!")),
    "status-twice": headers(1, OK + OK),
    "status-behind-others": headers(1, literal(b"x", b"y") + OK),
    "pseudo-field-of-requests": headers(1, OK + literal(b":path", b"/")),
    "switching-protocols": headers(1, literal(b":status", b"101")),
    "interim-that-ends": headers(1, literal(b":status", b"103")),
    "too-many-interims": headers(1, literal(b":status", b"103"), end=False) * 50,
    "capitals": headers(1, OK + literal(b"X-Test", b"y")),
    "line-in-a-value": headers(1, OK + literal(b"x", b"y\r\nset-cookie: z")),
    "line-in-a-name": headers(1, OK + literal(b"x: y\r\nz", b"y")),
    "nul": headers(1, OK + literal(b"x", b"\0")),
    "connection": headers(1, OK + literal(b"connection", b"close")),
    "transfer-encoding": headers(1, OK + literal(b"transfer-encoding", b"chunked")),
    "two-lengths": headers(1, OK + literal(b"content-length", b"1") + literal(b"content-length", b"2")),
    "length-in-words": headers(1, OK + literal(b"content-length", b"one"), end=False),
    "length-without-body": headers(1, OK + literal(b"content-length", b"4")),
    "shorter-body": headers(1, OK + literal(b"content-length", b"4"), end=False) + data(1, b"x", end=True),
    "longer-body": headers(1, OK + literal(b"content-length", b"4"), end=False) + data(1, b"x" * 5, end=True),
    "trailers-without-end": headers(1, OK, end=False) + data(1, b"x") + headers(1, literal(b"x", b"y"), end=False),
    "pseudo-field-in-trailers": headers(1, OK, end=False) + data(1, b"x") + headers(1, OK),
    "line-in-trailers": headers(1, OK, end=False) + data(1, b"x") + headers(1, literal(b"x", b"y\r\nz: y")),
    "body-of-204": headers(1, b"\x89", end=False) + data(1, b"x", end=True),
    "no-increment": window_update(1, 0),
    "window-too-large": window_update(1, LARGEST_WINDOW),
    "reset": rst_stream(1, Code.INTERNAL_ERROR),
    "reset-amid-the-body": headers(1, OK, end=False) + data(1, b"x") + rst_stream(1, Code.CANCEL),
    "reset-with-no-error": headers(1, OK, end=False) + data(1, b"x") + rst_stream(1, Code.NO_ERROR),
}


@pytest.mark.parametrize("kind", BROKEN_STREAMS)
def test_an_endpoint_that_breaks_a_stream(kind: str) -> None:
    """The request fails, and whatever of a response has been passed on is not made to look whole."""
    scene = Scene()
    scene.server.send(BROKEN_STREAMS[kind])
    scene.failed()


def test_a_bomb_of_fields_in_a_response() -> None:
    """It counts with what it unfolds to, and its client hears of a failure."""
    scene = Scene()
    block = OK + literal(b"x-bomb", b"x" * 4000, 0x40) + b"\xbe" * 10000
    with bounded(1_000_000):
        scene.server.send(headers(1, block))
    scene.failed()


def test_a_response_before_the_request_is_whole_ends_it() -> None:
    """What is left of the body is not sent, and the connection takes the next request."""
    scene = Scene()
    client = scene.client
    client.send(client.request(5, method="POST", end=False), data(5, b"x"))
    scene.server.frames()
    scene.server.respond(3, body=b"no")
    assert client.response(5).body == b"no"
    client.send(data(5, b"x" * 1000, end=True))
    client.pong()
    scene.server.respond(1)
    assert client.response(1).status == 200
    assert scene.server.streams[3].body == b"x" and not scene.server.peer.over


def test_late_frames_of_a_stream_that_we_cancelled_are_borne() -> None:
    """The endpoint did not know yet; its table is kept in step, its window given back."""
    scene = Scene()
    scene.client.send(rst_stream(1))
    scene.client.pong()
    assert scene.server.of(Type.RST_STREAM, 1).code == Code.CANCEL
    scene.server.send(headers(1, OK + literal(b"x-late", b"known", 0x40), end=False))
    for _ in range(200):
        scene.server.send(data(1, b"x" * FRAME_SIZE))
    scene.client.send(scene.client.request(3))
    scene.server.of(Type.HEADERS, 3)
    scene.server.send(headers(3, OK + b"\xbe"))
    assert scene.client.response(3).get(b"x-late") == b"known"


def test_more_than_the_window_of_a_stream_is_an_error() -> None:
    """An endpoint that goes on though its client takes nothing is stopped, with no more held than the window."""
    scene = Scene()
    scene.client.change((Setting.INITIAL_WINDOW_SIZE, 0))
    window = scene.server.settings[Setting.INITIAL_WINDOW_SIZE]
    scene.server.send(headers(1, OK, end=False))
    with bounded(2 * window + 300_000):
        for _ in range(4 * window // FRAME_SIZE):
            if not scene.server.peer.over:
                scene.server.send(data(1, b"x" * FRAME_SIZE))
    frames = scene.server.frames()
    granted = sum(one.increment for one in frames if one.type == Type.WINDOW_UPDATE and one.stream == 1)
    assert granted <= window
    assert Code.FLOW_CONTROL_ERROR in [one.code for one in frames if one.type in (Type.RST_STREAM, Type.GOAWAY)]
    scene.client.send(settings((Setting.INITIAL_WINDOW_SIZE, 65535)))
    scene.failed()


def test_an_endpoint_that_takes_no_streams_is_waited_for() -> None:
    """MAX_CONCURRENT_STREAMS of 0 is a pause, as long as the deadline allows."""
    scene = Scene()
    scene.server.send(settings((Setting.MAX_CONCURRENT_STREAMS, 0)))
    scene.client.send(scene.client.request(3))
    scene.client.pong()
    assert 3 not in scene.server.streams
    scene.server.respond(1)
    scene.client.response(1)
    scene.server.send(settings((Setting.MAX_CONCURRENT_STREAMS, 10)))
    servers = [scene.server]
    if scene.world.dialing:
        servers.append(Endpoint.accept(scene.world))
    asked = [server for server in servers if any(one.type == Type.HEADERS for one in server.frames())]
    (server,) = asked
    server.respond(max(server.streams), body=HELLO)
    assert scene.client.response(3).body == HELLO


def test_the_header_of_a_frame_alone_holds_nothing() -> None:
    """A frame of the largest size that never comes costs its nine bytes."""
    scene = Scene()
    with bounded(300_000):
        scene.server.send(headers(1, OK, end=False), frame(Type.DATA, 0, 1, length=FRAME_SIZE))
        scene.client.pong()
    scene.server.send(b"x" * FRAME_SIZE, data(1, end=True))
    assert scene.client.response(1).body == b"x" * FRAME_SIZE


def test_a_response_in_continuations_is_passed_on() -> None:
    """Up to what is allowed, and written in as few frames as it takes."""
    scene = Scene()
    block = OK + b"".join(literal(b"x-%d" % at, b"y" * 1000) for at in range(40))
    parts = [block[at : at + 1000] for at in range(0, len(block), 1000)]
    rest = [continuation(1, part, whole=at == len(parts) - 1) for at, part in enumerate(parts) if at]
    scene.server.send(frame(Type.HEADERS, 1, 1, parts[0]), *rest)
    response = scene.client.response(1)
    assert sum(name.startswith(b"x-") and value == b"y" * 1000 for name, value in response.fields) == 40
