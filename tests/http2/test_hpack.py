"""Field compression: the examples of RFC 7541, each thing that it calls an error, and the limits."""

from __future__ import annotations

import tracemalloc

import pytest
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.table import HeaderTable

from sidecar.http.h2 import huffman
from sidecar.http.h2.hpack import TABLE_BYTES, Decoder, Encoder, Field, Malformed, TooLarge
from sidecar.http.h2.hpack_static import STATIC

GET: Field = (b":method", b"GET", False)
TABLE_OF_256 = "3fe101"


def plain(*fields: tuple[bytes, bytes]) -> list[Field]:
    return [(name, value, False) for name, value in fields]


def decode(*blocks: str | bytes, max_list_bytes: int = 65536) -> list[Field]:
    """The last of some blocks on one connection."""
    decoder = Decoder(max_list_bytes)
    fields: list[Field] = []
    for block in blocks:
        fields = decoder.decode(bytes.fromhex(block) if isinstance(block, str) else block)
    return fields


REQUESTS = [
    plain((b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"www.example.com")),
    plain(
        (b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"www.example.com"),
        (b"cache-control", b"no-cache"),
    ),
    plain(
        (b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/index.html"), (b":authority", b"www.example.com"),
        (b"custom-key", b"custom-value"),
    ),
]  # fmt: skip
C3 = [
    "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
    "8286 84be 5808 6e6f 2d63 6163 6865",
    "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
]
C4 = [
    "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
    "8286 84be 5886 a8eb 1064 9cbf",
    "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
]
RESPONSES = [
    plain(
        (b":status", b"302"), (b"cache-control", b"private"), (b"date", b"Mon, 21 Oct 2013 20:13:21 GMT"),
        (b"location", b"https://www.example.com"),
    ),
    plain(
        (b":status", b"307"), (b"cache-control", b"private"), (b"date", b"Mon, 21 Oct 2013 20:13:21 GMT"),
        (b"location", b"https://www.example.com"),
    ),
    plain(
        (b":status", b"200"), (b"cache-control", b"private"), (b"date", b"Mon, 21 Oct 2013 20:13:22 GMT"),
        (b"location", b"https://www.example.com"), (b"content-encoding", b"gzip"),
        (b"set-cookie", b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
    ),
]  # fmt: skip
C5 = [
    "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d"
    "546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
    "4803 3330 37c1 c0bf",
    "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f"
    "6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b"
    "2076 6572 7369 6f6e 3d31",
]
C6 = [
    "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7"
    "8f0b 97c8 e9ae 82ae 43d3",
    "4883 640e ffc1 c0bf",
    "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335"
    "dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
]


# The RFC's own examples


@pytest.mark.parametrize(
    ("block", "field", "indexed"),
    [
        (
            "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
            (b"custom-key", b"custom-header", False),
            True,
        ),
        ("040c 2f73 616d 706c 652f 7061 7468", (b":path", b"/sample/path", False), False),
        ("1008 7061 7373 776f 7264 0673 6563 7265 74", (b"password", b"secret", True), False),
        ("82", GET, False),
    ],
)
def test_each_way_to_write_a_field_is_read(block: str, field: Field, indexed: bool) -> None:
    """C.2: what is to be added to the table is there in the next block, what is not is not, and a secret stays marked."""
    decoder = Decoder(1000)
    assert decoder.decode(bytes.fromhex(block)) == [field]
    if indexed:
        assert decoder.decode(b"\xbe") == [field]
    else:
        with pytest.raises(Malformed):
            decoder.decode(b"\xbe")


@pytest.mark.parametrize("blocks", [C3, C4], ids=["plain", "huffman"])
def test_requests_of_one_connection_are_read(blocks: list[str]) -> None:
    """C.3 and C.4: later ones name fields of earlier ones."""
    decoder = Decoder(65536)
    assert [decoder.decode(bytes.fromhex(block)) for block in blocks] == REQUESTS


@pytest.mark.parametrize("blocks", [C5, C6], ids=["plain", "huffman"])
def test_responses_are_read_while_fields_fall_out_of_a_small_table(blocks: list[str]) -> None:
    """C.5 and C.6: with 256 bytes each new field drives out the oldest."""
    decoder = Decoder(65536)
    assert decoder.decode(bytes.fromhex(TABLE_OF_256)) == []
    assert [decoder.decode(bytes.fromhex(block)) for block in blocks] == RESPONSES


def test_requests_are_written_as_the_rfc_writes_them() -> None:
    """C.3, to the byte."""
    encoder = Encoder()
    assert [encoder.encode(fields) for fields in REQUESTS] == [bytes.fromhex(block) for block in C3]


def test_the_static_table_and_the_codes_are_those_of_the_rfc() -> None:
    """Compared with those of the ``hpack`` library, all 61 fields and all 256 codes."""
    assert tuple(STATIC) == HeaderTable.STATIC_TABLE
    pairs = list(zip(REQUEST_CODES, REQUEST_CODES_LENGTH, strict=True))
    assert huffman.codes() == {f"{code:0{length}b}": symbol for symbol, (code, length) in enumerate(pairs[:256])}
    assert pairs[256] == (2**30 - 1, 30)


# What is an error


@pytest.mark.parametrize(
    "block",
    [
        pytest.param("80", id="index 0"),
        pytest.param("be", id="an index behind an empty table"),
        pytest.param("ff00", id="an index far behind the tables"),
        pytest.param("ffffffff7f", id="the largest index that can be read"),
        pytest.param("7f00 0161", id="a name behind the tables, to be added"),
        pytest.param("0f30 0161", id="a name behind the tables"),
        pytest.param("1f30 0161", id="a name behind the tables, never to be indexed"),
        pytest.param("3fe21f", id="a table of 4097 bytes"),
        pytest.param("3fffffff7f", id="the largest table that can be read"),
        pytest.param("82 20", id="a change of the table behind an indexed field"),
        pytest.param("0001 6101 62 3fe11f 82", id="a change of the table between fields"),
        pytest.param("20 82 20", id="a second change behind a field"),
        pytest.param("0085 f2b2 4a84 ff84 4950 9fff", id="padding of more than seven bits"),
        pytest.param("0081 ff01 61", id="nothing but a byte of padding"),
        pytest.param("0085 f2b2 4a84 ff83 4950 90", id="padding of zeros"),
        pytest.param("0085 f2b2 4a84 ff87 4950 9fff ffff ff", id="EOS in a value"),
        pytest.param("0084 ffff ffff 01 61", id="EOS and nothing else, as a name"),
        pytest.param("0085 ffff fffc 3f 01 61", id="text behind EOS"),
        pytest.param("0082 fffe 01 61", id="a code that is not whole"),
        pytest.param("ff", id="an index that is cut off"),
        pytest.param("ff80", id="an index that is cut off later"),
        pytest.param("3f", id="a size of the table that is cut off"),
        pytest.param("00", id="no name"),
        pytest.param("0005 61", id="a name that is cut off"),
        pytest.param("0085 f2b2", id="a name in Huffman's code that is cut off"),
        pytest.param("0001 61", id="no value"),
        pytest.param("0001 6105", id="a value that is cut off"),
        pytest.param("0001 6105 62", id="a value that is cut off later"),
        pytest.param("0001 6185 f2b2", id="a value in Huffman's code that is cut off"),
        pytest.param("0001 617f", id="the length of a value that is cut off"),
        pytest.param("0001 61ff 8080", id="the length of a value in Huffman's code that is cut off"),
        pytest.param("007f ffff ff7f 61", id="a name of 268 MB"),
        pytest.param("0001 617f ffff ff7f 61", id="a value of 268 MB"),
        pytest.param("0001 617f 8180 8080 00" + "62" * 128, id="a good length with too many zeros in front"),
        pytest.param("ff" + "80" * 4000 + "01", id="an integer of four thousand bytes"),
        pytest.param("ff" * 4000, id="an integer without an end"),
        pytest.param("0001 617f" + "ff" * 9 + "01", id="a length of more than 64 bits"),
        pytest.param("3f" + "ff" * 9 + "01", id="a size of the table of more than 64 bits"),
    ],
)
def test_what_the_rfc_calls_an_error_is_one(block: str) -> None:
    """Nothing is guessed, and behind a good field it is no better."""
    for before in ("", "8286"):
        with pytest.raises(Malformed):
            decode(before + block)


@pytest.mark.parametrize("cut", range(1, len(bytes.fromhex(C6[2]))))
def test_a_block_may_end_between_fields_only(cut: int) -> None:
    """Each beginning of a good block is a shorter list, or an error."""
    try:
        fields = decode(TABLE_OF_256, *C6[:2], bytes.fromhex(C6[2])[:cut])
    except Malformed:
        return
    assert fields == RESPONSES[2][: len(fields)] and len(fields) < len(RESPONSES[2])


def test_what_looks_odd_and_is_right_is_read() -> None:
    """An empty block, empty strings, any byte in a string, and an integer with fewer zeros in front than are an error."""
    assert decode(b"") == []
    assert decode("00 00 00 00 80 80") == plain((b"", b""), (b"", b""))
    assert decode("0002 00ff 020a 0d") == plain((b"\0\xff", b"\n\r"))
    everything = bytes(range(256))
    assert decode(b"\0\x01a\x7f\x81\x01" + everything) == plain((b"a", everything))
    assert decode(b"\0\x01a\x7f\x81\x81\x80\0" + everything) == plain((b"a", everything))
    bits = "".join(bits for bits, _ in sorted(huffman.codes().items(), key=lambda one: one[1]))
    data = int(bits + "1" * (-len(bits) % 8), 2).to_bytes(-(-len(bits) // 8), "big")
    assert huffman.decode(data) == everything


# Limits


def test_a_list_has_at_most_as_many_bytes_as_is_allowed() -> None:
    """Name, value and 32 bytes for each field; one more is too large."""
    block = "82 0001 6101 62"
    assert decode(block, max_list_bytes=42 + 34) == [GET, (b"a", b"b", False)]
    with pytest.raises(TooLarge):
        decode(block, max_list_bytes=42 + 33)


def test_a_list_that_is_too_large_leaves_the_tables_alike() -> None:
    """Only its own stream fails: the fields behind the limit are in the table for the next block."""
    decoder = Decoder(100)
    with pytest.raises(TooLarge):
        decoder.decode(b"\x40\x01a\x01b" * 20 + b"\x40\x04late\x01c")
    assert decoder.decode(b"\xbe\xbf") == plain((b"late", b"c"), (b"a", b"b"))
    with pytest.raises(Malformed):
        decoder.decode(b"\x82" * 20 + b"\x80")


def test_a_small_block_that_names_a_large_field_often_takes_no_memory() -> None:
    """The bomb: 4 KB in the table, named sixteen thousand times, would be 64 MB."""
    decoder = Decoder(65536)
    decoder.decode(b"\x40\x01a\x7f\x81\x1e" + b"v" * 3968)
    block = b"\xbe" * 16384
    tracemalloc.start()
    with pytest.raises(TooLarge):
        decoder.decode(block)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000


def test_a_string_without_an_end_takes_no_memory_for_good() -> None:
    """Behind EOS there is one way on, however much follows it."""
    data = b"\xff" * 2000
    with pytest.raises(ValueError, match="EOS"):
        huffman.decode(data)
    tracemalloc.start()
    with pytest.raises(ValueError, match="EOS"):
        huffman.decode(data + b"\xff" * 2000)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 20_000


@pytest.mark.parametrize("one", [b"\x40\0\0", b"\0\0\0", b"\x20"], ids=["added", "plain", "change of the table"])
def test_fields_of_nothing_are_counted(one: bytes) -> None:
    """Neither empty names and values nor changes of the table come for free."""
    decoder = Decoder(3200)
    assert len(decoder.decode(one * 100)) in (0, 100)
    with pytest.raises(TooLarge):
        decoder.decode(one * 101)


def test_a_field_larger_than_the_table_empties_it() -> None:
    """Section 4.4: it is no error, and nothing is left."""
    value = b"v" * TABLE_BYTES
    decoder = Decoder(65536)
    assert decoder.decode(b"\x40\x01a\x01b" + b"\x40\x01c\x7f\x81\x1f" + value) == plain((b"a", b"b"), (b"c", value))
    with pytest.raises(Malformed):
        decoder.decode(b"\xbe")


def test_a_table_that_is_made_smaller_drops_its_oldest() -> None:
    """Two fields of 34 bytes: of 67 bytes one is left, of 68 both, and none once it was empty in between."""
    both = b"\x40\x01a\x01b\x40\x01c\x01d"
    assert decode(both, b"\x3f\x25\xbe\xbf") == plain((b"c", b"d"), (b"a", b"b"))
    assert decode(both, b"\x3f\x24\xbe") == plain((b"c", b"d"))
    for block in (b"\x3f\x24\xbf", b"\x20\x3f\xe1\x1f\xbe"):
        with pytest.raises(Malformed):
            decode(both, block)
