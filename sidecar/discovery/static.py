"""The registry that is written in the configuration: addresses as they stand, host names resolved again and again.

A name becomes one endpoint for each of its addresses (of one family, IPv4 where there is any: the same server behind
two families would count twice). A resolution that fails or finds nothing changes nothing: the last good set stays,
however long it takes. Names do not wait for each other: each is published as soon as it is known.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sidecar.discovery.endpoint_set import EndpointSet
from sidecar.model import Endpoint

REFRESH_SECONDS: Final = 30.0
RETRY_SECONDS: Final = 5.0
"""Until the next try while a name has never been resolved."""
MAX_ADDRESSES: Final = 1000

log = logging.getLogger("sidecar.discovery")

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Written:
    """An endpoint as the configuration has it; ``host`` is an address or a name."""

    host: str
    port: int
    weight: int = 1
    zone: str = ""
    trouble: str = ""
    """The configuration knows of none."""


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of ``host`` by the system's resolver, in a thread. Raises ``OSError``."""
    loop = asyncio.get_running_loop()
    infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    by_family = {
        family: [str(i[4][0]) for i in infos if i[0] == family] for family in (socket.AF_INET, socket.AF_INET6)
    }
    return list(dict.fromkeys(by_family[socket.AF_INET] or by_family[socket.AF_INET6]))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _names(written: Sequence[Written]) -> dict[str, int]:
    """Hosts that have to be looked up, each with a port that it is used with."""
    # What localhost means is tried by each connection: IPv4 or IPv6, wherever the application listens.
    return {one.host: one.port for one in written if one.host != "localhost" and not _is_address(one.host)}


class StaticRegistry:
    """The endpoints of one service. ``publish`` gets every new set; endpoints that stay are the same objects."""

    def __init__(
        self,
        written: Sequence[Written],
        publish: Callable[[Sequence[Endpoint]], None],
        resolve: Resolve = resolve,
        endpoints: EndpointSet | None = None,
    ) -> None:
        """``endpoints`` are those that the service has so far."""
        self._publish = publish
        self._resolve = resolve
        self._known: dict[str, list[str]] = {}
        self._endpoints = endpoints or EndpointSet("")
        self.asked = asyncio.Event()
        """Set when every name has been asked for once, whatever came of it."""
        self._written = written
        self._names = _names(written)

    def write(self, written: Sequence[Written]) -> None:
        """The configuration has changed: ``written`` is what it says now."""
        self._written = written
        self._names = _names(written)
        self._known = {host: known for host, known in self._known.items() if host in self._names}
        self.publish()

    async def learn(self, written: Sequence[Written]) -> None:
        """Looks up the names in ``written`` that are not known yet, before it is what counts."""
        new = {host: port for host, port in _names(written).items() if host not in self._known}
        await asyncio.gather(*(self._look_up(host, port) for host, port in new.items()))

    @property
    def has_names(self) -> bool:
        return bool(self._names)

    @property
    def complete(self) -> bool:
        """Whether every name has been resolved at least once."""
        return self._names.keys() <= self._known.keys()

    async def refresh(self) -> None:
        """Resolves every name once, all of them at the same time, and publishes what is news."""
        await asyncio.gather(*(self._look_up(host, port) for host, port in self._names.items()))
        self.asked.set()

    async def _look_up(self, host: str, port: int) -> None:
        why = "there is no address"
        try:
            addresses = sorted(await self._resolve(host, port))[:MAX_ADDRESSES]
        except (OSError, UnicodeError) as error:
            addresses, why = [], str(error)
        if addresses:
            self._known[host] = addresses
            if host in self._names:  # Not what is learned ahead: until it is written, the service has other endpoints.
                self.publish()
        else:
            kept = "keeping its last addresses" if host in self._known else "it has no endpoints until then"
            log.warning("%s cannot be resolved (%s); %s, trying again", host, why, kept)

    def publish(self) -> None:
        """Publishes what is known, if that is news."""
        endpoints = self._endpoints.update(
            replace(one, host=address)
            for one in self._written
            for address in (self._known.get(one.host, []) if one.host in self._names else [one.host])
        )
        if endpoints is not None:
            self._publish(endpoints)

    async def run(self) -> None:
        """Refreshes for as long as it is not cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(REFRESH_SECONDS if self.complete else RETRY_SECONDS)
