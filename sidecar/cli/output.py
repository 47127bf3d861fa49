"""What commands print: tables for people, one JSON document for programs, colours on a terminal alone."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

SUCCESS, WARNING, ERROR = "√", "‼", "\N{MULTIPLICATION SIGN}"
IN_ASCII = {SUCCESS: "ok", WARNING: "!!", ERROR: "xx"}
"""The marks of a check, and what stands for them where they cannot be written."""
COLOURS = {
    "open": "red", "half-open": "yellow", "closed": "green", ERROR: "red", WARNING: "yellow", SUCCESS: "green",
}  # fmt: skip
GAP = "  "

Cell = str | int | None


def echo(text: str, err: bool = False) -> None:
    """A line; its colours stay only where it goes to a terminal, and ``NO_COLOR`` is not set (https://no-color.org)."""
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    encoding = (sys.stderr if err else sys.stdout).encoding
    writable = text.encode(encoding, "backslashreplace").decode(encoding)
    click.echo(writable, err=err, color=False if plain else None)


def mark(sign: str) -> str:
    """``SUCCESS``, ``WARNING`` or ``ERROR`` in its colour, and in letters that standard output can take."""
    try:
        sign.encode(sys.stdout.encoding)
        text = sign
    except UnicodeEncodeError:
        text = IN_ASCII[sign]
    return click.style(text, fg=COLOURS[sign])


def print_json(document: Any) -> None:
    """One document."""
    click.echo(json.dumps(document, indent=2))


def print_table(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Texts to the left, numbers to the right; what there is none of is ``-``."""
    cells = [["-" if cell is None or cell == "" else str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    numbers = [all(_is_number(cell) for cell in column[1:]) for column in zip(*cells, strict=True)]
    for index, row in enumerate(cells):
        padded = [
            _coloured(cell, cell.rjust(width) if number else cell.ljust(width), index > 0)
            for cell, width, number in zip(row, widths, numbers, strict=True)
        ]
        echo(GAP.join(padded).rstrip())


def _is_number(cell: str) -> bool:
    return cell == "-" or (cell[:1].isdigit() and cell.rstrip("ms%").replace(".", "").isdigit())


def _coloured(cell: str, padded: str, wanted: bool) -> str:
    return click.style(padded, fg=COLOURS[cell]) if wanted and cell in COLOURS else padded


def seconds(value: float | None) -> str | None:
    """A duration as people read it: ``3.2ms``, ``1.50s``."""
    if value is None:
        return None
    return f"{value * 1000:.1f}ms" if value < 1 else f"{value:.2f}s"
