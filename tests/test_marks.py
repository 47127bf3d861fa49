"""Marks before lines: the bytes of the application, and nothing but marks beside them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.marks import LINE_LIMIT, Lines, mark, marked

MARK = b"app| "


def fed(*pieces: bytes) -> bytes:
    lines = Lines(MARK)
    return b"".join(map(lines.feed, pieces)) + lines.end()


def test_whole_lines_are_given_out_and_a_part_waits_for_its_end() -> None:
    """So that no two authors share a line."""
    lines = Lines(MARK)
    assert lines.feed(b"one\ntw") == b"app| one\n"
    assert lines.feed(b"") == b""
    assert lines.feed(b"o") == b""
    assert lines.feed(b"\n\n") == b"app| two\napp| \n"
    assert lines.end() == b""


def test_the_last_line_is_ended_where_its_author_did_not() -> None:
    """Whoever writes next begins at the left."""
    assert fed(b"one\ntwo") == b"app| one\napp| two\n"


@given(st.lists(st.binary(max_size=20) | st.sampled_from([b"\n", b"a\nb"]), max_size=20))
def test_how_it_comes_in_pieces_makes_no_difference(pieces: list[bytes]) -> None:
    """And without the marks it is what the application wrote."""
    text = b"".join(pieces)
    expected = b"".join(MARK + line + b"\n" for line in text.split(b"\n"))
    if not text or text.endswith(b"\n"):
        expected = expected[: -len(MARK) - 1]
    assert fed(*pieces) == expected


def test_a_line_without_an_end_does_not_fill_the_memory() -> None:
    """It goes on in parts, under one mark, and the next line has its own again."""
    part = b"x" * (LINE_LIMIT // 4)
    lines = Lines(MARK)
    out = b""
    for _ in range(100):
        out += lines.feed(part)
        assert len(out) % len(part) in (0, len(MARK))
    assert len(out) >= 95 * len(part)
    out += lines.feed(b"\nnext\n") + lines.end()
    assert out == MARK + part * 100 + b"\napp| next\n"


def test_an_endless_line_that_ends_without_its_end_is_ended_too() -> None:
    """Also when all of it has been given out."""
    assert fed(b"x" * (LINE_LIMIT + 1)) == MARK + b"x" * (LINE_LIMIT + 1) + b"\n"


@pytest.mark.parametrize(
    ("environ", "encoding", "text"),
    [
        ({}, "utf-8", "\x1b[36m app │\x1b[0m "),
        ({"NO_COLOR": "1"}, "utf-8", " app │ "),
        ({"NO_COLOR": ""}, "utf-8", "\x1b[36m app │\x1b[0m "),
        ({"TERM": "dumb"}, "utf-8", " app │ "),
        ({"NO_COLOR": "1"}, "ascii", " app | "),
    ],
)
def test_a_mark_suits_the_terminal(environ: dict[str, str], encoding: str, text: str) -> None:
    """Colour where it is wanted, and no character that would come out as another."""
    assert mark("app", environ, encoding) == text


def test_every_line_of_a_log_record_is_marked() -> None:
    """A traceback is several lines."""
    form = marked(lambda record: record, b"mesh| ")
    assert form(b"INFO one\n  two\n") == b"mesh| INFO one\nmesh|   two\n"
