"""Our coder beside two others: ``hpack``, which is strict, and the compiled one of ``jh2``, which is only shown good blocks."""

from __future__ import annotations

import importlib
from typing import Any

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.http.h2.hpack import TABLE_BYTES, Decoder, Encoder, Field, Malformed
from tests.fuzz.hpack import theirs

NAMES = st.sampled_from([b":method", b":path", b"te", b"x-request-id", b"cookie", b"x-tenant", b"", b"x-" + b"n" * 200])
VALUES = st.sampled_from([b"", b"GET", b"/", b"trailers", b"v" * 126, b"v" * 127, b"v" * 3000]) | st.binary(max_size=40)
FIELDS = st.lists(st.tuples(NAMES, VALUES, st.booleans()), max_size=8)
# What happens on a connection: a block, or a new limit of the peer.
CONNECTION = st.lists(FIELDS | st.integers(0, 2 * TABLE_BYTES), max_size=12)


def compiled() -> Any:
    """The module is private, and a jh2 for a platform without wheels is without it."""
    try:
        return importlib.import_module("jh2._hazmat")
    except ImportError:
        pytest.skip("jh2 has no compiled coder on this platform")


class Library:
    """The ``hpack`` library with our shapes."""

    def __init__(self) -> None:
        self.decoder = hpack.Decoder(2**30)

    def decode(self, block: bytes, raw: bool = True) -> list[Field]:
        return theirs(self.decoder, block)


@pytest.mark.parametrize("other", ["hpack", "jh2"])
@settings(max_examples=300)
@given(CONNECTION)
def test_others_read_what_we_write(other: str, connection: list[list[Field] | int]) -> None:
    """Every field as it was given, over all changes of the table, and as secret as it was."""
    encoder = Encoder()
    decoder = Library() if other == "hpack" else compiled().Decoder(2**30)
    for step in connection:
        if isinstance(step, int):
            encoder.resize(step)
        else:
            assert decoder.decode(encoder.encode(step), True) == step


@pytest.mark.parametrize("other", ["hpack", "jh2"])
@settings(max_examples=300)
@given(CONNECTION, st.booleans())
def test_we_read_what_others_write(other: str, connection: list[list[Field] | int], coded: bool) -> None:
    """With Huffman's code and without. They name a secret that a table knows as what it is there."""
    encoder = hpack.Encoder() if other == "hpack" else compiled().Encoder()
    decoder = Decoder(2**30)
    for step in connection:
        if isinstance(step, int):
            encoder.header_table_size = min(step, TABLE_BYTES)
        else:
            fields = decoder.decode(encoder.encode(step, coded))
            assert [field[:2] for field in fields] == [field[:2] for field in step]
            assert all(ours[2] <= given[2] for ours, given in zip(fields, step, strict=True))


@settings(max_examples=1000)
@given(st.lists(st.binary(max_size=40), max_size=3))
def test_any_bytes_are_a_list_or_an_error_and_the_library_agrees(blocks: list[bytes]) -> None:
    """Nothing else comes out of the decoder, whatever went in."""
    ours, library = Decoder(2**30), hpack.Decoder(2**30)
    for block in blocks:
        try:
            fields = ours.decode(block)
        except Malformed:
            with pytest.raises(hpack.HPACKError):
                library.decode(block, raw=True)
            return
        assert fields == theirs(library, block)
