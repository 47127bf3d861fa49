"""Real DNS servers on this machine: dnsmasq, for what a proper one does, and one that does what a test says."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

import pytest
from dnslib import QTYPE, RCODE, RR, DNSRecord

from tests.support.live import PATIENCE, until

Says = Callable[[DNSRecord], "DNSRecord | bytes | None"]
"""The answer to a question; bytes are sent as they are, ``None`` is silence."""


def answer(question: DNSRecord, *lines: str, extra: Sequence[str] = (), code: str = "NOERROR") -> DNSRecord:
    """A reply with records as a zone file has them."""
    reply: DNSRecord = question.reply()
    reply.header.rcode = getattr(RCODE, code)
    for line in lines:
        reply.add_answer(*RR.fromZone(line))
    for line in extra:
        reply.add_ar(*RR.fromZone(line))
    return reply


def zone(says: Mapping[tuple[str, str], Sequence[str]]) -> Says:
    """Answers with the records of a name and a kind; a name that is not there does not exist."""

    def reply(question: DNSRecord) -> DNSRecord:
        name, kind = str(question.q.qname).rstrip(".").lower(), QTYPE[question.q.qtype]
        if (name, kind) in says:
            return answer(question, *says[name, kind])
        return answer(question, code="NOERROR" if any(name == one for one, _ in says) else "NXDOMAIN")

    return reply


class DnsServer:
    """On a free port, UDP and TCP, until left; ``says`` may be changed meanwhile. ``stop`` and ``start`` keep the port."""

    def __init__(self, says: Says, tcp: Says | None = None) -> None:
        self.says = says
        self._tcp = tcp
        self.port = 0
        self.asked = 0
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        while not self._sockets:
            with suppress(OSError):  # The port of one kind may be taken for the other.
                self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        udp = socket.socket(type=socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", self.port))
        try:
            tcp = socket.create_server(udp.getsockname())
        except OSError:
            udp.close()
            raise
        self.port = udp.getsockname()[1]
        self._sockets = [udp, tcp]
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._serve_udp, self._serve_tcp)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        if not self._sockets:
            return
        udp, tcp = self._sockets
        tcp.shutdown(socket.SHUT_RDWR)
        with socket.socket(type=socket.SOCK_DGRAM) as waking:
            waking.sendto(b"", ("127.0.0.1", self.port))
        for thread in self._threads:
            thread.join(PATIENCE)
        for one in (udp, tcp):
            one.close()
        self._sockets = []

    def _reply(self, data: bytes, says: Says) -> bytes | None:
        self.asked += 1
        said = says(DNSRecord.parse(data))
        return said.pack() if isinstance(said, DNSRecord) else said

    def _serve_udp(self) -> None:
        while True:
            data, whom = self._sockets[0].recvfrom(4096)
            if not data:
                return
            reply = self._reply(data, self.says)
            if reply is not None:
                self._sockets[0].sendto(reply, whom)

    def _serve_tcp(self) -> None:
        while True:
            try:
                connection, _ = self._sockets[1].accept()
            except OSError:
                return
            with connection, suppress(OSError):
                connection.settimeout(PATIENCE)
                size = int.from_bytes(connection.recv(2, socket.MSG_WAITALL))
                data = connection.recv(size, socket.MSG_WAITALL)
                reply = self._reply(data, self._tcp) if data and self._tcp is not None else None
                if reply is not None:
                    connection.sendall(len(reply).to_bytes(2) + reply)


@contextmanager
def dnsmasq(*lines: str) -> Iterator[str]:
    """The address of a dnsmasq with this configuration."""
    program = shutil.which("dnsmasq") or shutil.which("dnsmasq", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        assert "CI" not in os.environ, "dnsmasq is missing (Debian: dnsmasq-base)"
        pytest.skip("needs dnsmasq (Debian: apt install dnsmasq-base)")
    with DnsServer(lambda question: None) as probe:
        port = probe.port
    head = [f"port={port}", "listen-address=127.0.0.1", "bind-interfaces", "no-resolv", "no-hosts", "pid-file="]
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file, tempfile.TemporaryFile() as log:
        file.write("\n".join([*head, *lines, ""]))
        file.flush()
        os.chmod(file.name, 0o644)
        process = subprocess.Popen([program, "--keep-in-foreground", f"--conf-file={file.name}"], stderr=log)
        try:
            until(lambda: _listens(port) or process.poll() is not None, "dnsmasq listens")
            assert process.poll() is None, os.pread(log.fileno(), 4096, 0).decode()
            yield f"127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
