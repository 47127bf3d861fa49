"""Connections to endpoints: idle ones are kept, missing ones are made, who has to wait waits in line.

Everything is maintained when it changes, nothing is recomputed: handing a connection out removes it, a line of waiters
never stands before an idle connection, and there are never more connections being made than there are waiters.

An idle connection that its endpoint closes is a race that no proxy can win by looking: the close may be on its way
while the next request is. So the pool learns how long an endpoint keeps idle connections, from its ``Keep-Alive`` field
and from the closes it sees, and gives a request that must not be repeated (``Freshness.SURE``) only a connection that is
well below that age.
"""

from __future__ import annotations

import asyncio
from collections import deque
from math import inf
from typing import Final

from sidecar.clock import Clock
from sidecar.errors import Failure
from sidecar.exchange.seams import Freshness, Waiter
from sidecar.http.head import Settings
from sidecar.model import Dial, Endpoint
from sidecar.proxy.upstream import CLOSED, UpstreamConnection
from sidecar.timing.wheel import Wheel

UNLEARNED_SURE_AGE: Final = 1.0
"""Seconds of idleness that are safe to assume of any endpoint."""
SURE_SHARE: Final = 0.5
"""What of a learned idle limit counts as well below it."""


class EndpointPool:
    """The connections to one endpoint."""

    __slots__ = ("_dial", "_endpoint", "_pools", "_tasks", "connecting", "idle", "idle_limit", "open", "waiters")

    def __init__(self, pools: Pools, endpoint: Endpoint) -> None:
        self._pools = pools
        self._endpoint = endpoint
        self._tasks: set[asyncio.Task[None]] = set()
        self._dial = Dial()
        self.idle: list[UpstreamConnection] = []
        """The most recently used one is last, and is taken first."""
        self.waiters: deque[Waiter] = deque()
        self.connecting = 0
        self.open = 0
        """Connections that stand, idle or in use."""
        self.idle_limit = inf
        """Seconds after which the endpoint closes an idle connection, as far as is known."""

    def check_out(self, waiter: Waiter, freshness: Freshness, dial: Dial) -> UpstreamConnection | None:
        idle = self.idle
        # hot: an idle connection that any request may have.
        if idle and (freshness is Freshness.ANY or (freshness is Freshness.SURE and self._sure(idle[-1]))):
            return idle.pop()
        self._dial = dial
        self.waiters.append(waiter)
        if idle and self.open + self.connecting >= dial.max_connections:
            idle[0].retire()  # It is no good to this request, and in the way of one that is.
        self._refill()
        return None

    def _sure(self, connection: UpstreamConnection) -> bool:
        age = self._pools.clock.now() - connection.idle_since
        return age < (UNLEARNED_SURE_AGE if self.idle_limit == inf else self.idle_limit * SURE_SHARE)

    def leave(self, waiter: Waiter) -> None:
        self.waiters.remove(waiter)

    def check_in(self, connection: UpstreamConnection) -> None:
        """A connection is ready for its next exchange."""
        if self.waiters:
            waiter = self.waiters.popleft()
            connection.assign(waiter)
            waiter.connected(connection)
        else:
            self.idle.append(connection)

    def closed(self) -> None:
        """One of our connections has gone."""
        self.open -= 1
        self._refill()

    def learn(self, idle_limit: float) -> None:
        """The endpoint has closed a connection that was idle for so long, or said that it will."""
        if idle_limit > UNLEARNED_SURE_AGE:
            self.idle_limit = min(self.idle_limit, idle_limit)

    # Making a connection is the slow path: here a task is allowed.

    def _refill(self) -> None:
        while self.connecting < len(self.waiters) and self.open + self.connecting < self._dial.max_connections:
            self.connecting += 1
            task = self._pools.loop.create_task(self._connect())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self) -> None:
        endpoint = self._endpoint
        seconds = self._dial.connect_timeout
        failure, detail = Failure.CONNECT_TIMEOUT, f"{endpoint.label} did not accept a connection within {seconds:g} s"
        connection: UpstreamConnection | None = None
        try:
            async with asyncio.timeout(seconds):
                transport, connection = await self._pools.loop.create_connection(
                    self._new, endpoint.host, endpoint.port
                )
            failure, detail = Failure.CONNECT_FAILED, f"{endpoint.label} closed the connection at once"
            if self._pools.is_own(transport):
                transport.close()
                connection = None
                failure, detail = Failure.LOOP_DETECTED, f"{endpoint.label} is a listener of this very sidecar"
        except TimeoutError:
            pass
        except OSError as error:
            failure, detail = Failure.CONNECT_FAILED, f"no connection to {endpoint.label}: {error.strerror or error}"
        finally:
            self.connecting -= 1
        if connection is not None and connection.state != CLOSED:
            connection.ready()
        elif self.waiters:
            self.waiters.popleft().connect_failed(failure, detail)
        self._refill()

    def _new(self) -> UpstreamConnection:
        return UpstreamConnection(self, self._endpoint.label, self._pools)

    def close(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        for connection in tuple(self.idle):
            connection.retire()

    def __repr__(self) -> str:
        return (
            f"<EndpointPool {self._endpoint.label}: {self.open} open, {len(self.idle)} idle, {self.connecting} connecting,"
            f" {len(self.waiters)} waiting>"
        )


class Pools:
    """All pools of one sidecar, and what their connections share."""

    __slots__ = ("_own", "_pools", "clock", "limits", "loop", "wheel")

    def __init__(self, loop: asyncio.AbstractEventLoop, wheel: Wheel, clock: Clock, limits: Settings) -> None:
        self.loop = loop
        self.wheel = wheel
        self.clock = clock
        self.limits = limits
        self._own: tuple[tuple[str, int], ...] = ()
        self._pools: set[EndpointPool] = set()

    def own_addresses(self, addresses: tuple[tuple[str, int], ...]) -> None:
        """Where this sidecar itself listens (host as bound, port): connecting there would be a loop."""
        self._own = addresses

    def is_own(self, transport: asyncio.BaseTransport) -> bool:
        peer = transport.get_extra_info("peername")
        local = transport.get_extra_info("sockname")
        # To an address of this very machine the kernel connects from that same address.
        here = local[0] == peer[0]
        return any(
            port == peer[1] and (host == peer[0] or (here and host in ("0.0.0.0", "::"))) for host, port in self._own
        )

    def check_out(
        self, endpoint: Endpoint, waiter: Waiter, freshness: Freshness, dial: Dial
    ) -> UpstreamConnection | None:
        pool = endpoint.pool
        if pool is None:
            pool = endpoint.pool = EndpointPool(self, endpoint)
            self._pools.add(pool)
        assert isinstance(pool, EndpointPool)
        connection = pool.check_out(waiter, freshness, dial)
        if connection is not None:
            connection.assign(waiter)
        return connection

    def leave(self, endpoint: Endpoint, waiter: Waiter) -> None:
        pool = endpoint.pool
        assert isinstance(pool, EndpointPool)
        pool.leave(waiter)

    def forget(self, endpoint: Endpoint) -> None:
        """The endpoint is gone from its service: its idle connections close, those in use finish."""
        pool = endpoint.pool
        if isinstance(pool, EndpointPool):
            pool.close()
            self._pools.discard(pool)

    def close(self) -> None:
        for pool in self._pools:
            pool.close()
