"""A response that a sidecar makes itself."""

from __future__ import annotations

from http import HTTPStatus

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
