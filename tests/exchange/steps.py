"""The steps of a story: what peers say, what they hear, and what must hold when it is over."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.support.world import LISTEN, Peer, World

NO_JITTER = '[defaults.retry]\njitter = "none"\n'


def mesh(endpoints: int = 1, more: str = "", name: str = "orders") -> World:
    """A world with the service ``orders`` at 10.0.0.1:9001 and so on, and no jitter, so that instants are exact."""
    addresses = ", ".join(f'"10.0.0.{number}:9001"' for number in range(1, endpoints + 1))
    return World(LISTEN + NO_JITTER + f"[services.{name}]\nendpoints = [{addresses}]\n" + more)


def request(
    method: str = "GET", target: str = "/", host: str = "orders", body: bytes | None = None, **fields: str
) -> bytes:
    """Field names with underscores for dashes."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


def response(status: int = 200, body: bytes = b"ok", **fields: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass
class Heard:
    """A message as its receiver reads it; names in lower case."""

    first: str
    fields: dict[str, str]
    body: bytes

    @property
    def status(self) -> int:
        return int(self.first.split(" ")[1])

    @property
    def reason(self) -> str | None:
        return self.fields.get("x-sidecar-reason")

    def error(self) -> Any:
        return json.loads(self.body)["errors"][0]


def heard(peer: Peer) -> Heard:
    """The message that ``peer`` has received since it was last asked."""
    head, separator, body = peer.take().partition(b"\r\n\r\n")
    assert separator, f"no message was received, only {head!r}"
    first, *lines = head.decode("latin-1").split("\r\n")
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        key = name.lower()
        fields[key] = f"{fields[key]}, {value}" if key in fields else value
    return Heard(first, fields, body)


def fail_at(world: World, *statuses: int) -> list[Peer]:
    """The endpoints that are dialed next answer so, one after the other, with back-offs in between."""
    servers = []
    for status in statuses:
        servers.append(world.accept())
        servers[-1].send(response(status))
        world.pass_time(31)
    return servers


def at_rest(world: World) -> None:
    """When all is over nothing is held: no exchange in flight or waiting, no endpoint in use."""
    world.settle()
    services = {plan.service for plan in world.sidecar.assembly.plans}
    assert [
        (s.name, s.limits.in_flight, s.limits.pending) for s in services if s.limits.in_flight or s.limits.pending
    ] == []
    assert [e.label for s in services for e in s.endpoints if e.in_flight] == []


def counted(world: World, **labels: str) -> int:
    """How many requests of outbound services were recorded with these labels (status, reason, method)."""
    total = 0
    for plan in world.sidecar.assembly.plans:
        for (method, status, reason), count in plan.stats.requests.items():
            have = {"method": method.decode(), "status": str(status), "reason": reason, "route": plan.stats.route}
            total += count if all(have[name] == value for name, value in labels.items()) else 0
    return total
