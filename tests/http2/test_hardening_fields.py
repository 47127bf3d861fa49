"""H03 and H04: field sections that never end, or that are small on the wire and large in memory."""

from __future__ import annotations

import pytest

from tests.http2.attack import Attack, bounded
from tests.support.http2 import (
    FRAME_SIZE,
    Code,
    Setting,
    Type,
    continuation,
    data,
    headers,
    integer,
    literal,
    settings,
)

LIMIT = 65536
"""Bytes of a field section, and 32 for each of its lines."""
MOST_FRAMES = 64
REFERENCE = b"\xbe"
"""The newest line of the dynamic table."""


def refused(attack: Attack, stream: int) -> None:
    """The list of fields was too large: 431 on the stream, or the end of the connection."""
    one = attack.until(
        lambda one: one.type in (Type.GOAWAY, Type.RST_STREAM) or (one.type == Type.HEADERS and one.stream == stream),
        "a refusal",
    )
    if one.type == Type.HEADERS:
        assert attack.response(stream).reason == "headers_too_large"
        assert one.get(b":status") == b"431"
    else:
        assert one.code in (Code.ENHANCE_YOUR_CALM, Code.PROTOCOL_ERROR, Code.COMPRESSION_ERROR)
    assert attack.http1.received == b""
    attack.serves_others()


@pytest.mark.parametrize("piece", [b"", b"x"], ids=["empty", "one-byte"])
def test_h03_continuation_flood(piece: bytes) -> None:
    """A block of more than 64 further frames is not waited for (VU#421644), also if they hold nothing (CVE-2026-33871)."""
    attack = Attack()
    block = attack.block(attack.fields()) + b"\x00\x01x\x7f\xff\x3f"
    attack.send(headers(1, block, whole=False))
    sent = attack.flood(continuation(1, piece, whole=False), 10000)
    assert sent == MOST_FRAMES + 1
    attack.calmed()


def test_h03_a_block_in_many_frames_is_taken() -> None:
    """As many as are allowed, the last one included."""
    attack = Attack()
    block = attack.block(attack.fields())
    rest = [continuation(1, whole=at == MOST_FRAMES - 1) for at in range(MOST_FRAMES)]
    attack.send(headers(1, block, whole=False), *rest)
    attack.response(1)


def test_h03_large_continuations_are_not_kept() -> None:
    """64 frames of 16 KiB are a megabyte, and a block ends at the limit of a list."""
    attack = Attack()
    piece = continuation(1, b"x" * FRAME_SIZE, whole=False)
    with bounded(8 * LIMIT):
        attack.send(headers(1, attack.block(attack.fields()) + b"\x00\x01x\x7f\xff\x3f", whole=False))
        assert attack.flood(piece, 1000) <= LIMIT // FRAME_SIZE + 1
    attack.calmed()


@pytest.mark.parametrize("drip", [False, True])
def test_h03_a_block_has_to_come_within_the_time_of_a_head(drip: bool) -> None:
    """Ten seconds from its first byte, whether nothing comes or a little every second; others go on meanwhile."""
    attack = Attack()
    attack.send(attack.request(1), headers(3, attack.block(attack.fields()), whole=False))
    attack.response(1)
    for _ in range(9):
        attack.world.pass_time(1.0, step=0.1)
        assert not attack.over
        if drip:
            attack.send(continuation(3, whole=False))
    attack.world.pass_time(2.0, step=0.1)
    attack.calmed()


@pytest.mark.parametrize("size", [1, 8, 9, 15])
def test_h03_so_has_a_frame_of_fields(size: int) -> None:
    """Also if not even the header of its frame is whole."""
    attack = Attack()
    attack.send(attack.request(1)[:size])
    attack.world.pass_time(9.0, step=0.1)
    assert not attack.over
    attack.world.pass_time(2.0, step=0.1)
    attack.calmed()


@pytest.mark.parametrize("times", [17, 200, 4000, FRAME_SIZE - 5000])
def test_h04_hpack_bomb(times: int) -> None:
    """A line of 4 KB said again and again in one byte counts with its length each time."""
    attack = Attack()
    block = attack.block(attack.fields()) + literal(b"x-bomb", b"x" * 4000, 0x40) + REFERENCE * times
    with bounded(16 * LIMIT):
        attack.send(headers(1, block[:FRAME_SIZE], whole=len(block) <= FRAME_SIZE))
        if len(block) > FRAME_SIZE:
            attack.send(continuation(1, block[FRAME_SIZE:]))
    refused(attack, 1)


def test_h04_hpack_bomb_in_trailers() -> None:
    """What follows a body is counted alike, and what was sent of the request is not taken for the whole."""
    attack = Attack(silent=True)
    attack.send(attack.request(1, method="POST", end=False), data(1, b"test"))
    attack.endpoints()
    with bounded(16 * LIMIT):
        attack.send(headers(1, literal(b"x-bomb", b"x" * 4000, 0x40) + REFERENCE * 10000))
    attack.stream_error(1, Code.PROTOCOL_ERROR, Code.ENHANCE_YOUR_CALM)
    attack.endpoints()
    assert b"0\r\n\r\n" not in attack.silent.received and attack.silent.left == 0


@pytest.mark.parametrize("name", [b"cookie", b"x-many"])
@pytest.mark.parametrize("times", [1800, 10000])
def test_h04_many_small_lines(name: bytes, times: int) -> None:
    """Each counts 32 bytes beside its own, crumbs of a cookie too (CVE-2026-47774)."""
    attack = Attack()
    attack.send(headers(1, attack.block(attack.fields()) + literal(name, b"a", 0x40) + REFERENCE * times))
    refused(attack, 1)


def test_h04_many_lines_below_the_limit_of_bytes() -> None:
    """There is one of lines, as in HTTP/1."""
    attack = Attack()
    attack.send(headers(1, attack.block(attack.fields()) + literal(b"x", b"", 0x40) + REFERENCE * 150))
    refused(attack, 1)


def test_h04_after_a_list_that_was_too_large_the_next_is_read_rightly() -> None:
    """What it left in the table is there, or the connection is not."""
    attack = Attack()
    attack.send(headers(1, attack.block(attack.fields()) + literal(b"x-bomb", b"x" * 2000, 0x40) + REFERENCE * 40))
    assert attack.response(1).status == 431
    attack.send(headers(3, b"\x82\x86\x84\xbf" + REFERENCE + literal(b"x-last", b"ok", 0x40)))
    attack.response(3)
    (request,) = attack.http1.requests
    assert (b"x-bomb", b"x" * 2000) in request.headers and (b"x-last", b"ok") in request.headers


def test_h04_table_size_flapping_in_a_block() -> None:
    """A block of changes of the table's size is short work, or an error; it never is a request of its own."""
    attack = Attack()
    update = b"\x20" + integer(4096, 5, 0x20)
    attack.send(headers(1, update * 4000))
    refused(attack, 1)


def test_h04_table_size_flapping_in_settings() -> None:
    """Each change may make us throw our table away: it is paid as any frame that only keeps us busy."""
    attack = Attack()
    attack.send(attack.request(1))
    attack.response(1)
    pair = settings((Setting.HEADER_TABLE_SIZE, 0)) + settings((Setting.HEADER_TABLE_SIZE, 4096))
    assert attack.flood(pair, 5000) < 1000
    attack.calmed()


def test_h04_one_frame_of_settings_that_flap() -> None:
    """2,730 settings in one frame are one frame, and the next response can be read."""
    attack = Attack()
    flaps = ((Setting.HEADER_TABLE_SIZE, 0), (Setting.HEADER_TABLE_SIZE, 4096)) * 1365
    attack.send(attack.request(1))
    attack.response(1)
    frames = settings(*flaps)
    with bounded(4 * LIMIT):
        attack.send(frames, attack.request(3))
    attack.response(3)


def test_h04_a_table_as_large_as_they_say_is_not_made() -> None:
    """What a client could remember of us is bounded by what we want to remember."""
    attack = Attack()
    attack.change((Setting.HEADER_TABLE_SIZE, 2**32 - 1))
    attack.reader.decoder.max_allowed_table_size = 2**32 - 1
    with bounded(32 * LIMIT):
        for stream in range(1, 200, 2):
            attack.send(attack.request(stream, path=f"/{stream}" + "x" * 4000))
            attack.response(stream)


def test_h04_huffman_code_counts_as_what_it_says() -> None:
    """0 is five bits: 60 KB of it are 98 KB."""
    attack = Attack()
    packed = attack.encoder.huffman_coder.encode(b"0" * 98000)
    assert len(packed) < LIMIT
    line = b"\x00\x01x" + integer(len(packed), 7, 0x80) + packed
    block = attack.block(attack.fields()) + line
    parts = [block[at : at + FRAME_SIZE] for at in range(0, len(block), FRAME_SIZE)]
    rest = [continuation(1, part, whole=at == len(parts) - 1) for at, part in enumerate(parts) if at]
    attack.send(headers(1, parts[0], whole=False), *rest)
    refused(attack, 1)
