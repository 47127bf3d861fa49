"""Field compression for HTTP/2 (HPACK, RFC 7541): the one module that knows how a block of fields is written.

It is our own, and in Python, because it costs no more: nearly all fields of a call are found in a table, and that is one
look into a list or a dict here and in any language. What compiled coders save on the few others goes into the checks
that they lack and we owe: for padding, for the place of a change of the table, for the size of a list.

**Decoder.** Strict: a block that RFC 7541 calls an error is ``Malformed``, and since the two tables may then differ, the
connection is lost (RFC 9113, section 4.3). A list above the limit is no such error. Its block is read to its end without
being kept, so that the tables stay alike and only its own stream need fail. A field of a table is the same object each
time: a small block that names a large field thousands of times takes eight bytes for each, and not above the limit.

**Encoder.** What was marked as never to be indexed stays so, even where a table knows it (section 6.2.3). Fields whose
values hardly come twice are written without taking room in the table, and so are large ones. Strings are written as they
are: Huffman's code saves a quarter of their bytes, and the reader pays for it.
"""

from __future__ import annotations

import re
from typing import Final

from sidecar.http.h2 import huffman
from sidecar.http.h2.hpack_static import STATIC
from sidecar.http.head import Field, Section

TABLE_BYTES: Final = 4096
"""The most that a table holds, ours and the peer's, whatever the peer would allow: what HTTP/2 begins with."""
FIELD_BYTES: Final = 32
"""What a field counts beside its name and value, in tables (RFC 7541, section 4.1) and lists (RFC 9113, section 6.5.2)."""


REMEMBERED: Final = 32
REMEMBERED_TEXTS: Final = 1024
REMEMBERED_BYTES: Final = 256
"""How many blocks of a connection, and how many strings of all, are remembered with what they say, and up to which size."""


class Malformed(Exception):
    """The block cannot be read, and so no later one of its connection: COMPRESSION_ERROR. It says what is wrong."""


class TooLarge(Exception):
    """The list of fields is larger than allowed. Later blocks can be read: it is the stream's error."""


class Decoder:
    """Blocks of one direction of a connection, in their order. A list has at most ``max_list_bytes``, as 6.5.2 counts."""

    __slots__ = ("_bytes", "_entries", "_known", "_max_bytes", "_runs", "_seen", "max_list_bytes")

    def __init__(self, max_list_bytes: int) -> None:
        self.max_list_bytes = max_list_bytes
        # With their sizes, the newest last.
        self._entries: list[tuple[Field, int]] = []
        self._bytes = 0
        self._max_bytes = TABLE_BYTES
        # Blocks that leave the table as it is and came more than once, as long as it does not change.
        self._known: dict[bytes, Section] = {}
        self._seen: set[int] = set()
        # Indices that stood together, with their fields and the size of these.
        self._runs: dict[bytes, tuple[list[Field], int]] = {}

    def decode(self, block: bytes) -> Section:
        """The fields of a whole block, or ``Malformed``, or ``TooLarge``."""
        known = self._known.get(block)
        if known is not None:
            known.again = True
            return known
        fields = Section()
        changed = False
        entries = self._entries
        runs = self._runs
        room = self.max_list_bytes
        at = 0
        end = len(block)
        begun = False
        try:
            while at < end:
                first = block[at]
                at += 1
                if 0x80 < first < 0xFF:
                    # hot: fields that tables hold stand together, and often the same ones.
                    run = _RUN.match(block, at - 1)[0]  # type: ignore[index]
                    known_run = runs.get(run)
                    if known_run is None:
                        known_run = self._run(run)
                    at += len(run) - 1
                    begun = True
                    room -= known_run[1]
                    if room >= 0:
                        fields += known_run[0]
                    continue
                if first >= 0x80:
                    index = first & 0x7F
                    if index == 0x7F:
                        index, at = _integer(block, at, 0x7F)
                    # Counted from the end, index 0 and those behind the table's end are an IndexError.
                    field, size = _STATIC[index - 62] if index < 62 else entries[61 - index]
                elif 0x20 <= first < 0x40:
                    if begun:
                        raise Malformed("a change of the table's size behind a field")
                    at = self._resize(block, at, first & 0x1F)
                    # They need not be as many as a block has bytes.
                    room -= FIELD_BYTES
                    changed = True
                    continue
                else:
                    mask = 0x3F if first >= 0x40 else 0x0F
                    index = first & mask
                    if index:
                        if index == mask:
                            index, at = _integer(block, at, mask)
                        name = (_STATIC[index - 62] if index < 62 else entries[61 - index])[0][0]
                    else:
                        name, at = _string(block, at)
                    length = block[at]
                    if length < 0x7F:
                        start = at + 1
                        at = start + length
                        value = block[start:at]
                    else:
                        value, at = _string(block, at)
                    if at > end:
                        raise Malformed("a string ends behind its block")
                    size = len(name) + len(value) + FIELD_BYTES
                    if mask == 0x3F:
                        field = (name, value, False)
                        self._add(field, size)
                        changed = True
                    else:
                        field = (name, value, first >= 0x10)
                begun = True
                room -= size
                if room >= 0:
                    fields.append(field)
        except IndexError:
            raise Malformed("an index that no table has, or a block that ends within a field") from None
        if room < 0:
            raise TooLarge(f"a list of fields has more than {self.max_list_bytes} bytes")
        if not changed and end <= REMEMBERED_BYTES:
            self._remember(block, fields)
        return fields

    def _remember(self, block: bytes, fields: Section) -> None:
        """Keeps what comes a second time; most of what says anything new does not."""
        seen = self._seen
        number = hash(block)
        if number in seen:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[block] = fields
        else:
            if len(seen) >= REMEMBERED:
                seen.clear()
            seen.add(number)

    def _run(self, run: bytes) -> tuple[list[Field], int]:
        """The fields that these indices of one byte name, and their size. Raises ``IndexError``."""
        entries = self._entries
        found = [_STATIC[index - 62] if index < 62 else entries[61 - index] for index in (byte & 0x7F for byte in run)]
        known = [field for field, _ in found], sum(size for _, size in found)
        if len(self._runs) >= REMEMBERED:
            self._runs.clear()
        self._runs[run] = known
        return known

    def _changed(self) -> None:
        """The table is another one: indices mean something else from here on."""
        self._known.clear()
        self._runs.clear()

    def _resize(self, block: bytes, at: int, size: int) -> int:
        if size == 0x1F:
            size, at = _integer(block, at, 0x1F)
        if size > TABLE_BYTES:
            raise Malformed(f"a table of {size} bytes where {TABLE_BYTES} are allowed")
        self._max_bytes = size
        self._evict()
        self._changed()
        return at

    def _add(self, field: Field, size: int) -> None:
        self._entries.append((field, size))
        self._bytes += size
        if self._runs or self._known:
            self._changed()
        if self._bytes > self._max_bytes:
            self._evict()

    def _evict(self) -> None:
        # One that is larger than the table evicts itself as the last (RFC 7541, section 4.4).
        while self._bytes > self._max_bytes:
            self._bytes -= self._entries.pop(0)[1]


# hot: dates and the like come again and again from peers that use Huffman's code and no table.
_texts: dict[bytes, bytes] = {}


_RUN = re.compile(rb"[\x81-\xfe]{1,64}+")


def _integer(block: bytes, at: int, value: int) -> tuple[int, int]:
    """What follows a prefix of ones, whose value is given, and where it ends (section 5.1)."""
    # Longer ones than 28 bits are no index, no length and no size of ours, even if all that they add is zeros.
    for shift in (0, 7, 14, 21):
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise Malformed("an integer of more than five bytes")


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    """A string and where it ends, which may be behind the block (section 5.2)."""
    first = block[at]
    at += 1
    length = first & 0x7F
    if length == 0x7F:
        length, at = _integer(block, at, 0x7F)
    data = block[at : at + length]
    at += length
    if first >= 0x80:
        text = _texts.get(data)
        if text is None:
            try:
                text = huffman.decode(data)
            except ValueError as error:
                raise Malformed(str(error)) from None
            if length <= REMEMBERED_BYTES:
                if len(_texts) >= REMEMBERED_TEXTS:
                    _texts.clear()
                _texts[data] = text
        return text, at
    return data, at


class Encoder:
    """Blocks of one direction of a connection, in the order in which they are sent."""

    __slots__ = ("_added", "_bytes", "_codes", "_entries", "_known", "_max_bytes", "_numbers", "_smallest")

    def __init__(self) -> None:
        # How many were ever added; each has its number, the oldest that is left comes first.
        self._added = 0
        self._numbers: dict[Field, int] = {}
        self._entries: list[tuple[Field, int]] = []
        self._bytes = 0
        self._max_bytes = TABLE_BYTES
        # The smallest size since the last block, if the size has changed: the peer must evict what we have evicted.
        self._smallest: int | None = None
        # Sections that came more than once, by their identity, as long as the table does not change.
        self._known: dict[int, tuple[Section, bytes]] = {}
        # Fields that a table holds, as they are written while ours does not change.
        self._codes: dict[Field, bytes] = {}

    def encode(self, fields: list[Field]) -> bytes:
        """The block that makes these fields, in their order, of what the peer's table holds by then."""
        known = self._known.get(id(fields))
        if known is not None and known[0] is fields:
            return known[1]
        pieces = [] if self._smallest is None else [self._changes()]
        before = -1 if pieces else self._added
        append = pieces.append
        numbers = self._numbers
        codes = self._codes
        for field in fields:
            code = codes.get(field)
            if code is not None:
                append(code)
                continue
            name, value, never = field
            if never:
                prefix = _NEVER.get(name)
                if prefix is None:
                    prefix = b"\x10" + _literal(name)
            else:
                indexed = _INDEXED.get(field)
                if indexed is not None:
                    codes[field] = indexed
                    append(indexed)
                    continue
                number = numbers.get(field)
                if number is not None:
                    index = self._added - number + 61
                    code = codes[field] = _SHORT[index - 62] if index < 127 else _prefixed(index, 0x80, 0x7F)
                    append(code)
                    continue
                size = len(name) + len(value) + FIELD_BYTES
                if (name in _PASSING and value) or size > self._max_bytes >> 1:
                    prefix = _PLAIN.get(name)
                    if prefix is None:
                        prefix = b"\0" + _literal(name)
                else:
                    prefix = _ADDING.get(name)
                    if prefix is None:
                        prefix = b"\x40" + _literal(name)
                    self._add(field, size)
            append(prefix)
            length = len(value)
            append(_LENGTH[length] if length < 0x7F else _prefixed(length, 0, 0x7F))
            append(value)
        block = b"".join(pieces)
        if isinstance(fields, Section) and fields.again and before == self._added:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[id(fields)] = (fields, block)
        return block

    def resize(self, max_bytes: int) -> None:
        """Take over what the peer allows, its SETTINGS_HEADER_TABLE_SIZE; the next block tells it what we make of it."""
        size = min(max_bytes, TABLE_BYTES)
        if size == self._max_bytes and self._smallest is None:
            return
        self._known.clear()
        self._codes.clear()
        self._smallest = size if self._smallest is None else min(size, self._smallest)
        self._max_bytes = size
        self._evict()

    def _changes(self) -> bytes:
        smallest = self._smallest
        self._smallest = None
        changes = _prefixed(self._max_bytes, 0x20, 0x1F)
        if smallest is not None and smallest < self._max_bytes:
            changes = _prefixed(smallest, 0x20, 0x1F) + changes
        return changes

    def _add(self, field: Field, size: int) -> None:
        self._known.clear()
        self._codes.clear()
        self._numbers[field] = self._added
        self._added += 1
        self._entries.append((field, size))
        self._bytes += size
        if self._bytes > self._max_bytes:
            self._evict()

    def _evict(self) -> None:
        while self._bytes > self._max_bytes:
            field, size = self._entries.pop(0)
            self._bytes -= size
            del self._numbers[field]


def _prefixed(value: int, flags: int, mask: int) -> bytes:
    """An integer behind the flags of its first byte (section 5.1)."""
    if value < mask:
        return bytes((flags | value,))
    octets = [flags | mask]
    value -= mask
    while value >= 0x80:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def _literal(text: bytes) -> bytes:
    return _prefixed(len(text), 0, 0x7F) + text


def _names(flags: int, mask: int) -> dict[bytes, bytes]:
    """How a literal begins whose name the static table has; of several indices the first."""
    return {name: _prefixed(index, flags, mask) for index, (name, _) in reversed([*enumerate(STATIC, 1)])}


_STATIC: list[tuple[Field, int]] = [
    ((name, value, False), len(name) + len(value) + FIELD_BYTES) for name, value in STATIC
]
_INDEXED: dict[Field, bytes] = {
    (name, value, False): _prefixed(index, 0x80, 0x7F) for index, (name, value) in enumerate(STATIC, 1)
}
_ADDING = _names(0x40, 0x3F)
_PLAIN = _names(0, 0x0F)
_NEVER = _names(0x10, 0x0F) | {
    # What a sidecar itself puts into nearly every request, each time another value.
    name: b"\x10" + _literal(name)
    for name in (b"traceparent", b"x-request-id", b"x-request-timeout-ms", b"grpc-timeout")
}
_SHORT = [_prefixed(index, 0x80, 0x7F) for index in range(62, 127)]
_LENGTH = [bytes((length,)) for length in range(0x7F)]
# Those whose value is another one for nearly every exchange: in a table they would only drive out what comes again.
_PASSING = frozenset(
    (
        b":path", b"age", b"authorization", b"b3", b"content-length", b"content-range", b"cookie", b"date", b"etag",
        b"expires", b"grpc-message", b"grpc-status-details-bin", b"grpc-timeout", b"grpc-trace-bin", b"if-match",
        b"if-modified-since", b"if-none-match", b"if-range", b"if-unmodified-since", b"last-modified", b"location",
        b"set-cookie", b"traceparent", b"tracestate", b"x-b3-parentspanid", b"x-b3-spanid", b"x-b3-traceid",
        b"x-request-id",
    )
)  # fmt: skip
