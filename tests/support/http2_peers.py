"""The two ends of an HTTP/2 connection as tests speak them, and what carries their bytes.

``Conversation`` says what RFC 9113 calls a connection error and a stream error: ``connection_error(code)`` wants GOAWAY with
that code and the end of the connection, ``stream_error(1, code)`` RST_STREAM and a connection that goes on, or what section
5.4 allows in its place, a connection error. ``Endpoint`` is a server for the World::

    world = World('...')
    peer = Conversation(WorldPipe(world, world.client()))
    peer.handshake()
    peer.send(peer.request(1))
    server = Endpoint.accept(world)
    stream, request = server.request()
    server.respond(stream, body=b"hi", trailers=[("grpc-status", "0")])
    assert peer.response(1).body == b"hi"
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

import h11

from tests.support.http2 import (
    FRAME_SIZE,
    PREFACE,
    WINDOW,
    Code,
    Fields,
    Frame,
    Gone,
    Message,
    Pipe,
    Setting,
    Speaker,
    Type,
    data,
    headers,
    ping,
    rst_stream,
    settings,
    settings_ack,
    window_update,
)
from tests.support.world import Peer, World

HELLO = b"hello, world"


class Blocked(Exception):
    """The sidecar has stopped to read: the kernel would take no more in the end."""


class WorldPipe:
    """A connection of the World. ``serve`` is called before each look, so that somebody can do an endpoint's work."""

    def __init__(
        self, world: World, peer: Peer, serve: Callable[[], object] | None = None, bytewise: bool = False
    ) -> None:
        self.world = world
        self.peer = peer
        self.bytewise = bytewise
        self._serve = serve or (lambda: None)

    def send(self, data: bytes) -> None:
        if self.peer.paused:
            self._turn()
        if self.peer.paused:
            raise Blocked
        if self.bytewise:
            self.peer.send_bytewise(data)
        else:
            self.peer.send(data)
        self.world.settle()

    def _turn(self) -> None:
        self.world.settle()
        self._serve()
        self.world.settle()

    def receive(self, patient: bool = True) -> bytes:
        self._turn()
        if not self.peer.received and not self.peer.over and patient:
            self.world.pass_time(1.0, step=0.1)
            self._turn()
        if self.peer.received:
            return self.peer.take()
        if self.peer.over or self.peer.half_closed:
            raise Gone
        return b""


class SocketPipe:
    """A TCP connection; patience is the socket's timeout."""

    def __init__(self, raw: socket.socket, timeout: float = 10.0) -> None:
        raw.settimeout(timeout)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = raw
        self._timeout = timeout

    def send(self, data: bytes) -> None:
        with suppress(ConnectionError):
            self._socket.sendall(data)

    def receive(self, patient: bool = True) -> bytes:
        self._socket.settimeout(self._timeout if patient else 0)
        try:
            came = self._socket.recv(262144)
        except (TimeoutError, BlockingIOError):
            return b""
        except ConnectionError:
            raise Gone from None
        finally:
            self._socket.settimeout(self._timeout)
        if not came:
            raise Gone
        return came

    def close(self) -> None:
        self._socket.close()


class Conversation(Speaker):
    """A client. ``strict``: a connection error comes with GOAWAY, and not only as the end of the connection."""

    def __init__(self, pipe: Pipe, authority: bytes = b"orders", strict: bool = True) -> None:
        super().__init__(pipe)
        self.authority = authority
        self.strict = strict
        self.settings: dict[int, int] = {}

    def handshake(self, *values: tuple[int, int]) -> Self:
        """Says who it is, and waits until both sides know each other's settings."""
        self.send(PREFACE, settings(*(values or ((Setting.INITIAL_WINDOW_SIZE, WINDOW),))))
        first = self.until(lambda one: True, "a preface")
        assert first.type == Type.SETTINGS and not first.ack, f"the first frame is {first}"
        self.settings = first.settings
        self.until(lambda one: one.type == Type.SETTINGS and one.ack, "an acknowledgement of the settings")
        self.send(settings_ack())
        return self

    def fields(
        self, method: str = "GET", path: str = "/", *more: tuple[str, str]
    ) -> list[tuple[bytes | str, bytes | str]]:
        """Those of a request."""
        return [(":method", method), (":scheme", "http"), (":path", path), (":authority", self.authority), *more]

    def request(
        self, stream: int, *more: tuple[str, str], method: str = "GET", path: str = "/", end: bool = True
    ) -> bytes:
        """The HEADERS frame of a request with ``more`` fields."""
        return headers(stream, self.block(self.fields(method, path, *more)), end)

    def change(self, *values: tuple[int, int]) -> None:
        """Other settings, and waits until they are taken."""
        self.send(settings(*values))
        self.until(lambda one: one.type == Type.SETTINGS and one.ack, "an acknowledgement of the settings")

    def response(self, stream: int) -> Message:
        """The whole response."""

        def over(one: Frame) -> bool:
            assert one.type != Type.GOAWAY or one.code == Code.NO_ERROR, f"the connection failed: {one}"
            assert one.type != Type.RST_STREAM or one.stream != stream, f"the stream was reset: {one}"
            return one.stream == stream and one.ends

        if not (stream in self.streams and self.streams[stream].whole):
            self.until(over, f"the end of a response on stream {stream}")
        return self.streams[stream]

    def pong(self, payload: bytes = b"anybody?") -> Frame:
        """Sees that the connection stands, and that all that was sent before was dealt with."""
        self.send(ping(payload))
        return self.until(
            lambda one: one.type == Type.PING and one.ack and one.payload == payload, f"an answer to PING {payload!r}"
        )

    def closes(self) -> None:
        """Waits for the end of the connection."""
        for _ in range(30):
            if self.gone:
                return
            self.receive()
        raise AssertionError(f"the connection stands; there came {self.seen}")

    def connection_error(self, *codes: int) -> Frame | None:
        """One of ``codes`` in a GOAWAY, and then the end; None if it ended without a word and that will do."""
        try:
            one = self.of(Type.GOAWAY)
        except AssertionError:
            if self.gone and not self.strict:
                return None
            raise
        assert one.code in codes, f"{one}, not {_names(codes)}"
        self.closes()
        return one

    def stream_error(self, stream: int, *codes: int) -> Frame | None:
        """RST_STREAM with one of ``codes`` while the connection goes on, or a connection error with one of them."""

        def error(one: Frame) -> bool:
            return one.type == Type.GOAWAY or (one.type == Type.RST_STREAM and one.stream == stream)

        try:
            one = self.until(error, f"an error {_names(codes)} of stream {stream}")
        except AssertionError:
            if self.gone and not self.strict:
                return None
            raise
        assert one.code in codes, f"{one}, not {_names(codes)}"
        if one.type == Type.GOAWAY:
            self.closes()
        else:
            self.pong()
        return one


def _names(codes: tuple[int, ...]) -> str:
    return " or ".join(Code(code).name for code in codes)


class Endpoint(Speaker):
    """A server of HTTP/2. It acknowledges settings and answers PING by itself, when it is asked for what has come."""

    def __init__(self, pipe: Pipe, *values: tuple[int, int]) -> None:
        super().__init__(pipe)
        self.generous = False
        """Whether windows are given back for all that comes."""
        self._preface = b""
        self.settings: dict[int, int] = {}
        """What the sidecar has set."""
        self.send(settings(*values))

    @classmethod
    def accept(cls, world: World, label: str | None = None, values: tuple[tuple[int, int], ...] = ()) -> Self:
        """The endpoint takes the connection that the sidecar is making."""
        return cls(WorldPipe(world, world.accept(label)), *values)

    @property
    def peer(self) -> Peer:
        assert isinstance(self.pipe, WorldPipe)
        return self.pipe.peer

    def receive(self, patient: bool = True) -> bool:
        before = len(self.seen)
        if len(self._preface) < len(PREFACE):
            try:
                self._preface += self.pipe.receive(patient)
            except Gone:
                self.gone = True
                return False
            assert PREFACE.startswith(self._preface[: len(PREFACE)]), f"no preface: {self._preface!r}"
            if len(self._preface) < len(PREFACE):
                return False
            self._take(self._preface[len(PREFACE) :])
            came = True
        else:
            came = super().receive(patient)
        for one in self.seen[before:]:
            if one.type == Type.SETTINGS and not one.ack:
                self.settings |= one.settings
                self.send(settings_ack())
            elif one.type == Type.PING and not one.ack:
                self.send(ping(one.payload, ack=True))
            elif one.type == Type.DATA and one.payload and self.generous:
                self.send(*(window_update(stream, len(one.payload)) for stream in (0, one.stream)))
        return came

    def request(self, stream: int | None = None) -> tuple[int, Message]:
        """The next whole request, or that of ``stream``: its stream and what it says."""

        def whole(one: Frame) -> bool:
            assert one.type != Type.GOAWAY or one.code == Code.NO_ERROR, f"the connection failed: {one}"
            return one.ends and (stream is None or one.stream == stream)

        at = self.until(whole, "the end of a request").stream
        return at, self.streams[at]

    def respond(
        self, stream: int, fields: Fields = (), body: bytes = b"", trailers: Fields | None = None, status: int = 200
    ) -> None:
        """A response in one write. Windows are the test's affair; ``respond(1, [("grpc-status", "0")])`` is trailers only."""
        whole = not body and trailers is None
        frames = [headers(stream, self.block([(":status", str(status)), *fields]), whole)]
        for at in range(0, len(body), FRAME_SIZE):
            last = at + FRAME_SIZE >= len(body)
            frames.append(data(stream, body[at : at + FRAME_SIZE], last and trailers is None))
        if trailers is not None:
            frames.append(headers(stream, self.block(trailers)))
        self.send(*frames)

    def reset(self, stream: int, code: int = Code.CANCEL) -> None:
        self.send(rst_stream(stream, code))


class Http2Endpoints:
    """Whoever the sidecar dials in a World, speaking HTTP/2: each request is answered when it is whole."""

    def __init__(self, world: World, body: bytes = HELLO) -> None:
        self._world = world
        self._body = body
        self.open: list[Endpoint] = []

    def __call__(self) -> None:
        while self._world.dialing:
            self.open.append(Endpoint.accept(self._world))
            self.open[-1].generous = True
        for endpoint in self.open:
            for one in endpoint.frames():
                if one.ends:
                    head = endpoint.streams[one.stream].get(b":method") == b"HEAD"
                    endpoint.respond(one.stream, body=b"" if head else self._body)

    @property
    def requests(self) -> list[Message]:
        return [request for endpoint in self.open for request in endpoint.streams.values()]


class Http1Endpoints:
    """Whoever the sidecar dials in a World, speaking HTTP/1: h11 reads the requests, each is answered when it is whole.

    ``received`` is all bytes that any of them got, ``requests`` the heads of whole requests, ``bodies`` theirs.
    """

    def __init__(self, world: World, body: bytes = HELLO) -> None:
        self._world = world
        self._body = body
        self._open: list[tuple[Peer, Any]] = []
        self.received = b""
        self.requests: list[h11.Request] = []
        self.bodies: list[bytes] = []

    def __call__(self) -> None:
        while self._world.dialing:
            self._open.append((self._world.accept(), h11.Connection(h11.SERVER)))
        for peer, connection in self._open:
            came = peer.take()
            self.received += came
            if came:
                connection.receive_data(came)
            self._answer(peer, connection)

    def _answer(self, peer: Peer, connection: Any) -> None:
        while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            if isinstance(event, h11.Request):
                self.requests.append(event)
                self.bodies.append(b"")
            elif isinstance(event, h11.Data):
                self.bodies[-1] += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage) and not peer.over:
                self._respond(peer, connection)

    def _respond(self, peer: Peer, connection: Any) -> None:
        length = str(len(self._body)).encode()
        head = h11.Response(status_code=200, headers=[(b"content-length", length)])
        pieces = [connection.send(head)]
        if self.requests[-1].method != b"HEAD":
            pieces.append(connection.send(h11.Data(data=self._body)))
        pieces.append(connection.send(h11.EndOfMessage()))
        if peer.paused:
            self._world.settle()
        peer.send(b"".join(pieces))
        connection.start_next_cycle()
