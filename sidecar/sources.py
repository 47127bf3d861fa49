"""Which registry a configuration means: the one place where a kind becomes a source."""

from __future__ import annotations

import asyncio

from sidecar.clock import Clock, Random
from sidecar.config.schema import Config
from sidecar.discovery.registries import Unusable
from sidecar.discovery.source import Setup, Source
from sidecar.timing.wheel import Wheel


def new_source(
    config: Config, loop: asyncio.AbstractEventLoop, clock: Clock, random: Random, wheel: Wheel
) -> Source | None:
    """The registry that moves by itself, if the configuration names one. Who has another one does without its modules.

    Raises ``Unusable`` if it cannot be made."""
    source = _source(config, loop, clock, random)
    path = config.registry.snapshot
    if source is None or source.certain or path is None:
        return source
    from sidecar.discovery.remembering import remembering
    from sidecar.discovery.snapshot import Snapshot

    return remembering(loop, source, Snapshot(loop, clock, wheel, path))


def _source(config: Config, loop: asyncio.AbstractEventLoop, clock: Clock, random: Random) -> Source | None:
    match config.registry.kind:
        case "static":
            return None
        case "local":
            from sidecar.discovery.local.registry import LocalRegistry

            return LocalRegistry(loop, clock, random, config.registry.local.directory)
        case "consul":
            from sidecar.discovery.consul.registry import ConsulRegistry

            try:
                return ConsulRegistry(loop, clock, random, config.registry.consul)
            except OSError as error:
                raise Unusable(f"TLS to the agent: {error.strerror or error}") from error
        case "dns":
            from sidecar.discovery.dns.registry import DnsRegistry

            return DnsRegistry(loop, clock, random, config.registry.dns)
        case kind:
            return _installed(kind, Setup(loop=loop, clock=clock, random=random, settings=config.registry_options))


def _installed(kind: str, setup: Setup[object]) -> Source:
    from sidecar.config.installed import Unfit, described, factory
    from sidecar.discovery.guest import guest, missing

    try:
        source = factory(kind)(setup)
    except Unfit as unfit:
        raise Unusable(str(unfit)) from unfit
    except Exception as error:  # It is somebody else's, and may raise anything.
        raise Unusable(f"{kind} does not begin: {described(error)}") from error
    lacking = missing(source)
    if lacking:
        raise Unusable(f"{kind} is no registry: it has no {', '.join(lacking)}")
    return guest(kind, source, setup.loop, setup.clock)
