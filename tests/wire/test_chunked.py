"""Rows S11 to S14 and D07: chunked requests."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.errors import Failure
from sidecar.http.h1.body import CHUNK_LINE_BYTES, EXTENSION_BYTES, SLICE_BYTES, ChunkedReader
from sidecar.http.head import Settings
from tests.support.world import World
from tests.wire.peers import ONCE, forwarded, refused_within, requests, responses

HEAD = b"POST / HTTP/1.1\r\nHost: orders\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


@pytest.mark.parametrize(
    "size",
    [b"0x3", b"+3", b"-1", b" 3", b"3 ", b"\t3", b"3\t", b"", b"_", b"3_0", b"g", b"1" * 17, b"0" * 1000 + b"3", b"0" * 17,
     b"FFFFFFFFFFFFFFFF", b"3\x00", b"\xb3", b"3,", b"3.0", b'"3"'],
)  # fmt: skip
def test_a_chunk_size_is_at_most_sixteen_hexadecimal_digits(size: bytes) -> None:
    """S11: no prefix, sign, blank or separator, and no number that wraps around in somebody's arithmetic."""
    refused_within(HEAD + size + b"\r\nabc\r\n" + END, Failure.BAD_REQUEST)


@pytest.mark.parametrize("size", [b"3", b"0000000000000003", b"03"])
def test_a_chunk_is_forwarded_with_a_size_of_our_own(size: bytes) -> None:
    """S11: leading zeros are allowed, within the sixteen digits, and do not get through."""
    assert forwarded(HEAD + size + b"\r\nabc\r\n" + END).body == b"abc"
    world = World(ONCE)
    world.client().send(HEAD + size + b"\r\nabc\r\n" + END)
    assert world.accept().take().endswith(b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n")


@pytest.mark.parametrize("digits", [b"a", b"A"])
def test_hexadecimal_digits_come_in_both_cases(digits: bytes) -> None:
    """S11: ten bytes are a or A."""
    assert forwarded(HEAD + digits + b"\r\n0123456789\r\n" + END).body == b"0123456789"


@pytest.mark.parametrize(
    "extension",
    [b";", b"; ", b";a;", b";=b", b";a=", b";a\x00", b";a=\x00", b";a\rb", b';a="', b';a="b\x01"', b';a="b"c', b";a b", b" a",
     b";a=b=c", b";\xe9"],
)  # fmt: skip
def test_a_malformed_chunk_extension_is_refused(extension: bytes) -> None:
    """S12: what cannot be read cannot be dropped for certain either."""
    refused_within(HEAD + b"3" + extension + b"\r\nabc\r\n" + END, Failure.BAD_REQUEST)


def test_a_line_feed_within_a_chunk_line_is_refused() -> None:
    """S12: some end the line there, and then the rest of it is a chunk."""
    refused_within(HEAD + b"3;a\nb\r\nabc\r\n" + END, Failure.BAD_REQUEST)
    refused_within(HEAD + b"3\nabc\r\n" + END, Failure.BAD_REQUEST)
    refused_within(HEAD + b"3\r\nabc\n" + END, Failure.BAD_REQUEST)
    refused_within(HEAD + b"3\r\nabc\r\n0\n\n", Failure.BAD_REQUEST)
    refused_within(HEAD + b"3\r\nabc\r\n0\r\n\n", Failure.BAD_REQUEST)


@pytest.mark.parametrize("extension", [b";a", b";a=b", b';a="b;\\"c"', b" ; a = b;c", b";a=1;b=2;c"])
def test_a_chunk_extension_is_checked_and_goes_no_further(extension: bytes) -> None:
    """S12: extensions are for the neighbour alone (RFC 9112 section 7.1.1)."""
    world = World(ONCE)
    world.client().send(HEAD + b"3" + extension + b"\r\nabc\r\n0" + extension + b"\r\n\r\n")
    assert world.accept().take().endswith(b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    assert forwarded(HEAD + b"3" + extension + b"\r\nabc\r\n" + END).body == b"abc"


def test_chunk_extensions_are_bounded_by_line() -> None:
    """S12: a line of more than 4 KiB is refused, also while its end has not come."""
    long = b"3;a=" + b"x" * CHUNK_LINE_BYTES
    refused_within(HEAD + long + b"\r\nabc\r\n" + END, Failure.BAD_REQUEST)
    refused_within(HEAD + long, Failure.BAD_REQUEST)


def test_chunk_extensions_are_bounded_by_message() -> None:
    """S12: more than 16 KiB of them are an attack on whoever reads them."""
    line = b"1;a=" + b"x" * 1000 + b"\r\ny\r\n"
    assert forwarded(HEAD + b"1\r\ny\r\n" + line * 2 + END).body == b"yyy"
    refused_within(HEAD + line * (EXTENSION_BYTES // 1000 + 1) + END, Failure.BAD_REQUEST)


@pytest.mark.parametrize(
    "chunks",
    [
        b"3\r\nabcd\r\n",
        b"3\r\nabcdef\r\n",
        b"4\r\nabc\r\n",
        b"3\r\nabc",
        b"3\r\nabc\rx",
        b"3\r\nabcx\n",
        b"3\r\n\r\nabc\r\n",
    ],
)
def test_a_chunk_is_as_long_as_it_declares(chunks: bytes) -> None:
    """S13: the two bytes behind it are CR LF and are looked at."""
    refused_within(HEAD + chunks + END + b"\r\n\r\n\r\n", Failure.BAD_REQUEST)


@pytest.mark.parametrize(
    "name",
    [b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"TE", b"Trailer", b"Authorization", b"Cookie",
     b"X-Request-Id", b"X-Forwarded-For", b"X-Real-IP", b"X-Sidecar-Reason", b"Expect", b"content-TYPE", b"Traceparent", b"B3",
     b"Tracestate"],
)  # fmt: skip
def test_a_trailer_that_may_not_come_so_late_is_dropped(name: bytes) -> None:
    """S14: routing, framing, identity and labels were decided upon the head, and nothing is merged into it."""
    request = forwarded(HEAD + b"3\r\nabc\r\n0\r\n" + name + b": 7\r\nX-Checksum: 1\r\n\r\n")
    assert request.trailers == [(b"x-checksum", b"1")]
    assert request.body == b"abc"


@pytest.mark.parametrize(
    "section",
    [b"X : y\r\n", b" X: y\r\n", b"X\r\n", b": y\r\n", b"X: y\r\n z\r\n", b"X: \x00\r\n", b"X: y\rZ: a\r\n", b"X: y\nZ: a\r\n",
     b"GET / HTTP/1.1\r\nHost: orders\r\n"],
)  # fmt: skip
def test_a_malformed_trailer_section_is_refused(section: bytes) -> None:
    """S14: the same grammar as for headers; a request where the trailers' end is missing is none."""
    refused_within(HEAD + b"3\r\nabc\r\n0\r\n" + section + b"\r\n", Failure.BAD_REQUEST)


def test_a_bare_line_feed_in_trailers_is_refused_without_waiting_for_their_end() -> None:
    """S14: a sender that ends its lines so will not send the end that we would wait for."""
    refused_within(HEAD + b"0\r\nX: y\n\n", Failure.BAD_REQUEST)


def test_trailers_count_like_headers() -> None:
    """S14: more than a hundred lines, or 64 KiB, are too many, also while their end has not come."""
    hundred = b"".join(b"X-%d: y\r\n" % n for n in range(100))
    world = World(ONCE)
    world.client().send(HEAD + b"0\r\n" + hundred + b"\r\n")
    (request,) = requests(world.accept().take())
    assert len(request.trailers) == 100
    refused_within(HEAD + b"0\r\n" + hundred + b"X: y\r\n\r\n", Failure.HEADERS_TOO_LARGE)
    refused_within(HEAD + b"0\r\n" + hundred + b"X: y\r\n", Failure.HEADERS_TOO_LARGE)
    refused_within(HEAD + b"0\r\nX: " + b"y" * 65536, Failure.HEADERS_TOO_LARGE)


class Counted(bytes):
    """Bytes that count how many of them are copied out, by themselves or by slices of theirs."""

    copied = 0

    def __getitem__(self, at: Any) -> Any:
        found: bytes = super().__getitem__(at)
        Counted.copied += len(found)
        return found


@pytest.mark.parametrize("chunks", [100, 1000, 10000])
def test_many_tiny_chunks_cost_no_more_than_their_length(chunks: int) -> None:
    """D07: each byte of a read is copied out once or twice, however many chunks it holds."""
    Counted.copied = 0
    data = Counted(b"1\r\nx\r\n" * chunks + END)
    reader = ChunkedReader(Settings(), Failure.BAD_REQUEST)
    assert reader.feed(data) == b"x" * chunks
    assert reader.done
    assert Counted.copied <= 2 * len(data)


def test_a_body_that_comes_in_tiny_chunks_is_joined() -> None:
    """D07: a thousand chunks of one read are one chunk and one write towards the endpoint."""
    world = World(ONCE)
    client = world.client()
    client.send(HEAD)
    server = world.accept()
    before = server.writes
    client.send(b"1\r\nx\r\n" * 1000)
    assert server.writes == before + 1
    client.send(END)
    (request,) = requests(server.take())
    assert request.body == b"x" * 1000


LARGE = b"".join(b"%x\r\n%b\r\n" % (size, b"x" * size) for size in (10, 70_000, 20_000, 3, 100_000, 1))
LARGE_SIZE = 190_014
"""More than is read at once: chunks that lie within a slice, end in it, and go through it."""
EDGE = SLICE_BYTES - (len(LARGE) + len(b"fff0\r\n\r\n") + len(END)) % SLICE_BYTES
TO_THE_EDGE = LARGE + b"%x\r\n%b\r\n" % (EDGE, b"x" * EDGE) + END
"""A body whose last byte is the last of a slice."""


@pytest.mark.parametrize("trailers", [b"", b"x-sum: 7\r\n"])
def test_what_comes_behind_the_end_of_a_large_chunked_body_is_the_next_request(trailers: bytes) -> None:
    """A read is looked at in slices: what lies behind the slice with the body's end is neither lost nor read as body."""
    world = World(ONCE)
    client = world.client()
    client.send(HEAD)
    server = world.accept()
    following = b"POST /next HTTP/1.1\r\nHost: orders\r\ncontent-length: 70000\r\n\r\n" + b"y" * 70_000
    client.send(LARGE + b"0\r\n" + trailers + b"\r\n" + following)
    (first,) = requests(server.take())
    assert (len(first.body), first.whole, bool(first.trailers)) == (LARGE_SIZE, True, bool(trailers))
    server.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    assert client.take().startswith(b"HTTP/1.1 200 OK\r\n")
    (second,) = requests(server.take())
    assert (second.target, second.body, second.whole) == (b"/next", b"y" * 70_000, True)


def test_what_comes_behind_the_end_of_a_large_chunked_response_answers_nobody() -> None:
    """R01: the connection is dropped before the next request, which waits for one, could take that for its answer."""
    world = World(ONCE + "limits = { max_connections = 1 }\n")
    first, second = world.client(), world.client()
    first.send(b"GET /1 HTTP/1.1\r\nHost: orders\r\n\r\n")
    server = world.accept()
    second.send(b"GET /2 HTTP/1.1\r\nHost: orders\r\n\r\n")
    server.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    surplus = b"HTTP/1.1 200 OK\r\ncontent-length: 70000\r\n\r\n" + b"z" * 70_000
    assert len(TO_THE_EDGE) % SLICE_BYTES == 0
    server.send(TO_THE_EDGE + surplus)
    (answer,) = responses(first.take())
    assert (len(answer.body), answer.whole) == (LARGE_SIZE + EDGE, True)
    assert server.aborted
    assert second.take() == b""
    assert b"/2" not in server.take()


def test_a_large_body_that_is_answered_half_way_is_read_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its client has its answer, and the connection's end: what is malformed behind that gets no second one."""
    world = World(ONCE)
    client = world.client()
    client.send(HEAD)
    server = world.accept()
    early = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n"
    monkeypatch.setattr(server, "writelines", lambda pieces: server.send(early))
    client.send(LARGE + b"zz\r\n")
    assert server.closed or server.aborted
    assert client.half_closed
    (answer,) = responses(client.take(), b"POST")
    assert answer.status == 413


def test_a_large_response_whose_reader_has_left_is_read_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exchange gives up in the middle of a read, since its client cannot be written to any more."""
    world = World(ONCE)
    client = world.client()
    client.send(b"GET / HTTP/1.1\r\nHost: orders\r\n\r\n")
    server = world.accept()
    server.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n")
    client.take()
    monkeypatch.setattr(client, "writelines", lambda pieces: client.end())
    server.send(LARGE)
    assert server.aborted
    assert client.take() == b""
