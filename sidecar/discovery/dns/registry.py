"""The registry as the app sees it: a source that asks for each service when its last answer has run out.

One timer serves all services: a heap has the moments at which they are due. What is due waits until it is its turn, since
a fleet of names that run out together must not become a flood of questions.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Final

from sidecar.clock import Clock, Random
from sidecar.discovery.dns.lookup import ADDRESSES_AT_MOST, Addresses, Found, look_up
from sidecar.discovery.dns.naming import Naming
from sidecar.discovery.dns.resolver import Answer, AresResolver, Kind, Resolver, Trouble
from sidecar.discovery.dns.settings import DnsRegistry as Settings
from sidecar.discovery.source import Instance, State, Told

QUESTIONS_AT_ONCE: Final = 64
EMPTY_SECONDS: Final = 5.0
"""Until the next question where there was nothing: aiodns does not say how long that holds."""
RETRY_SECONDS: Final = (1.0, 30.0)
"""The first wait after trouble, which doubles, and the longest one."""
REPEAT_SECONDS: Final = 60.0
"""How often trouble that lasts is told again."""
JITTER: Final = 0.1
"""What is added to each wait at most, as a share of it, and never more than a second."""

log = logging.getLogger("sidecar.discovery")


class _Few:
    """A resolver that is asked only so many questions at a time."""

    __slots__ = ("_inner", "_turns")

    def __init__(self, inner: Resolver) -> None:
        self._inner = inner
        self._turns = asyncio.Semaphore(QUESTIONS_AT_ONCE)

    async def ask(self, name: str, kind: Kind) -> Answer:
        async with self._turns:
            return await self._inner.ask(name, kind)

    async def close(self) -> None:
        await self._inner.close()


class _Wanted:
    """A service that somebody follows."""

    __slots__ = ("asked", "failures", "last", "service", "targets", "told", "too_many")

    def __init__(self, service: str, told: Told) -> None:
        self.service = service
        self.told = told
        self.last: Sequence[Instance] | None = None
        """What was told last."""
        self.asked = False
        """Whether it has been asked for at least once."""
        self.failures = 0
        """How often in a row."""
        self.targets: Mapping[str, Addresses] = {}
        self.too_many = False


class DnsRegistry:
    """A source (``discovery.source``) over DNS."""

    certain = False

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        random: Random,
        settings: Settings,
        resolver: Callable[[asyncio.AbstractEventLoop, Clock, Settings], Resolver] = AresResolver,
    ) -> None:
        """``resolver`` makes what answers; the tests have their own."""
        self._loop = loop
        self._clock = clock
        self._random = random
        self._settings = settings
        self._naming = Naming(settings)
        self._make = resolver
        self._resolver: Resolver | None = None
        self._wanted: dict[str, _Wanted] = {}
        self._due: list[tuple[float, int, _Wanted]] = []
        self._order = count()
        self._turns: deque[_Wanted] = deque()
        """Due, and waiting for a place among those that are asked for."""
        self._timer: tuple[float, asyncio.TimerHandle] | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._first: set[_Wanted] = set()
        """Those whose first answer the start waits for."""
        self._begun: asyncio.Future[None] | None = None
        self._answered = False
        self._troubles: dict[str, tuple[float, str]] = {}
        """By service: since when, and what."""
        self._said: float | None = None
        """When trouble was told last, while there is some."""

    # What the app wants

    def owns(self, name: str) -> bool:
        """Whether there can be a service of that name that no configuration has."""
        return self._naming.owns(name)

    def subscribe(self, service: str, told: Told) -> None:
        wanted = self._wanted[service] = _Wanted(service, told)
        self._troubles.pop(service, None)
        self._schedule(wanted, 0.0)

    def unsubscribe(self, service: str) -> None:
        self._wanted.pop(service, None)
        self._recover(service)

    def register(self, instance: Instance) -> None:
        """Whoever writes the zone does that."""

    def announce(self, service: str, admin: str, listeners: Mapping[str, str]) -> None:
        """Nobody on this machine reads our zone for that."""

    async def deregister(self) -> None:
        """As with ``register``."""

    def state(self) -> State:
        # A name that was never found is trouble, but nothing that anybody goes by is out of date.
        stale = [since for name, (since, _) in self._troubles.items() if self._wanted[name].last is not None]
        return State(seen=self._answered, stale_since=min(stale, default=None), trouble=self._trouble())

    def _trouble(self) -> str:
        if not self._troubles:
            return ""
        service, (_, why) = next(iter(self._troubles.items()))
        more = len(self._troubles) - 1
        return f"{service} cannot be looked up: {why}" + (f" (and {more} more)" if more else "")

    # Life

    async def start(self) -> None:
        """Raises ``OSError`` if no question can be asked at all, whoever would answer."""
        self._resolver = _Few(self._make(self._loop, self._clock, self._settings))
        self._begun = self._loop.create_future()
        self._first = set(self._wanted.values())
        if not self._first:
            # Nothing is wanted, so nothing is missing.
            self._answered = True
            self._begun.set_result(None)
        self._wind()
        await self._begun

    async def close(self) -> None:
        self._wanted.clear()
        self._troubles.clear()
        self._due.clear()
        self._turns.clear()
        if self._timer is not None:
            self._timer[1].cancel()
            self._timer = None
        for task in self._running:
            task.cancel()
        if self._resolver is not None:
            resolver, self._resolver = self._resolver, None
            await resolver.close()

    # Whose turn it is

    def _schedule(self, wanted: _Wanted, seconds: float) -> None:
        heappush(self._due, (self._clock.now() + seconds, next(self._order), wanted))
        if self._resolver is not None:
            self._wind()

    def _wind(self) -> None:
        """Sets the timer to the first that is due."""
        if not self._due:
            return
        due = self._due[0][0]
        if self._timer is not None:
            if self._timer[0] <= due:
                return
            self._timer[1].cancel()
        self._timer = due, self._loop.call_later(max(0.0, due - self._clock.now()), self._ring)

    def _ring(self) -> None:
        self._timer = None
        now = self._clock.now()
        while self._due and self._due[0][0] <= now:
            wanted = heappop(self._due)[2]
            if self._wanted.get(wanted.service) is wanted:
                self._turns.append(wanted)
        self._wind()
        self._ask_next()

    def _ask_next(self) -> None:
        while self._turns and len(self._running) < QUESTIONS_AT_ONCE:
            task = self._loop.create_task(self._ask(self._turns.popleft()))
            self._running.add(task)
            task.add_done_callback(self._asked)

    def _asked(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._ask_next()

    # What comes of it

    async def _ask(self, wanted: _Wanted) -> None:
        resolver = self._resolver
        if resolver is None:
            return
        wait = RETRY_SECONDS[1]
        try:
            questions = self._naming.questions(wanted.service)
            found = await look_up(resolver, wanted.service, questions, wanted.targets)
            if self._wanted.get(wanted.service) is wanted:
                wait = self._hear(wanted, found)
        except Trouble as trouble:
            if self._wanted.get(wanted.service) is wanted:
                wait = self._fail(wanted, str(trouble))
        except Exception:  # What is known stays; the next question may well succeed.
            log.exception("a defect in the DNS registry at %s; going on", wanted.service)
        finally:
            self._first.discard(wanted)
            if not self._first and self._begun is not None and not self._begun.done():
                self._begun.set_result(None)
        if self._wanted.get(wanted.service) is wanted:
            self._schedule(wanted, wait)

    def _hear(self, wanted: _Wanted, found: Found) -> float:
        """Tells what is news; seconds until the next question."""
        self._answered = True
        wanted.targets = found.targets
        if found.missing and not wanted.too_many:
            log.warning(
                "%s has %d addresses more than the %d that are used",
                wanted.service, found.missing, ADDRESSES_AT_MOST,
            )  # fmt: skip
        wanted.too_many = bool(found.missing)
        if found.trouble:
            wait = self._fail(wanted, found.trouble)
            if not found.instances:
                return wait  # Nothing but targets of which nothing is known.
        else:
            wanted.failures = 0
            self._recover(wanted.service)
            wait = self._holds(found)
        self._tell(wanted, found.instances)
        return wait

    def _holds(self, found: Found) -> float:
        settings = self._settings
        ttl = found.ttl if found.instances else EMPTY_SECONDS
        ttl = max(settings.min_ttl, min(settings.max_ttl, ttl))
        return ttl + min(1.0, JITTER * ttl) * self._random.random()

    def _tell(self, wanted: _Wanted, instances: Sequence[Instance]) -> None:
        if instances == wanted.last:
            return
        wanted.last = instances
        try:
            wanted.told(instances)
        except Exception:  # One follower's defect must not keep the news from the others.
            log.exception("a defect in what follows the instances of %s; going on", wanted.service)

    def _fail(self, wanted: _Wanted, why: str) -> float:
        """Takes down the trouble; seconds until the next try."""
        now = self._clock.now()
        since = self._troubles.get(wanted.service, (now, ""))[0]
        self._troubles[wanted.service] = since, why
        if self._said is None or now - self._said >= REPEAT_SECONDS:
            self._said = now
            log.warning("%s; keeping what is known and trying again", self._trouble())
        first, longest = RETRY_SECONDS
        wait = min(longest, first * 2.0 ** min(wanted.failures, 10))
        wanted.failures += 1
        return wait + min(1.0, JITTER * wait) * self._random.random()

    def _recover(self, service: str) -> None:
        if self._troubles.pop(service, None) is not None and not self._troubles:
            self._said = None
            log.info("DNS works again: every service can be looked up")
