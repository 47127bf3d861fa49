"""Rows S01 to S05, S22 and S33: where the body of a request ends."""

from __future__ import annotations

import pytest

from sidecar.errors import Failure
from tests.support.world import World
from tests.wire.peers import GET, ONCE, answers_cleanly, forwarded, refused, requests

POST = b"POST / HTTP/1.1\r\nHost: orders\r\n"
SMUGGLED = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: orders\r\n\r\n"


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"TRANSFER-ENCODING: Chunked\r\ncontent-LENGTH: 5\r\n",
        b"Content-Length: 0\r\nX: y\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: identity\r\n",
    ],
)
def test_a_length_beside_a_transfer_coding_is_refused(lines: bytes) -> None:
    """S01: in either order and any letter case, whatever each says (RFC 9112 section 6.1)."""
    refused(POST + lines + b"\r\n" + SMUGGLED, Failure.BAD_REQUEST)


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 3\r\nContent-Length: 3\r\n",
        b"Content-Length: 3\r\nContent-Length: 4\r\n",
        b"content-length: 0\r\nX: y\r\nCONTENT-LENGTH: 3\r\n",
        b"Content-Length: 3, 3\r\n",
        b"Content-Length: 3,4\r\n",
    ],
)
def test_two_lengths_are_refused_even_if_they_agree(lines: bytes) -> None:
    """S02: equal ones may be folded into one says RFC 9110; nobody honest sends them."""
    refused(POST + lines + b"\r\nabc", Failure.BAD_REQUEST)


@pytest.mark.parametrize(
    "value",
    [b"+3", b"-0", b"-1", b"0x3", b"3_0", b"3 3", b"", b" ", b"\x0b3", b"3\x0b", b"03", b"00", b"0003", b"3.0", b"3e0", b"three",
     b"9223372036854775808", b"18446744073709551619", b"9" * 400, b"\xb3", b"3;", b"3,", b",3", b'"3"'],
)  # fmt: skip
def test_a_length_is_a_plain_decimal_number(value: bytes) -> None:
    """S03: no sign, base, separator, leading zero or number beyond anybody's arithmetic; always 400."""
    refused(POST + b"Content-Length: " + value + b"\r\n\r\nabc", Failure.BAD_REQUEST)


@pytest.mark.parametrize(
    "coding", [b"xchunked", b"identity", b"gzip", b"gzip, chunked", b"x,chunked", b"chunkedx", b"chunke"]
)
def test_an_unknown_transfer_coding_is_not_implemented(coding: bytes) -> None:
    """S04: well-formed but not ours, alone or before chunked (RFC 9112 section 6.1 asks for 501)."""
    refused(POST + b"Transfer-Encoding: " + coding + b"\r\n\r\n" + SMUGGLED, Failure.NOT_IMPLEMENTED)


@pytest.mark.parametrize(
    "lines",
    [
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n",
        b"Transfer-Encoding: chunked, gzip, chunked\r\n",
        b'Transfer-Encoding: "chunked"\r\n',
        b"Transfer-Encoding: chunked,\r\n",
        b"Transfer-Encoding: ,chunked\r\n",
        b"Transfer-Encoding: chunked;q=1\r\n",
        b"Transfer-Encoding: chun ked\r\n",
        b"Transfer-Encoding: chunked\xa0\r\n",
        b"Transfer-Encoding:\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        b"Transfer-Encoding: gzip\r\ntransfer-encoding: chunked\r\n",
    ],
)
def test_a_transfer_coding_is_exactly_chunked_and_given_once(lines: bytes) -> None:
    """S04: not quoted, repeated, followed by another coding or by a comma."""
    refused(POST + lines + b"\r\n" + SMUGGLED, Failure.BAD_REQUEST)


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked", b"CHUNKED \t", b"\t chunked"])
def test_chunked_is_chunked_in_any_case_and_between_any_blanks(coding: bytes) -> None:
    """S04: what is not ambiguous is not refused, and is forwarded in the one plain spelling."""
    request = forwarded(POST + b"Transfer-Encoding:" + coding + b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    assert (request.get(b"transfer-encoding"), request.body) == (b"chunked", b"abc")


@pytest.mark.parametrize("coding", [b"chunked", b"identity", b"gzip"])
def test_a_transfer_coding_in_http_1_0_is_refused(coding: bytes) -> None:
    """S05: that version has none, so that its sender and its reader disagree about something."""
    old = b"POST / HTTP/1.0\r\nHost: orders\r\nTransfer-Encoding: " + coding + b"\r\n\r\n"
    refused(old + SMUGGLED, Failure.BAD_REQUEST)


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"TRACE"])
@pytest.mark.parametrize(("length", "body"), [(b"3", b"abc"), (b"0", b"")])
def test_a_body_is_forwarded_with_any_method(method: bytes, length: bytes, body: bytes) -> None:
    """S22: its length goes with it, or the endpoint would take it for the next request."""
    request = forwarded(method + b" / HTTP/1.1\r\nHost: orders\r\nContent-Length: " + length + b"\r\n\r\n" + body)
    assert (request.get(b"content-length"), request.body) == (length, body)


@pytest.mark.parametrize("method", [b"GET", b"DELETE"])
def test_a_chunked_body_is_forwarded_with_any_method(method: bytes) -> None:
    """S22: as with a length."""
    request = forwarded(
        method + b" / HTTP/1.1\r\nHost: orders\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    )
    assert (request.get(b"transfer-encoding"), request.body) == (b"chunked", b"abc")


def test_a_request_without_framing_has_no_body() -> None:
    """RFC 9112 section 6.3, rule 7: what follows is the next request, and none of it is forwarded with the first."""
    world = World(ONCE)
    client = world.client()
    client.send(POST + b"\r\n" + GET.replace(b"/ ", b"/next "))
    server = world.accept()
    assert [request.target for request in requests(server.take())] == [b"/"]


@pytest.mark.parametrize(
    ("head", "part"),
    [
        (b"Content-Length: 10\r\n", b"abc"),
        (b"Content-Length: 10\r\n", b""),
        (b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n"),
        (b"Transfer-Encoding: chunked\r\n", b"a\r\nabc"),
        (b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n"),
    ],
)
@pytest.mark.parametrize("reset", [False, True])
def test_a_request_that_its_client_breaks_off_is_broken_off(head: bytes, part: bytes, reset: bool) -> None:
    """S33: the endpoint's connection is closed, not the body ended, and it is recorded as 499 client_gone."""
    world = World(ONCE)
    client = world.client()
    client.send(POST + head + b"\r\n" + part)
    server = world.accept()
    (client.reset if reset else client.end)()
    assert server.aborted
    assert [request.whole for request in requests(server.take())] == [False]
    assert client.take() == b""
    (plan,) = [plan for plan in world.sidecar.assembly.plans if plan.service.name == "orders"]
    assert plan.stats.requests == {(b"POST", 499, "client_gone"): 1}
    world.settle()
    answers_cleanly(world)


def test_a_client_that_leaves_within_its_head_leaves_nothing_behind() -> None:
    """S33: no endpoint was asked, nothing is answered, nothing is counted."""
    world = World(ONCE)
    client = world.client()
    client.send(b"POST / HTTP/1.1\r\nHost: ord")
    client.end()
    assert (client.take(), world.dialing) == (b"", [])
    answers_cleanly(world)
