"""gRPC with real parts: applications as processes, no sidecar, one or two between them and a client, and clients. ::

    with App() as app, mesh("two", app) as way, channel(way.port) as orders:
        assert Methods(orders).echo(b"hello", timeout=PATIENCE) == b"hello"

Without a sidecar a test shows that it asks nothing that gRPC does not give.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.support.live import PATIENCE, Sidecar, free_port, until
from tests.support.needs import library

grpc = library("grpc")
library("grpc_health.v1.health")

WAYS = ("direct", "one", "two")
APPS = ("threads", "asyncio")


class App:
    """``tests/support/grpc_app.py`` on a port; started when entered, killed when left."""

    def __init__(self, kind: str = "threads", port: int = 0) -> None:
        self._kind = kind
        self.port = port or free_port()
        self.address = f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        command = [sys.executable, str(Path(__file__).with_name("grpc_app.py")), str(self.port)]
        self._log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [*command, *(["--asyncio"] if self._kind == "asyncio" else [])],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        until(lambda: self.process.poll() is not None or "serving" in self.log(), "the application serves", 30)
        assert self.process.poll() is None, self.log()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._log.close()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Has it finish what runs, and waits until it has ended."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE) == 0, self.log()

    def log(self) -> str:
        return os.pread(self._log.fileno(), 1 << 20, 0).decode()


@dataclass
class Way:
    """Where clients connect to; the sidecar of the caller, if there is one, and those of the applications."""

    port: int
    outbound: Sidecar | None = None
    inbound: list[Sidecar] = field(default_factory=list)

    @property
    def sidecars(self) -> list[Sidecar]:
        return [*([self.outbound] if self.outbound else []), *self.inbound]


@contextmanager
def mesh(through: str, *apps: App, policies: str = "", more: str = "") -> Iterator[Way]:
    """The way from a client to the service orders: ``direct``, through ``one`` sidecar, or through ``two``.

    ``policies`` are keys of ``[services.orders]``, ``more`` is other configuration, of all sidecars.
    """
    if through == "direct":
        (app,) = apps
        yield Way(app.port)
        return
    with ExitStack() as stack:
        inbound = [stack.enter_context(Sidecar(more, app=app.address)) for app in apps] if through == "two" else []
        endpoints = [f"127.0.0.1:{one.ports['inbound']}" for one in inbound] or [app.address for app in apps]
        toml = f"{more}[services.orders]\nendpoints = {endpoints}\n{policies}"
        outbound = stack.enter_context(Sidecar(toml))
        yield Way(outbound.ports["outbound"], outbound, inbound)


def options(authority: str, more: dict[str, Any]) -> list[tuple[str, Any]]:
    """A channel with a connection of its own that repeats nothing by itself and minds no proxy of the environment."""
    return [
        ("grpc.default_authority", authority),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_retries", 0),
        ("grpc.enable_http_proxy", 0),
        ("grpc.max_receive_message_length", -1),
        *((f"grpc.{name}", value) for name, value in more.items()),
    ]


def channel(port: int, authority: str = "orders", **more: Any) -> Any:
    """``more`` are channel arguments, without their ``grpc.``."""
    return grpc.insecure_channel(f"127.0.0.1:{port}", options(authority, more))


def aio_channel(port: int, authority: str = "orders", **more: Any) -> Any:
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options(authority, more))


class Methods:
    """The methods of ``grpc_app.py`` on a channel, of either kind."""

    def __init__(self, channel: Any) -> None:
        service = "/test.Echo/"
        self.echo = channel.unary_unary(service + "Echo")
        self.squeezed = channel.unary_unary(service + "Squeezed")
        self.metadata = channel.unary_unary(service + "Metadata")
        self.fail = channel.unary_unary(service + "Fail")
        self.sleep = channel.unary_unary(service + "Sleep")
        self.seen = channel.unary_unary(service + "Seen")
        self.who = channel.unary_unary(service + "Who")
        self.count = channel.unary_stream(service + "Count")
        self.collect = channel.stream_unary(service + "Collect")
        self.first = channel.stream_unary(service + "First")
        self.talk = channel.stream_stream(service + "Talk")
        self.replay = channel.stream_stream(service + "Replay")


class Callers:
    """``rate`` calls a second of Who on one channel of asyncio, each with what came of it: a port, or an error."""

    def __init__(self, port: int, rate: int = 200) -> None:
        self._port = port
        self._rate = rate
        self.answers: list[tuple[float, str]] = []
        self.failures: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    async def _run(self) -> None:
        async with aio_channel(self._port) as orders:
            who = Methods(orders).who
            running = set()
            due = time.monotonic()
            while not self._over.is_set():
                running.add(asyncio.create_task(self._call(who)))
                running = {one for one in running if not one.done()}
                due += 1 / self._rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            await asyncio.gather(*running)

    async def _call(self, who: Callable[..., Any]) -> None:
        try:
            answer = await who(b"", timeout=PATIENCE)
        except grpc.aio.AioRpcError as error:
            self.failures.append(f"{error.code().name}: {error.details()} {tuple(error.trailing_metadata() or ())}")
        else:
            self.answers.append((time.monotonic(), answer.decode()))

    def more(self, count: int) -> None:
        """Waits until that many more calls have ended, well or not."""
        wanted = len(self.answers) + len(self.failures) + count
        until(lambda: len(self.answers) + len(self.failures) >= wanted, f"{count} more calls have ended", 30)

    def since(self, instant: float) -> set[str]:
        """Who has answered since ``instant`` (monotonic seconds)."""
        return {port for at, port in self.answers if at >= instant}
