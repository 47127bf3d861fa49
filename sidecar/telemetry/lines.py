"""One line for one event, whatever is in it.

Names, paths and messages come from peers. A newline among them would begin a line that nobody wrote, an escape sequence
would rewrite the terminal of whoever reads it, and U+2028 ends a line for some readers. So what cannot be printed is
written as an escape: in text as Python would write it, in JSON as JSON does, where reading it gives the character back.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

ELLIPSIS = "…"


def rfc3339(wall: float) -> str:
    """Unix seconds as UTC with milliseconds: ``2026-11-23T18:00:00.123Z``."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def printable(text: str) -> str:
    """``text`` with an escape in place of every character that cannot be printed, lone surrogates among them."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def encodable(text: str) -> str:
    """``text`` without lone surrogates, which no encoding can hold: they are spelled out."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def json_line(value: msgspec.Struct) -> bytes:
    """``value`` as one line of JSON, its newline included; its texts must be ``encodable``."""
    line = msgspec.json.encode(value)
    if not line.isascii() or b"\x7f" in line:
        # msgspec escapes what JSON asks for, which leaves DEL, C1 and all of Unicode. None of them is outside of a string.
        line = "".join(c if c.isprintable() else _json_escape(c) for c in line.decode()).encode()
    return line + b"\n"


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
