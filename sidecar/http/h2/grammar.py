"""Which field sections are well-formed (RFC 9113 section 8.2): judged by their names once, by their values each time.

Peers send the same names in the same order again and again. So what the names alone decide is remembered with them, as
a ``Shape``: whether they are well-formed, where the pseudo-header fields end, what is given twice. Values are looked at
together, in two passes that run in C.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from sidecar.http.h1.body import may_trail
from sidecar.http.head import Section

NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]++")
"""A token without capitals."""
CONNECTION_SPECIFIC: Final = frozenset(
    (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade")
)
"""Section 8.2.2: what has no meaning here, and another one for whoever reads it as HTTP/1."""
FORBIDDEN: Final = bytes(set(range(32)) - {9}) + b"\x7f"
"""What no value may hold."""
_STRIP: Final = bytes.strip
REMEMBERED: Final = 1024
TRAILERS: Final = 6
"""``Section.meaning`` as trailers; 0 and 1 are those of requests, 2 to 5 of responses."""


class Malformed(Exception):
    """A field section that is a stream error of type PROTOCOL_ERROR."""


class Shape(msgspec.Struct, frozen=True):
    """What the names of a section decide. ``pseudo``: how many pseudo-header fields it begins with."""

    fault: str
    pseudo: int
    repeated: frozenset[bytes]


_shapes: dict[tuple[bytes, ...], Shape] = {}


def shape_of(names: tuple[bytes, ...]) -> Shape:
    """Raises ``Malformed``."""
    shape = _shapes.get(names)
    if shape is None:
        shape = _judge(names)
        if sum(map(len, names)) < 4096:
            if len(_shapes) >= REMEMBERED:
                _shapes.clear()
            _shapes[names] = shape
    if shape.fault:
        raise Malformed(shape.fault)
    return shape


def _judge(names: tuple[bytes, ...]) -> Shape:
    pseudo = 0
    while pseudo < len(names) and names[pseudo][:1] == b":":
        pseudo += 1
    fault = ""
    if len(set(names[:pseudo])) != pseudo:
        fault = "a pseudo-header field is given twice"
    for name in names[pseudo:]:
        if name[:1] == b":":
            fault = "a pseudo-header field stands behind other fields"
        elif NAME.fullmatch(name) is None:
            fault = "a field name is not a token in lower case"
        elif name in CONNECTION_SPECIFIC:
            fault = f"{name.decode()} has no place in HTTP/2"
    repeated = (
        frozenset(name for name in names if names.count(name) > 1) if len(set(names)) != len(names) else frozenset()
    )
    return Shape(fault, pseudo, repeated)


def check_values(values: tuple[bytes, ...]) -> None:
    """Raises ``Malformed``."""
    text = b"".join(values)
    # hot: what has no white space at its ends is stripped to itself, without a copy.
    if len(text.translate(None, FORBIDDEN)) != len(text) or tuple(map(_STRIP, values)) != values:
        raise Malformed("a field value has control bytes, or white space at an end")


def trailers(fields: Section) -> Section:
    """A section behind a body, checked, without what may not come so late. Raises ``Malformed``."""
    known = fields.meaning
    if known is not None and known[0] == TRAILERS:
        return known[1]  # type: ignore[no-any-return]
    checked = fields
    if fields:
        names, values, _ = zip(*fields, strict=True)
        if shape_of(names).pseudo:
            raise Malformed("a pseudo-header field stands in the trailers")
        check_values(values)
        if not all(map(may_trail, names)):
            checked = Section(field for field in fields if may_trail(field[0]))
    if fields.again:
        fields.meaning = (TRAILERS, checked)
    return checked
