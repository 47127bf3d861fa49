"""Figures: what a line of a table says, with its value in every round, in a form that needs no knowledge of the scenario.

The comparison of two runs and the chart read nothing else. A round without a value is kept as ``None``, so that the
values at one place of two figures of a scenario come from the same minute of the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import TypeVar

import msgspec

T = TypeVar("T")

Rounds = Sequence[float | None]


class Quantity(msgspec.Struct, frozen=True):
    """What is measured. ``noise``: the relative difference between two runs of the same code that is no news."""

    name: str
    unit: str
    noise: float = 0.1
    more_is_better: bool = False
    portable: bool = False
    """Whether a value means the same on another machine and another day, as memory does and time does not."""


CPU = Quantity("CPU per request", "µs")


class Figure(msgspec.Struct, frozen=True):
    """One quantity of one proxy in one scenario. ``variant`` tells lines of the same proxy apart; empty for one line."""

    scenario: str
    proxy: str
    quantity: Quantity
    rounds: list[float | None]
    variant: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What two runs have in common about it: scenario, proxy, variant, name of the quantity."""
        return self.scenario, self.proxy, self.variant, self.quantity.name

    @property
    def value(self) -> float | None:
        """Median of the rounds that have a value."""
        return middle(self.rounds)


def each(samples: Sequence[T | None], value: Callable[[T], float]) -> list[float | None]:
    """``value`` of each round's sample, ``None`` where there is none."""
    return [None if sample is None else value(sample) for sample in samples]


def middle(rounds: Rounds) -> float | None:
    """Median of what is there, ``None`` if nothing is."""
    there = [value for value in rounds if value is not None]
    return median(there) if there else None


def ratios(rounds: Rounds, base: Rounds) -> list[float | None]:
    """Each round by the same round of ``base``; ``None`` where one of the two is missing or the base is not positive."""
    return [
        one / other if one is not None and other is not None and other > 0 else None
        for one, other in zip(rounds, base, strict=False)
    ]


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of ``ordered`` do not exceed (nearest rank); 0.0 of nothing."""
    if not ordered:
        return 0.0
    # The product of a decimal share and a length may come out a hair above the whole number that it is.
    rank = -int(-(round(share * len(ordered), 6)) // 1)
    return ordered[max(rank, 1) - 1]
