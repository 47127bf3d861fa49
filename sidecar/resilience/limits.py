"""How much a service may ask of us at once: bounds that keep one slow service from taking everything."""

from __future__ import annotations

from typing import Annotated

import msgspec


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``max_connections`` is per endpoint and kept by its pool; the other two are per service."""

    max_connections: Annotated[int, msgspec.Meta(ge=1, description="Per endpoint.")] = 1024
    max_requests: Annotated[int, msgspec.Meta(ge=1, description="Per service, in flight.")] = 1024
    max_pending: Annotated[int, msgspec.Meta(ge=0, description="Per service, waiting for a connection.")] = 1024


class Limits:
    """One service's counts: exchanges in flight, and of these those that wait in a pool, which keeps that one."""

    __slots__ = ("in_flight", "pending", "settings")

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.in_flight = 0
        self.pending = 0
