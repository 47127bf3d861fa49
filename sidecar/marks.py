"""On a terminal, who says what: lines of the application and of the sidecar, each with the mark of its author.

Where output goes to a file or a pipe it is not touched: the application has the sidecar's own stdout and stderr. On a
terminal it writes to a pipe, and a thread carries over what comes out, whole lines at a time. A thread, because a
terminal that is paused holds up whoever writes to it; that may be the application, as it would be without us, but
never the loop.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

CHUNK = 65536
LINE_LIMIT = 65536
"""Bytes of a line that are kept while its end has not come; a longer one is carried over in parts."""
_COLOURS = {"app": "36", "mesh": "35"}


def mark(author: str, environ: Mapping[str, str], encoding: str) -> str:
    """What stands before a line of ``author``: in colour, unless ``NO_COLOR`` or a dumb terminal forbids it."""
    try:
        "│".encode(encoding)
        bar = "│"
    except (LookupError, UnicodeEncodeError):
        bar = "|"
    text = f"{author:>4} {bar}"
    if environ.get("NO_COLOR") or environ.get("TERM") == "dumb":
        return f"{text} "
    return f"\x1b[{_COLOURS[author]}m{text}\x1b[0m "


class Lines:
    """Puts a mark before every line of a stream of bytes, whatever the bytes are."""

    __slots__ = ("_inside", "_kept", "_mark")

    def __init__(self, mark: bytes) -> None:
        self._mark = mark
        self._kept = b""
        self._inside = False
        """Whether the beginning of the line that we are in has been given out already."""

    def feed(self, data: bytes) -> bytes:
        """The lines that are whole with ``data``, marked."""
        whole, newline, rest = data.rpartition(b"\n")
        if newline:
            out = self._marked(self._kept + whole) + newline
            self._inside = False
            self._kept = rest
        else:
            out = b""
            self._kept += rest
        if len(self._kept) > LINE_LIMIT:
            out += self._marked(self._kept)
            self._inside = True
            self._kept = b""
        return out

    def end(self) -> bytes:
        """What is left when no more comes; its line is ended, so that the next author begins one."""
        if not self._kept and not self._inside:
            return b""
        return self._marked(self._kept) + b"\n"

    def _marked(self, lines: bytes) -> bytes:
        first = b"" if self._inside else self._mark
        return first + lines.replace(b"\n", b"\n" + self._mark)


def carry_over(source: int, target: int) -> threading.Thread:
    """Carries over what the application writes to ``source``, which is closed at its end, to the terminal ``target``."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    lines = Lines(mark("app", os.environ, encoding).encode(encoding))
    thread = threading.Thread(target=_carry, args=(source, target, lines), daemon=True)
    thread.start()
    return thread


def _carry(source: int, target: int, lines: Lines) -> None:
    gone = False
    while data := os.read(source, CHUNK):
        # The application must not be held up by a terminal that is no more.
        gone = gone or not _write(target, lines.feed(data))
    if not gone:
        _write(target, lines.end())
    os.close(source)


def _write(target: int, data: bytes) -> bool:
    try:
        while data:
            data = data[os.write(target, data) :]
    except OSError:
        return False
    return True


def marked(form: Callable[[Any], bytes], mark: bytes) -> Callable[[Any], bytes]:
    """``form`` of what is logged, with ``mark`` before each of its lines."""

    def with_mark(record: Any) -> bytes:
        lines = form(record)
        return mark + lines[:-1].replace(b"\n", b"\n" + mark) + lines[-1:]

    return with_mark
