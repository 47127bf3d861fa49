"""One attempt on a connection of HTTP/2, and what is heard on its stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from sidecar.errors import Failure
from sidecar.exchange.seams import Waiter, Written
from sidecar.http.h2.frames import CANCEL, NO_ERROR, PROTOCOL_ERROR, code_name
from sidecar.http.h2.grammar import Malformed, trailers
from sidecar.http.h2.response import parse
from sidecar.http.h2.stream import Stream
from sidecar.http.head import NOTHING, Field, Response, Section
from sidecar.proxy.upstream import MAX_INTERIM

if TYPE_CHECKING:
    from sidecar.proxy.http2.upstream import Http2Upstream


class UpstreamStream(Stream, kw_only=True):
    """One attempt: ``exchange.seams.Upstream``."""

    exchange: Waiter | None
    reused: bool
    silent: bool = True
    interims: int = 0
    late: Response | None = None
    """A head that has not been passed on: more of the response may be in what is being read."""
    body: bytes = b""
    """What came behind it."""

    http2: ClassVar[bool] = True

    @property
    def socket(self) -> Http2Upstream:
        if TYPE_CHECKING:  # hot: nobody else makes such streams.
            assert isinstance(self.connection, Http2Upstream)
        return self.connection

    # What goes

    def send(self, head: Written, chunked: bool, body: bytes, end: bool, trailers: list[Field]) -> None:
        if TYPE_CHECKING:  # hot: what speaks HTTP/2 is given fields.
            assert isinstance(head, tuple)
        more = bool(body) or bool(trailers) or not end
        self.connection.put_fields(self.id, not more, *head)
        if body:
            self.send_data(body, end and not trailers)
        if trailers:
            self.send_end(b"", trailers)
        elif not more:
            self.sending = False

    def send_body(self, data: bytes) -> None:
        self.send_data(data, False)

    def end_body(self, data: bytes, trailers: list[Field]) -> None:
        self.send_end(data, trailers)

    def cancel(self) -> None:
        self.exchange = None
        self.reset(CANCEL)
        if self.silent:
            self.socket.probe()

    def sent_all(self) -> None: ...

    def got_full(self) -> None:
        if self.exchange is not None:
            self.exchange.upstream_full()

    def got_drained(self) -> None:
        if self.exchange is not None:
            self.exchange.upstream_drained()

    # What comes

    def heard_fields(self, fields: Section, body: bytes, end: bool) -> None:
        exchange = self.exchange
        socket = self.connection
        if TYPE_CHECKING:  # hot: nobody else makes such streams, and none hears anything without an exchange.
            assert isinstance(socket, Http2Upstream) and exchange is not None
        try:
            if not self.silent:
                self._trailers(fields, body, end)
                return
            head = parse(fields, exchange.head.method == b"HEAD", end and not body)
            if head.status < 200:
                self.interims += 1
                if end or body or self.interims > MAX_INTERIM:
                    raise Malformed(f"an interim response that ends, or more than {MAX_INTERIM} of them")
                exchange.interim(head)
                return
            self.silent = False
            if body:
                self.room -= len(body)
            length = head.length if head.body_follows else 0  # Behind the others, HTTP/1 would see another response.
            if length is not None:
                self.expected = length - len(body)
                if self.expected < 0 or (end and self.expected):
                    raise Malformed("the body is not as long as it has to be")
        except Malformed as error:
            self.connection.stream_error(self, PROTOCOL_ERROR, str(error))
            return
        if end:
            self._done()
            exchange.response(head, body, True, socket.now())
        else:
            # hot: the rest is mostly a frame or two behind, and a whole response costs half of one in pieces.
            self.late = head
            self.body = body
            socket.late.append(self)

    def catch_up(self) -> None:
        head = self.late
        if head is not None and self.exchange is not None:
            self.late = None
            self.exchange.response(head, self.body, False, self.connection.now())

    def _ends(self, data: bytes, trailers: list[Field]) -> None:
        exchange = self.exchange
        assert exchange is not None
        self._done()
        head = self.late
        if head is None:
            exchange.response_end(data, trailers)
        else:
            self.late = None
            body = self.body + data if data else self.body
            exchange.response(head, body, True, self.connection.now(), trailers)

    def _trailers(self, fields: Section, body: bytes, end: bool) -> None:
        checked = trailers(fields)
        if not end or body:
            raise Malformed("a field section within the body")
        if self.expected:
            raise Malformed("the body is shorter than content-length declares")
        self._ends(b"", checked)

    def heard_data(self, data: bytes, end: bool) -> None:
        if self.exchange is None:
            return
        if self.silent:
            self.connection.stream_error(self, PROTOCOL_ERROR, "data before the response's head")
        elif end:
            self._ends(data, NOTHING)
        elif self.late is not None and not self.body:
            self.body = data
        elif data:
            self.catch_up()
            if self.exchange is not None:
                self.exchange.response_body(data)

    def heard_reset(self, code: int, unprocessed: bool) -> None:
        socket = self.socket
        if socket.why:
            self._fail(socket.fault, socket.why, unprocessed)
        else:
            detail = f"{socket.name} reset the stream ({code_name(code)})"
            self._fail(Failure.UPSTREAM_RESET, detail, unprocessed)

    def broken(self, detail: str) -> None:
        self._fail(Failure.UPSTREAM_PROTOCOL, f"{self.socket.name}: {detail}", False)

    def _fail(self, failure: Failure, detail: str, unprocessed: bool) -> None:
        self.catch_up()
        exchange = self.exchange
        self.exchange = None
        if exchange is not None:
            exchange.upstream_failed(failure, detail, unprocessed and self.silent)

    def _done(self) -> None:
        """The response is complete."""
        self.exchange = None
        self.receiving = False
        if self.sending:
            self.reset(NO_ERROR)  # The rest of the request is nobody's concern any more.
        else:
            self.connection.settle(self)
