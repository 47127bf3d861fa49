"""Asking by gRPC's own protocol for it, grpc.health.v1: whoever says SERVING is well.

(https://github.com/grpc/grpc/blob/master/doc/health-checking.md)
"""

from __future__ import annotations

from typing import Final

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sidecar.health.monitor import Probe

_OPTIONS: Final = (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))
"""By themselves channels go through the proxy that the environment names, whose answer says nothing of the endpoint, and
share connections."""


def grpc_health(address: str, timeout: float) -> Probe:
    """``address`` is ``host:port``, spoken to without TLS. Each question has a connection of its own: a channel that is
    kept answers from what it knew."""

    async def probe() -> str:
        async with grpc.aio.insecure_channel(address, options=_OPTIONS) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            try:
                answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout)
            except grpc.aio.AioRpcError as error:
                return f"answers {error.code().name}"
        if answer.status == health_pb2.HealthCheckResponse.SERVING:
            return ""
        return f"answers {health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)}"

    return probe
