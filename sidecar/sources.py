"""What becomes of ``[registry]``: a kind, and the source that it names. Nobody loads more than one of them."""

from __future__ import annotations

import asyncio

from sidecar.clock import Clock, Random
from sidecar.config.schema import Config
from sidecar.discovery.registries import Unusable
from sidecar.discovery.source import Source


def new_source(config: Config, loop: asyncio.AbstractEventLoop, clock: Clock, random: Random) -> Source | None:
    """The registry that moves by itself, if the configuration names one. Raises ``Unusable``; on a running loop."""
    registry = config.registry
    if registry.kind == "local":
        from sidecar.discovery.local.registry import LocalRegistry

        return LocalRegistry(loop, clock, random, registry.local.directory)
    if registry.kind == "consul":
        from sidecar.discovery.consul.registry import ConsulRegistry

        try:
            return ConsulRegistry(loop, clock, random, registry.consul)
        except OSError as error:
            raise Unusable(f"TLS to the agent: {error.strerror or error}") from error
    return None
