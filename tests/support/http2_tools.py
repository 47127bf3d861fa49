"""curl, nghttp, h2load and nghttpd: HTTP/2 as others have written it, on cleartext connections."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Self

from tests.support.live import Closed, Script, Wire, free_port, until
from tests.support.needs import library, program


def curl(port: int, path: str = "/", *arguments: str, stdin: bytes = b"", host: str = "orders") -> bytes:
    """What it writes for a request, of HTTP/1.1 unless told otherwise. Fails if it fails."""
    command = [program("curl", "curl"), "-sS", "--max-time", "30", "-H", f"host: {host}", *arguments]
    return _run([*command, f"http://127.0.0.1:{port}{path}"], stdin)


def curl2(port: int, path: str = "/", *arguments: str, stdin: bytes = b"", host: str = "orders") -> bytes:
    """The same of HTTP/2, from its preface on."""
    return curl(port, path, "--http2-prior-knowledge", *arguments, stdin=stdin, host=host)


def nghttp(port: int, path: str = "/", *arguments: str, host: str = "orders") -> str:
    """Its account of the frames of a request, and what came."""
    command = [program("nghttp", "nghttp2-client"), "-v", "-t", "30s", "-H", f":authority: {host}", *arguments]
    return _run([*command, f"http://127.0.0.1:{port}{path}"]).decode(errors="replace")


def h2load(port: int, path: str, *arguments: str) -> str:
    """Its account of many requests to the service orders."""
    command = [program("h2load", "nghttp2-client"), "-H", ":authority: orders", *arguments]
    return _run([*command, f"http://127.0.0.1:{port}{path}"]).decode()


def _run(command: list[str], stdin: bytes = b"") -> bytes:
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=60)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stderr.decode()}\n{done.stdout[-2000:]!r}"
    return done.stdout


class Nghttpd:
    """nghttpd with these files; bodies of POST and PUT come back."""

    def __init__(self, files: dict[str, bytes], *arguments: str) -> None:
        self._program = program("nghttpd", "nghttp2-server")
        self._folder = tempfile.TemporaryDirectory()
        for name, content in files.items():
            (Path(self._folder.name) / name).write_bytes(content)
        self._arguments = arguments
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        command = [self._program, "--no-tls", "-a", "127.0.0.1", "-d", self._folder.name, "--echo-upload"]
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [*command, *self._arguments, str(self.port)],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        until(lambda: self._listens() or self._process.poll() is not None, "nghttpd listens")
        assert self._process.poll() is None, os.pread(self._log.fileno(), 4096, 0).decode()
        return self

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()
        self._folder.cleanup()


Fields = list[tuple[bytes, bytes]]


def answering2(answer: Callable[[dict[bytes, bytes], bytes], tuple[Fields, bytes]]) -> Script:
    """A server of HTTP/2 that gives each request, its fields and its body, what ``answer`` has for it."""
    h2, events = library("jh2.connection"), library("jh2.events")
    config = library("jh2.config").H2Configuration(client_side=False, header_encoding=None)

    def script(wire: Wire) -> None:
        connection = h2.H2Connection(config)
        connection.initiate_connection()
        heads: dict[int, dict[bytes, bytes]] = {}
        bodies: dict[int, bytes] = {}
        while True:
            wire.send(connection.data_to_send())
            data = wire.socket.recv(65536)
            if not data:
                raise Closed("the peer has closed the connection")
            for event in connection.receive_data(data):
                if isinstance(event, events.RequestReceived):
                    heads[event.stream_id], bodies[event.stream_id] = dict(event.headers), b""
                elif isinstance(event, events.DataReceived):
                    bodies[event.stream_id] += event.data
                    connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, events.StreamEnded):
                    fields, body = answer(heads.pop(event.stream_id), bodies.pop(event.stream_id))
                    connection.send_headers(event.stream_id, fields, end_stream=not body)
                    if body:
                        connection.send_data(event.stream_id, body, end_stream=True)

    return script
