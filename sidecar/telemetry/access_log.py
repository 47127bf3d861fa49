"""The access log: a line an exchange, written at its end.

On the loop an exchange that is logged costs an ``Entry``: its values as they are, put into a queue. All that takes time,
decoding, escaping and formatting, is done by whoever empties the queue.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from sidecar.clock import Random
from sidecar.telemetry.lines import ELLIPSIS, json_line, printable, rfc3339
from sidecar.telemetry.stats import Stats

PATH_BYTES: Final = 2048
"""How much of a path is written; a longer one ends in an ellipsis."""
PLAIN = re.compile(r"[!#-<>-\[\]-~]+")
"""What needs no quotes in text: visible ASCII without quotes, equals signs and backslashes."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[access_log]``: which exchanges; ``sample`` is the share (0 to 1) of those that did not fail."""

    mode: Annotated[
        Literal["off", "failed", "sampled", "all"],
        Meta(description="Which exchanges; sampled: the failed ones, and a share of the others."),
    ] = "off"
    sample: Annotated[
        float, Meta(ge=0, le=1, description="Share of the exchanges without a failure, where `mode` is sampled.")
    ] = 0.01
    format: Annotated[Literal["json", "text"], Meta(description="Form of a line.")] = "json"


class Entry(msgspec.Struct, gc=False):
    """One exchange as it waits to be written."""

    wall: float
    """Unix seconds of its end."""
    stats: Stats
    """Where it is counted: direction, service and route."""
    method: bytes
    path: bytes
    """From ``path_of``."""
    host: str
    port: int
    """0 if the request names none."""
    status: int
    reason: str
    seconds: float
    attempts: int
    endpoint: str
    request_id: bytes
    trace_id: bytes
    peer: str
    grpc_status: str = ""
    """Of a gRPC call, by its name."""


class AccessLog:
    """Which exchanges are logged, and where their entries go. There is none where the access log is off."""

    __slots__ = ("_chance", "_share", "record")

    def __init__(self, settings: Settings, random: Random, record: Callable[[Entry], None]) -> None:
        self._share = {"off": 0.0, "failed": 0.0, "sampled": settings.sample, "all": 1.0}[settings.mode]
        self._chance = random.random
        self.record = record
        """Takes an entry; it must not wait."""

    def wants(self, failed: bool) -> bool:
        """Whether an exchange is logged: always if it failed, whoever failed."""
        share = self._share
        return share == 1.0 or failed or (share > 0.0 and self._chance() < share)


def path_of(target: bytes) -> bytes:
    """What is logged of a request's target: never the query, where secrets are, and a byte more than the bound at most."""
    path = target.partition(b"?")[0] if b"?" in target else target
    return path if len(path) <= PATH_BYTES else path[: PATH_BYTES + 1]


class _Line(msgspec.Struct):
    time: str
    direction: str
    service: str
    route: str
    method: str
    path: str
    host: str
    status: int
    reason: str
    duration_ms: float
    attempts: int
    endpoint: str
    request_id: str
    trace_id: str
    peer: str
    grpc_status: str


def _line(entry: Entry) -> _Line:
    stats = entry.stats
    path = entry.path.decode("utf-8", "backslashreplace")
    if len(entry.path) > PATH_BYTES:
        path = entry.path[:PATH_BYTES].decode("utf-8", "backslashreplace") + ELLIPSIS
    return _Line(
        rfc3339(entry.wall),
        stats.direction,
        stats.service,
        stats.route,
        entry.method.decode("utf-8", "backslashreplace"),
        path,
        f"{entry.host}:{entry.port}" if entry.port else entry.host,
        entry.status,
        entry.reason,
        round(entry.seconds * 1000, 3),
        entry.attempts,
        entry.endpoint,
        entry.request_id.decode("utf-8", "backslashreplace"),
        entry.trace_id.decode("utf-8", "backslashreplace"),
        entry.peer,
        entry.grpc_status,
    )


def as_json(entry: Entry) -> bytes:
    """An object with every field, always in the same order."""
    return json_line(_line(entry))


def as_text(entry: Entry) -> bytes:
    """``name=value`` pairs (logfmt) in the same order; what is empty is left out, what could be misread is quoted."""
    values = zip(_Line.__struct_fields__, map(str, msgspec.structs.astuple(_line(entry))), strict=True)
    pairs = [f"{name}={value if PLAIN.fullmatch(value) else _quoted(value)}" for name, value in values if value]
    return " ".join(pairs).encode() + b"\n"


def _quoted(value: str) -> str:
    return '"' + printable(value.replace("\\", "\\\\").replace('"', '\\"')) + '"'


FORMATS: Final = {"json": as_json, "text": as_text}
