"""Streams for the differential tests: good ones and the tricks of docs/hardening.md, bent a few times each."""

from __future__ import annotations

from hypothesis import strategies as st

REQUESTS = [
    b"GET /a HTTP/1.1\r\nHost: orders\r\n\r\n",
    b"GET http://orders/a?b HTTP/1.1\r\nHost: orders\r\nAccept: */*\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: orders\r\nConnection: close, x\r\nX: y\r\n\r\n",
    b"HEAD /a HTTP/1.0\r\nHost: orders\r\nConnection: keep-alive\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: orders\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /a HTTP/1.1\r\nHost: orders\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n3\r\nabc\r\n0\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: orders\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
    b"PUT /a HTTP/1.1\r\nHost: orders\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    b"DELETE /a HTTP/1.1\r\nHost: orders\r\nContent-Length: 0\r\nX-Request-Id: 7\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: orders\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
]
RESPONSES = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nnonce-NNNN",
    b"HTTP/1.1 200 OK\r\nX: nonce-NNNN\r\nTransfer-Encoding: chunked\r\n\r\na;x=y\r\nnonce-NNNN\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nnonce\r\n5\r\n-NNNN\r\n0\r\nX-Sum: nonce-NNNN\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nX: nonce-NNNN\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nX: nonce-NNNN\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\nX: nonce-NNNN\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nnonce-NNNN",
    b"HTTP/1.1 500 No\r\nConnection: close\r\nContent-Length: 10\r\n\r\nnonce-NNNN",
]
FRAGMENTS = [
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b"\t", b"\x00", b"\x0b", b"\x7f", b"\xff", b",", b":", b";", b"0", b"+", b"_",
    b"0x", b"1", b"a", b'"', b"#", b"\\", b"\r\n ", b"Content-Length: 3\r\n", b"Content-Length: 0\r\n", b"content-length : 3\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n", b"transfer-encoding: x, chunked\r\n",
    b"Host: other\r\n", b"Connection: close\r\n",
    b"Connection: host, content-length\r\n", b"Connection: keep-alive\r\n", b"X: y\r\n", b"0\r\n\r\n",
    b"3\r\nabc\r\n", b"HTTP/1.1 ", b"HTTP/1.0", b"GET /b HTTP/1.1\r\nHost: orders\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
]  # fmt: skip


@st.composite
def mutants(draw: st.DrawFn, corpus: list[bytes], most: int) -> tuple[bytes, list[int]]:
    """Up to ``most`` messages after one another with up to four changes, and where the stream is cut into reads."""
    data = b"".join(draw(st.lists(st.sampled_from(corpus), min_size=1, max_size=most)))
    for _ in range(draw(st.integers(0, 4))):
        data = _bent(draw, data)
    cuts = draw(st.lists(st.integers(0, len(data)), max_size=4))
    return data, sorted({0, len(data), *cuts})


def _bent(draw: st.DrawFn, data: bytes) -> bytes:
    at = draw(st.integers(0, max(0, len(data) - 1)))
    change = draw(st.sampled_from(("byte", "insert", "line", "delete", "double", "case", "drop line", "end")))
    lines = data.splitlines(keepends=True) or [b""]
    line = min(len(lines) - 1, data.count(b"\n", 0, at))
    if change == "byte":
        return data[:at] + bytes([draw(st.integers(0, 255))]) + data[at + 1 :]
    if change == "insert":
        return data[:at] + draw(st.sampled_from(FRAGMENTS)) + data[at:]
    if change == "line":
        return b"".join((*lines[: line + 1], draw(st.sampled_from(FRAGMENTS)), *lines[line + 1 :]))
    if change == "delete":
        return data[:at] + data[at + draw(st.integers(1, 4)) :]
    if change == "double":
        return b"".join((*lines[: line + 1], *lines[line:]))
    if change == "case":
        return data[:at] + data[at : at + 8].swapcase() + data[at + 8 :]
    if change == "drop line":
        return b"".join((*lines[:line], *lines[line + 1 :]))
    return data[: at + 1]
