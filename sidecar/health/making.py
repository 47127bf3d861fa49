"""From settings to a probe; a kind that nobody has configured is not imported."""

from __future__ import annotations

import asyncio

from sidecar.health.monitor import Probe
from sidecar.health.pool import Pool
from sidecar.health.settings import Settings


def new_probe(loop: asyncio.AbstractEventLoop, pool: Pool, settings: Settings, host: str, port: int) -> Probe:
    """The probe of somebody at ``host`` and ``port``, which a command does not look at. ``pool`` makes connections, and has
    nothing to do with traffic."""
    if settings.kind == "http":
        from sidecar.health.http import among, http

        return http(pool, host, port, settings.path, among(settings.statuses), settings.timeout)
    if settings.kind == "command":
        from sidecar.health.command import command

        return command(settings.command, settings.timeout)
    if settings.kind == "grpc":
        from sidecar.health.grpc import grpc_health

        return grpc_health(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", settings.timeout)
    from sidecar.health.tcp import tcp

    return tcp(loop, host, port)
