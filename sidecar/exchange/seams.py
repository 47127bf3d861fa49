"""What an exchange needs of the world, as Protocols: HTTP/1, HTTP/2 and the tests' fakes come in behind them."""

from __future__ import annotations

import enum
from typing import Final, Protocol

from sidecar.errors import Failure
from sidecar.http.head import NOTHING, Field, Request, Response
from sidecar.http.reply import Reply
from sidecar.model import Dial, Endpoint

Written = bytes | tuple[list[Field], ...]
"""The head of a request as it is sent: in HTTP/1.1, or in HTTP/2 as what came of it and what is added."""


class Timer(Protocol):
    """The one timer of an exchange; it calls ``on_timer`` once when ``due`` has come."""

    def set(self, due: float) -> None: ...


class Downstream(Protocol):
    """Whoever sent us the request. Every exchange calls ``respond`` or ``reply`` at most once."""

    @property
    def peer_trusted(self) -> bool:
        """Whether the peer may say who the client was."""
        ...

    @property
    def peer(self) -> str:
        """Its IP address, also when it has left."""
        ...

    @property
    def timer(self) -> Timer:
        """Calls the exchange's ``on_timer`` while that has not finished."""
        ...

    def inform(self, head: Response) -> None:
        """Passes an interim response (1xx) on."""
        ...

    def respond(
        self, head: Response, own_reasons: bool, request_id: bytes, body: bytes, end: bool, trailers: list[Field]
    ) -> None:
        """Passes the final response on: its head, ``request_id`` added if there is one, and the body bytes that are in hand;
        ``end``: they are all, and ``trailers`` what comes behind them.

        ``own_reasons``: whether the sender may claim a reason of ours (``x-sidecar-*``).
        """
        ...

    def send_body(self, data: bytes) -> None: ...

    def end_body(self, data: bytes, trailers: list[Field]) -> None:
        """The last of the body, if there is anything left of it, and what comes behind."""
        ...

    def reply(self, reply: Reply) -> None:
        """Answers with a response of ours, whole."""
        ...

    def abort(self) -> None:
        """Breaks a response off so that the peer cannot take it for complete."""
        ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def unsent(self) -> int:
        """Bytes that the peer has not taken yet."""
        ...


class Answering(Protocol):
    """Whoever answers a request, an exchange or a local handler, and hears what the downstream receives."""

    def start(self, body: bytes, end: bool) -> None: ...
    def request_body(self, data: bytes) -> None: ...
    def request_end(self, data: bytes, trailers: list[Field]) -> None:
        """All of the request has come, ``data`` the last of its body."""
        ...

    def request_broken(self, failure: Failure, detail: str) -> None: ...
    def caller_left(self) -> None: ...
    def downstream_full(self) -> None: ...
    def downstream_drained(self) -> None: ...
    def on_timer(self, now: float) -> None: ...


class Upstream(Protocol):
    """A connection to an endpoint, or a stream of one, ours for one attempt. When the response is complete, its pool
    has it again without our doing."""

    @property
    def http2(self) -> bool:
        """Whether it takes heads as fields; else as bytes of HTTP/1.1."""
        ...

    @property
    def reused(self) -> bool:
        """Whether its connection carried a request before: then its closing may be no more than a race."""
        ...

    @property
    def silent(self) -> bool:
        """Whether nothing of a response has come yet."""
        ...

    def send(self, head: Written, chunked: bool, body: bytes, end: bool, trailers: list[Field]) -> None:
        """The request's head and the body bytes in hand, in one write. ``chunked``: the framing of this body in HTTP/1."""
        ...

    def send_body(self, data: bytes) -> None: ...

    def end_body(self, data: bytes, trailers: list[Field]) -> None: ...

    def unsent(self) -> int:
        """Bytes that the endpoint has not taken yet."""
        ...

    def cancel(self) -> None:
        """Gives the attempt up: its connection closes or its stream is reset, nothing of it is heard again."""
        ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Waiter(Protocol):
    """Who asked a pool for a connection, and hears what it receives."""

    @property
    def head(self) -> Request: ...

    def connected(self, upstream: Upstream) -> None: ...

    def connect_failed(self, failure: Failure, detail: str) -> None: ...

    def interim(self, head: Response) -> None:
        """A 1xx other than 101."""
        ...

    def response(self, head: Response, body: bytes, end: bool, now: float, trailers: list[Field] = NOTHING) -> None:
        """The final response's head and the body bytes in hand; ``end``: they are all, ``trailers`` what came behind them,
        and the connection is gone."""
        ...

    def response_body(self, data: bytes) -> None: ...

    def response_end(self, data: bytes, trailers: list[Field]) -> None: ...

    def upstream_failed(self, failure: Failure, detail: str, unprocessed: bool = False) -> None:
        """The connection or stream is gone before the response was complete; ``unprocessed``: and the endpoint says, or
        has said before, that it did nothing about this request."""
        ...

    def upstream_full(self) -> None:
        """The endpoint does not take what we hold: read no more of the request."""
        ...

    def upstream_drained(self) -> None: ...


class Freshness(enum.Enum):
    """Which pooled connections will do: any; only one that the endpoint cannot just be closing; none, a new one. One of
    HTTP/2 that carries other requests will always do."""

    ANY = "any"
    SURE = "sure"
    NEW = "new"


ANY: Final = Freshness.ANY
SURE: Final = Freshness.SURE


class Pool(Protocol):
    """Where connections come from."""

    def check_out(self, endpoint: Endpoint, waiter: Waiter, freshness: Freshness, dial: Dial) -> Upstream | None:
        """A connection that is ready, or ``None``: then ``waiter`` is told when there is one."""
        ...

    def leave(self, endpoint: Endpoint, waiter: Waiter) -> None:
        """``waiter`` waits no longer."""
        ...
