"""RFC 7541 as it shows on a connection: h2spec's generic/5 and hpack/, case by case, and what else is a decoding error."""

from __future__ import annotations

import pytest

from tests.support.http2 import Code, Setting, Type, headers, integer, literal, rst_stream
from tests.support.http2_peers import Conversation

AGENT = bytes.fromhex("87b505b161cc5a93")
"""user-agent in Huffman code."""
TESTED = bytes.fromhex("85f2b24a84ff")
"""x-test in Huffman code."""
H2SPEC = bytes.fromhex("849c48aca4")
"""h2spec in Huffman code."""


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"\xba", id="6.1-indexed"),
        pytest.param(b"\x40" + AGENT + H2SPEC, id="6.2.1-huffman-agent"),
        pytest.param(literal(b"user-agent", b"h2spec", 0x40), id="6.2.1-agent"),
        pytest.param(literal(b"x-test", b"h2spec", 0x40), id="6.2.1-new"),
        pytest.param(b"\x40" + TESTED + H2SPEC, id="6.2.1-huffman-new"),
        pytest.param(b"\x7a" + H2SPEC, id="6.2.1-indexed-name"),
        pytest.param(literal(b"user-agent", b"h2spec"), id="6.2.2-agent"),
        pytest.param(b"\x00" + AGENT + H2SPEC, id="6.2.2-huffman-agent"),
        pytest.param(literal(b"x-test", b"h2spec"), id="6.2.2-new"),
        pytest.param(b"\x00" + TESTED + H2SPEC, id="6.2.2-huffman-new"),
        pytest.param(b"\x0f\x2b" + H2SPEC, id="6.2.2-indexed-name"),
        pytest.param(literal(b"user-agent", b"h2spec", 0x10), id="6.2.3-agent"),
        pytest.param(b"\x10" + AGENT + H2SPEC, id="6.2.3-huffman-agent"),
        pytest.param(literal(b"x-test", b"h2spec", 0x10), id="6.2.3-new"),
        pytest.param(b"\x10" + TESTED + H2SPEC, id="6.2.3-huffman-new"),
        pytest.param(b"\x1f\x2b" + H2SPEC, id="6.2.3-indexed-name"),
        pytest.param(literal(b"x-test", b""), id="5.2-empty"),
        pytest.param(b"\x00" + TESTED + b"\x80", id="5.2-empty-huffman"),
    ],
)
def test_hpack_6_every_form_of_a_field_line_is_taken(peer: Conversation, line: bytes) -> None:
    """Indexed, or literal with, without and never with indexing; plain or in Huffman code (generic/5/1 to 13)."""
    peer.send(headers(1, peer.block(peer.fields()) + line))
    peer.response(1)


@pytest.mark.parametrize("update", [b"\x20", b"\x20\x3f\xe1\x1f"], ids=["one", "two"])
def test_hpack_6_3_the_table_changes_its_size_before_a_block(peer: Conversation, update: bytes) -> None:
    """To nothing, and to nothing and back (generic/5/14 and 15)."""
    peer.send(headers(1, update + peer.block(peer.fields())))
    peer.response(1)


def test_hpack_2_3_2_the_table_lives_as_long_as_the_connection(peer: Conversation) -> None:
    """A request is said in four bytes once its lines are known."""
    first = peer.block(peer.fields("GET", "/an/address", ("x-test", "something new")))
    second = peer.block(peer.fields("GET", "/an/address", ("x-test", "something new")))
    assert len(second) < 8
    peer.send(headers(1, first), headers(3, second))
    assert peer.response(1).status == peer.response(3).status


def test_hpack_4_4_a_line_larger_than_the_table_empties_it(peer: Conversation) -> None:
    """That is no error; what was known is not known any more."""
    peer.send(headers(1, peer.block(peer.fields()) + literal(b"x-large", b"x" * 4096, 0x40)))
    peer.response(1)
    peer.send(headers(3, b"\x82\x86\x84" + literal(b":authority", peer.authority) + b"\xbe"))
    peer.connection_error(Code.COMPRESSION_ERROR)


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(b"\xfe", id="2.3.3-index"),
        pytest.param(b"\x7f\x40\x01x", id="2.3.3-index-of-name"),
        pytest.param(b"\x21", id="4.2-update-at-the-end"),
        pytest.param(b"\x00" + TESTED + b"\x84\x49\x50\x9f\xff", id="5.2-padding-of-eight-bits"),
        pytest.param(b"\x00" + TESTED + b"\x83\x49\x50\x90", id="5.2-padding-of-zeros"),
        pytest.param(b"\x00" + TESTED + b"\x87\xff\xff\xff\xfd\x25\x42\x7f", id="5.2-end-of-string"),
        pytest.param(b"\x80", id="6.1-index-0"),
        pytest.param(b"\x40", id="6.2-no-name"),
        pytest.param(b"\x00\x06x-test", id="6.2-no-value"),
        pytest.param(b"\x00\x06x-te", id="5.2-string-cut-short"),
        pytest.param(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", id="5.1-integer-too-large"),
        pytest.param(b"\xff\x80\x80", id="5.1-integer-cut-short"),
        pytest.param(b"\xff" + b"\x80" * 64 + b"\x01", id="5.1-integer-too-long"),
    ],
)
def test_hpack_what_cannot_be_decoded_ends_the_connection(peer: Conversation, end: bytes) -> None:
    """COMPRESSION_ERROR: tables do not agree any more (hpack/2.3.3/1, 4.2/1, 5.2/1 to 3, 6.1/1; RFC 9113 section 4.3)."""
    peer.send(headers(1, peer.block(peer.fields()) + end))
    peer.connection_error(Code.COMPRESSION_ERROR)


def test_hpack_6_3_the_table_grows_no_larger_than_we_said(peer: Conversation) -> None:
    """One byte more is COMPRESSION_ERROR (hpack/6.3/1)."""
    limit = peer.settings.get(Setting.HEADER_TABLE_SIZE, 4096)
    peer.send(headers(1, integer(limit + 1, 5, 0x20) + peer.block(peer.fields())))
    peer.connection_error(Code.COMPRESSION_ERROR)


def test_hpack_4_2_our_own_table_becomes_as_small_as_the_client_wants(peer: Conversation) -> None:
    """What we say after our acknowledgement keeps to the new size, and announces it first."""
    peer.send(peer.request(1))
    peer.response(1)
    peer.change((Setting.HEADER_TABLE_SIZE, 0))
    peer.reader.decoder.max_allowed_table_size = 0
    for stream in (3, 5):
        peer.send(peer.request(stream))
        peer.response(stream)


def test_hpack_4_2_our_own_table_does_not_outgrow_the_default_unasked(peer: Conversation) -> None:
    """A client that allows more may get no more than it can decode."""
    peer.change((Setting.HEADER_TABLE_SIZE, 2**32 - 1))
    peer.reader.decoder.max_allowed_table_size = 2**32 - 1
    peer.send(peer.request(1))
    peer.response(1)


def test_hpack_4_3_blocks_of_streams_that_nobody_wants_are_decoded_too(peer: Conversation) -> None:
    """A line that came with a malformed request, one taken back, or a trailer behind a reset is known afterwards."""
    peer.send(headers(1, peer.block([*peer.fields(), ("X-UPPER", "malformed"), ("x-one", "1")])))
    peer.of(Type.RST_STREAM, 1)
    peer.send(peer.request(3, ("x-two", "2"), end=False), rst_stream(3))
    peer.send(peer.request(5, ("x-one", "1"), ("x-two", "2")))
    peer.response(5)
