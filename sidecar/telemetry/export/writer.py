"""The one thread that writes log lines, so that no request ever waits for whoever reads them.

Whoever logs puts a value into a bounded queue, which costs an append. The thread makes lines of the values and writes
them. A reader that stops reading stops this thread's output and nothing else: what no longer fits into the queue is
lost and counted, and when the reader is back it is told how much that was.

The thread sleeps until it is woken, then waits a moment so that what comes together is written together: even ten
thousand lines a second wake it twenty times only. It shares the interpreter with the loop, so it works in portions and
rests between them; else the loop would find the interpreter taken whenever it comes back from its sockets.

A portion is no longer than a pipe takes at once (``PIPE_BUF``) and is written only when there is room, so lines are not
mixed with those of other processes that write to the same pipe, and one log whose reader is stuck does not hold up the
other. The descriptors are shared with others, too: they are left in the mode in which they came.

After a fork the child has no thread, and what was queued is the parent's to write. What the child logs it writes at its
end, or at once after a ``start`` of its own.
"""

from __future__ import annotations

import atexit
import os
import select
import threading
from collections import deque
from collections.abc import Callable, Iterator
from math import inf
from typing import Any, Final

from sidecar.clock import Clock
from sidecar.telemetry import access_log, log

GATHER_SECONDS: Final = 0.05
"""How long the thread waits for more when it is woken: so late a line may be."""
REST_SECONDS: Final = 0.0002
PORTIONS_BETWEEN_RESTS: Final = 8
"""How often and how long it leaves the interpreter to others. A rest costs two switches between threads: with one after
each portion a request costs 7 µs more than with these, and its latency is no better."""
FLUSH_SECONDS: Final = 1.0
"""How long the end of the process waits for readers."""
TELL_SECONDS: Final = 10.0
"""How long a log that has told of losses says nothing of further ones."""
PROCESS_LINES: Final = 1000
ACCESS_LINES: Final = 4096
"""How many lines wait at most; with the longest paths and ids they hold 16 MiB."""
PORTIONS: Final = 1024
"""After how many portions the other log has its turn."""


class Output:
    """The way of one log's lines to a file descriptor; -1: there is none, and all lines are lost."""

    __slots__ = (
        "_broken", "_fd", "_limit", "_next", "_poll", "_portion", "_queue", "_refused", "_tell_at", "_told", "_unwritten",
        "_wake", "format", "name",
    )  # fmt: skip

    def __init__(
        self, name: str, fd: int, limit: int, format: Callable[[Any], bytes], wake: Callable[[], None]
    ) -> None:
        self.name = name
        self.format = format
        """Makes a line of what was put; a reload replaces it."""
        self._fd = fd
        self._limit = limit
        self._wake = wake
        self._poll = select.poll()
        if fd >= 0:
            self._poll.register(fd, select.POLLOUT)
        self._queue: deque[Any] = deque()
        self._portion = b""
        self._next = b""
        self._broken = False
        # Each of these has one thread that writes it, so that none needs a lock.
        self._refused = 0
        self._unwritten = 0
        self._told = 0
        self._tell_at = 0.0

    def put(self, item: Any) -> None:
        """Takes what ``format`` understands; never waits. Only one thread at a time may call it."""
        if len(self._queue) >= self._limit:
            self._refused += 1
            return
        self._queue.append(item)
        self._wake()

    def insist(self, item: Any) -> None:
        """The same where there is no room, for the few lines that must not be lost."""
        self._queue.append(item)
        self._wake()

    @property
    def dropped(self) -> int:
        """How many lines have been lost."""
        return self._refused + self._unwritten

    @property
    def waiting(self) -> bool:
        return bool(self._queue or self._portion or self._next)

    @property
    def stuck(self) -> bool:
        """Whether nobody takes what there is, or has gone."""
        return self._broken or self._portion != b""

    def forget(self) -> None:
        """Drops what waits."""
        self._queue.clear()
        self._portion = self._next = b""

    def drain(self, rest: Callable[[], object]) -> None:
        """Writes what there is room for, with a ``rest()`` now and then."""
        for number in range(1, PORTIONS + 1):
            self._fill()
            if not self._portion or not self._write():
                return
            if number % PORTIONS_BETWEEN_RESTS == 0:
                rest()

    def _fill(self) -> None:
        """Adds whole lines to the portion while a pipe takes it at once; a longer line is a portion of its own."""
        lines = [self._portion]
        size = len(self._portion)
        while self._next or self._queue:
            line = self._next or self._line()
            self._next = b""
            if size and size + len(line) > select.PIPE_BUF:
                self._next = line
                break
            lines.append(line)
            size += len(line)
        self._portion = b"".join(lines)

    def _line(self) -> bytes:
        item = self._queue.popleft()
        try:
            return self.format(item)
        except Exception:  # Whatever was wrong with it, the next one must be written.
            self._unwritten += 1
            return b""

    def _write(self) -> bool:
        """Writes a part of the portion; whether there was room."""
        try:
            if self._fd >= 0 and not self._poll.poll(0):
                return False
            written = os.write(self._fd, self._portion[: select.PIPE_BUF])
        except BlockingIOError:
            return False
        except OSError:
            # Nobody will read what was meant for this reader. Should there be another one, it gets what comes later.
            self._broken = True
            self._unwritten += self._portion.count(b"\n") + self._next.count(b"\n") + len(self._queue)
            self.forget()
            return False
        self._broken = False
        self._portion = self._portion[written:]
        return True

    def wait(self, seconds: float) -> None:
        """Waits until there is room."""
        self._poll.poll(seconds * 1000)

    def loss(self, now: float) -> int:
        """How many lines have been lost since this was asked last, if it is time to tell."""
        lost = self.dropped - self._told
        if now < self.tell_at:
            return 0
        self._told += lost
        self._tell_at = now + TELL_SECONDS
        return lost

    @property
    def tell_at(self) -> float:
        """From when on losses may be told; inf if there are none."""
        return self._tell_at if self.dropped != self._told else inf


class Writer:
    """The outputs of both logs, and the thread that empties them once ``start`` was called."""

    __slots__ = ("_clock", "_ending", "_idle", "_thread", "_woken", "access", "process", "sum_up")

    def __init__(self, clock: Clock, process_fd: int, access_fd: int) -> None:
        self._clock = clock
        self.process = Output("process", process_fd, PROCESS_LINES, log.as_text, self._wake)
        self.access = Output("access", access_fd, ACCESS_LINES, access_log.as_json, self._wake)
        self.sum_up: Callable[[float], float] = lambda now: inf
        """Puts the summaries that are due, and says when there will be more; called by the thread."""
        self._idle = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """From here on lines are written as they come, until the process ends; those from before come first."""
        self._woken = threading.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()
        atexit.register(self.close)
        os.register_at_fork(after_in_child=self._forked)

    def close(self) -> None:
        """Writes what waits, for a second at most. What is put later is written by another ``close``."""
        thread = self._thread
        if thread is None:
            self._flush()
            return
        self._ending.set()
        self._woken.set()
        thread.join(FLUSH_SECONDS + 0.5)
        if not thread.is_alive():
            self._thread = None

    def dropped(self) -> Iterator[tuple[str, int]]:
        """Each log's name, and how many of its lines have been lost."""
        for output in (self.access, self.process):
            yield output.name, output.dropped

    def _forked(self) -> None:
        self._thread = None
        self._idle = False
        self.process.forget()
        self.access.forget()

    def _wake(self) -> None:
        if self._idle:
            self._idle = False
            self._woken.set()

    def _run(self) -> None:
        while not self._ending.is_set():
            next_at = self.turn()
            if self._wait_for_room(GATHER_SECONDS):
                continue
            self._idle = True
            # In this order: who has put something meanwhile has either seen that we are idle, or is seen now.
            if not (self.process.waiting or self.access.waiting):
                self._woken.wait(None if next_at == inf else max(0.0, next_at - self._clock.now()))
            self._idle = False
            self._woken.clear()
            self._ending.wait(GATHER_SECONDS)
        self._flush()

    def turn(self) -> float:
        """Writes what there is room for; when to do so again if nothing comes before."""
        now = self._clock.now()
        next_at = self.sum_up(now)
        self.access.drain(self._rest)
        self.process.drain(self._rest)
        if self.process.stuck:
            return next_at
        for output in (self.access, self.process):
            lost = output.loss(now)
            if lost:
                text = f"{lost} lines of the {output.name} log are lost: nobody read them in time"
                self.process.insist(log.Record(self._clock.wall(), "warning", "sidecar.log", text))
        self.process.drain(self._rest)
        return min(next_at, self.access.tell_at, self.process.tell_at)

    def _rest(self) -> None:
        if self._thread is not None:
            self._ending.wait(REST_SECONDS)

    def _wait_for_room(self, seconds: float) -> bool:
        """Whether somebody does not take his lines; waits for him if so."""
        full = [output for output in (self.access, self.process) if output.stuck and output.waiting]
        for output in full:
            output.wait(seconds)
        return full != []

    def _flush(self) -> None:
        until = self._clock.now() + FLUSH_SECONDS
        self.sum_up(inf)
        self.turn()
        while (self.access.waiting or self.process.waiting) and self._clock.now() < until:
            self._wait_for_room(GATHER_SECONDS)
            self.turn()
