"""Endpoints that refused a connection are left out until somebody listens there again.

A refused connection is the surest and quickest sign that an instance has died: the system itself says that nobody is
there. So the endpoint gets no more calls from that moment on, long before a registry or a breaker knows. It is asked in
the background whether it is back, after 250 ms and then at twice the distance each time, 5 s at most; the connection
that succeeds is kept for the first call. ``resilience.standing`` sees to it that the last endpoint is never left out for
this: where nobody is left, calls are as good a test as any.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Protocol

from sidecar.clock import Clock
from sidecar.model import Endpoint
from sidecar.resilience.standing import judge
from sidecar.timing.wheel import Wheel

FIRST_SECONDS: Final = 0.25
LONGEST_SECONDS: Final = 5.0

log = logging.getLogger("sidecar.endpoints")


class Pool(Protocol):
    """The connections to one endpoint."""

    endpoint: Endpoint

    def connect(self) -> None:
        """Makes a connection, and tells us what came of it: ``stands`` or ``failed``."""
        ...


class _Trial:
    """The wait for one endpoint."""

    __slots__ = ("_seconds", "pool", "timer", "waiting")

    def __init__(self, pool: Pool, wheel: Wheel) -> None:
        self.pool = pool
        self.timer = wheel.timer(self)
        self.waiting = False
        """Until the next try; else a try runs."""
        self._seconds = FIRST_SECONDS

    def wait(self, now: float) -> None:
        self.waiting = True
        self.timer.set(now + self._seconds)
        self._seconds = min(2 * self._seconds, LONGEST_SECONDS)

    def on_timer(self, now: float) -> None:
        self.waiting = False
        self.pool.connect()


class Recovery:
    """All that are waited for. ``changed`` is told the service of an endpoint that is left out, or is back."""

    __slots__ = ("_changed", "_clock", "_trials", "_wheel")

    def __init__(self, wheel: Wheel, clock: Clock, changed: Callable[[str], None]) -> None:
        self._wheel = wheel
        self._clock = clock
        self._changed = changed
        self._trials: dict[Endpoint, _Trial] = {}

    def failed(self, pool: Pool, detail: str, nobody: bool) -> None:
        """A connection to the pool's endpoint is not to be had; ``nobody``: because nobody listens there."""
        endpoint = pool.endpoint
        trial = self._trials.get(endpoint)
        if trial is not None:
            if not trial.waiting:
                trial.wait(self._clock.now())
        elif nobody and endpoint.service:
            trial = self._trials[endpoint] = _Trial(pool, self._wheel)
            trial.wait(self._clock.now())
            if judge(endpoint, refused=detail):
                log.warning("%s: left out until a connection succeeds: %s", endpoint.service, detail)
                self._changed(endpoint.service)

    def stands(self, endpoint: Endpoint) -> None:
        """A connection to it has been made."""
        if endpoint in self._trials:
            self.forget(endpoint)
            if judge(endpoint, refused=""):
                log.info("%s: %s takes connections again", endpoint.service, endpoint.label)
                self._changed(endpoint.service)

    def forget(self, endpoint: Endpoint) -> None:
        """It is nobody's endpoint any more."""
        trial = self._trials.pop(endpoint, None)
        if trial is not None:
            trial.timer.cancel()

    def close(self) -> None:
        for endpoint in tuple(self._trials):
            self.forget(endpoint)
