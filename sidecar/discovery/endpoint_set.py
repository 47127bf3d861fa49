"""The endpoints of one service: what a registry lists, as objects that live on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from sidecar.model import Endpoint
from sidecar.resilience.standing import judge


class Listed(Protocol):
    """What a registry says about an endpoint."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def weight(self) -> int: ...
    @property
    def zone(self) -> str: ...
    @property
    def trouble(self) -> str: ...


class EndpointSet:
    """An address that stays is the same endpoint, with its breaker and connections, whatever else changes about it."""

    __slots__ = ("_endpoints", "_service")

    def __init__(self, service: str) -> None:
        self._service = service
        self._endpoints: dict[tuple[str, int], Endpoint] = {}

    def update(self, listed: Iterable[Listed]) -> tuple[Endpoint, ...] | None:
        """The endpoints for what is ``listed`` now, in that order, or ``None`` if nothing about them is new. Where an
        address is listed twice the first counts."""
        former, endpoints = self._endpoints, {}
        news = False
        for one in listed:
            address = (one.host, one.port)
            if address in endpoints:
                continue
            endpoint = former.get(address)
            if endpoint is None:
                endpoint = Endpoint(one.host, one.port, one.weight, one.zone, self._service)
                judge(endpoint, registry=one.trouble)
                news = True
            elif (endpoint.weight, endpoint.zone, endpoint.standing.registry) != (one.weight, one.zone, one.trouble):
                endpoint.weight = one.weight
                endpoint.zone = one.zone
                judge(endpoint, registry=one.trouble)
                news = True
            endpoints[address] = endpoint
        if not news and list(endpoints) == list(former):
            return None
        self._endpoints = endpoints
        return tuple(endpoints.values())
