"""Load as callers make it: at a steady rate, whatever becomes of each call."""

from __future__ import annotations

import threading
import time
from typing import Self

from tests.support.live import Client, until


class Callers:
    """``rate`` calls a second of ``service`` over eight connections, each with what came of it and when."""

    def __init__(self, port: int, service: str, rate: int = 300) -> None:
        self._service = service
        self._rate = rate
        self.answers: list[tuple[float, int, bytes]] = []
        self._port = port
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._call, daemon=True) for _ in range(8)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _call(self) -> None:
        with Client(self._port) as client:
            due = time.monotonic()
            while not self._over.is_set():
                answer = client.get(self._service)
                self.answers.append((time.monotonic(), answer.status, answer.body))
                due += len(self._threads) / self._rate
                self._over.wait(max(0.0, due - time.monotonic()))

    def more(self, count: int) -> None:
        """Waits until that many more calls have been answered."""
        wanted = len(self.answers) + count
        until(lambda: len(self.answers) >= wanted, f"{count} more calls are answered", 30)

    def failed(self) -> list[tuple[int, bytes]]:
        """Status and body of every call that did not end well."""
        return [(status, body) for _, status, body in self.answers if status != 200]

    def since(self, instant: float) -> set[bytes]:
        """What has been answered since ``instant`` (monotonic seconds)."""
        return {body for at, _, body in self.answers if at >= instant}
