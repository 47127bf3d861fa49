"""What the answers for one service come to: its instances, and how long that holds.

Of SRV records those of the lowest priority count that lead to any address. Weights are those of the records, except that
0 there means very little and here nothing; without their common factor, so that the hundred shares of which CoreDNS gives
each its part are no news each time that somebody joins. Of a target's addresses one family counts, IPv4 where there is
any: the same server behind two families would count twice. Addresses that nobody can be called at (unspecified ones, as
blockers give them, and multicast) are none.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Mapping, Sequence
from itertools import groupby
from math import gcd, inf
from operator import attrgetter
from typing import Final, NamedTuple

from sidecar.discovery.dns.naming import Question
from sidecar.discovery.dns.resolver import Answer, Kind, Record, Resolver, Trouble
from sidecar.discovery.source import Instance

ADDRESSES_AT_MOST: Final = 1000
FAMILIES: Final[tuple[Kind, ...]] = ("A", "AAAA")


class Addresses(NamedTuple):
    """Of a name; ``ttl`` in seconds, infinity if nobody has said."""

    known: tuple[str, ...] = ()
    ttl: float = inf


class Found(NamedTuple):
    """``ttl`` in seconds, infinity where there was nothing; ``missing``: how many were left out because there are too
    many; ``trouble``: what of it is not from now; ``targets``: the addresses of SRV targets, to be kept."""

    instances: tuple[Instance, ...] = ()
    ttl: float = inf
    missing: int = 0
    trouble: str = ""
    targets: Mapping[str, Addresses] = {}


async def look_up(
    resolver: Resolver, service: str, questions: Sequence[Question], known: Mapping[str, Addresses]
) -> Found:
    """Asks the questions until one has an answer. ``known``: addresses of targets as they were found last. Raises
    ``Trouble``: what a later question would say does not count as long as an earlier one is open."""
    for question in questions:
        if question.kind == "SRV":
            found = await _by_srv(resolver, service, question, known)
        else:
            found = await _by_address(resolver, service, question)
        if found.instances or found.trouble:
            return found
    return Found()


async def _by_address(resolver: Resolver, service: str, question: Question) -> Found:
    addresses = await _addresses(resolver, question.name)
    instances = [Instance(service=service, host=address, port=question.port) for address in addresses.known]
    return _found(instances, addresses.ttl)


async def _addresses(resolver: Resolver, name: str) -> Addresses:
    for family in FAMILIES:
        answer = await resolver.ask(name, family)
        some = _usable(answer.records)
        if some.known or not answer.exists:
            return some
    return Addresses()


def _usable(records: Sequence[Record]) -> Addresses:
    good = [record for record in records if _callable(record.data)]
    return Addresses(tuple(sorted({one.data for one in good})), min((one.ttl for one in good), default=inf))


def _callable(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return not (parsed.is_unspecified or parsed.is_multicast)


async def _by_srv(resolver: Resolver, service: str, question: Question, known: Mapping[str, Addresses]) -> Found:
    answer = await resolver.ask(question.name, "SRV")
    # A target of "." says that there is no such service here.
    records = sorted({record for record in answer.records if record.data and record.port})
    ranked = sorted(records, key=attrgetter("priority", "data", "port"))
    missing = max(0, len(ranked) - ADDRESSES_AT_MOST)
    targets: dict[str, Addresses] = {}
    for _, group in groupby(ranked[:ADDRESSES_AT_MOST], attrgetter("priority")):
        alike = list(group)
        trouble = await _resolve(resolver, {record.data for record in alike}, answer, known, targets)
        weights = _weights([record.weight for record in alike])
        instances = [
            Instance(service=service, host=address, port=record.port, weight=weight)
            for record, weight in zip(alike, weights, strict=True)
            for address in targets[record.data].known
        ]
        if instances or trouble:
            ttl = min(min(record.ttl for record in alike), *(targets[record.data].ttl for record in alike))
            found = _found(instances, ttl)
            return found._replace(missing=found.missing + missing, trouble=trouble, targets=targets)
    return Found()


async def _resolve(
    resolver: Resolver,
    names: set[str],
    answer: Answer,
    known: Mapping[str, Addresses],
    targets: dict[str, Addresses],
) -> str:
    """The addresses of ``names``, from what came along or by asking; of those that cannot be resolved the last that were
    known. What was in the way, if anything was."""
    troubles: list[str] = []

    async def learn(name: str) -> None:
        by_family = [_usable([one for one in extra.get(name, ()) if (":" in one.data) == six]) for six in (False, True)]
        there = next((some for some in by_family if some.known), None)
        try:
            targets[name] = there or await _addresses(resolver, name)
        except Trouble as trouble:
            targets[name] = known.get(name, Addresses())
            troubles.append(f"{name}: {trouble}")

    extra: dict[str, list[Record]] = {}
    for record in answer.extra:
        extra.setdefault(record.name, []).append(record)
    await asyncio.gather(*map(learn, sorted(names)))
    return min(troubles, default="")


def _weights(written: Sequence[int]) -> list[int]:
    """As ours: at least 1, and 0 far below all others."""
    common = gcd(*written) or 1
    if 0 not in written or not any(written):
        return [max(1, weight // common) for weight in written]
    return [weight // common * 10 or 1 for weight in written]


def _found(instances: Sequence[Instance], ttl: float) -> Found:
    ordered = sorted(instances, key=attrgetter("host", "port"))
    return Found(tuple(ordered[:ADDRESSES_AT_MOST]), ttl, max(0, len(ordered) - ADDRESSES_AT_MOST))
