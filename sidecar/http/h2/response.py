"""The head of an HTTP/2 response. The upstream is no more trusted than the client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

import msgspec

from sidecar.http.h1.fields import content_length, line
from sidecar.http.h2.grammar import Malformed, check_values, shape_of
from sidecar.http.head import Field, Section
from sidecar.http.reply import PHRASES

CLAIM: Final = b"x-sidecar-"
RESPONSE_FIELDS: Final = 200
STATUSES: Final = {b"%d" % status: status for status in range(100, 1000)}


class ResponseFields(msgspec.Struct, eq=False):
    """One response's head."""

    # hot: a Struct, because it is made in half the time of an object with an ``__init__``.
    all: Section
    specials: Mapping[bytes, bytes]
    """Every field; of those that are repeated the values joined."""
    status: int
    length: int | None
    body_follows: bool
    claims: bool
    """Whether it says anything that only a sidecar may say."""

    common: ClassVar[bool] = False

    def get(self, name: bytes) -> bytes | None:
        return self.specials.get(name)

    def render(self, own_reasons: bool, lines: bytes) -> bytes:
        status = self.status
        fields = [
            line(name, value)
            for name, value, _ in self.fields(own_reasons)
            if name[0] != 58 and (status != 204 or name != b"content-length")
        ]
        return b"".join((b"HTTP/1.1 %d %b\r\n" % (status, PHRASES.get(status, b"")), *fields, lines, b"\r\n"))

    def fields(self, own_reasons: bool) -> list[Field]:
        if own_reasons or not self.claims:
            return self.all
        return [field for field in self.all if not field[0].startswith(CLAIM)]

    def __repr__(self) -> str:
        return f"<ResponseFields {self.status}>"  # A dump must not show what it carries.


def parse(fields: Section, to_head: bool, end: bool) -> ResponseFields:
    """``to_head``: the request was HEAD; ``end``: no body follows. Raises ``Malformed``."""
    kind = 2 + 2 * to_head + end
    known = fields.meaning
    if known is not None and known[0] == kind:
        return known[1]  # type: ignore[no-any-return]
    response = _parse(fields, to_head, end)
    if fields.again:
        fields.meaning = (kind, response)
    return response


def _parse(fields: Section, to_head: bool, end: bool) -> ResponseFields:
    if not fields:
        raise Malformed("the response has no fields")
    names, values, _ = zip(*fields, strict=True)
    shape = shape_of(names)
    check_values(values)
    specials = dict(zip(names, values, strict=True))
    status = STATUSES.get(specials.get(b":status", b""))
    if status is None or shape.pseudo != 1 or status == 101:
        raise Malformed("the response does not begin with a good :status alone")
    if len(fields) > RESPONSE_FIELDS:
        raise Malformed(f"the response has more than {RESPONSE_FIELDS} fields")
    if shape.repeated:
        for name in shape.repeated:
            specials[name] = b", ".join(value for other, value, _ in fields if other == name)
    body_follows = 200 <= status != 204 and status != 304 and not to_head
    length: int | None = None
    if b"content-length" in specials:
        length = content_length(specials[b"content-length"])
        if length is None or (length and body_follows and end) or (length and status == 204):
            raise Malformed("the response's content-length is not one plain number, or not that of its body")
    claims = any(name.startswith(CLAIM) for name in names)
    return ResponseFields(fields, specials, status, length, body_follows, claims)
