"""An origin that answers each gRPC call after a second, so that as many are open at a time as the load asks for.

nghttpd answers at once, and a call that is answered is not held by a proxy any more. This one knows of HTTP/2 what it
needs for that: it does not look into heads, every stream is the same call. Run as ``python -m bench.slow_calls PORT PORT``.
"""

from __future__ import annotations

import asyncio
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import uvloop

from bench.h2 import wait_until_called
from bench.origin import Origin
from bench.process import PYTHON, free_port, running

THINKS = 1.0
"""How long a call takes, seconds."""
STREAMS = 1000

_PREFACE = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
_DATA, _HEADERS, _SETTINGS, _PING, _WINDOW_UPDATE = 0, 1, 4, 6, 8
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_MAX_CONCURRENT_STREAMS = 3
_WIDE = 2**31 - 1 - 65535


def _literal(name: bytes, value: bytes) -> bytes:
    """A field without indexing (RFC 7541 6.2.2), so that heads are the same on every connection and at any time."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


_STATUS_200 = b"\x88"
_HEAD = _STATUS_200 + _literal(b"content-type", b"application/grpc")
_TRAILERS = _literal(b"grpc-status", b"0")
_MESSAGE = struct.pack("!BL", 0, 1019) + b"x" * 1019


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack("!BHBBL", len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


def _answer(stream: int) -> bytes:
    return (
        _frame(_HEADERS, _END_HEADERS, stream, _HEAD)
        + _frame(_DATA, 0, stream, _MESSAGE)
        + _frame(_HEADERS, _END_HEADERS | _END_STREAM, stream, _TRAILERS)
    )


@contextmanager
def slow_calls(directory: Path, core: int) -> Iterator[Origin]:
    """This file as a process of its own."""
    ports = (free_port(), free_port())
    log = directory / "slow-calls.log"
    with running([PYTHON, "-m", "bench.slow_calls", *map(str, ports)], core, log) as child:
        wait_until_called(child, log, ports[0], directory)
        yield Origin("Python origin (uvloop)", ports)


class _Serving(asyncio.Protocol):
    """One connection. A window that the peer leaves to us is waited for; ours are never taken back."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.greeted = False
        self.window = 65535
        self.waiting: list[int] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of `asyncio.Transport` without being one.
        self.transport = cast(asyncio.Transport, transport)
        settings = struct.pack("!HL", _MAX_CONCURRENT_STREAMS, STREAMS)
        wide = _frame(_WINDOW_UPDATE, 0, 0, struct.pack("!L", _WIDE))
        self.transport.write(_frame(_SETTINGS, 0, 0, settings) + wide)

    def data_received(self, data: bytes) -> None:
        buffer = self.buffer
        buffer += data
        if not self.greeted:
            if len(buffer) < _PREFACE:
                return
            del buffer[:_PREFACE]
            self.greeted = True
        while len(buffer) >= 9:
            high, low, kind, flags, stream = struct.unpack_from("!BHBBL", buffer)
            end = 9 + (high << 16) + low
            if len(buffer) < end:
                return
            self._take(kind, flags, stream, bytes(buffer[9:end]))
            del buffer[:end]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
            asyncio.get_running_loop().call_later(THINKS, self._finish, stream)
        elif kind == _WINDOW_UPDATE and not stream:
            self.window += struct.unpack("!L", payload)[0]
            self._send()
        elif kind in (_SETTINGS, _PING) and not flags & _ACK:
            self.transport.write(_frame(kind, _ACK, 0, payload if kind == _PING else b""))
        if kind == _DATA and payload:
            self.transport.write(_frame(_WINDOW_UPDATE, 0, 0, struct.pack("!L", len(payload))))

    def _finish(self, stream: int) -> None:
        self.waiting.append(stream)
        self._send()

    def _send(self) -> None:
        while self.waiting and self.window >= len(_MESSAGE) and not self.transport.is_closing():
            self.window -= len(_MESSAGE)
            self.transport.write(_answer(self.waiting.pop(0)))


async def _serve(ports: list[int]) -> None:
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(_Serving, "127.0.0.1", port, backlog=4096) for port in ports]
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    uvloop.run(_serve([int(port) for port in sys.argv[1:]]))
