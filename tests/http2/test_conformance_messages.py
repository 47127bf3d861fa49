"""Requests and their fields, sections 7 and 8 of RFC 9113: h2spec's http2/7 to 8.2, and more.

A request that is malformed is an error of its stream, PROTOCOL_ERROR, and goes nowhere; section 8.1.1 lets a server answer
400 before, so that whoever wrote it can read why.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.support.http2 import (
    Code,
    Type,
    continuation,
    data,
    goaway,
    headers,
    literal,
    ping,
    push_promise,
    rst_stream,
)
from tests.support.http2_peers import Conversation


def malformed(peer: Conversation, *frames: bytes, stream: int = 1) -> None:
    """What is sent is an error of the stream, and the connection is as good as before."""
    peer.send(*frames)
    peer.stream_error(stream, Code.PROTOCOL_ERROR)
    if not peer.gone:
        peer.send(peer.request(stream + 2))
        peer.response(stream + 2)


def test_7_an_unknown_code_of_goaway_means_nothing(peer: Conversation) -> None:
    """The connection ends as with any other (http2/7/1)."""
    peer.send(goaway(0, 0xFF))
    peer.closes()


def test_7_an_unknown_code_of_rst_stream_means_nothing(peer: Conversation) -> None:
    """The stream ends as with any other (http2/7/2)."""
    peer.send(peer.request(1, method="POST", end=False), rst_stream(1, 0xFF), ping())
    assert peer.of(Type.PING).ack


@pytest.mark.parametrize("padding", [None, 9])
def test_8_1_trailers_end_a_request(peer: Conversation, padding: int | None) -> None:
    """Without END_STREAM they are malformed (http2/8.1/1)."""
    first = peer.request(1, method="POST", end=False)
    malformed(peer, first, data(1, b"test"), headers(1, peer.block([("x-test", "ok")]), end=False, padding=padding))


def test_8_1_trailers_may_come_without_a_body(peer: Conversation) -> None:
    """Behind the fields at once."""
    peer.send(peer.request(1, method="POST", end=False), headers(1, peer.block([("x-test", "ok")])))
    peer.response(1)


def test_8_1_trailers_may_be_continued(peer: Conversation) -> None:
    """END_STREAM stands on the HEADERS frame."""
    first, block = peer.request(1, method="POST", end=False), peer.block([("x-test", "ok")])
    peer.send(first, headers(1, block[:2], whole=False), continuation(1, block[2:]))
    peer.response(1)


@pytest.mark.parametrize("name", ["X-TEST", "x-Test", "CONTENT-LENGTH"])
def test_8_2_names_are_in_lower_case(peer: Conversation, name: str) -> None:
    """(http2/8.1.2/1)."""
    malformed(peer, peer.request(1, (name, "5")))


@pytest.mark.parametrize(
    "fields", [(":test", "ok"), (":status", "200"), (":", "x"), (":protocol", "websocket")], ids=str
)
def test_8_3_pseudo_fields_of_a_request_are_known(peer: Conversation, fields: tuple[str, str]) -> None:
    """Others, and those of responses, are malformed (http2/8.1.2.1/1 and 2)."""
    malformed(peer, headers(1, peer.block([fields, *peer.fields()])))


@pytest.mark.parametrize("fields", [(":test", "ok"), (":status", "200"), (":path", "/")], ids=str)
def test_8_3_pseudo_fields_behind_all_others_are_malformed(peer: Conversation, fields: tuple[str, str]) -> None:
    """Known or not (http2/8.1.2.1/1 and 2)."""
    malformed(peer, peer.request(1, ("x-test", "ok"), fields))


@pytest.mark.parametrize("end", [True, False])
@pytest.mark.parametrize("name", [":method", ":path", ":status", ":x"])
def test_8_3_trailers_have_no_pseudo_fields(peer: Conversation, name: str, end: bool) -> None:
    """(http2/8.1.2.1/3)."""
    first = peer.request(1, method="POST", end=False)
    malformed(peer, first, data(1, b"test"), headers(1, peer.block([(name, "POST")]), end))


def test_8_3_pseudo_fields_come_first(peer: Conversation) -> None:
    """(http2/8.1.2.1/4)."""
    malformed(peer, headers(1, peer.block([("x-test", "ok"), *peer.fields()])))


@pytest.mark.parametrize(
    "line",
    [
        ("connection", "keep-alive"),
        ("connection", "close"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("upgrade", "websocket"),
        ("te", "trailers, deflate"),
        ("te", "gzip"),
    ],
    ids=str,
)
def test_8_2_2_fields_of_a_connection_are_malformed(peer: Conversation, line: tuple[str, str]) -> None:
    """TE can say "trailers" and nothing else (http2/8.1.2.2/1 and 2)."""
    malformed(peer, peer.request(1, ("trailers", "test"), line))


def test_8_2_2_te_may_say_trailers(peer: Conversation) -> None:
    """As each call of gRPC does."""
    peer.send(peer.request(1, ("te", "trailers")))
    peer.response(1)


@pytest.mark.parametrize("path", ["", "orders", "?query", "http://orders/"])
def test_8_3_1_a_path_begins_with_a_slash(peer: Conversation, path: str) -> None:
    """And is not empty (http2/8.1.2.3/1)."""
    malformed(peer, peer.request(1, path=path))


@pytest.mark.parametrize("missing", [(0,), (1,), (2,), (0, 1), (0, 1, 2)], ids=str)
def test_8_3_1_method_scheme_and_path_are_there(peer: Conversation, missing: tuple[int, ...]) -> None:
    """(http2/8.1.2.3/2 to 4)."""
    fields = [one for at, one in enumerate(peer.fields()) if at not in missing]
    malformed(peer, headers(1, peer.block(fields)))


@pytest.mark.parametrize(
    "line", [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "x")], ids=str
)
@pytest.mark.parametrize("behind", [True, False])
def test_8_3_1_pseudo_fields_are_there_once(peer: Conversation, line: tuple[str, str], behind: bool) -> None:
    """Behind the others, or among themselves (http2/8.1.2.3/5 to 7)."""
    more: Sequence[tuple[str, str]] = [("x-test", "ok"), line] if behind else [line]
    malformed(peer, peer.request(1, *more))


@pytest.mark.parametrize("method", ["G ET", "GET /x HTTP/1.1", "GÉT", "G:"])
def test_8_3_1_a_method_is_a_token(peer: Conversation, method: str) -> None:
    """RFC 9110 section 9.1; whoever sends another gets 400 or a reset."""
    peer.send(peer.request(1, method=method))
    refused_or_reset(peer)


@pytest.mark.parametrize("path", ["/a b", "/\x7f", "/a#b", "/é", "*"])
def test_8_3_1_a_path_has_no_bytes_that_end_it(peer: Conversation, path: str) -> None:
    """RFC 3986; whoever sends others, or "*" with GET, gets 400 or a reset."""
    peer.send(peer.request(1, path=path))
    refused_or_reset(peer)


@pytest.mark.parametrize("bad", ["\0", "\r", "\n", "\r\nx: y"], ids=repr)
@pytest.mark.parametrize("at", [0, 1, 2, 3], ids=["method", "scheme", "path", "authority"])
def test_8_2_1_pseudo_fields_keep_to_their_lines(peer: Conversation, at: int, bad: str) -> None:
    """As any other field."""
    fields = peer.fields()
    name, value = fields[at]
    assert isinstance(name, str)
    fields[at] = (name, (value if isinstance(value, bytes) else value.encode()) + bad.encode())
    malformed(peer, headers(1, peer.block(fields)))


def test_8_3_1_no_authority_needs_a_host(peer: Conversation) -> None:
    """A request to nobody is malformed or refused."""
    peer.send(headers(1, peer.block(peer.fields()[:3])))
    refused_or_reset(peer)


def test_8_3_1_host_stands_for_the_authority(peer: Conversation) -> None:
    """A request that came from HTTP/1 has it in its place."""
    peer.send(headers(1, peer.block([*peer.fields()[:3], ("host", peer.authority)])))
    peer.response(1)


def test_8_3_1_host_and_authority_are_the_same(peer: Conversation) -> None:
    """Or somebody is led to another service than somebody else thinks."""
    peer.send(peer.request(1, ("host", "payments")))
    refused_or_reset(peer)


def test_8_5_connect_is_refused(peer: Conversation) -> None:
    """There are no tunnels."""
    peer.send(headers(1, peer.block([(":method", "CONNECT"), (":authority", peer.authority)]), end=False))
    refused_or_reset(peer)


@pytest.mark.parametrize("more", [(":scheme", "http"), (":path", "/")], ids=str)
def test_8_5_connect_has_neither_scheme_nor_path(peer: Conversation, more: tuple[str, str]) -> None:
    """With one of them it is malformed, and refused in any case."""
    peer.send(headers(1, peer.block([(":method", "CONNECT"), (":authority", peer.authority), more]), end=False))
    refused_or_reset(peer)


def refused_or_reset(peer: Conversation) -> None:
    """A response of 4xx, or RST_STREAM."""
    one = peer.until(lambda one: one.stream == 1 and one.type in (Type.HEADERS, Type.RST_STREAM), "a refusal")
    assert one.type == Type.RST_STREAM or 400 <= peer.streams[1].status < 500, one
    peer.pong()


@pytest.mark.parametrize(
    ("length", "bodies"),
    [
        ("1", (b"test",)),
        ("1", (b"test", b"test")),
        ("5", (b"test",)),
        ("5", (b"test", b"")),
        ("1", (b"",)),
        ("3", (b"test", b"")),
    ],
    ids=str,
)
def test_8_1_1_a_body_is_as_long_as_its_length(peer: Conversation, length: str, bodies: tuple[bytes, ...]) -> None:
    """Neither longer nor shorter (http2/8.1.2.6/1 and 2)."""
    first = peer.request(1, ("content-length", length), method="POST", end=False)
    malformed(peer, first, *(data(1, body, end=at == len(bodies)) for at, body in enumerate(bodies, 1)))


def test_8_1_1_no_body_has_no_length(peer: Conversation) -> None:
    """END_STREAM at once, and a length of one."""
    malformed(peer, peer.request(1, ("content-length", "1"), method="POST"))


def test_8_1_1_trailers_do_not_make_up_for_a_body(peer: Conversation) -> None:
    """It is too short all the same."""
    first = peer.request(1, ("content-length", "5"), method="POST", end=False)
    malformed(peer, first, data(1, b"test"), headers(1, peer.block([("x-test", "ok")])))


@pytest.mark.parametrize("length", ["-1", "+4", "4, 4", "4 4", "0x4", "four", "", "99999999999999999999"])
def test_8_1_1_a_length_is_a_number(peer: Conversation, length: str) -> None:
    """Nothing else is, also not with the right body."""
    first = peer.request(1, ("content-length", length), method="POST", end=False)
    malformed(peer, first, data(1, b"test", end=True))


def test_8_1_1_there_is_one_length(peer: Conversation) -> None:
    """Two that differ are two bodies."""
    first = peer.request(1, ("content-length", "4"), ("content-length", "5"), method="POST", end=False)
    malformed(peer, first, data(1, b"test", end=True))


@pytest.mark.parametrize(
    "name", [b"", b"x test", b"x\0", b"x\r\ny", b"x:y", b"x\x7f", b"x\xe9", b"x\x80", b'x"', b"x(y"]
)
def test_8_2_1_a_name_is_a_token(peer: Conversation, name: bytes) -> None:
    """Of RFC 9110, in lower case."""
    malformed(peer, headers(1, peer.block(peer.fields()) + literal(name, b"x")))


@pytest.mark.parametrize("value", [b"a\0b", b"a\rb", b"a\nb", b"a\r\nx: y", b"\n", b" a", b"a ", b"\ta", b"a\t"])
def test_8_2_1_a_value_keeps_to_its_line(peer: Conversation, value: bytes) -> None:
    """No NUL, CR and LF, and no space at its ends."""
    malformed(peer, headers(1, peer.block(peer.fields()) + literal(b"x-test", value)))


@pytest.mark.parametrize("value", [b"", b"a b", b"a\tb", b"\xc3\xa9", b'":;,'])
def test_8_2_1_a_value_can_be_anything_else(peer: Conversation, value: bytes) -> None:
    """Also nothing."""
    peer.send(headers(1, peer.block(peer.fields()) + literal(b"x-test", value)))
    peer.response(1)


def test_8_2_3_a_cookie_can_be_in_crumbs(peer: Conversation) -> None:
    """Browsers say each pair on a line of its own."""
    peer.send(peer.request(1, ("cookie", "a=b"), ("cookie", "c=d"), ("x-test", "ok"), ("cookie", "e=f")))
    peer.response(1)


def test_8_4_a_client_cannot_push(peer: Conversation) -> None:
    """PROTOCOL_ERROR of the connection (http2/8.2/1)."""
    peer.send(push_promise(1, 3, peer.block(peer.fields())))
    peer.connection_error(Code.PROTOCOL_ERROR)


def test_8_4_a_client_cannot_push_on_a_stream_either(peer: Conversation) -> None:
    """One that is open."""
    peer.send(peer.request(1, end=False), push_promise(1, 2, peer.block(peer.fields())))
    peer.connection_error(Code.PROTOCOL_ERROR)
