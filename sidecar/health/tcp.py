"""Asking by a connection: whoever takes it is well."""

from __future__ import annotations

import asyncio

from sidecar.health.monitor import Probe


def tcp(loop: asyncio.AbstractEventLoop, host: str, port: int) -> Probe:
    """Connects and closes in order, without a byte."""

    async def probe() -> str:
        try:
            transport, _ = await loop.create_connection(asyncio.Protocol, host, port)
        except OSError as error:
            return f"takes no connections: {error.strerror or error}"
        transport.close()
        return ""

    return probe
