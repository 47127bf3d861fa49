"""What we write: which fields get into the peer's table, which never do, and how its size is followed."""

from __future__ import annotations

import pytest

from sidecar.http.h2.hpack import TABLE_BYTES, Decoder, Encoder, Field

GET: Field = (b":method", b"GET", False)
TENANT: Field = (b"x-tenant", b"acme", False)
TENANT_ADDED = b"\x40\x08x-tenant\x04acme"
NEWEST = b"\xbe"
EMPTY, WHOLE = b"\x20", b"\x3f\xe1\x1f"


def test_a_field_is_written_once_and_named_from_then_on() -> None:
    """One byte for what both tables know, the newest first."""
    encoder = Encoder()
    assert encoder.encode([TENANT]) == TENANT_ADDED
    assert encoder.encode([GET, TENANT]) == b"\x82" + NEWEST
    assert encoder.encode([(b"a", b"b", False), TENANT]) == b"\x40\x01a\x01b\xbf"
    assert encoder.encode([]) == b""


@pytest.mark.parametrize(
    ("name", "value", "block"),
    [
        (b"x-tenant", b"acme", b"\x10\x08x-tenant\x04acme"),
        (b":method", b"GET", b"\x12\x03GET"),
        (b"authorization", b"Basic eA==", b"\x1f\x08\x0aBasic eA=="),
    ],
)
def test_a_secret_stays_one_even_if_a_table_knows_it(name: bytes, value: bytes, block: bytes) -> None:
    """Section 6.2.3: an intermediary writes a field that is never to be indexed as it came, as such a literal."""
    encoder = Encoder()
    encoder.encode([(name, value, False)])
    assert encoder.encode([(name, value, True)]) == block
    assert Decoder(1000).decode(block) == [(name, value, True)]


def test_values_that_do_not_come_again_leave_the_table_alone() -> None:
    """Trace context, ids and times are written as they are, and are no secrets."""
    encoder = Encoder()
    encoder.encode([TENANT])
    assert encoder.encode([(b"x-request-id", b"7", False)]) == b"\0\x0cx-request-id\x017"
    assert encoder.encode([(b"date", b"now", False), (b"etag", b"e", False)]) == b"\x0f\x12\x03now\x0f\x13\x01e"
    assert encoder.encode([TENANT]) == NEWEST


def test_a_large_field_does_not_drive_out_all_others() -> None:
    """More than half of the table is not for one field."""
    encoder = Encoder()
    encoder.encode([TENANT])
    most = TABLE_BYTES // 2 - 32 - len(b"accept")
    assert encoder.encode([(b"accept", b"c" * (most + 1), False)]) == b"\x0f\x04\x7f\xdc\x0e" + b"c" * (most + 1)
    assert encoder.encode([TENANT]) == NEWEST
    assert encoder.encode([(b"accept", b"c" * most, False)])[:2] == b"\x53\x7f"
    assert encoder.encode([TENANT]) == b"\xbf"


def test_what_has_fallen_out_of_the_table_is_written_again() -> None:
    """The peer has dropped it at the same moment."""
    encoder, decoder = Encoder(), Decoder(65536)
    for number in range(500):
        fields: list[Field] = [
            (b"x-number", b"%d" % number, False),
            TENANT,
            (b"x-number", b"%d" % (number // 2), False),
        ]
        assert decoder.decode(encoder.encode(fields)) == fields


def test_an_index_may_take_two_bytes() -> None:
    """From 127 on."""
    encoder, decoder = Encoder(), Decoder(65536)
    fields: list[Field] = [(b"%d" % number, b"", False) for number in range(70)]
    decoder.decode(encoder.encode(fields))
    block = encoder.encode(fields)
    assert block[:12] == b"\xff\x04\xff\x03\xff\x02\xff\x01\xff\x00\xfe\xfd"
    assert decoder.decode(block) == fields


@pytest.mark.parametrize(
    ("sizes", "changes"),
    [
        ([0], EMPTY),
        ([100], b"\x3f\x45"),
        ([0, 4096], EMPTY + WHOLE),
        ([100, 0, 200], EMPTY + b"\x3f\xa9\x01"),
        ([0, 0], EMPTY),
        ([4096], b""),
        ([2**32 - 1], b""),
        ([0, 2**32 - 1], EMPTY + WHOLE),
    ],
)
def test_the_peer_is_told_how_we_follow_its_limit(sizes: list[int], changes: bytes) -> None:
    """Section 4.2: once, before the next fields: the smallest size in between if it is another, then the last; 4096 at most."""
    encoder, decoder = Encoder(), Decoder(1000)
    decoder.decode(encoder.encode([TENANT]))
    for size in sizes:
        encoder.resize(size)
    block = encoder.encode([TENANT])
    emptied = EMPTY in (changes, changes[:1])
    assert block.startswith(changes) and (block == changes + NEWEST) == (not emptied)
    assert decoder.decode(block) == [TENANT]
    block = encoder.encode([TENANT])
    assert decoder.decode(block) == [TENANT] and not 0x20 <= block[0] < 0x40


def test_a_peer_that_wants_no_table_gets_literals() -> None:
    """Size 0: the static table is all there is."""
    encoder = Encoder()
    encoder.resize(0)
    assert encoder.encode([GET, TENANT]) == EMPTY + b"\x82\0\x08x-tenant\x04acme"
    assert encoder.encode([GET, TENANT]) == b"\x82\0\x08x-tenant\x04acme"
