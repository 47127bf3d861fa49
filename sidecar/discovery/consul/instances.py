"""What we make of a service's health as Consul tells it.

Others write it, so nothing of it is trusted: each entry is read by itself, and one that makes no sense is left out and
does not take the others with it.

| Consul says | for us |
|---|---|
| passing | well |
| warning | well, with the weight that the registration has for that |
| critical | in trouble: not used, but in panic |
| in maintenance, the node or the service | not listed: somebody has taken it out on purpose |
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from sidecar.discovery.source import Instance

MOST: Final = 20_000
"""Instances of one service."""
MOST_COMMAS: Final = 100 * MOST
"""In the whole list. A real entry has some thirty; a list of nothing but them would be taken apart in memory for seconds."""
SLICE: Final = 250
"""Instances that are read at a time: about a millisecond."""
MAINTENANCE: Final = ("_node_maintenance", "_service_maintenance")
ZONE, VERSION, WEIGHT = "zone", "version", "weight"
"""Keys of a registration's meta that mean something to us; the weight, where Consul's own cannot hold it."""

_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class _Node(msgspec.Struct, frozen=True):
    Address: str = ""


class _Weights(msgspec.Struct, frozen=True):
    Passing: int = 1
    Warning: int = 1


class _Service(msgspec.Struct, frozen=True):
    Port: int
    ID: str = ""
    Address: str = ""
    Meta: dict[str, str] | None = None
    Weights: _Weights | None = None


class _Check(msgspec.Struct, frozen=True):
    Status: str
    CheckID: str = ""
    Name: str = ""
    Output: str = ""


class _Entry(msgspec.Struct, frozen=True):
    Service: _Service
    Node: _Node = _Node()
    Checks: list[_Check] = []


class Parsed(NamedTuple):
    """The instances in Consul's order, and why the first of those that were left out made no sense."""

    instances: Sequence[Instance]
    odd: str = ""


_entries: Final = msgspec.json.Decoder(list[msgspec.Raw])
_entry: Final = msgspec.json.Decoder(_Entry)


def parse(service: str, body: bytes) -> Generator[None, None, Parsed]:
    """Returns the instances of ``service``, and pauses on the way there: of thousands of them, to read them all takes longer
    than any request should wait. Raises ``ValueError`` if the body is no list."""
    found: list[Instance] = []
    if body.count(b",") > MOST_COMMAS:
        raise ValueError("it has far too many parts")
    try:
        entries = _entries.decode(body)
    except RecursionError as error:
        raise ValueError(str(error)) from None
    odd = f"there are {len(entries):,} of them, and only the first {MOST:,} are read" if len(entries) > MOST else ""
    for number, raw in enumerate(entries[:MOST], 1):
        if number % SLICE == 0:
            yield
        try:
            instance = _instance(service, _entry.decode(raw))
        except (ValueError, RecursionError) as error:
            odd = odd or _clean(str(error))
            continue
        if instance is not None:
            found.append(instance)
    return Parsed(found, odd)


def _instance(service: str, entry: _Entry) -> Instance | None:
    """``None`` for one that is not listed."""
    worst = None
    warned = False
    for check in entry.Checks:
        if check.CheckID.startswith(MAINTENANCE):
            return None
        if check.Status == "critical" and worst is None:
            worst = check
        warned = warned or check.Status == "warning"
    listed = entry.Service
    meta = listed.Meta or {}
    made: dict[str, Any] = {
        "service": service,
        "host": listed.Address or entry.Node.Address,
        "port": listed.Port,
        "weight": _weight(listed, meta, warned),
        "zone": _clean(meta.get(ZONE, "")),
        "version": _clean(meta.get(VERSION, "")),
        "id": _clean(listed.ID),
        "trouble": _reason(worst) if worst is not None else "",
    }
    # Tags and meta are of no use to whoever calls, and of thousands of instances they would be most of the memory.
    return msgspec.convert(made, Instance)


def _weight(listed: _Service, meta: dict[str, str], warned: bool) -> int:
    weights = listed.Weights or _Weights()
    written = meta.get(WEIGHT, "")
    said = int(written) if written.isascii() and written.isdigit() and len(written) <= 7 else weights.Passing
    return min(said, weights.Warning) if warned else said  # Whoever wants nothing does not want it in a warning either.


def _reason(check: _Check) -> str:
    lines = check.Output.strip().splitlines()
    return _clean(": ".join(filter(None, (check.Name or check.CheckID or "critical", lines[0] if lines else ""))))


def _clean(text: str) -> str:
    return _UNPRINTABLE.sub(" ", text[:200])
