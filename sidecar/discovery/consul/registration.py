"""Our own entry at the agent beside us: made, kept alive, changed, and taken back.

The entry has a check that only we can pass. Passing it every third of its time to live is also how we learn that the
agent has forgotten us, because it was started again without its data: then it does not know the check, and we register
anew. Health travels by the same check: an application in trouble fails it, in words, and nothing else changes.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec

from sidecar.clock import Clock, Random
from sidecar.discovery.consul.agent import Agent, Trouble, Unknown
from sidecar.discovery.consul.instances import VERSION, WEIGHT, ZONE
from sidecar.discovery.consul.settings import Settings
from sidecar.discovery.source import Instance

FIRST_SECONDS: Final = 0.5
LONGEST_SECONDS: Final = 5.0
"""Between two tries while the agent is in trouble: it may come back empty, and nobody finds us until we have registered."""
MOST_WEIGHT: Final = 65535
"""What Consul takes; 0 it does not take either."""
BEATS: Final = 3
"""Signs of life in a time to live: one of them may be lost."""
REPEAT_SECONDS: Final = 60.0
"""How often trouble that lasts is told again."""

_META_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")

log = logging.getLogger("sidecar.discovery")


class Registration:
    """Keeps what is wanted and what the agent has the same."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Clock, random: Random, agent: Agent, settings: Settings
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._random = random
        self._agent = agent
        self._settings = settings
        self._wanted: Instance | None = None
        self._posted: Instance | None = None
        """What the agent has, as far as we know."""
        self._sent: Instance | None = None
        """What it may have: its answer may be lost, and the entry be there."""
        self._wake = asyncio.Event()
        self._tried = asyncio.Event()
        self._busy = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._told: tuple[str, float] = ("", 0.0)
        self.trouble = ""

    @property
    def registered(self) -> bool:
        return self._posted is not None

    def want(self, instance: Instance) -> None:
        """Raises ``ValueError`` if it is nothing that Consul could hold."""
        definition(instance, self._settings)
        self._wanted = instance
        self._wake.set()

    async def start(self) -> None:
        """Returns after the first try; it goes on also if nobody waits for that."""
        self._task = self._loop.create_task(self._run())
        await self._tried.wait()

    async def withdraw(self) -> None:
        """Takes the entry back; returns when the agent knows, or has been tried once in vain."""
        self._wanted = None
        self._wake.set()  # Whoever waits for us may give up; then it is done all the same.
        try:
            await self._turn()
        except Trouble as error:
            log.warning("cannot deregister: %s; callers find us gone when they see that we drain", error)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._sent is not None:
            await self.withdraw()

    async def _run(self) -> None:
        seconds = FIRST_SECONDS
        while True:
            self._wake.clear()
            try:
                await self._turn()
            except Trouble as error:
                self._failed(error)
            except Exception:  # Others must go on finding us.
                log.exception("a defect in registering; going on")
            else:
                if self.trouble and self._posted is not None:
                    log.info("registered again")
                self.trouble = ""
                seconds = FIRST_SECONDS
            self._tried.set()
            beat = min(self._settings.ttl / BEATS, LONGEST_SECONDS)
            if self.trouble:
                beat = min(beat, seconds * self._random.uniform(0.5, 1.0))
                seconds = min(2 * seconds, LONGEST_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(beat):
                    await self._wake.wait()

    def _failed(self, error: Trouble) -> None:
        trouble, now = str(error), self._clock.now()
        told, at = self._told
        if trouble != told or not self.trouble or now - at >= REPEAT_SECONDS:
            self._told = trouble, now
            what = "register" if self._wanted is not None else "deregister"
            log.warning("cannot %s: %s; trying again", what, trouble)
        self.trouble = trouble

    async def _turn(self) -> None:
        """One sign of life, or whatever makes the agent have what is wanted."""
        async with self._busy:
            wanted, posted, sent = self._wanted, self._posted, self._sent
            if sent is not None and (wanted is None or id_of(wanted) != id_of(sent)):
                await self._agent.deregister(id_of(sent))
                self._posted = self._sent = posted = None
            if wanted is None:
                return
            if posted is None or msgspec.structs.replace(posted, trouble=wanted.trouble) != wanted:
                await self._post(wanted)
                return
            try:
                await self._agent.alive(check_of(wanted), wanted.trouble)
                self._posted = wanted
            except Unknown:
                log.warning("the agent has forgotten us: registering again")
                self._posted = None
                await self._post(wanted)

    async def _post(self, wanted: Instance) -> None:
        self._sent = wanted
        await self._agent.register(definition(wanted, self._settings))
        self._posted = wanted
        # A registration that changes an entry leaves its check as it was, and an initial status has no words.
        await self._agent.alive(check_of(wanted), wanted.trouble)


def id_of(instance: Instance) -> str:
    """The same after a restart: an entry that was left behind by a crash is taken over and not called in vain."""
    return f"{instance.service}-{instance.host}-{instance.port}"


def check_of(instance: Instance) -> str:
    return f"service:{id_of(instance)}"


def definition(instance: Instance, settings: Settings) -> Mapping[str, Any]:
    """Keywords of py-consul's ``agent.service.register``. Raises ``ValueError`` with a sentence."""
    meta = dict(instance.meta)
    if meta.get(WEIGHT, str(instance.weight)) != str(instance.weight):
        raise ValueError(
            f"others take the meta key {WEIGHT!r} for service.weight: set that, or give the key another name"
        )
    meta |= {ZONE: instance.zone} if instance.zone else {}
    meta |= {VERSION: instance.version} if instance.version else {}
    weight = instance.weight
    if not 1 <= weight <= MOST_WEIGHT:
        meta[WEIGHT] = str(weight)
        weight = max(1, min(weight, MOST_WEIGHT))
    if len(meta) > 64:
        raise ValueError(f"Consul takes 64 keys of meta, not {len(meta)}")
    for key, value in meta.items():
        if not _META_KEY.fullmatch(key) or key.startswith("consul-"):
            raise ValueError(f"Consul takes no meta key {key[:60]!r}: letters, digits, - and _, and not consul-…")
        if len(value) > 512:
            raise ValueError(f"Consul takes at most 512 characters for the meta key {key!r}, not {len(value)}")
    return {
        "name": instance.service,
        "service_id": id_of(instance),
        "address": instance.host,
        "port": instance.port,
        "tags": list(instance.tags),
        "meta": meta,
        "weights": {"Passing": weight, "Warning": 1},
        "check": {
            "Name": f"sidecar of {instance.service}",
            "CheckID": check_of(instance),
            "TTL": f"{settings.ttl:g}s",
            "DeregisterCriticalServiceAfter": f"{settings.deregister_after:g}s",
            "Status": "critical" if instance.trouble else "passing",
        },
        "replace_existing_checks": True,
    }
