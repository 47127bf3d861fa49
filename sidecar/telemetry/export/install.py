"""Both logs, connected to the writer: what ``life`` and ``app`` call at the start and again at a reload."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from math import inf
from typing import Final

from sidecar.clock import Clock, Random
from sidecar.telemetry import access_log, log
from sidecar.telemetry.access_log import AccessLog
from sidecar.telemetry.export.writer import Writer
from sidecar.telemetry.lines import ELLIPSIS
from sidecar.telemetry.repeats import WINDOW_SECONDS, Repeats, Seen

MESSAGE_CHARACTERS: Final = 4096
"""How much of a message is written; a longer one ends in an ellipsis."""
TRACEBACK_CHARACTERS: Final = 16384
"""How much of a traceback is written: its end, where the error is."""
KEY_CHARACTERS: Final = 256
"""How much of a message tells it from others."""


def new_writer(clock: Clock) -> Writer:
    """Writes to standard error and standard output, if the process was started with them."""
    # Those that it was started without get the null device: no socket must have their numbers. Libraries may write to
    # them all the same, and libuv takes it for a bug and aborts when it is to close one.
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)
    return Writer(clock, 2 if sys.__stderr__ is not None else -1, 1 if sys.__stdout__ is not None else -1)


def install(settings: log.Settings, clock: Clock, writer: Writer) -> None:
    """Everything that is logged goes to ``writer`` from here on; called again, it changes level and format."""
    root = logging.getLogger()
    if not any(isinstance(handler, Handler) and handler.writer is writer for handler in root.handlers):
        root.handlers = [handler for handler in root.handlers if not isinstance(handler, Handler)]
        root.addHandler(Handler(clock, writer))
    writer.process.format = log.FORMATS[settings.format]
    root.setLevel(settings.level.upper())


def open_access_log(settings: access_log.Settings, random: Random, writer: Writer) -> AccessLog | None:
    """What a scope and a listener have as their access log; ``None`` if it is off."""
    writer.access.format = access_log.FORMATS[settings.format]
    return AccessLog(settings, random, writer.access.put) if settings.mode != "off" else None


class Handler(logging.Handler):
    """Puts what is logged into the writer's queue, and sums up what repeats itself."""

    def __init__(self, clock: Clock, writer: Writer) -> None:
        super().__init__()
        self.writer = writer
        self._clock = clock
        self._repeats = Repeats()
        writer.sum_up = self._sum_up

    def emit(self, record: logging.LogRecord) -> None:
        now = self._clock.now()
        self._put_summaries(now)
        raised = record.exc_info[1] if record.exc_info is not None else None
        message = _message(record)
        level = record.levelname.lower()
        if record.levelno >= logging.WARNING and not self._admits(record, raised, message, level, now):
            return
        self.writer.process.put(log.Record(self._clock.wall(), level, record.name, message, _exception(record, raised)))

    def _admits(
        self, record: logging.LogRecord, raised: BaseException | None, message: str, level: str, now: float
    ) -> bool:
        """Whether what is wrong is written once more. What is told of good things is not repeated by itself."""
        # Without the arguments, which differ from request to request; two bugs that are met in one place are two.
        what = record.msg[:KEY_CHARACTERS] if isinstance(record.msg, str) else type(record.msg)
        seen = self._repeats.admit((record.name, record.levelno, what, type(raised)), now)
        if seen is None:
            return False
        seen.logger = record.name
        seen.level = level
        seen.message = message
        return True

    def _sum_up(self, now: float) -> float:
        with self.lock:  # type: ignore[union-attr]
            self._put_summaries(now)
            return self._repeats.next_end()

    def _put_summaries(self, now: float) -> None:
        for seen in self._repeats.ended(now):
            self.writer.process.put(self._summary(seen, now))

    def _summary(self, seen: Seen, now: float) -> log.Record:
        seconds = WINDOW_SECONDS if now != inf else self._clock.now() - seen.began
        text = f"{seen.message} (repeated {seen.more} times in {seconds:.0f} s)"
        return log.Record(self._clock.wall(), seen.level, seen.logger, text, repeated=seen.more)


def _message(record: logging.LogRecord) -> str:
    try:
        message = record.getMessage()
    except Exception as error:
        # A wrong placeholder, or an argument that cannot be shown: no reason to fail its caller.
        what = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
        message = f"{what} (cannot be shown with its arguments: {type(error).__name__})"
    return message if len(message) <= MESSAGE_CHARACTERS else message[:MESSAGE_CHARACTERS] + ELLIPSIS


def _exception(record: logging.LogRecord, raised: BaseException | None) -> str:
    text = "".join(traceback.format_exception(raised)) if raised is not None else ""
    text = "\n".join(filter(None, (text.rstrip("\n"), record.stack_info)))
    return text if len(text) <= TRACEBACK_CHARACTERS else ELLIPSIS + text[-TRACEBACK_CHARACTERS:]
