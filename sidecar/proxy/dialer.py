"""Making connections: the one place of the data path where a task waits, because a handshake takes its time anyway."""

from __future__ import annotations

import asyncio
import errno
import logging
from typing import Final

from sidecar.errors import Failure
from sidecar.model import Dial, Endpoint
from sidecar.proxy.pool import Connection, EndpointPool
from sidecar.proxy.upstream import CLOSED

WE_ARE_SHORT: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
"""What this machine lacks when it cannot even try; the endpoint has nothing to do with it."""

NOBODY_THERE: Final = frozenset((errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, None))
"""What the system says when nobody listens at an address, or there is no way to it. ``None``: it said so of each of the
addresses of a name, which makes an error without a number."""

log = logging.getLogger("sidecar.dialer")


class SocketDialer:
    """Dials TCP, and knows where this sidecar itself listens: connecting there would be a loop."""

    __slots__ = ("_app", "_inbound", "_loop", "_own", "_tasks")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._own: tuple[tuple[str, int], ...] = ()
        self._inbound: tuple[tuple[str, int], ...] = ()
        self._app: Endpoint | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def own_addresses(
        self, addresses: tuple[tuple[str, int], ...], inbound: tuple[str, int] | None, app: Endpoint | None
    ) -> None:
        """Host as bound and port of our own listeners.

        *Inbound* is a good endpoint, since an application may call its own service, but not as the application itself.
        """
        self._own = addresses
        self._inbound = addresses if inbound is None else (*addresses, inbound)
        self._app = app

    def dial(self, pool: EndpointPool, endpoint: Endpoint, settings: Dial) -> None:
        task = self._loop.create_task(self._dial(pool, endpoint, settings.connect_timeout))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _dial(self, pool: EndpointPool, endpoint: Endpoint, seconds: float) -> None:
        failure, detail = Failure.CONNECT_TIMEOUT, f"{endpoint.label} did not accept a connection within {seconds:g} s"
        connection: Connection | None = None
        nobody = False
        try:
            async with asyncio.timeout(seconds):
                transport, connection = await self._loop.create_connection(
                    pool.new_connection, endpoint.host, endpoint.port
                )
            failure, detail = Failure.CONNECT_FAILED, f"{endpoint.label} closed the connection at once"
            if self._is_own(transport, self._inbound if endpoint is self._app else self._own):
                transport.close()
                connection = None
                failure, detail = Failure.LOOP_DETECTED, f"{endpoint.label} is a listener of this very sidecar"
        except TimeoutError:
            pass
        except OSError as error:
            failure = Failure.OVERLOADED if error.errno in WE_ARE_SHORT else Failure.CONNECT_FAILED
            nobody = error.errno in NOBODY_THERE
            detail = f"no connection to {endpoint.label}: {error.strerror or error}"
        except ValueError as error:  # A name that no resolver can be asked for.
            failure, detail = Failure.CONNECT_FAILED, f"no connection to {endpoint.label}: {error}"
        except Exception:
            # Whoever waits must be told, and the pool's count of what is being made must stay true.
            log.exception("a bug in connecting to %s", endpoint.label)
            failure, detail = Failure.INTERNAL, "the sidecar failed to connect; its log tells more"
            if connection is not None:
                connection.cancel()
        if connection is not None and connection.state != CLOSED:
            pool.dialed(connection)
        else:
            pool.dial_failed(failure, detail, nobody)

    @staticmethod
    def _is_own(transport: asyncio.BaseTransport, listeners: tuple[tuple[str, int], ...]) -> bool:
        peer = transport.get_extra_info("peername")
        local = transport.get_extra_info("sockname")
        if not peer or not local:
            return False  # It has been reset already.
        # To an address of this very machine the kernel connects from that same address.
        here = local[0] == peer[0]
        return any(
            port == peer[1] and (host == peer[0] or (here and host in ("0.0.0.0", "::"))) for host, port in listeners
        )

    def close(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
