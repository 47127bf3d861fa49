"""One page of many rows, in an order that is asked for, without holding the loop.

Ten thousand breakers can be listed a page at a time, but to know which twenty come first all have to be looked at. So a
listing is made of steps, like a scrape (``admin/metrics.py``): rows are looked at in runs, each run is sorted by itself,
and the runs are merged only as far as the page reaches. Between two steps others get their turn; the white space that is
sent meanwhile means nothing in JSON. Only the rows of the page become documents.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from itertools import islice
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import parse_qsl, urlencode

from sidecar.admin.documents import PageLinks

DEFAULT_SIZE: Final = 20
MAX_SIZE: Final = 1000
STRIDE: Final = 128
"""Rows looked at after which there is a pause."""
PAUSE: Final = b"\n"
MAX_DIGITS: Final = 9

Row = TypeVar("Row")


class Wrong(Exception):
    """A query that cannot be answered: which parameter, and in words what it may be."""

    def __init__(self, parameter: str, detail: str) -> None:
        super().__init__(detail)
        self.parameter = parameter
        self.detail = detail


class Query(NamedTuple):
    """``sort`` is a field or empty; ``written`` is how it was asked for."""

    page: int
    size: int
    sort: str
    descending: bool
    written: str


def parsed(query: bytes, allowed: Iterable[str]) -> dict[str, str]:
    """The parameters of a query string. Raises :class:`Wrong` for one that is not ``allowed`` or comes twice."""
    names = tuple(allowed)
    found: dict[str, str] = {}
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=16)
    except ValueError:
        raise Wrong("", "the query is not of the form ?name=value&name=value in UTF-8") from None
    for name, value in pairs:
        if name not in names:
            takes = f"it takes {', '.join(names)}" if names else "it takes none"
            raise Wrong(name[:100], f"there is no parameter {name[:100]!r} here: {takes}")
        if name in found:
            raise Wrong(name, f"{name} is given twice")
        found[name] = value
    return found


def read(query: bytes, fields: Iterable[str], total: int) -> Query:
    """The page that is asked for, of ``total`` rows with these ``fields`` to sort by. Raises :class:`Wrong`."""
    given = parsed(query, ("page", "size", "sort"))
    size = _number("size", given.get("size"), DEFAULT_SIZE)
    if size > MAX_SIZE:
        raise Wrong("size", f"a page has 1 to {MAX_SIZE} rows, not {size}")
    page = _number("page", given.get("page"), 1)
    pages = _pages(total, size)
    if page > pages:
        raise Wrong("page", f"there is no page {page}: of size {size} there are {pages}")
    written = given.get("sort", "")
    name, descending = _order(written)
    if (name or "sort" in given) and name not in fields:
        raise Wrong(
            "sort", f"cannot be sorted by {name[:100]!r}; by {', '.join(fields)}, as in NAME, -NAME or NAME:desc"
        )
    return Query(page, size, name, descending, written)


def _number(name: str, value: str | None, default: int) -> int:
    if value is None:
        return default
    if not (value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS and int(value)):
        raise Wrong(name, f"{name} is a whole number from 1, not {value[:100]!r}")
    return int(value)


def _order(written: str) -> tuple[str, bool]:
    """Field, and whether the largest comes first, of ``name``, ``-name``, ``name:asc`` or ``name:desc``."""
    name, colon, way = written.partition(":")
    if colon:
        # What is neither is no field either, and refused as such.
        return (name, way == "desc") if way in ("asc", "desc") else (written, False)
    return written.removeprefix("-"), written.startswith("-")


def _pages(total: int, size: int) -> int:
    return max(1, -(-total // size))


def links(path: str, query: Query, total: int) -> PageLinks:
    """Addresses of the pages around this one."""

    def address(page: int) -> str:
        order = {"sort": query.written} if query.written else {}
        return f"{path}?{urlencode({'page': page, 'size': query.size} | order, safe=':')}"

    last = _pages(total, query.size)
    return PageLinks(
        self=address(query.page),
        first=address(1),
        prev=address(query.page - 1) if query.page > 1 else None,
        next=address(query.page + 1) if query.page < last else None,
        last=address(last),
    )


def select(
    rows: Iterator[Row], fields: Mapping[str, Callable[[Row], Any]], query: Query
) -> Generator[bytes, None, list[Row]]:
    """Returns the rows of the page; yields pauses. Rows that compare equal stay in their order."""
    if query.sort:
        rows = yield from _sorted(rows, fields[query.sort], query.descending)
    ahead = (query.page - 1) * query.size
    while ahead:
        step = min(STRIDE, ahead)
        if sum(1 for _ in islice(rows, step)) < step:
            return []  # There are fewer than a moment ago.
        ahead -= step
        yield PAUSE
    return list(islice(rows, query.size))


def _sorted(rows: Iterator[Row], key: Callable[[Row], Any], descending: bool) -> Generator[bytes, None, Iterator[Row]]:
    runs: list[list[tuple[Any, Row]]] = []
    while run := [(key(row), row) for row in islice(rows, STRIDE)]:
        run.sort(key=itemgetter(0), reverse=descending)
        runs.append(run)
        yield PAUSE
    return (row for _, row in heapq.merge(*runs, key=itemgetter(0), reverse=descending))
