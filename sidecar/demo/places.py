"""Where the sidecars of the demo listen: all on ports that are free, and found through the registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sidecar.discovery.local.running import running

FREE = "127.0.0.1:0"


class Place(NamedTuple):
    """Addresses of one sidecar, ``host:port``; ``inbound`` is empty where nobody is served."""

    admin: str
    inbound: str
    outbound: str


def flags(serves: bool) -> tuple[str, ...]:
    """Health and metrics are served on the admin's address as well, so that the probes need none."""
    return "--inbound", FREE if serves else "none", "--outbound", FREE, "--admin", FREE, "--probes", "none"


def find(registry: str, pids: Mapping[str, int]) -> dict[str, Place]:
    """The places of those who have said in the registry where they are, by the names that ``pids`` has for them.

    Raises ``OSError`` if the registry cannot be read.
    """
    found = {one.owner.pid: one for one in running(registry)}
    return {
        name: Place(one.admin, one.listeners.get("inbound", ""), one.listeners.get("outbound", ""))
        for name, pid in pids.items()
        if (one := found.get(pid)) is not None
    }
