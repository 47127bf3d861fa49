"""Rows D07 and D08: no input costs more than its length. Nothing here looks at a clock: structure and steps are counted."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterable, Iterator
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any

import pytest

import sidecar.http
from sidecar.http.h1 import fields
from tests.support.world import World
from tests.wire.peers import GET, OK, ONCE, requests

READERS = ("sidecar.proxy.upstream", "sidecar.telemetry.trace", "sidecar.resilience.deadline")
"""Beside ``sidecar.http``: modules whose expressions are matched against what peers send."""


def expressions() -> Iterator[tuple[str, re.Pattern[bytes]]]:
    inside = [module.name for module in pkgutil.walk_packages(sidecar.http.__path__, "sidecar.http.")]
    for name in [*inside, *READERS]:
        for variable, value in vars(importlib.import_module(name)).items():
            if isinstance(value, re.Pattern):
                yield f"{name}.{variable}", value


def repeats_that_give_back(tree: Iterable[Any]) -> Iterator[Any]:
    """The unbounded repetitions of a parsed expression that may be undone to try another way."""
    for element in tree:
        if isinstance(element, _parser.SubPattern | tuple | list):
            if isinstance(element, tuple) and element and element[0] in (_constants.MAX_REPEAT, _constants.MIN_REPEAT):
                _, most, _ = element[1]
                if most is _constants.MAXREPEAT:
                    yield element
            yield from repeats_that_give_back(element)


def test_no_expression_ever_gives_back_what_it_took() -> None:
    """D08: every unbounded repetition is possessive, so that a byte is looked at once whatever the bytes are."""
    found = dict(expressions())
    assert len(found) > 12
    loose = {name: [*repeats_that_give_back(_parser.parse(expression.pattern))] for name, expression in found.items()}
    assert {name: repeats for name, repeats in loose.items() if repeats} == {}


def test_the_guard_sees_a_repetition_that_gives_back() -> None:
    """A guard that passes everything would be worth nothing."""
    assert [*repeats_that_give_back(_parser.parse(rb"(?:a+)+"))]
    assert not [*repeats_that_give_back(_parser.parse(rb"(?:a++)*+x{1,5}"))]


class Searched(bytes):
    """Bytes that count how often they are searched from end to end."""

    searches = 0

    def find(self, *args: Any) -> int:
        Searched.searches += 1
        return bytes.find(self, *args)


@pytest.mark.parametrize("names", [20, 200, 2000])
def test_a_connection_that_names_thousands_costs_no_more_than_the_lines_there_are(names: int) -> None:
    """D07: the head is not searched once for each option that its sender has made up."""
    Searched.searches = 0
    options = [b"x-%d" % n for n in range(names)]
    head = b"GET / HTTP/1.1\r\nHost: a\r\nX-1: b\r\nConnection: " + b",".join(options) + b"\r\nX: y\r\n\r\n"
    begin = head.find(b"\n") + 1
    low = Searched(head.lower())
    assert fields.without(head, low, begin, frozenset((*options, b"connection"))) == b"Host: a\r\nX: y\r\n"
    assert Searched.searches < 20


def test_options_beyond_counting_are_dropped_like_a_few() -> None:
    """D07: both ways of leaving lines out agree, end to end."""
    for count in (1, 2, 15, 16, 17, 5000):
        world = World(ONCE)
        options = b",".join(b"x-%d" % n for n in range(count))
        world.client().send(GET[:-2] + b"X-0: a\r\nConnection: " + options + b"\r\nx-0: b\r\nY: c\r\n\r\n")
        (request,) = requests(world.accept().take())
        names = {name for name, _ in request.fields}
        assert not {b"x-0", b"connection"} & names
        assert request.get(b"y") == b"c"


def test_a_response_may_name_thousands_too() -> None:
    """D07: the endpoint's Connection is no better than the client's."""
    world = World(ONCE)
    client = world.client()
    client.send(GET)
    options = b",".join(b"x-%d" % n for n in range(5000))
    world.accept().send(OK.replace(b"\r\n\r\n", b"\r\nX-7: a\r\nConnection: " + options + b"\r\n\r\n"))
    sent = client.take()
    assert b"X-7" not in sent
    assert sent.endswith(b"ok")
