"""What every registry that moves by itself looks like from outside.

A source is told which services are wanted and tells the instances of each, again and again; it is handed our own
instance and sees to it that others find it. Whatever goes wrong on the way stays inside: a source that cannot reach its
registry keeps what it knows, says since when in its state, and goes on trying. Nothing here waits for anything else, and
no call of a request goes through a source: what it tells becomes endpoints, and those are what requests see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Generic, Protocol, TypeVar, runtime_checkable

import msgspec
from msgspec import Meta

from sidecar.clock import Clock, Random

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

Settings = TypeVar("Settings")

# What a registry holds was written by others and ends in addresses, logs and labels of metrics.
Name = Annotated[str, Meta(min_length=1, max_length=253, pattern=r"\A[!-~]+\Z")]
Host = Annotated[str, Meta(min_length=1, max_length=253, pattern=r"\A[0-9A-Za-z:._%-]+\Z")]
Label = Annotated[str, Meta(max_length=256, pattern=r"\A[^\x00-\x1f\x7f-\x9f\u2028\u2029]*\Z")]


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """One running copy of a service, as a registry knows it. ``host`` is an address, or a name that is resolved at each
    connection; ``id`` tells it from all others of its service, empty where a registry has no such thing."""

    service: Name
    host: Host
    port: Annotated[int, Meta(ge=1, le=65535)]
    weight: Annotated[int, Meta(ge=0, le=1_000_000)] = 1
    zone: Label = ""
    tags: tuple[Label, ...] = ()
    meta: Mapping[Label, Label] = {}
    version: Label = ""
    id: Label = ""
    trouble: Label = ""
    """Why it should not be called now, in words; empty if it is well."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """How a source fares, for readiness, metrics and people.

    ``seen``: it has answered at least once. ``stale_since``: monotonic seconds from which on what it tells may be out of
    date, ``None`` if it is not. ``registered``: others can find our own instance. ``trouble``: what is wrong, in words.
    """

    seen: bool = False
    stale_since: float | None = None
    registered: bool = False
    trouble: str = ""


def stale_seconds(state: State, now: float) -> float:
    """For how long what the source tells may have been out of date; 0 if it is not."""
    return max(0.0, now - state.stale_since) if state.stale_since is not None else 0.0


Told = Callable[[Sequence[Instance]], None]
"""Gets the instances of one service: all of them, each time that they have changed, on the loop and never from within a
call to the source. The first time is the answer to ``subscribe``, and may be empty: then there are none."""


class Source(Protocol):
    """A registry. All calls are made on the loop and none of them raises because the registry is in trouble."""

    certain: bool
    """Whether an instance that it does not list any more is gone for certain. If not, many that vanish at once are kept
    for a while, since a registry that has lost its memory looks the same (``discovery.doubt``)."""

    def subscribe(self, service: str, told: Told) -> None:
        """``told`` gets the instances of ``service`` from now on; whoever was told before is no more."""
        ...

    def unsubscribe(self, service: str) -> None:
        """Nobody is told of ``service`` any more, from this moment on."""
        ...

    def register(self, instance: Instance) -> None:
        """Others shall find ``instance``, in place of what was registered before; kept up until ``deregister``. Where
        only its ``trouble`` is another, its health has changed and nothing else.

        Raises ``ValueError`` if it is nothing that a registry could hold."""
        ...

    def announce(self, service: str, admin: str, listeners: Mapping[str, str]) -> None:
        """Commands on this machine shall find the sidecar of ``service`` by its addresses, registered or not. A registry
        of many machines has nothing to do."""
        ...

    async def deregister(self) -> None:
        """Others shall find us no more; returns when the registry knows, or when it has been tried once in vain."""
        ...

    def state(self) -> State: ...

    async def start(self) -> None:
        """Begins. Returns after the first exchange with the registry, good or bad; the caller bounds the wait.

        Raises ``OSError`` only for what trying again cannot mend and a person has to."""
        ...

    async def close(self) -> None:
        """Deregisters and ends; nobody is told anything any more."""
        ...


@runtime_checkable
class Selective(Protocol):
    """A source that knows by a name alone whether it could be one of its services. Of all others only names without a
    dot are asked for, unless they are said to be of the mesh."""

    def owns(self, name: str) -> bool:
        """Whether there can be a service of that name that no configuration has; nobody is asked for it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup(Generic[Settings]):
    """What a registry that somebody else has written is made from (``config.installed`` says how it is found).

    ``loop``: all calls are made on it. ``clock`` and ``random`` are to be used instead of ``time`` and ``random``: tests
    have their own. ``settings``: ``[registry.options]``, as the factory's ``Settings`` or as it stands."""

    loop: AbstractEventLoop
    clock: Clock
    random: Random
    settings: Settings
