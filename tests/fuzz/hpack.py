"""Field compression under any bytes: blocks of one connection, beside the ``hpack`` library."""

from __future__ import annotations

import hpack

from sidecar.http.h2.hpack import Decoder, Encoder, Field, Malformed, TooLarge
from tests.fuzz.run import main

LIST_BYTES = 16384
# Pieces that mean something: the borders of representations, integers and tables, and what h2spec breaks.
TOKENS = [
    b"\x80", b"\xff", b"\x7f", b"\x7f\x80\x01", b"\xff\x80\x80\x80", b"\0", b"\x0f", b"\x10", b"\x1f", b"\x20", b"\x3f", b"\x40",
    b"\xbe", b"\xbf", b"\xbd", b"\x3f\xe1\x1f", b"\x3f\xe2\x1f", b"\x3f\x45", b"\x40\x01a\x01b", b"\0\0\0", b"\x82\xff\xff",
    b"\xff\xff\xff\xff", b"\x83\x49\x50\x9f", b"\x84\x49\x50\x9f\xff", b"\x83\x49\x50\x90",
]  # fmt: skip


def target(data: bytes) -> None:
    """Each block is led by its length in one byte. We agree with the library, and read what we write."""
    ours, small, library = Decoder(2**30), Decoder(LIST_BYTES), hpack.Decoder(2**30)
    encoder, reader = Encoder(), Decoder(2**30)
    for block in blocks(data):
        try:
            fields = ours.decode(block)
        except Malformed as error:
            try:
                theirs(library, block)
            except hpack.HPACKError:
                return
            # The library takes one byte more.
            assert "more than five bytes" in str(error), f"we alone refuse {block.hex()}: {error}"
            return
        assert fields == theirs(library, block), block.hex()
        size = sum(len(name) + len(value) + 32 for name, value, _ in fields)
        try:
            assert small.decode(block) == fields and size <= LIST_BYTES, block.hex()
        except TooLarge:
            assert size + 32 * len(block) > LIST_BYTES, block.hex()
        assert reader.decode(encoder.encode(fields)) == fields, block.hex()


def blocks(data: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(data):
        end = at + 1 + data[at]
        found.append(data[at + 1 : end])
        at = end
    return found


def theirs(library: hpack.Decoder, block: bytes) -> list[Field]:
    """What the library reads, in our shape."""
    return [(field[0], field[1], not field.indexable) for field in library.decode(block, raw=True)]


if __name__ == "__main__":
    main("hpack", target, TOKENS)
