"""H05: frames that cost the client nothing and us something, again and again (CVE-2019-9511 to 9518)."""

from __future__ import annotations

import pytest

from tests.http2.attack import Attack, bounded
from tests.support.http2 import (
    ACK,
    FRAME_SIZE,
    Code,
    Setting,
    Type,
    data,
    frame,
    headers,
    ping,
    priority,
    settings,
    settings_ack,
    unknown,
    window_update,
)

CAPACITY = 1000
"""Frames at once that only keep us busy; a hundred more a second."""
EMPTY = 10
"""Empty DATA frames in a row."""

FLOODS = {
    "ping": ping(),
    "ping-ack": ping(ack=True),
    "settings": settings((Setting.INITIAL_WINDOW_SIZE, 65535)),
    "empty-settings": settings(),
    "settings-ack": settings_ack(),
    "priority": priority(1),
    "priority-of-idle-streams": priority(1001, on=999),
    "unknown": unknown(payload=b""),
    "unknown-of-a-stream": unknown(stream=1),
    "window-update": window_update(0, 1),
    "window-update-of-a-stream": window_update(1, 1),
    "window-update-of-nobody": window_update(3, 1),
}


@pytest.mark.parametrize("kind", FLOODS)
@pytest.mark.parametrize("many", [1, 500], ids=["one-by-one", "in-large-reads"])
def test_h05_a_flood_is_calmed(kind: str, many: int) -> None:
    """Before it has had two thousand frames, whatever their size."""
    attack = Attack(silent=True)
    attack.send(attack.request(1, end=False), attack.request(3), attack.request(5))
    attack.endpoints()
    attack.frames()
    sent = attack.flood(FLOODS[kind] * many, 20000 // many) * many
    assert CAPACITY // 2 <= sent <= 2 * CAPACITY
    answers = len(attack.client.received)
    assert answers <= 2 * CAPACITY * 17
    attack.calmed()


@pytest.mark.parametrize(
    "frames", [ping(), settings(), priority(1), unknown()], ids=["ping", "settings", "priority", "unknown"]
)
def test_h05_what_a_client_does_now_and_then_is_borne(frames: bytes) -> None:
    """Fifty a second, for as long as it likes."""
    attack = Attack()
    for _ in range(600):
        assert attack.flood(frames * 5, 1) == 1
        attack.world.pass_time(0.1, step=0.1)
        attack.frames()
    attack.stands()


def test_h05_window_updates_for_what_we_send_are_borne() -> None:
    """Two for each frame of data, as many clients send them."""
    attack = Attack()
    for stream in range(1, 2 * 2000, 2):
        attack.send(attack.request(stream))
        attack.response(stream)
        attack.send(window_update(0, 12), window_update(stream, 12))
    attack.stands()


@pytest.mark.parametrize("padding", [None, 0, 255], ids=["empty", "padded", "padding-alone"])
def test_h05_empty_data_is_calmed(padding: int | None) -> None:
    """A body of which nothing ever comes (CVE-2019-9518)."""
    attack = Attack(silent=True)
    attack.send(attack.request(1, method="POST", end=False))
    attack.endpoints()
    assert attack.flood(data(1, padding=padding), 1000) == EMPTY + 1
    attack.calmed()


def test_h05_empty_data_in_turn_on_many_streams_is_calmed() -> None:
    """It is counted on the connection."""
    attack = Attack(silent=True)
    streams = range(1, 100, 2)
    attack.send(*(attack.request(stream, method="POST", end=False) for stream in streams))
    sent = sum(attack.flood(data(stream), 1) for stream in streams if not attack.over)
    assert sent == EMPTY + 1
    attack.calmed()


def test_h05_empty_data_for_streams_that_were_reset_is_calmed() -> None:
    """Nobody wants them, and they are still read."""
    attack = Attack()
    attack.send(attack.request(1, ("X-UPPER", "malformed"), method="POST", end=False))
    attack.of(Type.RST_STREAM, 1)
    assert attack.flood(data(1), 1000) == EMPTY + 1
    attack.calmed()


def test_h05_the_last_frame_may_be_empty_and_so_may_a_few_others() -> None:
    """Some libraries flush that way."""
    attack = Attack()
    attack.send(attack.request(1, method="POST", end=False), *(data(1),) * EMPTY, data(1, b"x"), *(data(1),) * EMPTY)
    attack.send(data(1, end=True))
    attack.response(1)
    assert attack.http1.bodies == [b"x"]


def test_h05_tiny_data_gives_no_tiny_chunks_without_end() -> None:
    """A body byte by byte is slow, and legal; what it costs in memory does not grow with its frames."""
    attack = Attack()
    attack.send(attack.request(1, method="POST", end=False))
    attack.frames()
    reads = data(1, b"x") * 1000
    with bounded(1_000_000):
        for _ in range(20):
            attack.send(reads)
            attack.frames()
            attack.seen.clear()
    attack.send(data(1, end=True))
    attack.response(1)
    assert attack.http1.bodies == [b"x" * 20000]


def test_h05_empty_headers_are_calmed() -> None:
    """Requests without fields are malformed, and spend the budget of resets (CVE-2019-9516)."""
    attack = Attack()
    sent = 0
    for stream in range(1, 2000, 2):
        sent += attack.flood(headers(stream, b""), 1)
    assert sent <= 101
    attack.calmed()


def test_h05_fields_without_names_are_calmed() -> None:
    """A list of empty names and values counts 32 bytes for each."""
    attack = Attack()
    attack.send(headers(1, b"\x82\x86\x84\x01\x06orders" + b"\x00\x00\x00" * 5000))
    one = attack.until(lambda one: one.stream == 1 or one.type == Type.GOAWAY, "a refusal")
    assert one.type != Type.HEADERS or one.get(b":status") == b"431"
    assert attack.http1.received == b""
    attack.serves_others()


def test_h05_answers_that_are_not_taken_are_not_heaped_up() -> None:
    """A client that sends PING and does not read is not read either (CVE-2019-9512)."""
    attack = Attack()
    attack.client.full()
    sent = attack.flood(ping() * 10, 1000) * 10
    assert sent <= 2 * CAPACITY
    assert len(attack.client.received) <= 2 * CAPACITY * 17
    attack.serves_others()


def test_h05_large_unknown_frames_are_not_kept() -> None:
    """Neither whole nor in parts."""
    attack = Attack()
    whole = unknown(payload=b"x" * FRAME_SIZE)
    with bounded(300_000):
        for _ in range(100):
            attack.send(whole[:5000])
            attack.send(whole[5000:])
    attack.send(whole[:9])
    with bounded(300_000):
        for at in range(9, FRAME_SIZE, 64):
            attack.send(whole[at : at + 64])
    attack.send(whole[at + 64 :])
    attack.stands()


@pytest.mark.parametrize("flags", [0, ACK])
def test_h05_a_flood_of_goaway_is_short(flags: int) -> None:
    """After the first there is nothing to say to a connection without streams."""
    attack = Attack()
    goaway = frame(Type.GOAWAY, flags, 0, b"\0" * 8)
    assert attack.flood(goaway, 1000) <= 2
    attack.closes()
    attack.serves_others()


def test_h05_a_flood_of_goaway_beside_a_stream_is_calmed() -> None:
    """A stream that goes on is no licence."""
    attack = Attack(silent=True)
    attack.send(attack.request(1))
    attack.endpoints()
    assert attack.flood(frame(Type.GOAWAY, 0, 0, b"\0" * 8), 20000) <= 2 * CAPACITY
    attack.connection_error(Code.ENHANCE_YOUR_CALM)
    attack.serves_others()
