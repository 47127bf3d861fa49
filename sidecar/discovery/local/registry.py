"""The registry as the app sees it: a source whose work is done by one thread, twice a second.

A directory may lie on a disk that hangs, and the loop must not hang with it. So the loop only hands over what is wanted
and gets back what was found; everything in between, our own file and the view of the others', belongs to the thread, which
does one turn at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec

from sidecar.clock import Clock, Random
from sidecar.discovery.local.alarm import Alarm
from sidecar.discovery.local.announcement import Announcement, decode, encode
from sidecar.discovery.local.directory import Directory, Refused, place
from sidecar.discovery.local.owner import Owner, Processes, ourselves
from sidecar.discovery.local.post import Post
from sidecar.discovery.local.sweep import Sweep
from sidecar.discovery.local.view import LOOK_SECONDS, View
from sidecar.discovery.source import Instance, State, Told

REPEAT_SECONDS: Final = 60.0
"""How often trouble that lasts is told again."""

log = logging.getLogger("sidecar.discovery")


class _Turn(NamedTuple):
    """What came of one turn of the thread."""

    found: Mapping[str, tuple[Instance, ...]]
    registered: bool
    blind: OSError | None
    """Why the others could not be looked at."""
    mute: OSError | None
    """Why our own file could not be written."""


class _Subscription:
    __slots__ = ("last", "told")

    def __init__(self, told: Told) -> None:
        self.told = told
        self.last: Sequence[Instance] | None = None


class LocalRegistry:
    """A source (``discovery.source``) over a directory: ``path``, or the one of this user on this machine."""

    certain = True

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        random: Random,
        path: str | None = None,
        owner: Owner | None = None,
        processes: Processes | None = None,
        thread: Executor | None = None,
        watch: bool = True,
    ) -> None:
        """``owner``, ``processes`` and ``thread`` are for tests: who we are, whom we can see, and what works for us.
        Without ``watch`` changes are seen at the next look only."""
        self._loop = loop
        self._clock = clock
        self._place = place(path)
        self._owner = owner or ourselves()
        self._id = f"{random.getrandbits(64):016x}"
        self._thread = thread or ThreadPoolExecutor(1, "registry")
        # What the loop wants.
        self._wanted: Announcement | None = None
        self._subscriptions: dict[str, _Subscription] = {}
        self._suspects: list[tuple[str, int]] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        # What it knows.
        self._state = State()
        self._trouble: tuple[str, float] = ("", 0.0)
        self._closed = False
        # What belongs to the thread.
        processes = processes or Processes()
        self._directory: Directory | None = None
        self._alarm = Alarm(self._ring) if watch else None
        self._post = Post(clock)
        self._view = View(clock, processes)
        self._sweep = Sweep(clock, processes)

    @property
    def path(self) -> str:
        """Where the directory is."""
        return self._place.path

    # What the app wants

    def subscribe(self, service: str, told: Told) -> None:
        self._subscriptions[service] = _Subscription(told)
        self._wake.set()

    def unsubscribe(self, service: str) -> None:
        self._subscriptions.pop(service, None)

    def announce(self, service: str, admin: str = "", listeners: Mapping[str, str] = MappingProxyType({})) -> None:
        """Raises ``ValueError`` if others could not read it."""
        own = self._own(service)
        self._want(msgspec.structs.replace(own, admin=admin, listeners=dict(listeners)))

    def register(self, instance: Instance) -> None:
        self._want(msgspec.structs.replace(self._own(instance.service), instance=instance))

    async def deregister(self) -> None:
        """The file stays, without the instance, until ``close``: that it can be called no more is what others read."""
        wanted = self._wanted
        if wanted is not None and wanted.instance is not None:
            self._wanted = msgspec.structs.replace(wanted, instance=None)
            await self._turn()

    def _own(self, service: str) -> Announcement:
        """What we say so far, as one of ``service``."""
        if self._wanted is None:
            return Announcement(service=service, id=self._id, owner=self._owner)
        if self._wanted.service == service:
            return self._wanted
        return msgspec.structs.replace(self._wanted, service=service, instance=None)

    def _want(self, announcement: Announcement) -> None:
        decode(encode(announcement), announcement.file)
        self._wanted = announcement
        self._wake.set()

    def suspect(self, host: str, port: int) -> None:
        """A connection was refused there. If only the heartbeat tells whether its owner lives, it has to tell first."""
        self._suspects.append((host, port))
        self._wake.set()

    def state(self) -> State:
        return self._state

    # Life

    async def start(self) -> None:
        try:
            await self._loop.run_in_executor(self._thread, self._enter)
        except Refused:
            await self.close()
            raise
        except OSError:
            pass  # The first turn tells of it, and later ones try again.
        await self._turn()
        self._task = self._loop.create_task(self._run())

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._wanted = None
        if self._task is not None:
            self._task.cancel()
        await self._loop.run_in_executor(self._thread, self._leave)
        self._thread.shutdown(wait=False)

    async def _run(self) -> None:
        while True:
            timer = self._loop.call_later(LOOK_SECONDS, self._wake.set)
            await self._wake.wait()
            timer.cancel()
            self._wake.clear()
            try:
                await self._turn()
            except Exception:  # Whoever is known stays callable; the next turn may well succeed.
                log.exception("a defect in the local registry; going on")

    async def _turn(self) -> None:
        suspects, self._suspects = self._suspects, []
        services = tuple(self._subscriptions)
        turn = await self._loop.run_in_executor(self._thread, self._work, self._wanted, services, suspects)
        self._judge(turn)
        if not self._closed:
            for service, instances in turn.found.items():
                self._tell(service, instances, turn.blind is None)

    def _tell(self, service: str, instances: Sequence[Instance], looked: bool) -> None:
        subscription = self._subscriptions.get(service)
        # As long as nobody has looked, that there are none is not known.
        if subscription is None or instances == subscription.last or not (looked or subscription.last is not None):
            return
        subscription.last = instances
        try:
            subscription.told(instances)
        except Exception:  # One follower's defect must not keep the news from the others.
            log.exception("a defect in what follows the instances of %s; going on", service)

    def _judge(self, turn: _Turn) -> None:
        now = self._clock.now()
        error = turn.blind or turn.mute
        trouble = ""
        if error is not None:
            what = "look for others" if turn.blind is not None else "register"
            trouble = f"cannot {what} in {self.path}: {error.strerror or error}"
        before = self._state
        self._state = State(
            seen=before.seen or turn.blind is None,
            stale_since=None if turn.blind is None else now if before.stale_since is None else before.stale_since,
            registered=turn.registered,
            trouble=trouble,
        )
        told, at = self._trouble
        if trouble and (trouble != told or now - at >= REPEAT_SECONDS):
            self._trouble = trouble, now
            log.warning("%s; keeping what is known and trying again", trouble)
        elif told and not trouble:
            self._trouble = "", now
            log.info("the registry in %s works again", self.path)

    # What the thread does

    def _work(
        self, wanted: Announcement | None, services: Collection[str], suspects: Sequence[tuple[str, int]]
    ) -> _Turn:
        blind: OSError | None = None
        mute: OSError | None = None
        for address in suspects:
            self._view.suspect(*address)
        try:
            directory = self._enter()
        except OSError as error:
            return _Turn(self._view.look(services, None), False, error, None)
        try:
            self._post.keep(wanted, directory)
        except OSError as error:
            mute = error
        try:
            found = self._view.look(services, directory)
            self._sweep.go_on(directory)
        except OSError as error:
            found, blind = self._view.look(services, None), error
        posted = self._post.posted
        return _Turn(found, posted is not None and posted.instance is not None, blind, mute)

    def _enter(self) -> Directory:
        """The directory, made anew if it is gone."""
        directory = self._directory
        if directory is not None and directory.stands:
            return directory
        if directory is not None:
            self._directory = None
            directory.close()
        self._directory = Directory(self._place)
        if self._alarm is not None:
            self._alarm.follow(self.path)
        return self._directory

    def _ring(self) -> None:
        """Something has changed, says a thread that may outlive the loop."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._wake.set)

    def _leave(self) -> None:
        """Leaves nothing behind."""
        if self._alarm is not None:
            self._alarm.close()
        directory, self._directory = self._directory, None
        if directory is None:
            return
        try:
            self._post.remove(directory)
        except OSError as error:
            log.warning("cannot remove our file from %s: %s", self.path, error.strerror)
        directory.leave()
