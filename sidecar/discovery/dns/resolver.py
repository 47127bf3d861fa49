"""One question and its answer, on aiodns: what came back, made plain, or why nothing that could be used.

c-ares, the library beneath, remembers answers by itself for as long as their time lasts, up to an hour, and cannot be
told otherwise through aiodns. So a channel of it is used for ``max_ttl`` only, and then another is made: that an answer
holds no longer than that is a promise of ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol

from sidecar.clock import Clock
from sidecar.discovery.dns.settings import DnsRegistry

if TYPE_CHECKING:
    from aiodns import DNSResolver

Kind = Literal["A", "AAAA", "SRV"]
TRIES: Final = 2
CHAIN_AT_MOST: Final = 32
"""Names that lead to each other; whoever has more of them has made a mistake, or wants us to work."""


class Trouble(Exception):
    """No answer that could be used; why, in words."""


class Record(NamedTuple):
    """``data`` is an address, or a target without its last dot, in lower case. ``ttl`` in seconds."""

    name: str
    ttl: int
    data: str
    port: int = 0
    priority: int = 0
    weight: int = 0


class Answer(NamedTuple):
    """``exists``: there is such a name, if perhaps with other records. ``extra``: addresses that the server has added,
    by the name that they belong to."""

    records: Sequence[Record] = ()
    extra: Sequence[Record] = ()
    exists: bool = True


class Resolver(Protocol):
    """Whoever answers questions."""

    async def ask(self, name: str, kind: Kind) -> Answer:
        """Raises ``Trouble``."""
        ...

    async def close(self) -> None: ...


class _Channel:
    __slots__ = ("asked", "made", "resolver")

    def __init__(self, resolver: DNSResolver, made: float) -> None:
        self.resolver = resolver
        self.made = made
        self.asked = 0
        """Questions that are not answered yet."""


class AresResolver:
    """A :class:`Resolver` that asks the ``servers`` of the settings, or those of the system. Raises ``OSError`` if it
    cannot be made."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock, settings: DnsRegistry) -> None:
        self._loop = loop
        self._clock = clock
        self._settings = settings
        self._channel = self._new()

    def _new(self) -> _Channel:
        import aiodns
        import pycares

        try:
            resolver = aiodns.DNSResolver(
                list(self._settings.servers) or None,
                loop=self._loop,
                timeout=self._settings.timeout / TRIES,
                tries=TRIES,
                flags=pycares.ARES_FLAG_NOSEARCH | pycares.ARES_FLAG_NOALIASES,
            )
        except pycares.AresError as error:
            raise OSError(f"questions to DNS cannot be asked: {error.args[-1]}") from None
        return _Channel(resolver, self._clock.now())

    async def ask(self, name: str, kind: Kind) -> Answer:
        if self._clock.now() - self._channel.made >= self._settings.max_ttl:
            await self._renew()
        channel = self._channel
        channel.asked += 1
        try:
            return await self._ask(channel.resolver, name, kind)
        finally:
            channel.asked -= 1
            if channel is not self._channel and not channel.asked:
                await channel.resolver.close()

    async def _renew(self) -> None:
        try:
            fresh = self._new()
        except OSError:
            return  # Out of descriptors, say: the one that there is does its work.
        old, self._channel = self._channel, fresh
        if not old.asked:
            await old.resolver.close()

    async def _ask(self, resolver: DNSResolver, name: str, kind: Kind) -> Answer:
        from aiodns.error import DNSError

        try:
            async with asyncio.timeout(self._settings.timeout):
                result = await resolver.query_dns(name, kind)
        except TimeoutError:
            raise Trouble(f"no answer within {self._settings.timeout:g} s") from None
        except UnicodeError:
            raise Trouble("it is no name that DNS could have") from None
        except DNSError as error:
            return _without_answer(error)
        return plain(result, name, kind)

    async def close(self) -> None:
        await self._channel.resolver.close()


def _without_answer(error: Exception) -> Answer:
    from pycares import errno

    code = error.args[0] if error.args else None
    if code in (errno.ARES_ENODATA, errno.ARES_ENOTFOUND):
        return Answer(exists=code == errno.ARES_ENODATA)
    words = {
        errno.ARES_ESERVFAIL: "the server says that it has failed",
        errno.ARES_EREFUSED: "the server refuses to answer",
        errno.ARES_ENOTIMP: "the server does not know such questions",
        errno.ARES_EFORMERR: "the server does not understand the question",
        errno.ARES_EBADRESP: "the answer makes no sense",
        errno.ARES_EBADNAME: "it is no name that DNS could have",
        errno.ARES_ECONNREFUSED: "no server can be reached",
        errno.ARES_ETIMEOUT: "no server has answered in time",
    }
    raise Trouble(words.get(code, str(error.args[-1]) if error.args else "the question failed")) from None


def plain(result: Any, name: str, kind: Kind) -> Answer:
    """What of pycares' result belongs to the question: records of its name, or of those that it is another name for.

    Raises ``Trouble`` if names lead in a circle."""
    import pycares

    wanted = {"A": pycares.QUERY_TYPE_A, "AAAA": pycares.QUERY_TYPE_AAAA, "SRV": pycares.QUERY_TYPE_SRV}[kind]
    aliases = {_bare(one.name): one for one in result.answer if one.type == pycares.QUERY_TYPE_CNAME}
    owner, shortest = _bare(name), []
    for _ in range(CHAIN_AT_MOST):
        alias = aliases.get(owner)
        if alias is None:
            break
        shortest.append(alias.ttl)
        owner = _bare(alias.data.cname)
    else:
        raise Trouble("its names lead in a circle (CNAME)")
    records = [_record(one, min([one.ttl, *shortest])) for one in result.answer if one.type == wanted]
    extra = [
        _record(one, one.ttl)
        for one in result.additional
        if one.type in (pycares.QUERY_TYPE_A, pycares.QUERY_TYPE_AAAA)
    ]
    return Answer([record for record in records if record.name == owner], extra)


def _record(one: Any, ttl: int) -> Record:
    data = one.data
    if hasattr(data, "target"):
        return Record(_bare(one.name), ttl, _bare(data.target), data.port, data.priority, data.weight)
    return Record(_bare(one.name), ttl, data.addr)


def _bare(name: str) -> str:
    return name.rstrip(".").lower()
