"""A machine in virtual time, with a real directory: sidecars that find each other in it, and what each of them has seen."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

from sidecar.clock import Clock, Random
from sidecar.discovery.local.owner import Owner, Processes
from sidecar.discovery.local.registry import LocalRegistry
from sidecar.discovery.source import Instance
from tests.support.virtual import VirtualLoop


class AtOnce(Executor):
    """Does what it is given on the spot, so that no time passes."""

    ended = False

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.ended = True

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self.ended:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


class World(Processes):
    """Processes that live as long as the test says; those whose system is ``elsewhere`` are seen by nobody."""

    def __init__(self) -> None:
        super().__init__("here")
        self.dead: set[int] = set()

    def alive(self, owner: Owner, thorough: bool = True) -> bool:
        return owner.pid not in self.dead


class Node:
    """One sidecar's registry, and all that it has been told, by service."""

    def __init__(self, registry: LocalRegistry, pid: int) -> None:
        self.registry = registry
        self.pid = pid
        self.told: dict[str, list[Sequence[Instance]]] = {}

    def watch(self, *services: str) -> None:
        for service in services:
            self.registry.subscribe(service, self.told.setdefault(service, []).append)

    def sees(self, service: str) -> list[str]:
        """The addresses that it was told last."""
        return [f"{one.host}:{one.port}" for one in self.told[service][-1]]


class Machine:
    """``start`` brings up sidecars on one directory; ``wall`` can be turned like any clock."""

    def __init__(self, loop: VirtualLoop, path: Path) -> None:
        self.loop = loop
        self.path = path
        self.world = World()
        self.wall_offset = time.time() - loop.time()
        self.clock = Clock(loop.time, lambda: loop.time() + self.wall_offset)
        self.random = Random(1)
        self._pids = 100

    def start(
        self,
        service: str = "",
        port: int = 0,
        elsewhere: bool = False,
        path: str | None = "",
        skew: float = 0.0,
        **more: Any,
    ) -> Node:
        """A sidecar that has started; with a ``service``, it is registered as an instance of it. ``path`` is another
        directory than the machine's, ``None`` that of this user; its wall clock is ``skew`` seconds ahead."""
        self._pids += 1
        owner = Owner(pid=self._pids, started=1, system="elsewhere" if elsewhere else "here")
        path = str(self.path) if path == "" else path
        clock = Clock(self.clock.now, lambda: self.clock.wall() + skew)
        registry = LocalRegistry(
            self.loop, clock, self.random, path, owner=owner, processes=self.world, thread=AtOnce(), watch=False
        )
        if service:
            registry.register(Instance(service=service, host="127.0.0.1", port=port, **more))
        self.loop.run_until_complete(registry.start())
        return Node(registry, self._pids)

    def kill(self, node: Node) -> None:
        """As ``kill -9``: it does nothing any more, and the system knows."""
        self.pause(node)
        self.world.dead.add(node.pid)

    def pause(self, node: Node) -> None:
        """Nothing of it runs any more, but it has not ended."""
        assert node.registry._task is not None
        node.registry._task.cancel()

    def go_on(self, node: Node) -> None:
        node.registry._task = self.loop.create_task(node.registry._run())

    def files(self) -> list[str]:
        return sorted(file.name for file in self.path.iterdir())
