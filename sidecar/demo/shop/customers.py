"""The customers: pages of the shop asked for at a steady rate, one half orders, one half articles.

A program that serves nobody can have a sidecar as well. How it fares is what that sidecar counts, so that nothing is
kept here.
"""

from __future__ import annotations

import itertools
import os
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from sidecar.clock import Clock

MOST_AT_ONCE = 64
TIMEOUT = 10.0


def visit(number: int) -> None:
    what = ("orders", "catalog")[number % 2]
    try:
        with urllib.request.urlopen(f"http://web/{what}/{number}", timeout=TIMEOUT) as response:
            response.read()
    except OSError:
        pass  # Counted by the sidecar.


def main() -> None:
    rate = float(os.environ["SHOP_RATE"])
    clock, rest = Clock(), threading.Event()
    began = clock.now()
    with ThreadPoolExecutor(MOST_AT_ONCE) as pool:
        for number in itertools.count():
            pool.submit(visit, number)
            rest.wait(max(0.0, began + (number + 1) / rate - clock.now()))


if __name__ == "__main__":
    main()
