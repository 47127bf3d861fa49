"""H01 and H02: streams that are begun and broken off at once, by the client or by what it makes us do."""

from __future__ import annotations

import pytest

from tests.http2.attack import Attack
from tests.support.http2 import (
    END_HEADERS,
    END_STREAM,
    LARGEST_WINDOW,
    Type,
    data,
    frame,
    headers,
    priority,
    rst_stream,
    window_update,
)

BUDGET = 100
"""Resets at once; ten more a second."""


def begun(attack: Attack) -> int:
    return sum(attack.silent.received.count(method) for method in (b"GET / ", b"POST / "))


@pytest.mark.parametrize("in_one_read", [True, False])
def test_h01_rapid_reset(in_one_read: bool) -> None:
    """A client that takes back each of its requests is cut off after a hundred; no endpoint is left working (CVE-2023-44487)."""
    attack = Attack(silent=True)
    pairs = [attack.request(stream) + rst_stream(stream) for stream in range(1, 2000, 2)]
    if in_one_read:
        attack.send(*pairs)
    else:
        for pair in pairs:
            attack.flood(pair, 1)
            attack.endpoints()
    attack.calmed()
    assert attack.silent.left <= 1
    assert begun(attack) <= BUDGET + 1


def test_h01_rapid_reset_before_an_endpoint_has_accepted() -> None:
    """What was taken back is not sent when a connection comes about, and not waited for either."""
    attack = Attack(silent=True)
    for stream in range(1, 2 * 50, 2):
        attack.send(attack.request(stream), rst_stream(stream))
    attack.endpoints()
    assert begun(attack) == 0
    attack.stands()


def test_h01_resets_of_an_ordinary_client_are_borne() -> None:
    """Five a second for a minute: somebody types, and each key asks again."""
    attack = Attack(silent=True)
    for stream in range(1, 2 * 300, 2):
        attack.send(attack.request(stream))
        attack.pong()
        attack.send(rst_stream(stream))
        attack.world.pass_time(0.2, step=0.1)
    attack.stands()


def test_h01_a_client_that_cancels_half_of_its_calls_is_borne() -> None:
    """Streams that end well pay for others."""
    attack = Attack()
    for stream in range(1, 2000, 4):
        attack.send(attack.request(stream))
        attack.response(stream)
        attack.send(attack.request(stream + 2), rst_stream(stream + 2))
    attack.stands()


def test_h01_two_requests_for_each_reset_do_not_hide_it_for_ever() -> None:
    """A reset of a stream that has ended costs as well: it is no less work to read."""
    attack = Attack()
    attack.send(attack.request(1))
    attack.response(1)
    attack.flood(rst_stream(1), 500)
    attack.calmed()


PRIMITIVES = {
    "window-update-of-nothing": (False, lambda stream: window_update(stream, 0)),
    "window-overflow": (False, lambda stream: window_update(stream, LARGEST_WINDOW)),
    "priority-of-four-bytes": (False, lambda stream: frame(Type.PRIORITY, 0, stream, b"\0" * 4)),
    "priority-on-itself": (False, lambda stream: priority(stream, on=stream)),
    "headers-behind-the-end": (True, lambda stream: headers(stream, b"\x82\x86\x84\x01\x06orders")),
    "data-behind-the-end": (True, lambda stream: data(stream, b"x", end=True)),
    "data-longer-than-declared": (False, lambda stream: data(stream, b"xy", end=True)),
    "pseudo-field-in-trailers": (False, lambda stream: headers(stream, b"\x82")),
    "trailers-without-end": (False, lambda stream: headers(stream, b"\x0f\x10\x01x", end=False)),
}


@pytest.mark.parametrize("primitive", PRIMITIVES)
def test_h02_made_you_reset(primitive: str) -> None:
    """A client that makes us reset its streams spends the same budget (CVE-2025-8671)."""
    end, make = PRIMITIVES[primitive]
    attack = Attack(silent=True)
    for stream in range(1, 1000, 2):
        if attack.over:
            break
        more = () if end else (("content-length", "1"),)
        attack.send(attack.request(stream, *more, method="GET" if end else "POST", end=end))
        attack.endpoints()
        if not attack.over:
            attack.send(make(stream))
    attack.closes()
    resets = [one for one in attack.seen if one.type == Type.RST_STREAM]
    assert len(resets) <= BUDGET + 1 and begun(attack) <= BUDGET + 2
    attack.world.settle()
    assert attack.world.endpoints[0].in_flight == 0 and attack.silent.left <= 1
    attack.serves_others()


def test_h02_malformed_requests_spend_the_budget() -> None:
    """They reach nobody, and still are resets."""
    attack = Attack()
    block = b"\x82\x86\x84\x01\x06orders\x00\x01X\x01x"
    for stream in range(1, 1000, 2):
        attack.flood(frame(Type.HEADERS, END_STREAM | END_HEADERS, stream, block), 1)
    attack.calmed()
    assert attack.http1.received.count(b"GET") == 1


def test_h02_a_place_is_free_only_when_nobody_works_on_it() -> None:
    """A stream that was reset holds no connection of its endpoint, so that places cannot be had twice."""
    attack = Attack(silent=True)
    for stream in range(1, 2 * 90, 2):
        attack.send(attack.request(stream, end=False))
        attack.endpoints()
        attack.send(window_update(stream, 0))
        attack.world.settle()
        assert attack.silent.left == 0 and attack.world.endpoints[0].in_flight == 0
    attack.stands()
