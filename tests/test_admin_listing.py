"""A page of many rows costs little, and holds nobody up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sidecar.admin.listing import STRIDE, Query, select

MANY = 10_000


class Rows:
    """Numbers in a mixed order; how many are looked at between two pauses."""

    def __init__(self, count: int = MANY) -> None:
        self.numbers = [number * 7919 % count for number in range(count)]
        self.looked_at = 0

    def __iter__(self) -> Iterator[int]:
        for number in self.numbers:
            self.looked_at += 1
            yield number

    def select(self, query: Query) -> tuple[list[int], list[int]]:
        """The page, and how many rows each step has looked at."""
        steps = []
        choosing = select(iter(self), {"number": lambda number: number}, query)
        while True:
            before = self.looked_at
            try:
                assert next(choosing) == b"\n"
            except StopIteration as done:
                return done.value, [*steps, self.looked_at - before]
            steps.append(self.looked_at - before)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("page", [1, 2, 417, 500])
def test_a_page_in_order_is_that_part_of_the_sorted_whole(page: int, descending: bool) -> None:
    """Whichever page, in both directions; no step looks at more than a run of rows."""
    rows = Rows()
    chosen, steps = rows.select(Query(page, 20, "number", descending, ""))
    whole = sorted(rows.numbers, reverse=descending)
    assert chosen == whole[(page - 1) * 20 : page * 20]
    assert max(steps) <= STRIDE


@pytest.mark.parametrize("page", [1, 2, 500])
def test_a_page_without_an_order_looks_at_no_row_behind_it(page: int) -> None:
    """The rows come as they stand."""
    rows = Rows()
    chosen, steps = rows.select(Query(page, 20, "", False, ""))
    assert chosen == rows.numbers[(page - 1) * 20 : page * 20]
    assert rows.looked_at <= page * 20
    assert max(steps) <= STRIDE


def test_equal_rows_stay_in_their_order() -> None:
    """Else a row could be on two pages, and another on none."""
    pairs = [(number % 3, number) for number in range(1000)]
    seen: list[tuple[int, int]] = []
    for page in range(1, 11):
        choosing = select(iter(pairs), {"first": lambda pair: pair[0]}, Query(page, 100, "first", True, ""))
        while True:
            try:
                next(choosing)
            except StopIteration as done:
                seen += done.value
                break
    assert seen == sorted(pairs, key=lambda pair: -pair[0])


def test_rows_that_have_gone_meanwhile_make_a_page_short() -> None:
    """A reload may take rows away between the count and the look."""
    assert Rows(30).select(Query(3, 20, "", False, ""))[0] == []
    assert Rows(30).select(Query(2, 20, "number", False, ""))[0] == list(range(20, 30))
