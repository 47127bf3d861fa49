"""The Huffman code of field compression (RFC 7541, appendix B), decoded a byte at a time.

The code is canonical, so that the lengths of its codes are all there is to know. A row says for each byte what text it
completes when it follows a given beginning of a code, and the row to go on with. Rows are made when they are first met:
ordinary text needs about thirty of the hundred or so that there are, and a process that meets no such string none.
"""

from __future__ import annotations

from typing import TypeAlias

# Symbols by the length of their codes in bits, in the order of the codes. The last of all is EOS, which is 30 ones.
_SYMBOLS = {
    5: b"012aceiost",
    6: b" %-./3456789=A_bdfghlmnpru",
    7: b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz",
    8: b"&*,;XZ",
    10: b'!"()?',
    11: b"'+|",
    12: b"#>",
    13: b"\0$@[]~",
    14: b"^}",
    15: b"<`{",
    19: b"\\\xc3\xd0",
    20: b"\x80\x82\x83\xa2\xb8\xc2\xe0\xe2",
    21: b"\x99\xa1\xa7\xac\xb0\xb1\xb3\xd1\xd8\xd9\xe3\xe5\xe6",
    22: b"\x81\x84\x85\x86\x88\x92\x9a\x9c\xa0\xa3\xa4\xa9\xaa\xad\xb2\xb5\xb9\xba\xbb\xbd\xbe\xc4\xc6\xe4\xe8\xe9",
    23: b"\x01\x87\x89\x8a\x8b\x8c\x8d\x8f\x93\x95\x96\x97\x98\x9b\x9d\x9e\xa5\xa6\xa8\xae\xaf\xb4\xb6\xb7\xbc\xbf\xc5\xe7\xef",
    24: b"\x09\x8e\x90\x91\x94\x9f\xab\xce\xd7\xe1\xec\xed",
    25: b"\xc7\xcf\xea\xeb",
    26: b"\xc0\xc1\xc8\xc9\xca\xcd\xd2\xd5\xda\xdb\xee\xf0\xf2\xf3\xff",
    27: b"\xcb\xcc\xd3\xd4\xd6\xdd\xde\xdf\xf1\xf4\xf5\xf6\xf7\xf8\xfa\xfb\xfc\xfd\xfe",
    28: b"\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\x0e\x0f\x10\x11\x12\x13\x14\x15\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x7f\xdc\xf9",
    30: b"\n\r\x16",
}
# No other code is as long and still unfinished.
_EOS_BITS = 30

# What is completed, the row to go on with, and whether the string may end here.
_Step: TypeAlias = "tuple[bytes, list[_Step], bool]"


def decode(data: bytes) -> bytes:
    """The text of an encoded string; ``ValueError`` if EOS is in it or if it does not end with fewer than eight ones."""
    row, whole = _START, True
    pieces = []
    for byte in data:
        try:
            piece, row, whole = row[byte]
        except IndexError:
            _fill(row)
            piece, row, whole = row[byte]
        pieces.append(piece)
    if not whole:
        raise ValueError("a string ends with bits that are no padding, or holds EOS")
    return b"".join(pieces)


def codes() -> dict[str, int]:
    """Each code as its bits, and its symbol; EOS is in none."""
    found, code, before = {}, 0, 0
    for length, symbols in _SYMBOLS.items():
        code <<= length - before
        before = length
        for symbol in symbols:
            found[f"{code:0{length}b}"] = symbol
            code += 1
    return found


def _row(begun: str) -> list[_Step]:
    row = _ROWS.get(begun)
    if row is None:
        row = _ROWS[begun] = []
        _BEGUN[id(row)] = begun
    return row


def _fill(row: list[_Step]) -> None:
    # What the first bits of a byte make, in the order of their values; with each bit twice as many.
    made = [(_BEGUN[id(row)], b"")]
    for _ in range(8):
        made = [_after(bits + bit, piece) for bits, piece in made for bit in "01"]
    row.extend(_step(bits, piece) for bits, piece in made)


def _after(bits: str, piece: bytes) -> tuple[str, bytes]:
    symbol = _CODES.get(bits)
    return (bits, piece) if symbol is None else ("", piece + bytes((symbol,)))


def _step(bits: str, piece: bytes) -> _Step:
    if len(bits) >= _EOS_BITS:
        return b"", _DEAD, False
    # RFC 7541, section 5.2: what is left is the beginning of EOS, and shorter than a byte.
    return piece, _row(bits), len(bits) < 8 and "0" not in bits


_CODES = codes()
_ROWS: dict[str, list[_Step]] = {}
_BEGUN: dict[int, str] = {}
_START = _row("")
# No way leads out of it.
_DEAD: list[_Step] = []
_DEAD.extend([(b"", _DEAD, False)] * 256)
