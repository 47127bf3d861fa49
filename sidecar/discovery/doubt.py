"""Instances that vanish too suddenly are kept for a while.

A registry that has lost its memory answers in good order: there is nobody. So does one that was restored from an old
copy, or whose own checks cannot reach anybody. To believe it would end every call at once, and whoever asks it a minute
later gets the right answer again. So an answer that takes away more than half of the instances, or the last one, is
believed only when ``grace`` has passed, nothing else has been heard meanwhile, and the registry is not in trouble then.

What is kept is marked: it is in ``trouble``, as an instance is whose registry holds it unwell. That more than half are
so marked is what panic is for (``resilience.standing``): they are all used, visibly, unless panic is switched off; and
those that have truly gone refuse connections, and are left out for that. Where less is taken away, which is every
deployment and every crash, the answer is believed at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import msgspec

from sidecar.discovery.source import Instance


class Doubt:
    """About one service. ``grace`` in seconds, 0 for none."""

    __slots__ = ("_grace", "_kept", "_told")

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._told: dict[tuple[str, int], Instance] = {}
        """By address: what the registry lists."""
        self._kept: dict[tuple[str, int], tuple[Instance, float]] = {}
        """What it listed, and until when we go by that."""

    def hear(self, instances: Sequence[Instance], now: float) -> Sequence[Instance]:
        """What to go by, now that the registry tells of ``instances``."""
        told = {(one.host, one.port): one for one in instances}
        gone = self._told.keys() - told.keys()
        if self._grace and (not told or 2 * len(gone) > len(self._told)):
            for address in gone:
                self._kept[address] = (_doubtful(self._told[address], self._grace), now + self._grace)
        for address in self._kept.keys() & told.keys():
            del self._kept[address]
        self._told = told
        return [*instances, *self._still(now)] if self._kept else instances

    def due(self) -> float:
        """When to ask ``settle``, infinity if there is nothing to be settled."""
        return min((until for _, until in self._kept.values()), default=inf)

    def settle(self, now: float, believed: bool) -> Sequence[Instance]:
        """What to go by, now that time has passed. ``believed``: the registry is not in trouble. If it is, what is kept is
        kept as long again."""
        if not believed:
            for address, (instance, until) in self._kept.items():
                self._kept[address] = (instance, until if until > now else now + self._grace)
        still = self._still(now)
        self._kept = {address: kept for address, kept in self._kept.items() if kept[1] > now}
        return [*self._told.values(), *still]

    def _still(self, now: float) -> list[Instance]:
        return [instance for instance, until in self._kept.values() if until > now]


def _doubtful(instance: Instance, grace: float) -> Instance:
    trouble = f"not listed any more, like most others at the same time; kept for {grace:g} s in case that is a mistake"
    return msgspec.structs.replace(instance, trouble=trouble)
