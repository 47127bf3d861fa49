"""HTTP/2 in the clear with the programs of nghttp2: an origin, one call, and the load.

Everything that is sent is shaped like gRPC: a POST with ``te: trailers`` whose body is one framed message; the answer is
such a message too, and its status comes last, as a trailer. nghttpd serves files, so a method is a file, and its content
type hangs on the ending of its name.

h2load takes every 2xx for a success, and a refused call is a 200 as well: it has no message. So bytes are counted, and a
call whose message did not come is an error. What a proxy makes of a call is looked at once, before the load begins.
"""

from __future__ import annotations

import re
import secrets
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.load import output
from bench.machine import find, first_line
from bench.origin import Origin
from bench.process import Failed, free_port, running, wait_until

TOOLS = ("h2load", "nghttp", "nghttpd")

METADATA = {
    "te": "trailers",
    "content-type": "application/grpc",
    "user-agent": "grpc-python/1.85.1 grpc-c/53.0.0 (linux; chttp2)",
}

MIB = 1024**2
VARIETY = 10_000
"""How many calls follow each other on a connection before one is like another that was."""

_MESSAGES = {"128": 128, "1k": 1024, "10m": 10 * MIB}
"""Files that hold one message, by name: bytes with its prefix of five."""

_MICROSECONDS = {"us": 1.0, "ms": 1e3, "s": 1e6}


@dataclass(frozen=True, slots=True)
class Call:
    """A method: the size of its answer, and of what is sent to it, both by name (``128``, ``1k``, ``10m``).

    ``varied``: each call says something that others do not, as a trace id would be. h2load's headers are the same for all
    calls, so that HPACK makes an octet of each of them; its paths need not be, and nghttpd does not look at a query.
    """

    down: str = "1k"
    up: str = "128"
    metadata: dict[str, str] = field(default_factory=lambda: METADATA)
    varied: bool = False

    @property
    def path(self) -> str:
        return f"/bench.Origin/Get{self.down}.grpc"

    @property
    def received(self) -> int:
        """Bytes of the answer."""
        return _MESSAGES[self.down]

    def arguments(self, directory: Path) -> list[str]:
        """How it is said to h2load and to nghttp."""
        headers = {":authority": "origin"} | self.metadata
        return [
            f"--data={_file(directory, self.up)}",
            *(f"--header={name}: {value}" for name, value in headers.items()),
        ]


UNARY = Call()


@dataclass(frozen=True, slots=True)
class Job:
    """What to send: ``call`` on each of ``streams`` of ``connections``, for ``seconds`` or ``times`` in all.

    ``window``: bytes, as a power of two, that may be under way to the load on a stream, and on a connection.
    """

    port: int
    call: Call
    connections: int
    streams: int
    seconds: float = 0.0
    times: int | None = None
    window: int = 30


@dataclass(frozen=True, slots=True)
class Result:
    """What came back: ``mean`` in microseconds; ``errors`` are lost streams, answers other than 2xx or without a message.

    Exact if ``times`` were asked for; at the end of ``seconds``, calls are cut off.
    """

    calls: int
    seconds: float
    mean: float
    errors: int


def missing() -> list[str]:
    """Which of the programs are not here."""
    return [tool for tool in TOOLS if find(tool) is None]


def version() -> str | None:
    """h2load's version, ``None`` where it is missing."""
    binary = find("h2load")
    return None if binary is None else first_line(binary, "--version")


def _file(directory: Path, message: str) -> Path:
    """Where the message lies, which is written at its first use."""
    file = directory / "bench.Origin" / f"Get{message}.grpc"
    size = _MESSAGES[message]
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(struct.pack("!BL", 0, size - 5) + b"x" * (size - 5))
    return file


@contextmanager
def nghttpd(directory: Path, core: int, window: int = 16) -> Iterator[Origin]:
    """Two processes of one thread, serving all messages; ``window`` as in `Job`, here of what is sent to them."""
    binary = find("nghttpd")
    assert binary is not None
    for message in _MESSAGES:
        _file(directory, message)
    types = directory / "mime.types"
    types.write_text("application/grpc grpc\n")
    command = [binary, "--no-tls", "--address=127.0.0.1", f"--htdocs={directory}", f"--mime-types-file={types}"]
    command += ["--no-content-length", "--trailer=grpc-status: 0", f"-w{window}", f"-W{window}"]
    ports = (free_port(), free_port())
    with ExitStack() as stack:
        for port in ports:
            log = directory / f"nghttpd-{port}.log"
            child = stack.enter_context(running([*command, str(port)], core, log))
            wait_until_called(child, log, port, directory)
        yield Origin(first_line(binary, "--version"), ports)


def wait_until_called(
    child: subprocess.Popen[bytes], log: Path, port: int, directory: Path, timeout: float = 10.0
) -> None:
    """Return when a call of ``port`` has all that makes it one; raise `Failed` if the child ends first or time runs out."""
    wait_until(child, log, lambda: problem(port, UNARY, directory), timeout)


def problem(port: int, call: Call, directory: Path) -> str:
    """What is wrong with the answer to one call of ``port``; empty if nothing is."""
    binary = find("nghttp")
    assert binary is not None
    command = [binary, "--null-out", "--verbose", "--no-dep", "--timeout=5", *call.arguments(directory)]
    command.append(f"http://127.0.0.1:{port}{call.path}")
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return "no answer"
    return shape(done.stdout, call.received) or ("" if not done.returncode else f"nghttp ended with {done.returncode}")


def shape(seen: str, size: int) -> str:
    """What keeps an answer, as ``nghttp --verbose`` shows it, from being gRPC's with a message of ``size``; or nothing."""
    if not (fields := dict(re.findall(r"recv \(stream_id=\d+\) (:?[\w-]+): (.*)", seen))):
        return "no answer"
    if fields.get(":status") != "200":
        return f"status {fields.get(':status')}"
    received = sum(map(int, re.findall(r"recv DATA frame <length=(\d+)", seen)))
    if received != size or fields.get("grpc-status") != "0":
        reason = fields.get("grpc-message", "")
        return f"grpc-status {fields.get('grpc-status')} and {received} bytes instead of {size} {reason}".rstrip()
    if not fields.get("content-type", "").startswith("application/grpc"):
        return f"content-type {fields.get('content-type')}"
    if seen.rfind("grpc-status: ") < seen.rfind("recv DATA frame"):
        return "grpc-status before the message instead of behind it"
    return ""


def h2load(job: Job, core: int, directory: Path) -> Result:
    """One thread of h2load; it counts whole seconds only."""
    binary = find("h2load")
    assert binary is not None
    call = job.call
    target = [f"http://127.0.0.1:{job.port}{call.path}"]
    if call.varied:
        targets = directory / "targets"
        targets.write_text("".join(f"{target[0]}?{secrets.token_hex(16)}\n" for _ in range(VARIETY)))
        target = [f"--input-file={targets}"]
    seconds = max(1, round(job.seconds))
    amount = f"--duration={seconds}" if job.times is None else f"--requests={job.times}"
    command = [binary, "-t1", f"-c{job.connections}", f"-m{job.streams}", f"-w{job.window}", f"-W{job.window}", amount]
    # A proxy that goes silent would hold h2load for ever.
    command += ["--connection-inactivity-timeout=20", *call.arguments(directory), *target]
    return parsed(output(command, seconds + 60, core, directory), call.received)


def parsed(report: str, size: int) -> Result:
    """What h2load says, of calls that are answered with a message of ``size`` bytes; raises `Failed` if it is no report."""
    took = re.search(r"finished in ([\d.]+)(us|ms|s)", report)
    total = re.search(r"requests: (\d+) total", report)
    good = re.search(r"status codes: (\d+) 2xx", report)
    data = re.search(r"\((\d+)\) data", report)
    mean = re.search(r"time for request: +\S+ +\S+ +([\d.]+)(us|ms|s) ", report)
    if not (took and total and good and data and mean):
        raise Failed(f"h2load said something else than expected: {' '.join(report.split())[-300:]}")
    answered = min(int(total[1]), int(good[1]), int(data[1]) // size)
    return Result(answered, _microseconds(took) / 1e6, _microseconds(mean), int(total[1]) - answered)


def _microseconds(found: re.Match[str]) -> float:
    return float(found[1]) * _MICROSECONDS[found[2]]
