"""What a downstream connection of HTTP/1 writes: responses that are passed on, and replies of our own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sidecar.http.h1.body import LengthReader, Reader, chunk, last_chunk
from sidecar.http.h1.fields import connection_line
from sidecar.http.h1.request import RequestHead
from sidecar.http.head import Field, Response
from sidecar.http.reply import Reply
from sidecar.proxy.flow import JOIN_BYTES, Flow, write_chunk
from sidecar.proxy.states import CHUNKED, CLOSE, LENGTH

if TYPE_CHECKING:
    from sidecar.proxy.listener import Listener

HELD_BYTES: Final = 65536
"""How much of later requests is held while one is answered, and how much of an unread body may come to be thrown away."""


class Answers(Flow):
    """The answering half of a connection; the reading half derives from it."""

    __slots__ = ("_framing", "_keep", "_listener", "_reader", "_request")

    def __init__(self, listener: Listener) -> None:
        super().__init__(listener.clock, listener.wheel)
        self._listener = listener
        self._request: RequestHead | None = None
        """The request that is being answered."""
        self._reader: Reader | None = None
        """Of its body, as long as that is not here."""
        self._framing = LENGTH
        self._keep = True

    def inform(self, head: Response) -> None:
        request = self._request
        if request is not None and request.version_11 and (head.status != 100 or request.expects_continue):
            self._transport.write(head.render(False, b""))

    def respond(
        self, head: Response, own_reasons: bool, request_id: bytes, body: bytes, end: bool, trailers: list[Field]
    ) -> None:
        request = self._request
        assert request is not None
        self._framing = LENGTH
        lines = b"x-request-id: %b\r\n" % request_id if request_id else b""
        # hot: the plain case is asked here, the others there.
        keep = request.keep_alive and (self._reader is None or self._may_keep(request)) and not self._listener.closing
        if head.length is None and head.body_follows:
            if end and not trailers:
                lines += b"content-length: %d\r\n" % len(body)
            elif request.version_11:
                self._framing = CHUNKED
                lines += b"transfer-encoding: chunked\r\n"
                body = (chunk(body) if body else b"") + (last_chunk(trailers) if end else b"")
            else:
                self._framing = CLOSE
                keep = False
        self._keep = keep
        if not keep or not request.version_11:
            lines += connection_line(keep, request.version_11)
        raw = head.render(own_reasons, lines)
        if len(body) <= JOIN_BYTES:
            self._transport.write(raw + body if body else raw)
        else:
            self._transport.writelines((raw, body))
        if end:
            self._responded()

    def send_body(self, data: bytes) -> None:
        if self._framing == CHUNKED:
            write_chunk(self._transport, data)
        else:
            self._transport.write(data)

    def end_body(self, data: bytes, trailers: list[Field]) -> None:
        if data:
            self.send_body(data)
        if self._framing == CHUNKED:
            self._transport.write(last_chunk(trailers))
        self._responded()

    def reply(self, reply: Reply) -> None:
        request = self._request
        body = reply.body
        to_head = request is not None and request.method == b"HEAD"
        version_11 = request is not None and request.version_11
        keep = request is not None and self._may_keep(request)
        self._framing = LENGTH
        if body is not None:
            lines = b"content-length: %d\r\n" % len(body)
        elif version_11:
            self._framing = LENGTH if to_head else CHUNKED
            lines = b"transfer-encoding: chunked\r\n"
        else:
            self._framing = CLOSE
            keep = False
            lines = b""
        self._keep = keep
        raw = reply.render(lines + connection_line(keep, version_11))
        self._transport.write(raw + body if body and not to_head else raw)
        if body is not None:
            self._responded()

    def _may_keep(self, request: RequestHead) -> bool:
        """Whether another request may come on this connection after the response that is about to be written."""
        if not request.keep_alive or self._listener.closing:
            return False
        reader = self._reader
        if reader is None or reader.done:
            return True
        # A client that waits for 100 (Continue) may never send the body that we would wait for.
        return isinstance(reader, LengthReader) and reader.left <= HELD_BYTES and not request.expects_continue

    def _responded(self) -> None:
        """The response is written."""
        raise NotImplementedError
