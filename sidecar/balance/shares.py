"""Shares of a whole that change one by one and are drawn by size: both in as many steps as their number has binary digits.

A binary indexed tree (P. Fenwick, "A New Data Structure for Cumulative Frequency Tables", 1994): the entry at ``i``,
counted from 1, is the sum of the ``i & -i`` shares that end there. Shares are whole numbers, so that however often they
change, the sums do not drift.
"""

from __future__ import annotations

from collections.abc import Iterable


class Shares:
    """One share for each position from 0, in units of the caller's choice."""

    __slots__ = ("_sums", "_top", "_units", "total")

    def __init__(self, units: Iterable[int]) -> None:
        self._units = list(units)
        self._sums = sums = [0, *self._units]
        count = len(self._units)
        for at in range(1, count + 1):
            above = at + (at & -at)
            if above <= count:
                sums[above] += sums[at]
        self._top = 1 << (count.bit_length() - 1) if count else 0
        self.total = sum(self._units)

    def set(self, position: int, units: int) -> None:
        change = units - self._units[position]
        if change:
            self._units[position] = units
            self.total += change
            sums = self._sums
            at = position + 1
            while at < len(sums):
                sums[at] += change
                at += at & -at

    def find(self, unit: int) -> int:
        """The position whose share holds the ``unit``, counted from 0 over all shares; ``unit`` is below ``total``."""
        sums = self._sums
        count = len(sums)
        position = 0
        step = self._top
        while step:
            ahead = position + step
            if ahead < count and sums[ahead] <= unit:
                position = ahead
                unit -= sums[ahead]
            step >>= 1
        return position
