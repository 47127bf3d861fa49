"""One large body over one connection, up or down, checked to the last byte."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass

import httptools

from bench.process import Failed

BLOCK = b"x" * 65536

_CHUNK = b"10000\r\n" + BLOCK + b"\r\n"


@dataclass(slots=True)
class _Answer:
    """A response as it comes in: how much body, the end of it if it is short, and whether it is complete."""

    size: int = 0
    last: bytes = b""
    complete: bool = False

    def on_body(self, data: bytes) -> None:
        self.size += len(data)
        self.last = data

    def on_message_complete(self) -> None:
        self.complete = True

    def read(self, connection: socket.socket, pause: float = 0.0) -> None:
        """Read all of it, asleep for ``pause`` seconds when its first bytes are there."""
        parser = httptools.HttpResponseParser(self)
        while not self.complete:
            data = connection.recv(262144)
            if not data:
                raise Failed(f"the response ended after {self.size} bytes of body")
            parser.feed_data(data)
            if pause:
                time.sleep(pause)
                pause = 0.0
        if parser.get_status_code() != 200:
            raise Failed(f"answered with {parser.get_status_code()}: {self.last[:200]!r}")


def download(connection: socket.socket, size: int, chunked: bool = False, pause: float = 0.0) -> None:
    """Fetch ``size`` bytes; raises `Failed` unless they all come."""
    framing = "chunked" if chunked else "length"
    connection.sendall(f"GET /source/{framing}/{size} HTTP/1.1\r\nHost: origin\r\n\r\n".encode())
    answer = _Answer()
    answer.read(connection, pause)
    if answer.size != size:
        raise Failed(f"{answer.size} bytes arrived instead of {size}")


def upload(connection: socket.socket, size: int, chunked: bool = False, path: str = "/sink") -> None:
    """Send ``size`` bytes, a multiple of a block; raises `Failed` unless the origin says that they all came."""
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    connection.sendall(f"POST {path} HTTP/1.1\r\nHost: origin\r\n{framing}\r\n\r\n".encode())
    block = _CHUNK if chunked else BLOCK
    try:
        for _ in range(size // len(BLOCK)):
            connection.sendall(block)
        if chunked:
            connection.sendall(b"0\r\n\r\n")
    except ConnectionError:
        # Refused half way: what the proxy has to say about it may still be there to be read.
        pass
    answer = _Answer()
    answer.read(connection)
    if answer.last != b"%d" % size:
        raise Failed(f"{answer.last!r} bytes arrived instead of {size}")
