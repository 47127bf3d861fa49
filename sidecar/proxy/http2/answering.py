"""One request on a connection of HTTP/2, and what is answered on its stream."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from sidecar.errors import Failure
from sidecar.exchange.seams import Answering
from sidecar.http.h2.frames import INTERNAL_ERROR, NO_ERROR, PROTOCOL_ERROR
from sidecar.http.h2.grammar import Malformed, trailers
from sidecar.http.h2.request import RequestFields
from sidecar.http.h2.stream import Stream
from sidecar.http.head import NOTHING, Field, Response, Section
from sidecar.http.reply import Reply
from sidecar.proxy.flow import LINGER_SECONDS
from sidecar.timing.wheel import Timer

if TYPE_CHECKING:
    from sidecar.proxy.http2.downstream import Http2Downstream


class DownstreamStream(Stream, kw_only=True):
    """One request: ``exchange.seams.Downstream``."""

    timer: Timer
    peer_trusted: bool
    head: RequestFields | None = None
    exchange: Answering | None = None
    late: bool = False
    """Whether there is no exchange yet: more of the request may be in what is being read."""

    @property
    def socket(self) -> Http2Downstream:
        if TYPE_CHECKING:  # hot: nobody else makes such streams.
            assert isinstance(self.connection, Http2Downstream)
        return self.connection

    @property
    def peer(self) -> str:
        return self.socket.peer

    # What comes

    def begin(self, head: RequestFields, data: bytes, end: bool) -> None:
        self.late = False
        exchange = self.exchange = self.socket.listener.begin(head, self)
        exchange.start(data, end)

    def catch_up(self) -> None:
        if self.late and self.head is not None:
            self.begin(self.head, b"", False)

    def heard_data(self, data: bytes, end: bool) -> None:
        if self.late and self.head is not None:
            self.begin(self.head, data, end)
            return
        exchange = self.exchange
        if exchange is None:
            self._unread(end)
        elif end:
            exchange.request_end(data, NOTHING)
        elif data:
            exchange.request_body(data)

    def heard_fields(self, fields: Section, body: bytes, end: bool) -> None:
        if not end or body:
            self.connection.stream_error(self, PROTOCOL_ERROR, "a field section within the body")
            return
        try:
            checked = trailers(fields)
        except Malformed as error:
            self.connection.stream_error(self, PROTOCOL_ERROR, str(error))
            return
        if self.expected:
            self.connection.stream_error(self, PROTOCOL_ERROR, "the body is shorter than content-length declares")
            return
        self.receiving = False
        self.catch_up()
        if self.exchange is None:
            self._unread(True)
        else:
            self.exchange.request_end(b"", checked)

    def heard_reset(self, code: int, unprocessed: bool) -> None:
        late = self.late
        exchange = self._let_go()
        if exchange is not None:
            exchange.caller_left()
        elif late:
            self.socket.unread(Failure.CLIENT_GONE, "the request was cancelled as soon as it came")

    def broken(self, detail: str) -> None:
        """The peer broke the protocol: nothing of what it began may be taken for the whole."""
        late = self.late
        exchange = self._let_go()
        if exchange is not None:
            exchange.request_broken(Failure.BAD_REQUEST, detail)
        elif late:
            self.socket.unread(Failure.BAD_REQUEST, detail)

    def _let_go(self) -> Answering | None:
        exchange = self.exchange
        self.exchange = None
        self.late = False
        self.timer.off()
        return exchange

    def _unread(self, end: bool) -> None:
        """More came of a request that has been answered: nobody needs it, and there may be as much as the window holds."""
        if end:
            self._over()
        elif self.waiting is None and self.room < self.connection.stream_window >> 1:
            self.reset(NO_ERROR)

    def on_timer(self, now: float) -> None:
        if self.exchange is not None:
            self.exchange.on_timer(now)
        else:
            self.reset(NO_ERROR)

    # What goes

    def inform(self, head: Response) -> None:
        request = self.head
        if self.sending and request is not None and (head.status != 100 or request.expects_continue):
            self.connection.put_fields(self.id, False, head.fields(False))

    def respond(
        self, head: Response, own_reasons: bool, request_id: bytes, body: bytes, end: bool, trailers: list[Field]
    ) -> None:
        if not self.sending:
            return
        added: list[Field] = [(b"x-request-id", request_id, True)] if request_id else NOTHING
        self.connection.put_fields(self.id, end and not body and not trailers, head.fields(own_reasons), added)
        if not end:
            if body:
                self.send_data(body, False)
            return
        if body or trailers:
            self.send_end(body, trailers)
        self._over()

    def send_body(self, data: bytes) -> None:
        if self.sending:
            self.send_data(data, False)

    def end_body(self, data: bytes, trailers: list[Field]) -> None:
        if self.sending:
            self.send_end(data, trailers)
            self._over()

    def reply(self, reply: Reply) -> None:
        if not self.sending:
            return
        head = self.head
        body = reply.body
        if head is not None and head.method == b"HEAD" and body is not None:
            self.connection.put_fields(self.id, True, reply.as_fields())
            self._over()
            return
        self.connection.put_fields(self.id, body == b"", reply.as_fields())
        if body:
            self.send_data(body, True)
        if body is not None:
            self._over()

    def abort(self) -> None:
        self._let_go()
        self.reset(INTERNAL_ERROR)

    def _over(self) -> None:
        """The answer is complete, though some of it may have to wait before it can be sent."""
        self.exchange = None
        self.timer.due = inf
        if self.waiting is not None:
            self.paused = True  # Of what it has not sent, no more is taken than it may send already.
            self.socket.linger()
        else:
            self.sending = False
            if self.receiving:
                self.sent_all()
            else:
                self.connection.settle(self)

    def sent_all(self) -> None:
        if self.receiving:
            # Who has not sent all may stop now, and is told so unless it does (RFC 9113 section 8.1).
            self.paused = True
            self.timer.set(self.connection.now() + LINGER_SECONDS)
        else:
            self.connection.settle(self)

    def got_full(self) -> None:
        if self.exchange is not None:
            self.exchange.downstream_full()

    def got_drained(self) -> None:
        if self.exchange is not None:
            self.exchange.downstream_drained()
