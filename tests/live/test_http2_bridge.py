"""HTTP/2 on one side of a sidecar and HTTP/1.1 on the other: neither side notices."""

from __future__ import annotations

import queue
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.http2_tools import Fields, Nghttpd, answering2, curl, curl2, nghttp
from tests.support.live import OK, Client, Response, Sidecar, Wire
from tests.support.live import Upstream as Server

BIG = random.Random(1).randbytes(20_000_000)
HELD = 20_000_000


@contextmanager
def bridge(address: str, protocol: str, where: str) -> Iterator[Sidecar]:
    """A sidecar whose ``where``, outbound or inbound, speaks this protocol to ``address``, whatever is spoken to it."""
    if where == "outbound":
        toml = f'[services.orders]\nendpoints = ["{address}"]\nprotocol = "{protocol}"\n'
        with Sidecar(toml) as sidecar:
            yield sidecar
    else:
        with Sidecar(f'[inbound]\nprotocol = "{protocol}"\n', app=address) as sidecar:
            yield sidecar


class Application:
    """An application of HTTP/1.1 that gives each request the same answer; ``seen`` has heads and bodies."""

    def __init__(self, answer: bytes = OK, before: bytes = b"") -> None:
        self.seen: queue.Queue[tuple[bytes, bytes]] = queue.Queue()
        self._answer = answer
        self._before = before

    def script(self, wire: Wire) -> None:
        while True:
            head = wire.head()
            wire.send(self._before)
            self.seen.put((head, b"".join(wire.pieces(head))))
            wire.send(self._answer)


EVERYWHERE = pytest.mark.parametrize("where", ["outbound", "inbound"])


@EVERYWHERE
def test_a_request_of_http_2_is_one_of_http_1_to_the_application(where: str) -> None:
    """Its authority is the host, its fields are fields, its cookies one; the answer says HTTP/2."""
    app = Application(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Mixed: Case\r\nConnection: keep-alive\r\n\r\nok")
    with Server(app.script) as server, bridge(server.address, "http1", where) as sidecar:
        answer = curl2(sidecar.ports[where], "/path?query=1", "-i", "-H", "cookie: a=b", "-H", "cookie: c=d").decode()
        head, _ = app.seen.get(timeout=10)
    assert head.startswith(b"GET /path?query=1 HTTP/1.1\r\n")
    fields = head.lower()
    assert b"\r\nhost: orders\r\n" in fields
    assert b"\r\ncookie: a=b; c=d\r\n" in fields
    assert b"\r\n:" not in fields
    assert answer.startswith("HTTP/2 200")
    assert "\nx-mixed: Case\r" in answer
    assert "connection" not in answer.lower()
    assert answer.endswith("\r\n\r\nok")


@EVERYWHERE
def test_a_body_of_http_2_has_a_length_or_is_chunked(where: str) -> None:
    """As the client has said its length or not; it comes whole, and so does the answer."""
    app = Application(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    with Server(app.script) as server, bridge(server.address, "http1", where) as sidecar:
        port = sidecar.ports[where]
        for arguments, framing in (
            (["--data-binary", "@-"], rb"content-length: 20000000\r\n"),
            (["-T", "-"], rb"transfer-encoding: chunked\r\n"),
        ):
            assert curl2(port, "/", *arguments, stdin=BIG) == b"hello"
            head, body = app.seen.get(timeout=10)
            assert re.search(framing, head, re.IGNORECASE)
            assert body == BIG
        assert curl2(port, "/", "-X", "POST", "--data-binary", "") == b"hello"
        assert app.seen.get(timeout=10)[1] == b""


@EVERYWHERE
@pytest.mark.parametrize(
    ("answer", "status", "arguments"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", "204", []),
        (b'HTTP/1.1 304 Not Modified\r\netag: "1"\r\ncontent-length: 9\r\n\r\n', "304", []),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "200", []),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 12345\r\n\r\n", "200", ["-I"]),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "200", ["-I"]),
    ],
    ids=["204", "304", "empty", "HEAD with a length", "HEAD, chunked"],
)
def test_an_answer_of_http_1_without_a_body_has_none_in_http_2(
    answer: bytes, status: str, arguments: list[str], where: str
) -> None:
    """Twice, so that nothing is left over on the connection to the application."""

    def script(wire: Wire) -> None:
        while True:
            wire.head()
            wire.send(answer)

    with Server(script) as server, bridge(server.address, "http1", where) as sidecar:
        for _ in range(2):
            got = curl2(sidecar.ports[where], "/", "-i", *arguments)
            assert got.startswith(b"HTTP/2 " + status.encode())
            assert got.rstrip(b"\r\n").count(b"\r\n\r\n") == 0
            assert (b"content-length: 12345" in got) == (b"content-length: 12345" in answer)
            assert b"transfer-encoding" not in got
        assert server.accepted == 1


@EVERYWHERE
def test_an_answer_of_http_1_that_breaks_off_is_reset_in_http_2(where: str) -> None:
    """A client must not take half of it for all of it."""

    def script(wire: Wire) -> None:
        wire.head()
        wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")

    with Server(script) as server, bridge(server.address, "http1", where) as sidecar:
        account = nghttp(sidecar.ports[where])
        assert "half" in account
        assert "recv RST_STREAM frame" in account


@EVERYWHERE
def test_trailers_of_http_1_are_trailers_of_http_2(where: str) -> None:
    """Behind the last byte, without those that frame a message."""
    chunks = b"5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n"
    app = Application(b"HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n" + chunks)
    with Server(app.script) as server, bridge(server.address, "http1", where) as sidecar:
        account = nghttp(sidecar.ports[where])
        assert account.index(":status: 200") < account.index("hello") < account.index("x-sum: 7")


@EVERYWHERE
@pytest.mark.parametrize(
    "before", [b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"]
)
def test_what_comes_before_an_answer_of_http_1(before: bytes, where: str) -> None:
    """Interim answers change nothing about the one that counts, whether the client waits for them or not."""
    app = Application(before=before)
    with Server(app.script) as server, bridge(server.address, "http1", where) as sidecar:
        for expect in ("expect:", "expect: 100-continue"):
            answer = curl2(sidecar.ports[where], "/", "-i", "-H", expect, "--data-binary", "@-", stdin=b"x" * 100_000)
            assert b"HTTP/2 200" in answer
            assert answer.endswith(b"\r\n\r\nok")
            assert app.seen.get(timeout=10)[1] == b"x" * 100_000


@EVERYWHERE
def test_http_1_gets_and_posts_to_an_application_of_http_2(where: str) -> None:
    """Small and large, up and down, with a length and chunked, without more memory than a few windows."""
    with (
        Nghttpd({"small": b"hello", "empty": b"", "big": BIG}) as server,
        bridge(server.address, "http2", where) as sidecar,
    ):
        port = sidecar.ports[where]
        assert curl(port, "/small", "-w", " %{http_version} %{http_code}") == b"hello 1.1 200"
        before = sidecar.memory("VmHWM")
        assert curl(port, "/small", "--http1.0") == b"hello"
        assert curl(port, "/empty", "-w", "%{http_code}") == b"200"
        assert curl(port, "/none", "-o", "/dev/null", "-w", "%{http_code}") == b"404"
        assert curl(port, "/big") == BIG
        assert curl(port, "/", "--data-binary", "@-", stdin=b"hello") == b"hello"
        assert curl(port, "/", "--data-binary", "@-", stdin=BIG) == BIG
        assert curl(port, "/", "-X", "POST", "-T", "-", stdin=BIG) == BIG
        for expect in ("expect: 100-continue", "expect:"):
            assert curl(port, "/", "-H", expect, "--data-binary", "@-", stdin=BIG[:100_000]) == BIG[:100_000]
        assert sidecar.memory("VmHWM") - before < HELD


@EVERYWHERE
def test_http_1_keeps_its_connection(where: str) -> None:
    """Answers without a body and with one, of known length and not, one behind the other."""

    def answer(head: dict[bytes, bytes], body: bytes) -> tuple[Fields, bytes]:
        status = head[b":path"].removeprefix(b"/")
        fields = [(b":status", status), (b"x-method", head[b":method"]), (b"x-authority", head[b":authority"])]
        if status == b"200" and head[b":method"] == b"HEAD":
            return [*fields, (b"content-length", b"12345")], b""
        if status == b"200":
            return fields, b"hello " + body
        return fields, b""

    with (
        Server(answering2(answer)) as server,
        bridge(server.address, "http2", where) as sidecar,
        Client(sidecar.ports[where]) as client,
    ):
        for _ in range(2):
            for status in (204, 304):
                # No body follows these, whatever their fields say.
                client.ask("orders", f"/{status}")
                response = Response(client.head(), b"")
                assert (response.status, response.fields["x-authority"]) == (status, "orders")
            client.ask("orders", "/200", "HEAD")
            response = Response(client.head(), b"")
            assert (response.fields["x-method"], response.fields["content-length"]) == ("head", "12345")
            # Without a length the body is chunked.
            assert client.get("orders", "/200").body == b"hello "
            client.send(b"POST /200 HTTP/1.1\r\nHost: orders\r\nContent-Length: 5\r\n\r\nworld")
            assert client.response().body == b"hello world"
            client.send(
                b"POST /200 HTTP/1.1\r\nHost: orders\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nworld\r\n0\r\n\r\n"
            )
            assert client.response().body == b"hello world"
            assert client.get("orders", "/500").body == b""
        assert server.accepted == 1


@EVERYWHERE
def test_a_conditional_request_of_http_1(where: str) -> None:
    """304 comes without a body and with the fields that it has."""
    with Nghttpd({"small": b"hello"}) as server, bridge(server.address, "http2", where) as sidecar:
        port = sidecar.ports[where]
        head = curl(port, "/small", "-I").decode()
        assert head.startswith("HTTP/1.1 200")
        assert "content-length: 5" in head.lower()
        (modified,) = re.findall(r"(?i)last-modified: (.*)\r", head)
        answer = curl(port, "/small", "-i", "-H", f"if-modified-since: {modified}")
        assert answer.startswith(b"HTTP/1.1 304")
        assert answer.endswith(b"\r\n\r\n")


@EVERYWHERE
def test_trailers_of_http_2_are_trailers_of_http_1(where: str) -> None:
    """The body is chunked, and they follow its last chunk."""
    with (
        Nghttpd({"small": b"hello"}, "--trailer", "x-sum: 7", "--no-content-length") as server,
        bridge(server.address, "http2", where) as sidecar,
        Client(sidecar.ports[where]) as client,
    ):
        client.ask("orders", "/small", fields="TE: trailers\r\n")
        assert b"\r\ntransfer-encoding: chunked\r\n" in client.head().lower()
        assert (client.line(), client.line(), client.line()) == (b"5\r\n", b"hello\r\n", b"0\r\n")
        assert (client.line().lower(), client.line()) == (b"x-sum: 7\r\n", b"\r\n")


@EVERYWHERE
def test_many_requests_of_http_1_share_a_connection_of_http_2(where: str) -> None:
    """Twenty clients at a time need fewer connections than there are clients."""
    with (
        Server(answering2(lambda head, body: ([(b":status", b"200")], b"hello"))) as server,
        bridge(server.address, "http2", where) as sidecar,
    ):
        clients = [Client(sidecar.ports[where]) for _ in range(20)]
        for _ in range(10):
            for client in clients:
                client.ask("orders")
            assert {client.response().body for client in clients} == {b"hello"}
        for client in clients:
            client.close()
        assert server.accepted < 20
