"""Rows S17 to S21 and S27: the request line."""

from __future__ import annotations

import pytest

from sidecar.errors import Failure
from tests.wire.peers import forwarded, refused

REST = b"\r\nHost: orders\r\n\r\n"


@pytest.mark.parametrize(
    "line",
    [
        b"GET * HTTP/1.1",
        b"GET orders:80 HTTP/1.1",
        b"GET orders HTTP/1.1",
        b"GET ?q HTTP/1.1",
        b"GET /a#b HTTP/1.1",
        b"GET /a\\b HTTP/1.1",
        b'GET /"a" HTTP/1.1',
        b"GET /<a> HTTP/1.1",
        b"GET /a b HTTP/1.1",
        b"GET /\xc3\xa4 HTTP/1.1",
        b"GET /\x00 HTTP/1.1",
        b"GET /\x7f HTTP/1.1",
        b"GET /a\tb HTTP/1.1",
        b"GET https://orders/ HTTP/1.1",
        b"GET ftp://orders/ HTTP/1.1",
        b"GET http:/orders/ HTTP/1.1",
        b"GET http:///a HTTP/1.1",
        b"GET http://user@orders/ HTTP/1.1",
        b"GET http://orders:99999/ HTTP/1.1",
        b"GET http://or ders/ HTTP/1.1",
    ],
)
def test_a_target_that_parsers_read_differently_is_refused(line: bytes) -> None:
    """S17: a target is a path or an http:// URL of visible ASCII without space, quote, # < > or backslash."""
    refused(line + REST, Failure.BAD_REQUEST)


@pytest.mark.parametrize("target", [b"/a%20b;c?d=[1]&e={|}^`'(*)!@:+,$~", b"//a//../b/./c", b"/?", b"/%00%zz"])
def test_a_target_is_forwarded_as_it_came(target: bytes) -> None:
    """S17, S20: nothing is decoded, merged or resolved on the way."""
    assert forwarded(b"GET " + target + b" HTTP/1.1" + REST).target == target


@pytest.mark.parametrize(
    "line",
    [
        b"GET  / HTTP/1.1",
        b"GET /  HTTP/1.1",
        b"GET\t/ HTTP/1.1",
        b"GET /\tHTTP/1.1",
        b"GET / HTTP/1.1 ",
        b"GET / HTTP/1.1\t",
        b" GET / HTTP/1.1",
        b"GET /",
        b"GET",
        b"GET HTTP/1.1",
        b"GET / / HTTP/1.1",
    ],
)
def test_only_single_spaces_separate_the_parts_of_a_request_line(line: bytes) -> None:
    """S18: RFC 9112 lets a server be lenient here, and that is how two of them come to disagree."""
    refused(line + REST, Failure.BAD_REQUEST)


@pytest.mark.parametrize("version", [b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/3.0", b"HTTP/1.9"])
def test_another_version_of_http_is_named_in_the_refusal(version: bytes) -> None:
    """S19: a well-formed version that is neither 1.0 nor 1.1 is 505."""
    refused(b"GET / " + version + REST, Failure.HTTP_VERSION)


def test_what_begins_like_http_2_and_goes_on_otherwise_is_another_version() -> None:
    """S19, H13: the first bytes are the whole preface of HTTP/2, or a request in a version that we do not speak."""
    refused(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", Failure.HTTP_VERSION)


@pytest.mark.parametrize(
    "version",
    [b"HTTP/01.1", b"HTTP/1.10", b"HTTP/1", b"HTTP/11", b"http/1.1", b"Http/1.1", b"HTTP /1.1", b"HTTP/1,1", b"HTTP/a.b",
     b"RTSP/1.0", b"ICE/1.0", b"HTTPS/1.1", b"\x00HTTP/1.1", b"HTTP/-1.1"],
)  # fmt: skip
def test_what_is_not_a_version_of_http_is_malformed(version: bytes) -> None:
    """S19: 400, not 505, for that would say that we had understood it."""
    refused(b"GET / " + version + REST, Failure.BAD_REQUEST)


@pytest.mark.parametrize("target", [b"/%0d%0aX-Evil:%201", b"/a?b=%0D%0A%0D%0AGET%20/", b"/%00"])
def test_encoded_line_ends_stay_encoded(target: bytes) -> None:
    """S20: what is encoded on the way in is encoded on the way out, and no header line comes of it."""
    request = forwarded(b"GET " + target + b" HTTP/1.1" + REST)
    assert request.target == target
    assert request.get(b"x-evil") is None


@pytest.mark.parametrize("method", [b"GET", b"PROPFIND", b"get", b"M-SEARCH", b"!#$%&'*+-.^_`|~", b"A" * 300])
def test_any_token_is_a_method(method: bytes) -> None:
    """S21: which methods there are is the application's business; they are case-sensitive and forwarded exactly."""
    assert forwarded(method + b" / HTTP/1.1" + REST).method == method


@pytest.mark.parametrize("method", [b"", b"GE(T", b"G\x00T", b"G\xe9T", b'"GET"', b"GET:", b"GET /x HTTP/1.1\rX:"])
def test_a_method_that_is_no_token_is_refused(method: bytes) -> None:
    """S21: nothing that ends a method early may stand in one."""
    refused(method + b" / HTTP/1.1" + REST, Failure.BAD_REQUEST)


@pytest.mark.parametrize(
    "stream",
    [
        b"CONNECT orders:80 HTTP/1.1\r\nHost: orders:80\r\n\r\n",
        b"CONNECT orders:80 HTTP/1.1\r\nHost: orders:80\r\nContent-Length: 35\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n\r\n",
        b"CONNECT orders:80 HTTP/1.1\r\nHost: orders:80\r\n\r\nGET /early HTTP/1.1\r\nHost: orders\r\n\r\n",
        b"CONNECT / HTTP/1.1\r\nHost: orders\r\n\r\n",
    ],
)
def test_connect_is_refused_and_nothing_behind_it_is_read(stream: bytes) -> None:
    """S27: neither a body nor early data of a tunnel that does not come to be is taken for a request."""
    refused(stream, Failure.METHOD_NOT_ALLOWED)


def test_options_may_ask_for_the_server_as_a_whole() -> None:
    """S17: the asterisk belongs to OPTIONS, written so or as a URL without a path (RFC 9112 section 3.2.4)."""
    assert forwarded(b"OPTIONS * HTTP/1.1" + REST).target == b"*"
    assert forwarded(b"OPTIONS http://orders HTTP/1.1" + REST).target == b"*"


@pytest.mark.parametrize(
    ("target", "origin"),
    [
        (b"http://orders/a?b", b"/a?b"),
        (b"http://orders", b"/"),
        (b"HTTP://ORDERS?x=1", b"/?x=1"),
        (b"http://orders:80/", b"/"),
    ],
)
def test_an_absolute_form_target_is_forwarded_as_its_path(target: bytes, origin: bytes) -> None:
    """Clients that use the listener as a proxy name the service in the target; the endpoint gets a plain path."""
    request = forwarded(b"GET " + target + b" HTTP/1.1" + REST)
    assert (request.target, request.get(b"host")) == (origin, b"orders")


@pytest.mark.parametrize("host", [b"other", b"orders.evil", b"orders:81"])
def test_a_target_that_names_another_host_than_host_is_refused(host: bytes) -> None:
    """S16: RFC 9112 lets the target win, but whoever sends both is up to something."""
    refused(b"GET http://orders/ HTTP/1.1\r\nHost: " + host + b"\r\n\r\n", Failure.BAD_REQUEST)
