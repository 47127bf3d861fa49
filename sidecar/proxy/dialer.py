"""Making connections: the one place of the data path where a task waits, because a handshake takes its time anyway."""

from __future__ import annotations

import asyncio

from sidecar.errors import Failure
from sidecar.model import Dial, Endpoint
from sidecar.proxy.pool import EndpointPool
from sidecar.proxy.upstream import CLOSED, UpstreamConnection


class SocketDialer:
    """Dials TCP, and knows where this sidecar itself listens: connecting there would be a loop."""

    __slots__ = ("_loop", "_own", "_tasks")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._own: tuple[tuple[str, int], ...] = ()
        self._tasks: set[asyncio.Task[None]] = set()

    def own_addresses(self, addresses: tuple[tuple[str, int], ...]) -> None:
        """Host as bound and port of our own listeners."""
        self._own = addresses

    def dial(self, pool: EndpointPool, endpoint: Endpoint, settings: Dial) -> None:
        task = self._loop.create_task(self._dial(pool, endpoint, settings.connect_timeout))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _dial(self, pool: EndpointPool, endpoint: Endpoint, seconds: float) -> None:
        failure, detail = Failure.CONNECT_TIMEOUT, f"{endpoint.label} did not accept a connection within {seconds:g} s"
        connection: UpstreamConnection | None = None
        try:
            async with asyncio.timeout(seconds):
                transport, connection = await self._loop.create_connection(
                    pool.new_connection, endpoint.host, endpoint.port
                )
            failure, detail = Failure.CONNECT_FAILED, f"{endpoint.label} closed the connection at once"
            if self._is_own(transport):
                transport.close()
                connection = None
                failure, detail = Failure.LOOP_DETECTED, f"{endpoint.label} is a listener of this very sidecar"
        except TimeoutError:
            pass
        except OSError as error:
            failure, detail = Failure.CONNECT_FAILED, f"no connection to {endpoint.label}: {error.strerror or error}"
        if connection is not None and connection.state != CLOSED:
            pool.dialed(connection)
        else:
            pool.dial_failed(failure, detail)

    def _is_own(self, transport: asyncio.BaseTransport) -> bool:
        peer = transport.get_extra_info("peername")
        local = transport.get_extra_info("sockname")
        # To an address of this very machine the kernel connects from that same address.
        here = local[0] == peer[0]
        return any(
            port == peer[1] and (host == peer[0] or (here and host in ("0.0.0.0", "::"))) for host, port in self._own
        )

    def close(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
