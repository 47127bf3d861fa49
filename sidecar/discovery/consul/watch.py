"""Following services: one open question each, which the agent answers when it has news.

The rules of blocking queries are Consul's: ask for what is newer than an index, begin again when it goes backwards, and
never ask faster than about once a second however quickly answers come.

An agent takes a limited number of connections from one machine. So no more questions are open than ``watches``; where more
services are followed they take turns, each for a few seconds. An answer that came while a service had no question open
is heard as soon as it has its next turn. New services do not wait for a turn: somebody is waiting for them.

(https://developer.hashicorp.com/consul/api-docs/features/blocking)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator, Sequence
from typing import Final, Protocol

from sidecar.clock import Clock, Random
from sidecar.discovery.consul.agent import Reading, Trouble
from sidecar.discovery.consul.instances import Parsed, parse
from sidecar.discovery.consul.outage import FIRST_SECONDS, Outage
from sidecar.discovery.source import Instance

LONG_SECONDS: Final = 60.0
"""How long a question is open."""
TURN_SECONDS: Final = 5.0
"""And how long where services take turns."""
PACE_SECONDS: Final = 1.0
BURST: Final = 3
"""Answers that may come faster than the pace: a deployment makes several changes at once."""
LONGEST_ALONE_SECONDS: Final = 60.0
"""Between two questions about a service of which the agent gives no answer that makes sense."""
LOOKUPS: Final = 16
"""First questions at a time, beside those that are open."""

log = logging.getLogger("sidecar.discovery")


class Reader(Protocol):
    """Asks an agent (``Trouble``)."""

    async def instances(self, service: str, index: int, wait: float) -> Reading: ...


async def in_turns(parsing: Generator[None, None, Parsed]) -> Parsed:
    """All of it, with a turn for everybody else at each pause. Not in a thread: one that computes holds up the loop just as
    well, for longer than one of these turns."""
    while True:
        try:
            next(parsing)
        except StopIteration as end:
            parsed: Parsed = end.value
            return parsed
        await asyncio.sleep(0)


class _Watch:
    """One service that is followed."""

    __slots__ = ("allowance", "asked_at", "failures", "first", "index", "open", "seen", "task")

    def __init__(self, now: float) -> None:
        self.first = asyncio.Event()
        """Set when it has been asked for once, whatever came of it."""
        self.index = 0
        self.seen: int | None = None
        """A hash of the body that was told last."""
        self.failures = 0
        """How often in a row it could not be read though the agent answered."""
        self.asked_at = now
        self.allowance = float(BURST)
        self.open: asyncio.Timeout | None = None
        """The question that is open, where it may be long."""
        self.task: asyncio.Task[None] | None = None


class Watches:
    """All services that are followed. ``told`` gets the instances of one whenever they have changed."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        random: Random,
        reader: Reader,
        outage: Outage,
        most: int,
        told: Callable[[str, Sequence[Instance]], None],
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._random = random
        self._reader = reader
        self._outage = outage
        self._most = most
        self._told = told
        self._slots = asyncio.Semaphore(most)
        self._lookups = asyncio.Semaphore(LOOKUPS)
        self._watches: dict[str, _Watch] = {}
        self._odd: set[str] = set()

    def add(self, service: str) -> None:
        """Follows ``service`` from now on, from its beginning if it was followed before."""
        self.remove(service)
        watch = self._watches[service] = _Watch(self._clock.now())
        watch.task = self._loop.create_task(self._follow(service, watch))
        if len(self._watches) == self._most + 1:
            # Turns begin: whoever has a long question open gives its place up soon, not all at the same moment.
            for other in self._watches.values():
                if other.open is not None:
                    other.open.reschedule(self._loop.time() + TURN_SECONDS * self._random.random())

    def remove(self, service: str) -> None:
        watch = self._watches.pop(service, None)
        self._odd.discard(service)
        if watch is not None and watch.task is not None:
            watch.task.cancel()

    async def first_answers(self) -> None:
        """Returns when each service that is followed now has been asked for once."""
        for watch in tuple(self._watches.values()):
            await watch.first.wait()

    def close(self) -> None:
        for service in tuple(self._watches):
            self.remove(service)

    async def _follow(self, service: str, watch: _Watch) -> None:
        while True:
            if self._outage.since is not None:
                watch.first.set()
                await self._outage.over()
            try:
                reading = await (self._look_up(service) if watch.index == 0 else self._ask(service, watch))
                if reading is not None:
                    self._outage.answered = True
                    await self._heard(service, watch, reading)
                    watch.failures = 0
            except Trouble as error:
                watch.first.set()
                watch.index = 0  # Whoever comes back may know less than before, and counts anew.
                await self._outage.wait(error)
                await self._leave_alone(watch)
            except Exception:  # Whoever is known stays callable; the next answer may make sense.
                log.exception("a defect in following %s; going on", service)
            watch.first.set()
            await self._pace(watch)

    async def _look_up(self, service: str) -> Reading | None:
        """``None`` if the agent has come into trouble meanwhile: each of those that wait would only run into the same."""
        async with self._lookups:
            if self._outage.since is not None:
                return None
            return await self._reader.instances(service, 0, 0.0)

    async def _ask(self, service: str, watch: _Watch) -> Reading | None:
        """The answer to an open question; ``None`` if its place was needed, or as for ``_look_up``."""
        async with self._slots:
            if self._outage.since is not None:
                return None
            if len(self._watches) > self._most:
                return await self._reader.instances(service, watch.index, TURN_SECONDS)
            try:
                async with asyncio.timeout(None) as watch.open:
                    return await self._reader.instances(service, watch.index, LONG_SECONDS)
            except TimeoutError:
                return None
            finally:
                watch.open = None

    async def _heard(self, service: str, watch: _Watch, reading: Reading) -> None:
        index, body = reading
        news = watch.index == 0 or index != watch.index
        # An index that goes backwards is that of another history: ask from its beginning.
        watch.index = index if index >= watch.index else 0
        seen = hash(body) if news else watch.seen
        if seen == watch.seen:
            return
        try:
            parsed = await in_turns(parse(service, body))
        except ValueError as error:
            raise Trouble(f"what the registry says of {service} is no list of instances: {str(error)[:200]}") from None
        watch.seen = seen
        self._tell_odd(service, parsed)
        if self._watches.get(service) is watch:
            self._told(service, parsed.instances)

    def _tell_odd(self, service: str, parsed: Parsed) -> None:
        if not parsed.odd:
            self._odd.discard(service)
        elif service not in self._odd:
            self._odd.add(service)
            log.warning("some instances of %s in the registry make no sense and are left out: %s", service, parsed.odd)

    async def _leave_alone(self, watch: _Watch) -> None:
        """Waits the longer the more often this service alone is the trouble: the agent answers, and not for it."""
        if watch.failures:
            await asyncio.sleep(min(FIRST_SECONDS * 2.0 ** min(watch.failures, 10), LONGEST_ALONE_SECONDS))
        watch.failures += 1

    async def _pace(self, watch: _Watch) -> None:
        """Waits until the next question may be asked: about one a second, and a few at once."""
        now = self._clock.now()
        watch.allowance = min(BURST, watch.allowance + (now - watch.asked_at) / PACE_SECONDS) - 1.0
        watch.asked_at = now
        if watch.allowance < 0.0:
            await asyncio.sleep(-watch.allowance * PACE_SECONDS)
