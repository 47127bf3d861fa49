"""Real processes and sockets, for what only they show: a sidecar in a process of its own, servers that behave as they are
told, and a client that says what it saw.

Nothing here waits by the clock. Whoever needs something to have happened asks ``until`` for it, with a deadline that is only
reached when a test fails. ::

    with Upstream(ok) as orders, Sidecar(f'[services.orders]\\nendpoints = ["{orders.address}"]') as sidecar:
        with Client(sidecar.ports["outbound"]) as client:
            assert client.get("orders").status == 200
"""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import IO, Self, cast

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 10.0
"""Seconds after which something that should have happened is taken for broken."""
BANNER = re.compile(r"sidecar: \S+: (inbound|outbound|probes|admin) on 127\.0\.0\.1:(\d+)")
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
LISTEN = {"inbound": "none", "outbound": "127.0.0.1:0", "probes": "127.0.0.1:0", "admin": "127.0.0.1:0"}


def until(happened: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Returns when ``happened()`` is true; fails if that does not come about."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"it did not happen within {seconds:g} s: {what}"
        time.sleep(0.005)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def services(**endpoints: str) -> str:
    """TOML of services by name, each with one endpoint."""
    return "".join(f'[services.{name}]\nendpoints = ["{address}"]\n' for name, address in endpoints.items())


class Sidecar:
    """``python -m sidecar run`` with a configuration; started when entered, killed when left.

    ``listen`` says which listeners there are besides outbound, probes and admin, which take free ports by themselves.
    ``open_files`` is the hard limit on file descriptors, ``stdout`` the descriptor that it gets, and ``redirect`` what a
    shell does to its descriptors before (``"2>&-"``; without standard error the ports must be given).
    ``command`` is the application that it starts itself,
    ``inside`` a command line that ours is appended to.
    """

    def __init__(
        self,
        toml: str = "",
        app: str | None = None,
        open_files: int | None = None,
        stdout: int | None = None,
        redirect: str = "",
        command: Sequence[str] = (),
        inside: Sequence[str] = (),
        **listen: str,
    ) -> None:
        self._toml = toml
        self._listen = LISTEN | ({"inbound": "127.0.0.1:0"} if app is not None or command else {}) | listen
        self._command = command
        self._inside = inside
        self._app = app
        self._open_files = open_files
        self._stdout = stdout
        self._redirect = redirect
        self._log: IO[bytes] = tempfile.TemporaryFile()
        self._process: subprocess.Popen[bytes] | None = None
        self.ports: dict[str, int] = {}

    def __enter__(self) -> Self:
        try:
            self.spawn()
            until(lambda: len(self._announced()) == self._expected() or self.ended(), "the listeners are announced")
            assert not self.ended(), self.log()
            self.ports = self._announced()
            until(lambda: self.probe("/health/startup").status == 200, "the sidecar has started")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def spawn(self) -> None:
        """Starts the process, whatever comes of it."""
        with tempfile.NamedTemporaryFile("w", suffix=".toml", delete=False) as file:
            file.write(self._text())
        self._config = Path(file.name)
        command = [*self._inside, sys.executable, "-m", "sidecar", "run", "--config", file.name]
        if self._command:
            command += ["--", *self._command]
        if self._open_files is not None:
            command = ["sh", "-c", f'ulimit -n {self._open_files}; exec "$@"', "sh", *command]
        if self._redirect:
            command = ["sh", "-c", f'exec "$@" {self._redirect}', "sh", *command]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._stdout, stderr=self._log, cwd=ROOT
        )

    def _text(self) -> str:
        head = f'[service]\nname = "shop"\n{f"app = {self._app!r}" if self._app else ""}\n[listen]\n'
        return head + "".join(f'{name} = "{address}"\n' for name, address in self._listen.items()) + self._toml

    def write(self, toml: str) -> None:
        """Another configuration, with the same listeners, in place of the file that it was started with."""
        self._toml = toml
        new = self._config.with_suffix(".new")
        new.write_text(self._text())
        new.rename(self._config)

    def move(self, listener: str, address: str) -> None:
        """Writes another address for a listener."""
        self._listen[listener] = address
        self.write(self._toml)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._config.unlink()
        self._log.close()

    def _expected(self) -> int:
        return sum(address != "none" for address in self._listen.values())

    def _announced(self) -> dict[str, int]:
        return {name: int(port) for name, port in BANNER.findall(self.log())}

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def config(self) -> Path:
        """The file that it was started with; it is gone when the sidecar is."""
        return self._config

    def ended(self) -> bool:
        return self.process.poll() is not None

    def log(self) -> str:
        """All that it has written so far."""
        return os.pread(self._log.fileno(), 1 << 20, 0).decode()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def exit_code(self, seconds: float = PATIENCE) -> int:
        """Waits for the end of the process."""
        return self.process.wait(seconds)

    def probe(self, path: str) -> Response:
        with Client(self.ports["probes"]) as client:
            return client.get("sidecar", path)

    def metric(self, name: str, /, **labels: object) -> float:
        """The samples of a metric that have these labels, added up; 0 if there is none."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        lines = self.probe("/metrics").body.decode().splitlines()
        rows = (line for line in lines if line.startswith((f"{name} ", f"{name}{{")))
        return sum(float(row.rpartition(" ")[2]) for row in rows if all(one in row for one in wanted))

    def requests(self, **labels: object) -> float:
        return self.metric("sidecar_requests_total", **labels)

    def memory(self, field: str) -> int:
        """Bytes of a field of ``/proc/PID/status``: ``VmRSS`` now, ``VmHWM`` at most so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        match = re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)
        assert match is not None
        return int(match[1]) * 1024


class Closed(Exception):
    """The peer has closed or reset the connection before all of a message had come."""


class Wire:
    """A connection with a buffered reader of HTTP/1 on it."""

    def __init__(self, raw: socket.socket) -> None:
        raw.settimeout(PATIENCE)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = raw
        self._reader = cast(BufferedReader, raw.makefile("rb", buffering=262144))

    def close(self) -> None:
        self._reader.close()
        self.socket.close()

    def reset(self) -> None:
        """Closes it with a RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def head(self) -> bytes:
        """The bytes of a head through its empty line; ``Closed`` if none came."""
        lines = []
        while True:
            line = self.line()
            lines.append(line)
            if line == b"\r\n":
                return b"".join(lines)

    def line(self) -> bytes:
        try:
            line = self._reader.readline()
        except ConnectionError as error:
            raise Closed(str(error)) from None
        if not line.endswith(b"\n"):
            raise Closed(f"ended after {line!r}")
        return line

    def pieces(self, head: bytes) -> Iterator[bytes]:
        """The body that ``head`` announces, as it comes; ``Closed`` if it breaks off."""
        match = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
        if match is not None:
            yield from self._exactly(int(match[1]))
        elif re.search(rb"\r\ntransfer-encoding: *chunked", head, re.IGNORECASE):
            while size := int(self.line(), 16):
                yield from self._exactly(size)
                self.line()
            while self.line() != b"\r\n":
                pass

    def _exactly(self, size: int) -> Iterator[bytes]:
        while size:
            try:
                piece = self._reader.read1(min(size, 262144))
            except ConnectionError as error:
                raise Closed(str(error)) from None
            if not piece:
                raise Closed(f"{size} bytes of the body are missing")
            size -= len(piece)
            yield piece

    def wait_for_end(self) -> None:
        """Reads until the peer has closed the connection, in order or not."""
        try:
            while self._reader.read1(65536):
                pass
        except ConnectionError:
            pass

    def quiet(self) -> bool:
        """Whether the connection stands and there is nothing to read."""
        poll = select.poll()  # select() knows only the first 1,024 descriptors.
        poll.register(self.socket, select.POLLIN)
        return not poll.poll(0)

    def fileno(self) -> int:
        return self.socket.fileno()


class Response:
    """``body`` is whole."""

    def __init__(self, head: bytes, body: bytes) -> None:
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split(" ")[1])
        self.fields = dict(line.lower().split(": ", 1) for line in lines[1:-2])
        self.body = body

    @property
    def reason(self) -> str:
        """Why a sidecar refused; empty if the response is not a sidecar's own."""
        return self.fields.get("x-sidecar-reason", "")

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.reason} {self.body[:200]!r}>"


class Client(Wire):
    """A connection to a port of this machine."""

    def __init__(self, port: int) -> None:
        super().__init__(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, host: str, path: str = "/", method: str = "GET", fields: str = "") -> None:
        """Sends a request without a body."""
        try:
            self.send(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode())
        except ConnectionError as error:
            raise Closed(str(error)) from None

    def response(self) -> Response:
        head = self.head()
        return Response(head, b"".join(self.pieces(head)))

    def get(self, host: str, path: str = "/", method: str = "GET", fields: str = "") -> Response:
        self.ask(host, path, method, fields)
        return self.response()


Script = Callable[["Wire"], None]
"""What a server does with one connection; at its end the connection is closed."""


def answering(response: bytes = OK) -> Script:
    """Answers every request alike."""

    def script(wire: Wire) -> None:
        while True:
            for _ in wire.pieces(wire.head()):
                pass
            wire.send(response)

    return script


class Upstream:
    """A server on a free port that handles each connection in a thread, as ``script`` says; ``accepted`` counts them."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.accepted = 0
        self._open: set[Wire] = set()
        self._threads: list[threading.Thread] = []
        self.errors: list[BaseException] = []

    def __enter__(self) -> Self:
        self._threads.append(threading.Thread(target=self._accept, daemon=True))
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for wire in tuple(self._open):
            with suppress(OSError):
                wire.socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
        if error is None and self.errors:
            raise self.errors[0]

    def _accept(self) -> None:
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            thread = threading.Thread(target=self._serve, args=(Wire(raw),), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, wire: Wire) -> None:
        self._open.add(wire)
        try:
            self._script(wire)
        except (Closed, OSError):
            pass
        except BaseException as error:
            self.errors.append(error)
        finally:
            self._open.discard(wire)
            wire.close()
