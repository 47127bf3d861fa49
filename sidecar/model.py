"""The nouns: what a service and an endpoint are, and the units in which settings are written."""

from __future__ import annotations

from collections.abc import Sized
from typing import Annotated, Final, Protocol

import msgspec

Duration = Annotated[float, msgspec.Meta(title="duration")]
"""Seconds, written as ``"100ms"``, ``"30s"``, ``"5m"`` or ``"1h"``; ``"none"`` where a setting allows it."""

Size = Annotated[int, msgspec.Meta(title="size")]
"""Bytes, written as a number or as ``"64KiB"``, ``"10MiB"``."""


class Breaker(Protocol):
    """What an endpoint's breaker answers (``resilience.breaker`` explains the states)."""

    state: int

    def admits(self, now: float) -> bool: ...
    def begin(self, now: float) -> int: ...
    def success(self, now: float, ticket: int) -> None: ...
    def failure(self, now: float, ticket: int) -> None: ...
    def ignored(self, now: float, ticket: int) -> None: ...
    def retry_after(self, now: float) -> float: ...


class Connections(Protocol):
    """What an endpoint's pool shows to the rest: one line of truth, and how many there are."""

    open: int
    connecting: int
    idle_limit: float
    """Seconds after which the endpoint closes an idle connection, as far as is known; else infinity."""

    @property
    def resting(self) -> int:
        """How many of those that are open carry no request."""
        ...

    @property
    def waiters(self) -> Sized: ...

    def close(self) -> None: ...


class Load(Protocol):
    """What a balancer remembers of an endpoint that it measures: told how each attempt went."""

    def responded(self, now: float, seconds: float, status: int) -> None:
        """A response's head that is no failure came ``seconds`` after the attempt began to wait for it."""
        ...

    def failed(self, now: float, seconds: float) -> None:
        """The attempt was the endpoint's failure: no response, or one that says so."""
        ...

    def describe(self, now: float) -> str:
        """What it has come to, for people."""
        ...


class Standing(msgspec.Struct, frozen=True):
    """What speaks against an endpoint, who says so and in which words; empty where nothing does.

    ``resilience.standing`` has the rules of what follows from it.
    """

    registry: str = ""
    check: str = ""
    """An active check of ours."""
    refused: str = ""
    """A connection that was refused, until one succeeds."""


WELL: Final = Standing()


class Dial(msgspec.Struct, frozen=True):
    """How connections to an endpoint are made: seconds until one is given up, how many there may be, and what is spoken."""

    connect_timeout: float = 1.0
    max_connections: int = 1024
    http2: bool | None = None
    """HTTP/2, or HTTP/1.1; ``None``: as the request came."""


class Endpoint:
    """One address of a service. Its live parts are made at first use and survive reloads."""

    __slots__ = (
        "breaker", "host", "http2_pool", "in_flight", "label", "load", "not_before", "pool", "port", "service", "standing",
        "weight", "zone",
    )  # fmt: skip

    def __init__(self, host: str, port: int, weight: int = 1, zone: str = "", service: str = "") -> None:
        self.host = host
        self.port = port
        self.weight = weight
        self.zone = zone
        self.service = service
        """Name of the service that it is one of; empty where a service is this one address and nothing else."""
        self.label = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.breaker: Breaker | None = None
        self.pool: Connections | None = None
        self.http2_pool: Connections | None = None
        """``pool`` has the connections of HTTP/1, this one those of HTTP/2."""
        self.load: Load | None = None
        """Made by balancers that measure; others leave it alone."""
        self.standing = WELL
        self.in_flight = 0
        self.not_before = 0.0
        """Until when its own ``Retry-After`` asks to be left alone (monotonic seconds)."""

    @property
    def pools(self) -> list[Connections]:
        """Those that there are."""
        return [pool for pool in (self.pool, self.http2_pool) if pool is not None]

    def __repr__(self) -> str:
        return f"<Endpoint {self.label} weight={self.weight} in_flight={self.in_flight}>"
