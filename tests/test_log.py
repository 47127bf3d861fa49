"""The process log: its lines, what becomes of repeats, and the thread that writes without anybody waiting for it."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import select
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from sidecar.clock import Clock
from sidecar.telemetry.export.install import Handler, install, new_writer
from sidecar.telemetry.export.writer import PROCESS_LINES, Output, Writer
from sidecar.telemetry.lines import rfc3339
from sidecar.telemetry.log import Record, Settings
from sidecar.telemetry.repeats import FIRST, REMEMBERED
from tests.support.live import until
from tests.support.world import Now

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR) .+: .*")


class Pipe:
    """A pipe whose write end is somebody's output and whose reader reads when the test says so."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, 16384)

    def read(self) -> bytes:
        """What is in it."""
        data = b""
        try:
            while piece := os.read(self.reader, 65536):
                data += piece
        except BlockingIOError:
            pass
        return data

    def close(self) -> None:
        for fd in (self.reader, self.writer):
            try:
                os.close(fd)
            except OSError:
                pass


class Logging:
    """The process log in virtual time, written when the test asks for it."""

    def __init__(self) -> None:
        self.time = Now()
        self.clock = Clock(self.time.monotonic, self.time.wall)
        self.process = Pipe()
        self.access = Pipe()
        self.writer = Writer(self.clock, self.process.writer, self.access.writer)
        self.log = logging.getLogger("sidecar.test")

    def install(self, **settings: Any) -> None:
        install(Settings(**settings), self.clock, self.writer)

    def written(self) -> list[str]:
        """The lines that have been written since it was asked last."""
        self.next_at = self.writer.turn()
        return self.process.read().decode().splitlines()

    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.written()]


@pytest.fixture
def logs() -> Iterator[Logging]:
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    root.handlers = []
    logs = Logging()
    logs.install()
    yield logs
    root.setLevel(level)
    root.handlers = handlers
    logs.process.close()
    logs.access.close()


# Lines


def test_a_text_line_says_when_how_bad_who_and_what(logs: Logging) -> None:
    """Time in UTC with milliseconds, level, logger, message."""
    logs.time.now += 0.25
    logs.log.warning("%s cannot be resolved", "orders")
    assert logs.written() == [f"{rfc3339(logs.time.wall())} WARNING sidecar.test: orders cannot be resolved"]
    assert rfc3339(logs.time.wall()) == "2027-01-15T08:16:40.250Z"


def test_a_json_line_is_an_object_with_the_same(logs: Logging) -> None:
    """Its keys are always in the same order, and those that say nothing are left out."""
    logs.install(format="json")
    logs.log.info("shop: inbound on %s", "127.0.0.1:15006")
    (line,) = logs.written()
    assert line == (
        '{"time":"2027-01-15T08:16:40.000Z","level":"info","logger":"sidecar.test",'
        '"message":"shop: inbound on 127.0.0.1:15006"}'
    )


def test_a_traceback_is_one_field_in_json_and_indented_in_text(logs: Logging) -> None:
    """So that a record stays one line for machines, and for people no line of it looks like a record."""
    try:
        raise ValueError("first\n2027-01-15T08:16:40.000Z INFO sidecar: all is well")
    except ValueError:
        logs.log.exception("a bug")
        first, *others = logs.written()
        logs.install(format="json")
        logs.log.exception("a bug")
    assert LINE.fullmatch(first)
    assert len(others) >= 3
    assert all(line.startswith("  ") for line in others)
    (record,) = logs.objects()
    assert record["message"] == "a bug"
    assert record["exception"].startswith("Traceback (most recent call last):\n")
    assert record["exception"].endswith("INFO sidecar: all is well")


ATTACKS = [
    "a\n2027-01-15T08:16:40.000Z INFO sidecar: all is well",
    "a\r\nb",
    "\x1b[2J\x1b]0;title\x07",
    "a\x00b\x08\x7f",
    "a\x85b\x9bc",
    "a\u2028b\u2029c",
    "\u202eevil\u202c",
    "lone \ud800 surrogate \udcff",
    '"},{"level":"info"',
    "tag \U000e0041 character",
    "a\x0bb\x0cc\x1cd",
]


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("kind", ["text", "json"])
def test_nothing_that_is_logged_can_begin_a_line_or_speak_to_a_terminal(logs: Logging, kind: str, attack: str) -> None:
    """One record is one line of printable characters, in the message as in its arguments and the logger's name."""
    logs.install(format=kind)
    logging.getLogger(f"sidecar.{attack.replace('.', '')}").error(f"{attack} %s", attack)
    logs.writer.turn()
    raw = logs.process.read()
    assert raw.count(b"\n") == 1
    text = raw.decode().removesuffix("\n")
    assert text.isprintable()
    assert len(text.splitlines()) == 1
    if kind == "json":
        message = json.loads(text)["message"]
        assert message == f"{attack} {attack}".encode("utf-8", "backslashreplace").decode()
    else:
        assert LINE.fullmatch(text)


def test_what_can_be_printed_is_left_as_it_is(logs: Logging) -> None:
    """Names are not all ASCII, and people read them."""
    logs.log.info("Grüße an 注文 — C:\\temp 100 %")
    assert logs.written()[0].endswith("sidecar.test: Grüße an 注文 — C:\\temp 100 %")


def test_what_is_long_is_cut(logs: Logging) -> None:
    """A message keeps its beginning, a traceback its end."""
    logs.install(format="json")
    try:
        raise ValueError("x" * 100_000)
    except ValueError:
        logs.log.exception("y" * 100_000)
    lines = b""
    while not lines.endswith(b"\n"):
        logs.writer.turn()
        lines += logs.process.read()
    record = json.loads(lines)
    assert record["message"] == "y" * 4096 + "…"
    assert record["exception"] == "…" + "x" * 16384


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(("message", "arguments"), [("%d of %s", ("one",)), ("%s", (Unspeakable(),))])
def test_a_record_that_cannot_be_shown_is_no_reason_to_fail(
    logs: Logging, message: str, arguments: tuple[object, ...]
) -> None:
    """A wrong placeholder must not bring down what it wanted to tell of."""
    handler = next(one for one in logging.getLogger().handlers if isinstance(one, Handler))
    handler.handle(logs.log.makeRecord(logs.log.name, logging.WARNING, "file.py", 1, message, arguments, None))
    (line,) = logs.written()
    assert f"{message} (cannot be shown with its arguments: " in line


def test_level_and_format_change_with_a_reload(logs: Logging) -> None:
    """Also for lines that wait; and there is one handler, however often it is installed."""
    logs.log.debug("not asked for")
    logs.install(level="debug")
    logs.log.debug("asked for")
    logs.install(level="error", format="json")
    logs.log.warning("no longer asked for")
    assert [record["message"] for record in logs.objects()] == ["asked for"]
    assert len([one for one in logging.getLogger().handlers if isinstance(one, Handler)]) == 1


# Repeats


def test_what_repeats_itself_is_written_a_few_times_then_counted(logs: Logging) -> None:
    """After ten seconds a summary says how many there were, though nothing else is logged."""
    for number in range(FIRST + 431):
        logs.log.error("no connection to %s", f"10.0.0.{number % 250}")
    assert len(logs.written()) == FIRST
    logs.time.now = logs.next_at
    (summary,) = logs.written()
    assert summary.endswith("ERROR sidecar.test: no connection to 10.0.0.4 (repeated 431 times in 10 s)")
    assert logs.next_at == float("inf")
    logs.log.error("no connection to %s", "10.0.0.1")
    assert len(logs.written()) == 1


def test_a_summary_in_json_has_its_count_as_a_number(logs: Logging) -> None:
    """So that errors can be counted from the log."""
    logs.install(format="json")
    for _ in range(FIRST + 2):
        logs.log.error("again")
    logs.written()
    logs.time.now += 10
    (record,) = logs.objects()
    assert (record["repeated"], record["level"]) == (2, "error")


def test_a_storm_gets_its_summary_in_time_from_the_next_message_too(logs: Logging) -> None:
    """Each window is summed up on its own, before a message of the next one."""
    for _ in range(FIRST + 3):
        logs.log.error("again")
    logs.written()
    logs.time.now += 11
    logs.log.error("again")
    summary, message = logs.written()
    assert summary.endswith("again (repeated 3 times in 10 s)")
    assert message.endswith("again")


def test_a_reload_forgets_no_count(logs: Logging) -> None:
    """What was counted before it is summed up after it."""
    for _ in range(FIRST + 3):
        logs.log.error("again")
    logs.written()
    logs.install(level="warning", format="json")
    logs.time.now += 10
    (record,) = logs.objects()
    assert record["repeated"] == 3


def test_different_messages_do_not_hide_each_other(logs: Logging) -> None:
    """By logger, level and text, and by the kind of exception: two bugs that are met in one place are two."""
    for _ in range(FIRST + 1):
        logs.log.error("one")
    logs.written()
    logs.log.error("two")
    logs.log.warning("one")
    logging.getLogger("sidecar.other").error("one")
    try:
        raise KeyError("k")
    except KeyError:
        logs.log.exception("one")
    assert sum(LINE.fullmatch(line) is not None for line in logs.written()) == 4


def test_what_is_remembered_of_messages_is_bounded(logs: Logging) -> None:
    """Messages that are made of requests are all different: beyond the bound they count as the same."""
    handler = next(one for one in logging.getLogger().handlers if isinstance(one, Handler))
    for number in range(10_000):
        logs.log.error(f"built of {number}")
    assert len(handler._repeats._seen) <= REMEMBERED + 1
    lines = written_in_pieces(logs)
    assert len(lines) == REMEMBERED + FIRST
    logs.time.now += 10
    (summary,) = logs.written()
    assert summary.endswith(f"(repeated {10_000 - REMEMBERED - FIRST} times in 10 s)")


def written_in_pieces(logs: Logging) -> list[str]:
    """All lines, with a reader that reads whenever there is no more room."""
    lines: list[str] = []
    while True:
        logs.writer.turn()
        if not logs.writer.process.waiting:
            return lines + logs.process.read().decode().splitlines()
        lines += logs.process.read().decode().splitlines()


# Readers that do not read


def fill(logs: Logging, lines: int) -> None:
    for number in range(lines):
        logs.writer.process.put(record(f"line {number}"))


def record(message: str) -> Record:
    return Record(0.0, "info", "sidecar", message)


def test_lines_that_nobody_reads_are_lost_and_the_reader_is_told_how_many(logs: Logging) -> None:
    """The oldest are kept; what no longer fits is counted, and when the reader is back the last line says how much."""
    fill(logs, 800)
    logs.writer.turn()
    assert logs.writer.process.stuck
    fill(logs, PROCESS_LINES + 300)
    lost = dict(logs.writer.dropped())["process"]
    assert lost >= 300
    lines = written_in_pieces(logs)
    assert [line.rpartition(" ")[2] for line in lines[:800]] == [str(number) for number in range(800)]
    assert len(lines) == 800 + PROCESS_LINES + 300 - lost + 1
    assert lines[-1].endswith(f"{lost} lines of the process log are lost: nobody read them in time")


def test_what_is_lost_of_the_access_log_is_told_in_the_process_log(logs: Logging) -> None:
    """At once, though the access log is still stuck, and then every ten seconds: the lines of that log keep their form."""
    access = logs.writer.access
    access.format = lambda item: b"x" * 99 + b"\n"

    def put(lines: int) -> None:
        for _ in range(lines):
            access.put(None)

    put(5000)
    (told,) = logs.written()
    put(5000)
    assert logs.written() == []
    logs.time.now = logs.next_at
    (later,) = logs.written()
    numbers = [int(re.findall(r": (\d+) lines of the access log", line)[0]) for line in (told, later)]
    assert sum(numbers) == access.dropped > 5000
    assert set(logs.access.read()) == set(b"x\n")


def test_a_log_that_is_stuck_does_not_hold_up_the_other(logs: Logging) -> None:
    """Standard error may be read while standard output is not."""
    logs.writer.access.format = lambda item: b"x" * 999 + b"\n"
    for _ in range(50):
        logs.writer.access.put(None)
    logs.log.info("still here")
    assert logs.written()[0].endswith("still here")
    assert logs.writer.access.stuck


def test_lines_are_written_whole_where_a_pipe_can_take_them_so(logs: Logging) -> None:
    """Never more than PIPE_BUF at once, and never a part of a line that fits: others write to the same pipe."""
    reader, end = os.pipe2(os.O_DIRECT)  # Each read gives what was written at once.
    os.dup2(end, logs.process.writer)
    os.close(end)
    for number in range(200):
        logs.log.info(f"{number}: %s", "x" * 150)
    pieces: list[bytes] = []
    while sum(piece.count(b"\n") for piece in pieces) < 200:
        logs.writer.turn()
        pieces.append(os.read(reader, 65536))
    os.close(reader)
    assert all(piece.endswith(b"\n") for piece in pieces)
    assert max(map(len, pieces)) <= select.PIPE_BUF
    assert min(map(len, pieces[:-1])) > select.PIPE_BUF - 250


def test_a_reader_that_has_gone_is_nobodys_failure_and_the_next_one_gets_what_comes_then(logs: Logging) -> None:
    """EPIPE: what was queued is lost and counted, nothing is said about it into the void, and nothing is tried in a loop."""
    os.close(logs.process.reader)
    logs.log.error("into the void")
    assert logs.writer.turn() == logs.time.now + 10  # For the repeats.
    assert dict(logs.writer.dropped())["process"] == 1
    assert not logs.writer.process.waiting
    logs.time.now += 10
    assert logs.writer.turn() == float("inf")

    fresh = Pipe()
    os.dup2(fresh.writer, logs.process.writer)
    logs.process.reader = fresh.reader
    os.close(fresh.writer)
    logs.log.error("somebody is back")
    back, told = logs.written()
    assert back.endswith("somebody is back")
    assert "1 lines of the process log are lost" in told


@pytest.mark.parametrize("closed", [True, False])
def test_a_descriptor_that_is_closed_or_was_never_there_loses_lines_and_nothing_else(
    logs: Logging, closed: bool
) -> None:
    """As with ``2>&-``: what has that number now is not written to."""
    fd = -1
    if closed:
        fd = os.dup(logs.process.writer)
        os.close(fd)
    output = Output("process", fd, 10, lambda item: b"line\n", lambda: None)
    output.put(None)
    output.drain(lambda: None)
    assert (output.dropped, output.waiting) == (1, False)


def test_a_non_blocking_descriptor_is_waited_for_like_any_other(logs: Logging) -> None:
    """Whoever shares it may have put it into that mode."""
    os.set_blocking(logs.process.writer, False)
    fill(logs, 200)
    assert len(written_in_pieces(logs)) == 200


def test_room_that_somebody_else_has_taken_first_is_waited_for(logs: Logging, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others write to the same pipe: between asking for room and writing it may be gone."""

    def full(fd: int, data: bytes) -> int:
        raise BlockingIOError

    logs.log.info("patient")
    with monkeypatch.context() as context:
        context.setattr(os, "write", full)
        assert logs.written() == []
    assert logs.written()[0].endswith("patient")
    assert dict(logs.writer.dropped())["process"] == 0


def test_a_line_that_cannot_be_made_costs_only_itself(logs: Logging) -> None:
    """The thread must survive whatever it is given."""
    logs.writer.process.put(object())
    logs.log.info("next")
    lines = logs.written()
    assert lines[0].endswith("next")
    assert "1 lines of the process log are lost" in lines[1]


# The thread


def test_the_thread_writes_what_comes_and_what_came_before_it(logs: Logging) -> None:
    """It is woken, for whoever logs does nothing but put."""
    writer = Writer(Clock(), logs.process.writer, logs.access.writer)
    install(Settings(), Clock(), writer)
    logs.log.info("before")
    writer.start()
    seen = bytearray()

    def read(what: bytes) -> bool:
        seen.extend(logs.process.read())
        return what in seen

    until(lambda: read(b"before"), "what came before the start is written")
    until(lambda: writer._idle, "the thread sleeps")
    logs.log.info("after")
    until(lambda: read(b"after"), "what comes while it sleeps is written")
    writer.close()


def test_what_is_well_is_told_as_often_as_it_happens(logs: Logging) -> None:
    """A reload that lists twenty changes says twenty times something of one form."""
    for number in range(4 * FIRST):
        logs.log.info("change %d", number)
    assert len(logs.written()) == 4 * FIRST


def test_the_end_writes_what_waits_and_sums_up(logs: Logging) -> None:
    """With a thread or without: nothing that was logged before the end is missing."""
    for started in (True, False):
        writer = Writer(Clock(), logs.process.writer, logs.access.writer)
        install(Settings(), Clock(), writer)
        if started:
            writer.start()
            until(lambda writer=writer: writer._idle, "the thread sleeps")  # type: ignore[misc]
        for _ in range(FIRST + 2):
            logs.log.error("bye")
        writer.close()
        lines = logs.process.read().decode().splitlines()
        assert len(lines) == FIRST + 1
        assert "(repeated 2 times in 0 s)" in lines[-1]


def test_the_end_does_not_wait_for_a_reader_that_does_not_read(logs: Logging) -> None:
    """A second, and then the process may go."""
    clock = Clock()
    writer = Writer(clock, logs.process.writer, logs.access.writer)
    writer.start()
    for number in range(500):
        writer.process.put(record(f"line {number} {'x' * 100}"))
    until(lambda: writer.process.stuck, "the pipe is full")
    began = clock.now()
    writer.close()
    assert clock.now() - began < 3
    assert "log" not in {thread.name for thread in threading.enumerate()}


def test_a_child_of_a_fork_does_not_write_what_was_queued_by_its_parent(logs: Logging) -> None:
    """What the child logs it writes at its end, though it has no thread."""
    writer = Writer(Clock(), logs.process.writer, logs.access.writer)
    install(Settings(), Clock(), writer)
    writer.start()
    until(lambda: writer._idle, "the thread sleeps")
    logs.log.info("of the parent")
    child = os.fork()
    if child == 0:
        logs.log.info("of the child")
        writer.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    writer.close()
    lines = logs.process.read().decode()
    assert lines.count("of the parent") == 1
    assert lines.count("of the child") == 1


def test_only_descriptors_that_the_process_was_started_with_are_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where standard error was closed, 2 may be a listener by now."""
    monkeypatch.setattr(sys, "__stderr__", None)
    writer = new_writer(Clock())
    assert (writer.process._fd, writer.access._fd) == (-1, 1)
