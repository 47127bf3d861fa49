"""On which line of a TOML text each of its values stands.

``tomllib`` answers with values and forgets where they were. So the text is read once more, only when a problem or a
value's origin is to be told, and only after ``tomllib`` has accepted it. That makes this scanner small: it follows
brackets, keys and strings, and need not know what a number or a date is. It keeps its own stack, since a text may be
nested deeper than Python likes to call.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping

from sidecar.config.walk import Path

_MAX_DEPTH = 32
"""What lies deeper is on the line of what is around it: no key of ours does, and a long dotted key is not to be long²."""

_TOKEN = re.compile(
    r"""
      (?P<newline> \n )
    | (?P<blank>   [ \t\r]+ | \#[^\n]* )
    | (?P<string>  \"\"\"(?:\\.|[^\\])*?\"\"\"\"{0,2} | '''.*?''''{0,2} | "(?:\\.|[^"\\\n])*" | '[^'\n]*' )
    | (?P<mark>    [][{},.=] )
    | (?P<bare>    [^][{},.=\#"'\s]+ )
    """,
    re.VERBOSE | re.DOTALL,
)


def locate(text: str) -> dict[Path, int]:
    """The line (from 1) of every table, key and array element of ``text``; a table's is its header, if it has one."""
    scanner = _Scanner()
    for kind, token, line in _tokens(text):
        scanner.feed(kind, token, line)
    scanner.feed("newline", "\n", 0)
    return scanner.lines


def nearest(lines: Mapping[Path, int], path: Path) -> int:
    """The line of ``path`` or else of what is most closely around it; 0 if that is the whole file."""
    return next((lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in lines), 0)


def _tokens(text: str) -> Iterator[tuple[str, str, int]]:
    line = 1
    for match in _TOKEN.finditer(text):
        if match.lastgroup != "blank":
            yield str(match.lastgroup), match[0], line
        line += match[0].count("\n")


class _Scanner:
    """What is open at the token that comes next, and the lines so far."""

    __slots__ = ("_arrays", "_brackets", "_key", "_key_line", "_open", "_state", "_value", "lines")

    def __init__(self) -> None:
        self.lines: dict[Path, int] = {}
        self._arrays: dict[Path, int] = {}
        """The index of the last element of each array of tables."""
        self._open: list[tuple[Path, int | None]] = [((), None)]
        """The path of what is open, innermost last: the table of the last header, then inline tables, and arrays with
        the index of their element."""
        self._state = self._at_key
        self._key: list[str] = []
        self._key_line = 0
        self._brackets = 0
        self._value: Path = ()

    def feed(self, kind: str, token: str, line: int) -> None:
        self._state(kind, token, line)

    def _at_key(self, kind: str, token: str, line: int) -> None:
        if kind in ("bare", "string"):
            if not self._key:
                self._key_line = line
            self._key.append(_unquoted(token))
        elif token == "=":
            self._value = self._open[-1][0]
            for part in self._key:
                self._value = _inner(self._value, part)
                self.lines.setdefault(self._value, self._key_line)
            self._key.clear()
            self._state = self._at_value
        elif token == "[":
            self._brackets = 1
            self._state = self._in_header
        elif token == "}":
            self._close()

    def _in_header(self, kind: str, token: str, line: int) -> None:
        if token == "[":
            self._brackets += 1
        elif kind in ("bare", "string"):
            self._key.append(_unquoted(token))
            self._key_line = line
        elif kind == "newline":
            self._head()
            self._state = self._at_key

    def _head(self) -> None:
        path: Path = ()
        for part in self._key[:-1]:
            path = self._last(_inner(path, part))
        for part in self._key[-1:]:
            path = _inner(path, part)
        if self._brackets == 2:
            self.lines.setdefault(path, self._key_line)
            self._arrays[path] = self._arrays.get(path, -1) + 1
            path = _inner(path, self._arrays[path])
        self.lines[path] = self._key_line
        self._key.clear()
        self._open = [(path, None)]

    def _last(self, path: Path) -> Path:
        """A step of a header: into a table, or into the last element of an array of tables."""
        self.lines.setdefault(path, self._key_line)
        return _inner(path, self._arrays[path]) if path in self._arrays else path

    def _at_value(self, kind: str, token: str, line: int) -> None:
        if kind == "newline":
            return
        if token == "]":
            self._close()
            return
        self.lines.setdefault(self._value, line)
        if token == "[":
            self._open.append((self._value, 0))
            self._value = _inner(self._value, 0)
        elif token == "{":
            self._open.append((self._value, None))
            self._state = self._at_key
        else:
            self._state = self._after_value

    def _after_value(self, kind: str, token: str, line: int) -> None:
        """Also in the middle of one: dots, spaces and colons of numbers and dates are skipped."""
        path, index = self._open[-1]
        if token in ("]", "}"):
            self._close()
        elif token == "," and index is not None:
            self._open[-1] = (path, index + 1)
            self._value = _inner(path, index + 1)
            self._state = self._at_value
        elif token == "," or (kind == "newline" and len(self._open) == 1):
            self._state = self._at_key

    def _close(self) -> None:
        if len(self._open) > 1:
            self._open.pop()
        self._state = self._after_value


def _inner(path: Path, part: str | int) -> Path:
    return (*path, part) if len(path) < _MAX_DEPTH else path


def _unquoted(token: str) -> str:
    if token[0] == "'":
        return token[1:-1]
    if token[0] != '"':
        return token
    try:
        return str(tomllib.loads(f"key = {token}")["key"])
    except ValueError:  # Only of a text that tomllib did not accept.
        return token
