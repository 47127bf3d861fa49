"""A response that a sidecar makes itself."""

from __future__ import annotations

from http import HTTPStatus

from sidecar.http.head import Field

PHRASES: dict[int, bytes] = {status.value: status.phrase.encode() for status in HTTPStatus} | {
    499: b"Client Closed Request",
    508: b"Loop Detected",
}


class Reply:
    """``fields``: name and value pairs without framing; ``body``: whole, or ``None`` if whoever replies streams it."""

    __slots__ = ("body", "fields", "status")

    def __init__(self, status: int, fields: list[tuple[bytes, bytes]], body: bytes | None) -> None:
        self.status = status
        self.fields = fields
        self.body = body

    def as_fields(self) -> list[Field]:
        """The head in HTTP/2."""
        fields = [(name.lower(), value, False) for name, value in self.fields]
        if self.body:
            fields.append((b"content-length", b"%d" % len(self.body), False))
        return [(b":status", b"%d" % self.status, False), *fields]

    def render(self, lines: bytes) -> bytes:
        """The head in HTTP/1, with ``lines`` for framing and connection."""
        fields = b"".join(b"%b: %b\r\n" % field for field in self.fields)
        return b"HTTP/1.1 %d %b\r\n%b%b\r\n" % (self.status, PHRASES.get(self.status, b""), fields, lines)
