"""What surrounds a measurement: cores, a directory, the origin, the load generator, the proxies that can run."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TypeVar

from bench.load import Load
from bench.origin import SIZES, Origin
from bench.process import Failed, free_port, get, running, wait_until_ready
from bench.proxies import Place, Proxy

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Running:
    """A proxy that serves: its process and its port on loopback."""

    child: subprocess.Popen[bytes]
    port: int

    @property
    def pid(self) -> int:
        return self.child.pid


@dataclass(frozen=True, slots=True)
class Workplace:
    """All that the scenarios share. ``seconds`` is the length of one measured run, ``warm_up`` of the one before it."""

    directory: Path
    load_core: int
    proxy_core: int
    origin: Origin
    load: Load
    proxies: Sequence[Proxy]
    rounds: int
    seconds: float
    warm_up: float
    say: Callable[[str], None]

    @contextmanager
    def running(self, proxy: Proxy, services: int = 1, origin: Origin | None = None) -> Iterator[Running]:
        """Start ``proxy`` afresh and go on when a request has passed through it; raises `Failed`."""
        upstream = (origin or self.origin).ports
        place = Place(self.directory, free_port(), free_port(), upstream, services)
        log = self.directory / f"{proxy.name}.log"
        with running(proxy.command(place), self.proxy_core, log) as child:
            wait_until_ready(child, log, *proxy.ready(place))
            try:
                status, body = get(place.port, "/1k")
            except (OSError, HTTPException) as error:
                raise Failed(f"its first request failed: {error}") from error
            if (status, len(body)) != (200, SIZES["/1k"]):
                raise Failed(f"its first request was answered with {status} and {len(body)} bytes: {body[:200]!r}")
            yield Running(child, place.port)


def rotated(items: Sequence[T], by: int) -> list[T]:
    """The same items, beginning with another one."""
    by %= max(1, len(items))
    return [*items[by:], *items[:by]]
