"""Which registry a configuration means: the one place where a kind becomes a source."""

from __future__ import annotations

import asyncio

from sidecar.clock import Clock, Random
from sidecar.config.schema import Config
from sidecar.discovery.registries import Unusable
from sidecar.discovery.source import Setup, Source


def new_source(config: Config, loop: asyncio.AbstractEventLoop, clock: Clock, random: Random) -> Source | None:
    """The registry that moves by itself, if the configuration names one. Who has another one does without its modules.

    Raises ``Unusable`` if it cannot be made."""
    match config.registry.kind:
        case "static":
            return None
        case "local":
            from sidecar.discovery.local.registry import LocalRegistry

            return LocalRegistry(loop, clock, random, config.registry.local.directory)
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
