"""What is printed each second, and at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from examples.demo.load import Asked, Load, summary
from examples.demo.topology import Mesh
from examples.demo.watch import Watch


class Report:
    """Lines about what the driver saw, and about what the sidecars on the way did so that it saw no more than that."""

    def __init__(self, mesh: Mesh, load: Load) -> None:
        self._load = load
        self._shop = Watch(mesh.shop.probes)
        self._orders = Watch(mesh.orders.probes)
        self._endpoints = mesh.payments
        self._asked: list[Asked] = []
        self._retries: Counter[str] = Counter()

    def line(self, second: int) -> str:
        """What happened since the last line."""
        asked, retries = self._look()
        breakers = " + ".join(map(self._orders.breaker, self._endpoints.values()))
        return f"{second:4d} s  {self._summary(asked)}, breakers {breakers}, {told(retries)}"

    def total(self) -> str:
        """All of it, with what has ended after the last line."""
        self._look()
        return f" total  {self._summary(self._asked)}, {told(self._retries)}"

    def _look(self) -> tuple[list[Asked], Counter[str]]:
        asked = self._load.take()
        retries = self._shop.new_retries() + self._orders.new_retries()
        self._asked += asked
        self._retries += retries
        return asked, retries

    def _summary(self, asked: list[Asked]) -> str:
        return summary(asked, list(self._endpoints))


def told(retries: Mapping[str, int]) -> str:
    """The number of retries, and what made them necessary."""
    why = ", ".join(f"{reason} {number}" for reason, number in sorted(retries.items()))
    return f"retries {sum(retries.values())}" + (f" ({why})" if why else "")
