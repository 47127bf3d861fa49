"""Connections to endpoints: idle ones are kept, missing ones are made, who has to wait waits in line.

Of HTTP/2 a connection stands among the idle ones as long as its endpoint takes another stream on it. An endpoint has a
pool for each of the two, made when it is first needed.

Everything is maintained when it changes, nothing is recomputed: handing a connection out removes it, a line of waiters
never stands before an idle connection, and there are never more connections being made than there are waiters, but for
one to an endpoint that nobody could be connected to lately (``recovery``).

An idle connection that its endpoint closes is a race that no proxy can win by looking: the close may be on its way
while the next request is. So the pool learns how long an endpoint keeps idle connections, from its ``Keep-Alive``
field and from the closes it sees, and gives a request that must not be repeated (``Freshness.SURE``) only a connection
that is well below that age.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sized
from math import inf
from typing import TYPE_CHECKING, Final, Protocol

from sidecar.clock import Clock
from sidecar.errors import Failure
from sidecar.exchange.seams import ANY, SURE, Freshness, Upstream, Waiter
from sidecar.http.h2.frames import STREAMS
from sidecar.http.head import Settings
from sidecar.model import Dial, Endpoint
from sidecar.proxy.outbox import Outbox
from sidecar.proxy.recovery import Recovery
from sidecar.proxy.upstream import UpstreamConnection
from sidecar.timing.wheel import Wheel

if TYPE_CHECKING:
    from sidecar.proxy.http2.upstream import Http2Upstream

UNLEARNED_SURE_AGE: Final = 1.0
"""Seconds of idleness that are safe to assume of any endpoint."""
SURE_SHARE: Final = 0.5
"""What of a learned idle limit counts as well below it."""


class Dialer(Protocol):
    """Makes connections: ends with ``pool.dialed`` or ``pool.dial_failed``, and not before ``dial`` has returned."""

    def dial(self, pool: EndpointPool, endpoint: Endpoint, settings: Dial) -> None: ...


class Connection(Protocol):
    """A connection to an endpoint, of either version of HTTP."""

    state: int
    idle_since: float

    @property
    def streams(self) -> Sized:
        """The requests that it carries while it stands among the idle ones: of HTTP/1, none."""
        ...

    def ready(self, now: float) -> None:
        """It stands: from here on it is in its pool while it can take a request."""
        ...

    def assign(self, exchange: Waiter) -> Upstream:
        """Gives ``exchange`` what it asks the endpoint by. Who has no more to give leaves its pool."""
        ...

    def retire(self) -> None:
        """Closes of our own accord what is among the idle ones."""
        ...

    def cancel(self) -> None: ...


class EndpointPool:
    """The connections to one endpoint that speak one version of HTTP."""

    __slots__ = (
        "_pools", "_settings", "connecting", "endpoint", "http2", "idle", "idle_limit", "open", "slots", "unsaid", "waiters",
    )  # fmt: skip

    def __init__(self, pools: Pools, endpoint: Endpoint, http2: bool) -> None:
        self._pools = pools
        self.endpoint = endpoint
        self.http2 = http2
        self.slots = STREAMS if http2 else 1
        """How many requests a new connection will carry at a time, as far as is known."""
        self.unsaid = 0
        """Connections that stand, and have not said yet how many they carry: they may be for everybody in line."""
        self._settings = Dial()
        self.idle: list[Connection] = []
        """The most recently used one is last, and is taken first."""
        self.waiters: deque[Waiter] = deque()
        self.connecting = 0
        self.open = 0
        """Connections that stand, idle or in use."""
        self.idle_limit = inf
        """Seconds after which the endpoint closes an idle connection, as far as is known."""

    def suits(self, freshness: Freshness) -> bool:
        """Whether the connection that is taken next is new enough: one that carries requests is in use, not idle, and of
        the others only some cannot just be closed by the endpoint."""
        connection = self.idle[-1]
        if connection.streams:
            return True
        if freshness is not SURE:
            return False
        age = self._pools.clock.now() - connection.idle_since
        return age < (UNLEARNED_SURE_AGE if self.idle_limit == inf else self.idle_limit * SURE_SHARE)

    def wait(self, waiter: Waiter, dial: Dial) -> None:
        """Puts ``waiter`` in line, and sees to it that there will be a connection for it."""
        idle = self.idle
        self._settings = dial
        self.waiters.append(waiter)
        if self.open + self.connecting >= dial.max_connections:
            for connection in idle:
                if not connection.streams:
                    connection.retire()  # It is no good to this request, and in the way of one that is.
                    break
        self._refill()

    def leave(self, waiter: Waiter) -> None:
        self.waiters.remove(waiter)

    def serve(self, connection: Connection) -> None:
        """A connection is ready and somebody waits for one: the first in line gets it."""
        waiter = self.waiters.popleft()
        waiter.connected(connection.assign(waiter))

    def closed(self) -> None:
        """One of our connections has gone."""
        self.open -= 1
        self._refill()

    def said(self, slots: int) -> None:
        """A connection says, for the first time or anew, how many requests it carries at a time."""
        self.slots = max(1, slots)
        self._refill()

    def learn(self, idle_limit: float) -> None:
        """The endpoint has closed a connection that was idle for so long, or said that it will.

        A close after less than a second tells of a process that ended, not of a habit: it must not make every later
        request that cannot be repeated pay for a connection of its own.
        """
        if idle_limit >= UNLEARNED_SURE_AGE:
            self.idle_limit = min(self.idle_limit, idle_limit)

    def _refill(self) -> None:
        while (self.connecting + self.unsaid) * self.slots < len(
            self.waiters
        ) and self.open + self.connecting < self._settings.max_connections:
            self.connect()

    def connect(self) -> None:
        """Makes a connection that nobody waits for, to see whether it can be had."""
        self.connecting += 1
        self._pools.dialer.dial(self, self.endpoint, self._settings)

    def dialed(self, connection: Connection) -> None:
        """A connection that was being made stands."""
        self.connecting -= 1
        self._pools.recovery.stands(self.endpoint)
        connection.ready(self._pools.clock.now())
        self._refill()  # It may have been full before we heard of it, and was counted as one that is yet to come.

    def dial_failed(self, failure: Failure, detail: str, nobody: bool = False) -> None:
        """A connection that was being made is not to be had, ``nobody``: because nobody listens there. Those in line for
        whom it was are told, the first of them in any case, and find the endpoint left out already."""
        self.connecting -= 1
        self._pools.recovery.failed(self, detail, nobody)
        waiters = self.waiters
        others = (self.connecting + self.unsaid) * self.slots
        for _ in range(min(self.slots, max(1, len(waiters) - others))):
            if waiters:
                waiters.popleft().connect_failed(failure, detail)
        self._refill()

    def new_connection(self) -> UpstreamConnection | Http2Upstream:
        if not self.http2:
            return UpstreamConnection(self, self.endpoint.label, self._pools)
        # What is not spoken is not imported.
        from sidecar.proxy.http2.upstream import Http2Upstream

        return Http2Upstream(self, self.endpoint.label, self._pools)

    def close(self) -> None:
        for connection in tuple(self.idle):
            connection.retire()

    @property
    def resting(self) -> int:
        return sum(not connection.streams for connection in self.idle)

    def __repr__(self) -> str:
        return (
            f"<EndpointPool {self.endpoint.label} {'HTTP/2' if self.http2 else 'HTTP/1'}: {self.open} open,"
            f" {self.resting} idle, {self.connecting} connecting, {len(self.waiters)} waiting>"
        )


class Pools:
    """All pools of one sidecar, and what their connections share."""

    __slots__ = ("_pools", "clock", "dialer", "limits", "outbox", "recovery", "wheel")

    def __init__(
        self,
        wheel: Wheel,
        clock: Clock,
        limits: Settings,
        dialer: Dialer,
        changed: Callable[[str], None],
        outbox: Outbox,
    ) -> None:
        """``changed`` is told a service that has an endpoint less or more that can be connected to; ``outbox`` is where
        connections of HTTP/2 write."""
        self.outbox = outbox
        self.recovery = Recovery(wheel, clock, changed)
        self.wheel = wheel
        self.clock = clock
        self.limits = limits
        self.dialer = dialer
        self._pools: set[EndpointPool] = set()

    def check_out(self, endpoint: Endpoint, waiter: Waiter, freshness: Freshness, dial: Dial) -> Upstream | None:
        http2 = dial.http2
        if http2 is None:
            http2 = waiter.head.http2
        pool = endpoint.http2_pool if http2 else endpoint.pool
        if pool is None:
            pool = self._new_pool(endpoint, http2)
        if TYPE_CHECKING:  # hot: nobody else makes pools.
            assert isinstance(pool, EndpointPool)
        idle = pool.idle
        # hot: an idle connection that any request may have.
        if idle and (freshness is ANY or pool.suits(freshness)):
            return idle[-1].assign(waiter)
        pool.wait(waiter, dial)
        return None

    def _new_pool(self, endpoint: Endpoint, http2: bool) -> EndpointPool:
        pool = EndpointPool(self, endpoint, http2)
        if http2:
            endpoint.http2_pool = pool
        else:
            endpoint.pool = pool
        self._pools.add(pool)
        return pool

    def leave(self, endpoint: Endpoint, waiter: Waiter) -> None:
        for pool in (endpoint.pool, endpoint.http2_pool):
            if isinstance(pool, EndpointPool) and waiter in pool.waiters:
                pool.leave(waiter)

    def forget(self, endpoint: Endpoint) -> None:
        """The endpoint is gone from its service: its idle connections close, those in use finish."""
        self.recovery.forget(endpoint)
        for pool in (endpoint.pool, endpoint.http2_pool):
            if isinstance(pool, EndpointPool):
                pool.close()
                self._pools.discard(pool)

    def close(self) -> None:
        self.recovery.close()
        for pool in self._pools:
            pool.close()
