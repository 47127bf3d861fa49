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

    __slots__ = ("_endpoints", "_listed", "_service")

    def __init__(self, service: str) -> None:
        self._service = service
        self._endpoints: dict[tuple[str, int], Endpoint] = {}
        self._listed: list[tuple[str, int, int, str, str]] = []

    def update(self, listed: Iterable[Listed]) -> tuple[Endpoint, ...] | None:
        """The endpoints for what is ``listed`` now, in that order, or ``None`` if nothing about them is new. Where an
        address is listed twice the first counts."""
        wanted: dict[tuple[str, int], Listed] = {}
        for one in listed:
            wanted.setdefault((one.host, one.port), one)
        current = [(*address, one.weight, one.zone, one.trouble) for address, one in wanted.items()]
        if current == self._listed:
            return None
        self._listed = current
        self._endpoints = {address: self._endpoint(address, one) for address, one in wanted.items()}
        return tuple(self._endpoints.values())

    def _endpoint(self, address: tuple[str, int], one: Listed) -> Endpoint:
        endpoint = self._endpoints.get(address)
        if endpoint is None:
            endpoint = Endpoint(*address, one.weight, one.zone, self._service)
        endpoint.weight = one.weight
        endpoint.zone = one.zone
        if one.trouble != endpoint.standing.registry:
            judge(endpoint, registry=one.trouble)
        return endpoint
