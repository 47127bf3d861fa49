"""What a proxy holds while nothing happens: just started, and with thousands of connections that have spoken once."""

from __future__ import annotations

import resource
import socket
import time
from contextlib import ExitStack, suppress

from bench import measure
from bench.figures import Figure, Quantity
from bench.origin import SIZES
from bench.process import Failed, get
from bench.proxies import SIDECAR, Proxy
from bench.table import Report, Verdict
from bench.workplace import Workplace

CONNECTIONS = 10_000
FILES_BESIDE = 100
"""Files that a proxy has open beside its connections, at most."""

_AT_REST = Quantity("memory at rest", "MB", portable=True)
_EACH = Quantity("memory per connection", "KB", noise=0.2, portable=True)


def idle(work: Workplace) -> Report:
    """Memory once per proxy: unlike time, it hardly varies between rounds."""
    number = connections_within(_allow_open_files(2 * (CONNECTIONS + FILES_BESIDE)))
    headings = ["proxy", "idle RSS MB", f"with {number:,} connections MB", "KB per connection"]
    report = Report("idle", f"Idle: memory at rest and with {number:,} keep-alive connections", headings)
    if number < CONNECTIONS:
        report.notes.append(
            f"{number:,} connections instead of {CONNECTIONS:,}: the limit on open files (`ulimit -Hn`) is too low, and a"
            " sidecar takes half of it at most; more client processes would not change that"
        )
    for proxy in work.proxies:
        work.say(f"idle: {proxy.name}")
        try:
            at_rest, warm, full = _measure(work, proxy, number)
        except Failed as error:
            report.failures[proxy.name] = str(error)
            continue
        each = (full - warm) / number
        report.rows.append([proxy.name, f"{at_rest / 1e6:.1f}", f"{full / 1e6:.1f}", f"{each / 1e3:.1f}"])
        report.figures.append(Figure("idle", proxy.name, _AT_REST, [at_rest / 1e6]))
        report.figures.append(Figure("idle", proxy.name, _EACH, [each / 1e3]))
        report.data[proxy.name] = {
            "connections": number,
            "at_rest": at_rest,
            "warm": warm,
            "with_connections": full,
            "per_connection": each,
        }
    own = report.data.get(SIDECAR.name)
    report.verdicts = [
        Verdict("resident memory, idle", own and own["at_rest"] / 1e6, "MB", 45, 45),
        Verdict("memory per idle connection", own and own["per_connection"] / 1e3, "KB", 6, 6),
    ]
    return report


def connections_within(files: int) -> int:
    """How many connections fit where a process may open ``files``: half of it is kept for endpoints."""
    return max(1, min(CONNECTIONS, files // 2 - FILES_BESIDE))


def _measure(work: Workplace, proxy: Proxy, number: int) -> tuple[int, int, int]:
    """Resident bytes just started, after a few hundred requests, and with all connections open."""
    with work.running(proxy) as served, ExitStack() as held:
        time.sleep(1.0)
        at_rest = measure.rss(served.pid)
        # What the first requests allocate once and for all does not belong to the connections.
        for _ in range(300):
            get(served.port, "/1k")
        warm = measure.rss(served.pid)
        opened = []
        for count in range(number):
            try:
                opened.append(held.enter_context(socket.create_connection(("127.0.0.1", served.port), timeout=5)))
                _ask_once(opened[-1])
            except OSError as error:
                raise Failed(f"connection {count + 1} of {number}: {error}") from error
        time.sleep(1.0)
        if gone := sum(map(_ended, opened)):
            raise Failed(f"{gone} of {number} connections did not stay open")
        return at_rest, warm, measure.rss(served.pid)


def _ended(connection: socket.socket) -> bool:
    """Whether the proxy has closed ``connection``, on which nothing is owed."""
    connection.setblocking(False)
    try:
        connection.recv(1)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _ask_once(connection: socket.socket) -> None:
    connection.sendall(b"GET /1k HTTP/1.1\r\nHost: origin\r\n\r\n")
    received = b""
    while len(received.partition(b"\r\n\r\n")[2]) < SIZES["/1k"]:
        data = connection.recv(65536)
        if not data:
            raise OSError(f"closed after {received[:100]!r}")
        received += data


def _allow_open_files(number: int) -> int:
    """Let this process and its children open ``number`` files, or as many as the system lets us; returns how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < number:
        # Only root may, and not in every container.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (number, number))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = number if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft
