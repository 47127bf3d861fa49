"""What becomes of ``[registry]``: a kind, and the source that it names. Nobody loads more than one of them."""

from __future__ import annotations

import asyncio

from sidecar.clock import Clock, Random
from sidecar.config.schema import Config
from sidecar.discovery.registries import Unusable
from sidecar.discovery.source import Source
from sidecar.timing.wheel import Wheel


def new_source(
    config: Config, loop: asyncio.AbstractEventLoop, clock: Clock, random: Random, wheel: Wheel
) -> Source | None:
    """The registry that moves by itself, if the configuration names one. Raises ``Unusable``; on a running loop."""
    source = _source(config, loop, clock, random)
    path = config.registry.snapshot
    if source is None or source.certain or path is None:
        return source
    from sidecar.discovery.remembering import Remembering
    from sidecar.discovery.snapshot import Snapshot

    return Remembering(loop, source, Snapshot(loop, clock, wheel, path))


def _source(config: Config, loop: asyncio.AbstractEventLoop, clock: Clock, random: Random) -> Source | None:
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
