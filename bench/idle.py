"""What a proxy holds while nothing happens: just started, and with thousands of connections that have spoken once."""

from __future__ import annotations

import resource
import socket
import time
from contextlib import ExitStack

from bench import measure
from bench.origin import SIZES
from bench.process import Failed, get
from bench.proxies import SIDECAR, Proxy
from bench.table import Report, Verdict
from bench.workplace import Workplace

CONNECTIONS = 5000


def idle(work: Workplace) -> Report:
    """Memory once per proxy: unlike time, it hardly varies between rounds."""
    headings = ["proxy", "idle RSS MB", f"with {CONNECTIONS:,} connections MB", "KB per connection"]
    report = Report("idle", f"Idle: memory at rest and with {CONNECTIONS:,} keep-alive connections", headings)
    for proxy in work.proxies:
        work.say(f"idle: {proxy.name}")
        try:
            at_rest, warm, full = _measure(work, proxy)
        except Failed as error:
            report.failures[proxy.name] = str(error)
            continue
        each = (full - warm) / CONNECTIONS
        report.rows.append([proxy.name, f"{at_rest / 1e6:.1f}", f"{full / 1e6:.1f}", f"{each / 1e3:.1f}"])
        report.data[proxy.name] = {"at_rest": at_rest, "warm": warm, "with_connections": full, "per_connection": each}
    own = report.data.get(SIDECAR.name)
    report.verdicts = [
        Verdict("resident memory, idle", own and own["at_rest"] / 1e6, "MB", 45, 45),
        Verdict("memory per idle connection", own and own["per_connection"] / 1e3, "KB", 6, 6),
    ]
    return report


def _measure(work: Workplace, proxy: Proxy) -> tuple[int, int, int]:
    """Resident bytes just started, after a few hundred requests, and with all connections open."""
    allow_open_files(CONNECTIONS + 1000)
    with work.running(proxy) as served, ExitStack() as held:
        time.sleep(1.0)
        at_rest = measure.rss(served.pid)
        # What the first requests allocate once and for all does not belong to the connections.
        for _ in range(300):
            get(served.port, "/1k")
        warm = measure.rss(served.pid)
        for number in range(CONNECTIONS):
            connection = held.enter_context(socket.create_connection(("127.0.0.1", served.port), timeout=5))
            try:
                _ask_once(connection)
            except OSError as error:
                raise Failed(f"connection {number + 1} of {CONNECTIONS}: {error}") from error
        time.sleep(1.0)
        return at_rest, warm, measure.rss(served.pid)


def _ask_once(connection: socket.socket) -> None:
    connection.sendall(b"GET /1k HTTP/1.1\r\nHost: origin\r\n\r\n")
    received = b""
    while len(received.partition(b"\r\n\r\n")[2]) < SIZES["/1k"]:
        data = connection.recv(65536)
        if not data:
            raise OSError(f"closed after {received[:100]!r}")
        received += data


def allow_open_files(number: int) -> None:
    """Raise the soft limit on open files to the hard one; raises `Failed` if ``number`` do not fit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < number:
        raise Failed(f"the limit on open files is {hard}, {number} are needed")
