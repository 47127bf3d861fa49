"""Why a request head is refused: worked out line by line once the grammar has said no.

The order is that of the bytes, and the request line is judged as soon as it is complete, so that a head that arrives byte
by byte gets the same answer as one that arrives whole.
"""

from __future__ import annotations

import re

from sidecar.errors import Failure
from sidecar.http.h1 import grammar
from sidecar.http.head import Refused, Settings

VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
REQUEST_LINE_EXTRA = 64
"""What a request line may have beyond its target: a method, the version, two spaces and the line's end."""


def leading_empty_lines(data: bytes, seen: int) -> int:
    """How many empty lines ``data`` begins with. Two before a request, with the ``seen`` ones that came earlier, are
    forgiven (RFC 9112 section 2.2), a third is not."""
    lines = 0
    while data[2 * lines : 2 * lines + 2] == b"\r\n":
        lines += 1
        if seen + lines > 2:
            raise Refused(Failure.BAD_REQUEST, "more than two empty lines before the request")
    return lines


def check_partial(data: bytes, seen: int, limits: Settings) -> None:
    """Raises ``Refused`` if no continuation can make a good head of ``data``, whose first ``seen`` bytes passed before."""
    first = data.find(b"\n")
    if first >= seen and data[first - 1 : first] == b"\r":
        check_request_line(data[: first + 1], limits)
    if grammar.BARE_LINE_FEED.search(data, seen) is not None:
        raise Refused(Failure.BAD_REQUEST, "a line ends with a bare line feed; lines end with CR LF")
    if first < 0:
        check_line_length(data, limits)
    if len(data) > limits.header_bytes:
        raise Refused(Failure.HEADERS_TOO_LARGE, f"the head is longer than {limits.header_bytes} bytes")


def check_line_length(line: bytes, limits: Settings) -> None:
    if len(line) > limits.target_bytes + REQUEST_LINE_EXTRA:
        raise Refused(Failure.URI_TOO_LONG, f"the request line is longer than {limits.target_bytes} bytes")


def check_request_line(line: bytes, limits: Settings) -> None:
    check_line_length(line, limits)
    match = grammar.REQUEST_LINE_ONLY.fullmatch(line)
    if match is not None:
        if len(match[2]) > limits.target_bytes:
            raise Refused(Failure.URI_TOO_LONG, f"the target is longer than {limits.target_bytes} bytes")
        return
    parts = line[:-2].split(b" ")
    if len(parts) == 3 and VERSION.fullmatch(parts[2]) and parts[2][5:6] + parts[2][7:] not in (b"10", b"11"):
        raise Refused(Failure.HTTP_VERSION, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    raise Refused(
        Failure.BAD_REQUEST,
        "the request line is not METHOD SP TARGET SP HTTP/1.1 with a target of visible ASCII that has no space,"
        " quote, backslash, angle bracket or fragment",
    )


def diagnose(head: bytes, limits: Settings) -> Refused:
    """The reason for which a complete head (through its empty line) did not match the grammar."""
    try:
        check_partial(head, 0, limits)
    except Refused as refused:
        return refused
    for line in head.split(b"\r\n")[1:-2]:
        if not grammar.FIELD_LINE.fullmatch(line + b"\r\n"):
            return Refused(Failure.BAD_REQUEST, f"malformed header line: {_why(line)}")
    return Refused(Failure.BAD_REQUEST, "malformed head")


def _why(line: bytes) -> str:
    if line[:1] in (b" ", b"\t"):
        return "it begins with white space (folded lines are obsolete)"
    name, colon, _ = line.partition(b":")
    if not colon:
        return "it has no colon"
    if not grammar.TOKEN_ONLY.fullmatch(name):
        return "its name is not a token (no space may stand before the colon)"
    return "its value holds a control byte"


TRANSFER_CODING = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]++")


def check_transfer_coding(value: bytes) -> None:
    """``value``: the lower-cased Transfer-Encoding. Raises unless it is exactly ``chunked`` (RFC 9112 section 6.1)."""
    codings = [coding.strip(b" \t") for coding in value.split(b",")]
    if codings == [b"chunked"]:
        return
    well_formed = all(TRANSFER_CODING.fullmatch(coding) for coding in codings)
    if well_formed and codings.count(b"chunked") <= 1 and b"chunked" not in codings[:-1]:
        raise Refused(Failure.NOT_IMPLEMENTED, "the only transfer coding known here is chunked")
    raise Refused(Failure.BAD_REQUEST, "Transfer-Encoding must be exactly chunked")
