"""The service "payments", which is not reliable. ``python -m examples.demo.payments PORT NAME SEED ILL_SECONDS``.

Of its answers a few are 503 and a few come late, chosen by a generator with a seed, so that two runs meet the same
trouble. An instance with ``ILL_SECONDS`` above 0 also answers nothing but 503 for that long in every half minute.
"""

from __future__ import annotations

import random
import sys
import time

from examples.demo.app import App, run

FAILING = 0.04
LATE = 0.02
LATE_SECONDS = 0.6
"""Longer than the sidecar of orders lets one attempt take (``topology``)."""
PERIOD = 30.0
HEALTHY_FIRST = 10.0
"""How far into a period an illness begins, seconds."""


class Payments(App):
    name: str
    chance: random.Random
    ill_seconds: float
    began: float

    def serve(self) -> None:
        chance = self.chance.random()
        if self.is_ill() or chance < FAILING:
            self.answer(503, {"error": f"{self.name} cannot take a payment now"})
            return
        if chance < FAILING + LATE:
            time.sleep(LATE_SECONDS)
        self.answer(200, {"payment": self.path.rpartition("/")[2], "paid_by": self.name})

    def is_ill(self) -> bool:
        into_illness = (time.monotonic() - self.began) % PERIOD - HEALTHY_FIRST
        return 0 <= into_illness < self.ill_seconds


if __name__ == "__main__":
    port, Payments.name, seed, ill_seconds = sys.argv[1:]
    Payments.chance = random.Random(int(seed))
    Payments.ill_seconds = float(ill_seconds)
    Payments.began = time.monotonic()
    run(Payments, int(port))
