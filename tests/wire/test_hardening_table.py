"""docs/hardening.md and the tests say the same."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
TABLE = (HERE.parent.parent / "docs" / "hardening.md").read_text()
ROWS = {"S": 33, "R": 11, "D": 11, "H": 13, "U": 11, "G": 10}


def test_every_row_of_the_catalogue_has_its_line() -> None:
    """Also those that are not built, which say so."""
    lines = re.findall(r"^\| ([SRDHUG]\d\d) \| (.+) \| (.+) \| (.*)\|$", TABLE, re.MULTILINE)
    wanted = {f"{letter}{number:02}" for letter, count in ROWS.items() for number in range(1, count + 1)}
    assert {row for row, *_ in lines} == wanted
    for row, _, outcome, tests in lines:
        assert tests.strip() or outcome.startswith(("not built", "not applicable")), f"{row} names no test"


def test_every_test_that_the_table_names_exists() -> None:
    """A row whose test was renamed would look covered and not be."""
    there = {
        name
        for file in HERE.parent.rglob("test_*.py")
        for name in re.findall(r"^ *def (test_\w+)", file.read_text(), re.MULTILINE)
    }
    named = set(re.findall(r"`(test_\w+)`", TABLE))
    assert len(named) > 90
    assert named - there == set()
