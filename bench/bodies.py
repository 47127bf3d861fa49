"""Bodies far larger than the memory they may take: 2 GB up and down, by length and chunked.

The receiving side takes the first bytes and then sleeps for a second: a proxy that goes on reading collects the rest
of a body at several hundred megabytes a second. Peak memory is the kernel's high-water mark over one transfer.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

import httptools

from bench import measure, origin
from bench.origin import PAUSE
from bench.process import Failed
from bench.proxies import SIDECAR, Proxy
from bench.table import Report, Verdict
from bench.workplace import Workplace

BLOCK = b"x" * 65536
BYTES = 2 * 1024**3
LIMIT_MB = 60

_CHUNK = b"10000\r\n" + BLOCK + b"\r\n"


def big_body(work: Workplace) -> Report:
    headings = ["proxy", "body", "seconds", "MB/s", "peak RSS MB"]
    report = Report("big-body", f"{BYTES / 1024**3:.0f} GB bodies, the receiver asleep for {PAUSE:.0f} s", headings)
    peaks: list[int] = []
    for proxy in work.proxies:
        if not proxy.scales:
            continue
        for name, transfer in _TRANSFERS.items():
            work.say(f"big-body: {proxy.name}, {name}")
            try:
                seconds, peak = _measure(work, proxy, transfer)
            except (Failed, OSError) as error:
                report.failures[f"{proxy.name}, {name}"] = str(error)
                continue
            rate = BYTES / 1e6 / (seconds - PAUSE)
            report.rows.append([proxy.name, name, f"{seconds:.1f}", f"{rate:,.0f}", f"{peak / 1e6:.1f}"])
            report.data[f"{proxy.name}, {name}"] = {"seconds": seconds, "peak_rss": peak}
            if proxy is SIDECAR:
                peaks.append(peak)
    peak_mb = max(peaks, default=0) / 1e6
    # One transfer too many is enough to condemn, all of them are needed to acquit.
    value = peak_mb if len(peaks) == len(_TRANSFERS) or peak_mb > LIMIT_MB else None
    report.verdicts = [Verdict("peak memory, 2 GB bodies", value, "MB", LIMIT_MB, LIMIT_MB)]
    return report


def _measure(work: Workplace, proxy: Proxy, transfer: Callable[[socket.socket], None]) -> tuple[float, int]:
    """Seconds and peak resident bytes of one transfer."""
    with origin.python(work.directory, work.load_core) as slow, work.running(proxy, origin=slow) as served:
        measure.reset_peak(served.pid)
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", served.port), timeout=60) as connection:
            transfer(connection)
        return time.monotonic() - began, measure.peak_rss(served.pid)


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
        parser = httptools.HttpResponseParser(self)
        while not self.complete:
            data = connection.recv(262144)
            if not data:
                raise Failed(f"the response ended after {self.size} bytes of body")
            parser.feed_data(data)
            time.sleep(pause)
            pause = 0.0
        if parser.get_status_code() != 200:
            raise Failed(f"answered with {parser.get_status_code()}: {self.last[:200]!r}")


def _download(connection: socket.socket, framing: str) -> None:
    connection.sendall(f"GET /source/{framing}/{BYTES} HTTP/1.1\r\nHost: origin\r\n\r\n".encode())
    answer = _Answer()
    answer.read(connection, PAUSE)
    if answer.size != BYTES:
        raise Failed(f"{answer.size} bytes arrived instead of {BYTES}")


def _upload(connection: socket.socket, framing: str, block: bytes, end: bytes) -> None:
    connection.sendall(f"POST /sink HTTP/1.1\r\nHost: origin\r\n{framing}\r\n\r\n".encode())
    try:
        for _ in range(BYTES // len(BLOCK)):
            connection.sendall(block)
        connection.sendall(end)
    except ConnectionError:
        # Refused half way: what the proxy has to say about it may still be there to be read.
        pass
    answer = _Answer()
    answer.read(connection)
    if answer.last != b"%d" % BYTES:
        raise Failed(f"{answer.last!r} bytes arrived instead of {BYTES}")


_TRANSFERS: dict[str, Callable[[socket.socket], None]] = {
    "up, by length": lambda connection: _upload(connection, f"Content-Length: {BYTES}", BLOCK, b""),
    "up, chunked": lambda connection: _upload(connection, "Transfer-Encoding: chunked", _CHUNK, b"0\r\n\r\n"),
    "down, by length": lambda connection: _download(connection, "length"),
    "down, chunked": lambda connection: _download(connection, "chunked"),
}
