"""H08: what is one request in HTTP/2 and would be something else as HTTP/1. Nothing of it reaches an endpoint.

Where what is wrong comes behind the head, the endpoint may have the head: then it never has a whole request, and its
connection is not used again.
"""

from __future__ import annotations

import pytest

from tests.http2.attack import Attack
from tests.support.http2 import Code, Type, continuation, data, headers, literal
from tests.support.http2_peers import HELLO

HEAD = b"\x82\x86\x84\x01\x06orders"
"""GET http://orders/."""
SMUGGLED = b"GET /admin HTTP/1.1\r\nhost: orders\r\n\r\n"


def pseudo(method: bytes = b"GET", path: bytes = b"/", authority: bytes = b"orders", scheme: bytes = b"http") -> bytes:
    """The fields of a request as they are, neither looked up nor compressed."""
    names = (b":method", b":scheme", b":path", b":authority")
    return b"".join(map(literal, names, (method, scheme, path, authority)))


def refused(attack: Attack, stream: int = 1, *statuses: int) -> None:
    """The stream was reset with PROTOCOL_ERROR, or answered with one of ``statuses``."""
    one = attack.until(lambda one: one.stream == stream and one.type in (Type.HEADERS, Type.RST_STREAM), "a refusal")
    if one.type == Type.RST_STREAM:
        assert one.code == Code.PROTOCOL_ERROR
    else:
        assert int(one.get(b":status") or 0) in statuses, one
    attack.stands()


HEADS = {
    "line-feed-in-a-value": HEAD + literal(b"x", b"a\nx-more: b"),
    "carriage-return-in-a-value": HEAD + literal(b"x", b"a\rx-more: b"),
    "request-in-a-value": HEAD + literal(b"x", b"a\r\n\r\n" + SMUGGLED),
    "nul-in-a-value": HEAD + literal(b"x", b"a\0b"),
    "request-in-a-cookie": HEAD + literal(b"cookie", b"a=b") + literal(b"cookie", b"\r\n\r\n" + SMUGGLED),
    "line-in-a-name": HEAD + literal(b"x: a\r\nx-more", b"b"),
    "request-in-a-name": HEAD + literal(b"x: y\r\n\r\n" + SMUGGLED, b"b"),
    "colon-in-a-name": HEAD + literal(b"transfer-encoding: chunked", b""),
    "space-at-the-end-of-a-name": HEAD + literal(b"transfer-encoding ", b"chunked"),
    "tab-at-the-end-of-a-name": HEAD + literal(b"content-length\t", b"5"),
    "nul-in-a-name": HEAD + literal(b"x\0", b"a"),
    "empty-name": HEAD + literal(b"", b"a"),
    "capitals-in-a-name": HEAD + literal(b"Transfer-Encoding", b"chunked"),
    "folded-value": HEAD + literal(b"x", b"a\r\n b"),
    "white-space-before-a-value": HEAD + literal(b"x", b" a"),
    "request-in-the-method": pseudo(method=b"GET /admin HTTP/1.1\r\nhost: orders\r\n\r\nGET"),
    "space-in-the-method": pseudo(method=b"GET /admin"),
    "no-method": pseudo(method=b""),
    "request-in-the-path": pseudo(path=b"/ HTTP/1.1\r\nhost: orders\r\n\r\n" + SMUGGLED),
    "version-in-the-path": pseudo(path=b"/admin HTTP/1.1"),
    "space-in-the-path": pseudo(path=b"/a b"),
    "tab-in-the-path": pseudo(path=b"/a\tb"),
    "high-byte-in-the-path": pseudo(path=b"/\xff"),
    "fragment": pseudo(path=b"/a#b"),
    "path-without-slash": pseudo(path=b"admin"),
    "whole-target": pseudo(path=b"http://payments/"),
    "authority-as-path": pseudo(path=b"payments:80"),
    "no-path": pseudo(path=b""),
    "asterisk-with-get": pseudo(path=b"*"),
    "line-in-the-authority": pseudo(authority=b"orders\r\nx-more: b"),
    "user-in-the-authority": pseudo(authority=b"admin@orders"),
    "path-in-the-authority": pseudo(authority=b"orders/admin"),
    "two-authorities": pseudo(authority=b"orders, payments"),
    "no-port-in-the-authority": pseudo(authority=b"orders:http"),
    "empty-authority": pseudo(authority=b""),
    "space-in-the-authority": pseudo(authority=b"orders "),
    "line-in-the-scheme": pseudo(scheme=b"http\r\nx: y"),
    "other-scheme": pseudo(scheme=b"file"),
    "host-of-another": HEAD + literal(b"host", b"payments"),
    "two-hosts": HEAD + literal(b"host", b"orders") + literal(b"host", b"payments"),
    "transfer-encoding": HEAD + literal(b"transfer-encoding", b"chunked"),
    "connection": HEAD + literal(b"connection", b"transfer-encoding"),
    "connection-names-a-field": HEAD + literal(b"connection", b"x-user") + literal(b"x-user", b"admin"),
    "keep-alive": HEAD + literal(b"keep-alive", b"timeout=5"),
    "upgrade": HEAD + literal(b"upgrade", b"h2c") + literal(b"http2-settings", b"AAMAAABkAAQAAP__"),
    "te": HEAD + literal(b"te", b"gzip"),
    "two-lengths": HEAD + literal(b"content-length", b"4") + literal(b"content-length", b"5"),
    "two-equal-lengths": HEAD + literal(b"content-length", b"4") + literal(b"content-length", b"4"),
    "list-of-lengths": HEAD + literal(b"content-length", b"4, 4"),
    "length-with-sign": HEAD + literal(b"content-length", b"+4"),
    "length-in-hex": HEAD + literal(b"content-length", b"0x4"),
    "length-with-underscore": HEAD + literal(b"content-length", b"1_0"),
    "length-too-large": HEAD + literal(b"content-length", b"9" * 30),
    "connect-with-path": pseudo(method=b"CONNECT"),
    "connect": literal(b":method", b"CONNECT") + literal(b":authority", b"orders:22"),
    "websocket": pseudo(method=b"CONNECT") + literal(b":protocol", b"websocket"),
    "unknown-pseudo-field": literal(b":x", b"y") + HEAD,
    "pseudo-field-behind-others": HEAD + literal(b"x", b"y") + literal(b":path", b"/admin"),
    "two-paths": HEAD + literal(b":path", b"/admin"),
    "two-authorities-apart": HEAD + literal(b":authority", b"payments"),
}


@pytest.mark.parametrize("end", [True, False], ids=["alone", "with-a-body"])
@pytest.mark.parametrize("kind", HEADS)
def test_h08_a_head_that_would_be_another_in_http1(kind: str, end: bool) -> None:
    """It is reset or refused, and no endpoint is even connected to; whole, byte by byte and in two frames."""
    block = HEADS[kind]
    for bytewise in (False, True):
        attack = Attack(bytewise=bytewise)
        attack.send(headers(1, block, end), *(() if end else (data(1, b"test", end=True),)))
        refused(attack, 1, 400, 405)
        attack.send(headers(3, block[:3], end, whole=False), continuation(3, block[3:]))
        refused(attack, 3, 400, 405)
        assert attack.http1.received == b"" and not attack.world.dialing
        attack.send(attack.request(5))
        assert attack.response(5).body == HELLO
        assert [request.target for request in attack.http1.requests] == [b"/"]


BODIES = {
    "longer-than-declared": ("3", (data(1, b"test", end=True),)),
    "longer-in-two-frames": ("5", (data(1, b"test"), data(1, b"test", end=True))),
    "request-behind-the-length": ("4", (data(1, b"test"), data(1, SMUGGLED, end=True))),
    "shorter-than-declared": ("5", (data(1, b"test", end=True),)),
    "shorter-with-trailers": ("5", (data(1, b"test"), headers(1, literal(b"x", b"y")))),
    "nothing": ("5", (data(1, end=True),)),
    "trailers-without-end": (None, (data(1, b"test"), headers(1, literal(b"x", b"y"), end=False))),
    "pseudo-field-in-trailers": (None, (data(1, b"test"), headers(1, literal(b":path", b"/admin")))),
    "connection-in-trailers": (None, (data(1, b"test"), headers(1, literal(b"connection", b"close")))),
    "coding-in-trailers": (None, (data(1, b"test"), headers(1, literal(b"transfer-encoding", b"chunked")))),
    "request-in-trailers": (None, (data(1, b"test"), headers(1, literal(b"x", b"y\r\n\r\n" + SMUGGLED)))),
    "headers-amid-the-body": (None, (data(1, b"test"), headers(1, HEAD, end=False), data(1, b"test", end=True))),
}


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("kind", BODIES)
def test_h08_a_body_that_would_be_another_in_http1(kind: str, at_once: bool) -> None:
    """An endpoint gets nothing of it that it could take for a whole request, and nothing behind it."""
    length, frames = BODIES[kind]
    attack = Attack(silent=True)
    more = () if length is None else (("content-length", length),)
    first = attack.request(1, *more, method="POST", end=False)
    if at_once:
        attack.send(first, *frames)
    else:
        attack.send(first)
        for one in frames:
            attack.endpoints()
            attack.send(one)
    refused(attack, 1)
    attack.endpoints()
    assert b"0\r\n\r\n" not in attack.silent.received
    assert b"/admin" not in attack.silent.received
    if length is not None:
        body = attack.silent.received.partition(b"\r\n\r\n")[2]
        assert len(body) < int(length) or attack.silent.left == 0
    assert attack.silent.left == 0 or not attack.silent.received, "a connection with half a request on it is kept"
    attack.serves_others()


@pytest.mark.parametrize("name", [b"content-length", b"host", b"authorization", b"te", b"trailer", b"cookie"])
def test_h08_trailers_do_not_become_fields(name: bytes) -> None:
    """What changes a request's meaning behind its end is refused or left out."""
    attack = Attack()
    attack.send(attack.request(1, method="POST", end=False), data(1, b"test"), headers(1, literal(name, b"5")))
    one = attack.until(lambda one: one.stream == 1, "an answer")
    if one.type == Type.HEADERS:
        assert attack.response(1).status == 200
        assert name + b": 5" not in attack.http1.received


def test_h08_a_body_that_looks_like_chunks_is_framed() -> None:
    """A chunk's end in the body is data; so is a whole request."""
    attack = Attack()
    body = b"0\r\n\r\n" + SMUGGLED
    attack.send(attack.request(1, method="POST", end=False), data(1, body, end=True))
    attack.response(1)
    assert attack.http1.bodies == [body] and len(attack.http1.requests) == 1


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
def test_h08_a_body_of_any_method_is_framed(method: str) -> None:
    """Length or chunks go with it, and the endpoint reads it to its end."""
    attack = Attack()
    for stream, more in ((1, ()), (3, (("content-length", str(len(SMUGGLED))),))):
        attack.send(attack.request(stream, *more, method=method, end=False), data(stream, SMUGGLED, end=True))
        attack.response(stream)
    assert attack.http1.bodies == [SMUGGLED, SMUGGLED] and len(attack.http1.requests) == 2


def test_h08_cookie_crumbs_become_one_cookie() -> None:
    """Joined with a semicolon, in their order, once."""
    attack = Attack()
    attack.send(attack.request(1, ("cookie", "a=b"), ("x", "y"), ("cookie", "c=d; e=f")))
    attack.response(1)
    (request,) = attack.http1.requests
    assert [value for name, value in request.headers if name == b"cookie"] == [b"a=b; c=d; e=f"]


def test_h08_the_authority_becomes_the_host_and_nothing_else_does() -> None:
    """Exactly one, and no pseudo-header field is left over."""
    attack = Attack()
    attack.send(attack.request(1, ("host", "orders"), ("te", "trailers")))
    attack.response(1)
    (request,) = attack.http1.requests
    names = [name for name, _ in request.headers]
    assert [value for name, value in request.headers if name == b"host"] == [b"orders"]
    assert not [name for name in names if name.startswith(b":")] and b"te" not in names
