"""Which questions a service is, in the order in which they are asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from sidecar.discovery.dns.settings import DnsRegistry


class Question(NamedTuple):
    """A name without its last dot. ``port`` is that of addresses; SRV has its own."""

    name: str
    kind: Literal["SRV", "address"]
    port: int


class Naming:
    """Names of services as names of DNS."""

    __slots__ = ("_domains", "_settings")

    def __init__(self, settings: DnsRegistry) -> None:
        self._settings = settings
        self._domains = tuple(settings.domains)

    def owns(self, service: str) -> bool:
        """Whether it may be a service of ours although nobody has configured it: all other names are somebody else's."""
        if service in self._settings.names:
            return True
        if "." not in service:
            return service != "localhost"
        return any(service.endswith(f".{domain}") for domain in self._domains)

    def questions(self, service: str) -> Sequence[Question]:
        """The first that has an answer counts."""
        written = self._settings.names.get(service)
        if written is not None:
            return self._written(written)
        if "." in service or not self._domains:
            return self._named(service)
        return [question for domain in self._domains for question in self._named(f"{service}.{domain}")]

    def _written(self, written: str) -> Sequence[Question]:
        if written.startswith("srv:"):
            return (Question(written.removeprefix("srv:").rstrip("."), "SRV", 0),)
        name, colon, port = written.partition(":")
        if colon:
            return (Question(name.rstrip("."), "address", int(port)),)
        return self._named(name.rstrip("."))

    def _named(self, name: str) -> Sequence[Question]:
        settings = self._settings
        srv = Question(f"{settings.srv}.{name}" if settings.srv else name, "SRV", 0)
        address = Question(name, "address", settings.port)
        if settings.record == "auto":
            return (srv, address) if settings.srv else (address,)
        return (srv,) if settings.record == "srv" else (address,)
