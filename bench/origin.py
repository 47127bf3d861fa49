"""What stands behind the proxies: nginx with two files, or a Python program where nginx is missing.

The Python origin is also what large bodies come from and go to, because it can be slow on purpose: it takes the first
bytes of an upload and then reads nothing for a second. A proxy that does not hand this pressure on to the sender shows
it in its memory. Run as ``python -m bench.origin PORT PORT``, it serves:

- ``GET /1k`` and ``/64k``: bodies of that size
- ``GET /source/length/N`` and ``/source/chunked/N``: N bytes in that framing
- ``POST /sink``: takes the body, answers with the number of bytes that came
- ``POST /slow-sink``: the same, asleep for a second when the first bytes are there
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import httptools
import uvloop

from bench.machine import find, first_line
from bench.process import PYTHON, free_port, running, wait_until_ready

SIZES = {"/1k": 1024, "/64k": 65536}
PAUSE = 1.0
"""How long the slow side of a big body does not read, seconds."""

_BLOCK = b"x" * 65536
_CHUNK = b"10000\r\n" + _BLOCK + b"\r\n"


@dataclass(frozen=True, slots=True)
class Origin:
    """A running origin: its two ports on loopback, which are the service's two endpoints."""

    version: str
    ports: tuple[int, int]


@contextmanager
def nginx(directory: Path, core: int) -> Iterator[Origin]:
    """nginx as one process, serving two files; endless keep-alive, no log."""
    binary = find("nginx")
    assert binary is not None
    ports = (free_port(), free_port())
    for path, size in SIZES.items():
        (directory / path[1:]).write_bytes(b"x" * size)
    config = directory / "origin-nginx.conf"
    # Without a master there is one process: nothing outlives it, and it keeps the user who may read the directory.
    config.write_text(f"""
daemon off; master_process off; pid {directory}/origin-nginx.pid; error_log stderr error;
events {{ worker_connections 8192; }}
http {{
  access_log off; sendfile on; tcp_nopush on; default_type application/octet-stream;
  keepalive_requests 1000000000; keepalive_time 1d; keepalive_timeout 1h; open_file_cache max=16 inactive=1h;
  client_body_temp_path {directory}/origin-body; proxy_temp_path {directory}/origin-proxy;
  fastcgi_temp_path {directory}/origin-fastcgi; uwsgi_temp_path {directory}/origin-uwsgi;
  scgi_temp_path {directory}/origin-scgi;
  server {{ listen 127.0.0.1:{ports[0]}; listen 127.0.0.1:{ports[1]}; root {directory}; }}
}}
""")
    log = directory / "origin.log"
    with running([binary, "-p", str(directory), "-c", str(config), "-e", "stderr"], core, log) as child:
        wait_until_ready(child, log, ports[0], "/1k")
        yield Origin(first_line(binary, "-v"), ports)


@contextmanager
def python(directory: Path, core: int) -> Iterator[Origin]:
    """This file as a process of its own."""
    ports = (free_port(), free_port())
    log = directory / "origin-python.log"
    with running([PYTHON, "-m", "bench.origin", *map(str, ports)], core, log) as child:
        wait_until_ready(child, log, ports[0], "/1k")
        yield Origin("Python origin (uvloop, httptools)", ports)


def _response(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: %d\r\n\r\n" % len(body) + body


_FIXED = {path.encode(): _response(b"x" * size) for path, size in SIZES.items()}


class _Serving(asyncio.Protocol):
    """One connection; one request at a time, as keep-alive without pipelining has it."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.path = b""
        self.received = 0
        self.owed = 0
        self.chunked = False
        self.writable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of `asyncio.Transport` without being one.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.path = b""
        self.received = 0

    def on_url(self, part: bytes) -> None:
        self.path += part

    def on_body(self, data: bytes) -> None:
        if not self.received and self.path == b"/slow-sink":
            self.transport.pause_reading()
            asyncio.get_running_loop().call_later(PAUSE, self._read_on)
        self.received += len(data)

    def _read_on(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def on_message_complete(self) -> None:
        if self.parser.get_method() == b"POST":
            self.transport.write(_response(b"%d" % self.received))
        elif self.path.startswith(b"/source/"):
            framing, _, size = self.path.removeprefix(b"/source/").partition(b"/")
            self._begin_source(framing == b"chunked", int(size))
        elif self.path in _FIXED:
            self.transport.write(_FIXED[self.path])
        else:
            self.transport.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")

    def _begin_source(self, chunked: bool, size: int) -> None:
        self.chunked = chunked
        self.owed = size
        framing = b"transfer-encoding: chunked" if chunked else b"content-length: %d" % size
        self.transport.write(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
        self._pump()

    def _pump(self) -> None:
        while self.owed and self.writable and not self.transport.is_closing():
            self.owed -= len(_BLOCK)
            self.transport.write(_CHUNK if self.chunked else _BLOCK)
            if not self.owed and self.chunked:
                self.transport.write(b"0\r\n\r\n")

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        self._pump()


async def _serve(ports: list[int]) -> None:
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(_Serving, "127.0.0.1", port, backlog=4096) for port in ports]
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    uvloop.run(_serve([int(port) for port in sys.argv[1:]]))
