"""The question of ``sidecar check``: does DNS answer, and have the services that are configured any addresses?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from sidecar.clock import Clock
from sidecar.discovery.dns.lookup import look_up
from sidecar.discovery.dns.naming import Naming
from sidecar.discovery.dns.resolver import AresResolver, Resolver, Trouble
from sidecar.discovery.dns.settings import DnsRegistry as Settings

AT_ONCE: Final = 32


def ask(settings: Settings, services: Sequence[str], seconds: float) -> dict[str, int | str]:
    """By service, how many instances it has, or why that cannot be known; without one, whether anybody answers is asked
    by a name that need not exist, and told under the empty name. Takes ``seconds`` at most. Raises ``OSError``."""
    return asyncio.run(_ask(settings, services, seconds))


async def _ask(settings: Settings, services: Sequence[str], seconds: float) -> dict[str, int | str]:
    resolver = AresResolver(asyncio.get_running_loop(), Clock(), settings)
    turns = asyncio.Semaphore(AT_ONCE)
    found: dict[str, int | str] = {}

    async def one(service: str) -> None:
        async with turns:
            found[service] = await _count(resolver, Naming(settings), service)

    try:
        async with asyncio.timeout(seconds):
            await asyncio.gather(*map(one, services or [""]))
    except TimeoutError:
        pass
    finally:
        await resolver.close()
    return {service: found.get(service, f"no answer within {seconds:g} s") for service in services or [""]}


async def _count(resolver: Resolver, naming: Naming, service: str) -> int | str:
    questions = naming.questions(service or "sidecar-check")
    try:
        found = await look_up(resolver, service, questions, {})
    except Trouble as trouble:
        return f"{questions[0].name}: {trouble}"
    return found.trouble or len(found.instances)
