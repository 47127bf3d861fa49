"""A registry that somebody else has written, kept from doing harm.

It may raise where it must not, tell what is no instance, tell from another thread or while it is being asked. None of that
reaches those who follow it: an error is logged and the registry in trouble until it does the same thing well; what it
tells is checked as what anybody else writes, and only a whole list that is sound takes the place of the last one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, TypeVar

import msgspec

from sidecar.clock import Clock
from sidecar.discovery.source import Instance, Selective, Source, State, Told

INSTANCES_AT_MOST: Final = 10_000
"""Of one service; a list that is longer is a mistake."""
REPEAT_SECONDS: Final = 60.0
"""How often the same trouble is logged."""
_METHODS: Final = ("subscribe", "unsubscribe", "register", "announce", "deregister", "state", "start", "close")

Answer = TypeVar("Answer")

log = logging.getLogger("sidecar.discovery")


def missing(source: object) -> list[str]:
    """What it would have to have to be a source."""
    lacking = [f"{name}()" for name in _METHODS if not callable(getattr(source, name, None))]
    return lacking if isinstance(getattr(source, "certain", None), bool) else [*lacking, "certain"]


def checked(service: str, told: object) -> tuple[Instance, ...]:
    """What was told of a service. Raises ``ValueError``."""
    if not isinstance(told, Sequence) or isinstance(told, str | bytes):
        raise ValueError(f"expected a list of instances, not {type(told).__name__}")
    if len(told) > INSTANCES_AT_MOST:
        raise ValueError(f"{len(told)} instances are more than {INSTANCES_AT_MOST}")
    for one in told:
        if not isinstance(one, Instance):
            raise ValueError(f"expected an Instance, not {type(one).__name__}")
    instances: list[Instance] = msgspec.convert(msgspec.to_builtins(list(told)), list[Instance])
    for one in instances:
        if one.service != service:
            raise ValueError(f"told an instance of {one.service!r}")
    return tuple(instances)


class Guest:
    """A source around another one."""

    def __init__(self, kind: str, source: Source, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        self.certain = source.certain
        self._kind = kind
        self._source = source
        self._loop = loop
        self._clock = clock
        self._followed: dict[str, Told] = {}
        self._failures: dict[str, tuple[float, str]] = {}
        """By what it was doing: since when, and what was wrong."""
        self._logged: dict[str, float] = {}
        self._closed = False

    def subscribe(self, service: str, told: Told) -> None:
        self._followed[service] = told

        def hear(instances: Sequence[Instance]) -> None:
            # It may come from any thread, and from within the call: those who are told want neither.
            with suppress(RuntimeError):  # The loop has ended.
                self._loop.call_soon_threadsafe(self._hear, service, told, instances)

        self._try(f"subscribe({service})", lambda: self._source.subscribe(service, hear))

    def unsubscribe(self, service: str) -> None:
        self._followed.pop(service, None)
        self._try("unsubscribe", lambda: self._source.unsubscribe(service))
        for doing in (f"subscribe({service})", f"telling {service}"):
            self._failures.pop(doing, None)
            self._logged.pop(doing, None)

    def _hear(self, service: str, told: Told, instances: Sequence[Instance]) -> None:
        if self._closed or self._followed.get(service) is not told:
            return
        doing = f"telling {service}"
        try:
            sound = checked(service, instances)
        except Exception as error:  # What it tells may be anything, and behave as it likes.
            self._failed(doing, error)
            return
        self._failures.pop(doing, None)
        told(sound)

    def register(self, instance: Instance) -> None:
        try:
            self._source.register(instance)
        except ValueError:
            raise
        except Exception as error:
            self._failed("register", error)
        else:
            self._failures.pop("register", None)

    def announce(self, service: str, admin: str, listeners: Mapping[str, str]) -> None:
        try:
            self._source.announce(service, admin, listeners)
        except ValueError:
            raise
        except Exception as error:
            self._failed("announce", error)

    def state(self) -> State:
        def ask() -> State:
            state: object = self._source.state()
            if not isinstance(state, State):
                raise TypeError(f"expected a State, not {type(state).__name__}")
            return state

        state = self._try("state", ask) or State(stale_since=self._failures["state"][0])
        if not self._failures:
            return state
        (since, what) = next(iter(self._failures.values()))
        stale = since if state.stale_since is None else min(since, state.stale_since)
        return msgspec.structs.replace(state, stale_since=stale, trouble=state.trouble or what)

    async def start(self) -> None:
        try:
            await self._source.start()
        except OSError:
            raise
        except Exception as error:
            raise OSError(f"{self._kind} does not begin: {_described(error)}") from error

    async def deregister(self) -> None:
        try:
            await self._source.deregister()
        except Exception as error:
            self._failed("deregister", error)

    async def close(self) -> None:
        self._closed = True
        try:
            await self._source.close()
        except Exception as error:
            self._failed("close", error)

    def _try(self, doing: str, act: Callable[[], Answer]) -> Answer | None:
        try:
            result = act()
        except Exception as error:
            self._failed(doing, error)
            return None
        self._failures.pop(doing, None)
        return result

    def _failed(self, doing: str, error: BaseException) -> None:
        now = self._clock.now()
        what = f"the registry {self._kind} fails in {doing}: {_described(error)}"
        self._failures[doing] = self._failures.get(doing, (now, ""))[0], what
        if now - self._logged.get(doing, -REPEAT_SECONDS) >= REPEAT_SECONDS:
            self._logged[doing] = now
            log.error("%s; keeping what is known", what)


class SelectiveGuest(Guest):
    """One that knows its services by their names."""

    def __init__(
        self, kind: str, source: Source, selective: Selective, loop: asyncio.AbstractEventLoop, clock: Clock
    ) -> None:
        super().__init__(kind, source, loop, clock)
        self._selective = selective

    def owns(self, name: str) -> bool:
        return self._try("owns", lambda: bool(self._selective.owns(name))) or False


def guest(kind: str, source: Source, loop: asyncio.AbstractEventLoop, clock: Clock) -> Guest:
    """``source``, kept from doing harm."""
    if isinstance(source, Selective):
        return SelectiveGuest(kind, source, source, loop, clock)
    return Guest(kind, source, loop, clock)


def _described(error: BaseException) -> str:
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
