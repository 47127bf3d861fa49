"""The process log: what the sidecar says of itself, as lines for people or for machines."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from sidecar.telemetry.lines import encodable, json_line, printable, rfc3339


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[log]``: from which level on, and in which form."""

    level: Annotated[Literal["debug", "info", "warning", "error"], msgspec.Meta(description="From which level on.")] = (
        "info"
    )
    format: Annotated[Literal["text", "json"], msgspec.Meta(description="Form of a line.")] = "text"


class Record(msgspec.Struct, gc=False):
    """One message as it waits to be written. ``wall``: Unix seconds; ``level`` in lower case."""

    wall: float
    level: str
    logger: str
    message: str
    exception: str = ""
    """The traceback, its lines and all."""
    repeated: int = 0
    """In a summary: how many messages like this one were counted and not written."""


class _Line(msgspec.Struct, omit_defaults=True):
    time: str
    level: str
    logger: str
    message: str
    exception: str = ""
    repeated: int = 0


def as_json(record: Record) -> bytes:
    """An object with ``time``, ``level``, ``logger`` and ``message``, and where there is one ``exception``, ``repeated``."""
    line = _Line(
        rfc3339(record.wall),
        record.level,
        encodable(record.logger),
        encodable(record.message),
        encodable(record.exception),
        record.repeated,
    )
    return json_line(line)


def as_text(record: Record) -> bytes:
    """``TIME LEVEL LOGGER: MESSAGE``; a traceback follows in lines that begin with two spaces, as no message does."""
    line = f"{rfc3339(record.wall)} {record.level.upper()} {printable(record.logger)}: {printable(record.message)}\n"
    if record.exception:
        line += "".join(f"  {printable(one)}\n" for one in record.exception.split("\n"))
    return line.encode()


FORMATS: Final = {"json": as_json, "text": as_text}
