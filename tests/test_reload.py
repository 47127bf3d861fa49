"""Reloads that meet something else: a drain, a start, whoever asked and is wrong. With sockets, without a process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from sidecar.app import Draining, Sidecar
from sidecar.clock import Clock, Random
from sidecar.config.effective import Entry
from sidecar.config.layers import Layers
from sidecar.config.load import Loaded, load_with_origins
from sidecar.overload.memory import Memory
from sidecar.proxy.listener import Listener
from sidecar.reload import Reloader
from tests.support.live import free_port
from tests.support.world import configuration


def toml(**listen: str) -> str:
    """A configuration with these listeners and no other."""
    all_ = {"inbound": "none", "outbound": "none", "probes": "none", "admin": "none"} | listen
    listeners = "".join(f'{name} = "{address}"\n' for name, address in all_.items())
    return f'[service]\nname = "shop"\napp = "127.0.0.1:1"\n[listen]\n{listeners}'


@asynccontextmanager
async def started(text: str) -> AsyncIterator[Sidecar]:
    sidecar = Sidecar(configuration(text), asyncio.get_running_loop(), Clock(), Random())
    try:
        await sidecar.start()
        yield sidecar
    finally:
        await sidecar.close()


def test_a_drain_that_begins_while_a_configuration_is_compiled_is_not_undone_by_it() -> None:
    """Else the new listener would take requests that nobody is going to wait for."""

    async def story() -> None:
        async with started(toml(inbound="127.0.0.1:0")) as sidecar:
            before = sidecar.bound()
            reloading = asyncio.create_task(sidecar.reload(configuration(toml(inbound=f"127.0.0.1:{free_port()}"))))
            await asyncio.sleep(0)
            sidecar.draining = True
            with pytest.raises(Draining):
                await reloading
            assert sidecar.bound() == before

    asyncio.run(story())


def test_a_reload_waits_until_the_start_has_bound_all_listeners(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGHUP may come at any time; what the start has not bound yet must not be bound twice."""
    bound = asyncio.Event()
    open_ = Listener.open

    async def held_up(listener: Listener, host: str, port: int) -> None:
        if listener.name == "inbound":
            await bound.wait()
        await open_(listener, host, port)

    async def story() -> None:
        inbound = f"127.0.0.1:{free_port()}"
        moved = free_port()
        monkeypatch.setattr(Listener, "open", held_up)
        text = toml(inbound=inbound, probes=f"127.0.0.1:{free_port()}")
        sidecar = Sidecar(configuration(text), asyncio.get_running_loop(), Clock(), Random())
        starting = asyncio.create_task(sidecar.start())
        new = configuration(toml(inbound=inbound, probes=f"127.0.0.1:{moved}"))
        reloading = asyncio.create_task(sidecar.reload(new))
        done, _ = await asyncio.wait((reloading,), timeout=0.2)
        assert not done
        bound.set()
        await starting
        await reloading
        assert sidecar.bound()["probes"][1] == moved
        await sidecar.close()

    asyncio.run(story())


def test_a_listener_that_could_not_be_bound_is_in_nobodys_way_when_memory_runs_out() -> None:
    """All scopes are told to refuse; one that never got its routes is none the worse for it."""

    async def story() -> None:
        taken = socket.create_server(("127.0.0.1", 0))
        sidecar = Sidecar(configuration(toml(inbound="127.0.0.1:0")), asyncio.get_running_loop(), Clock(), Random())
        with taken, pytest.raises(OSError, match="address already in use"):
            await sidecar.reload(
                configuration(toml(inbound="127.0.0.1:0", outbound=f"127.0.0.1:{taken.getsockname()[1]}"))
            )
        sidecar.guards.watch_memory(Memory(1))
        assert sidecar.guards.memory()[1] == "refusing"
        await sidecar.close()

    asyncio.run(story())


def test_one_who_cannot_be_told_keeps_nobody_else_from_being_told() -> None:
    """Else there would never be another reload."""

    def wrong(problems: object) -> None:
        raise RuntimeError

    async def story() -> None:
        text = toml(inbound="127.0.0.1:0")
        loaded = Loaded(configuration(text), Layers([]))
        async with started(text) as sidecar:
            reloader = Reloader(sidecar, loaded, lambda: loaded, lambda settings: None)
            for _ in range(2):
                told = asyncio.Event()
                reloader.request("a test", wrong)
                reloader.request("a test", lambda problems, told=told: told.set())
                async with asyncio.timeout(10):
                    await told.wait()

    asyncio.run(story())


def test_a_file_that_means_the_same_has_its_new_lines(tmp_path: Path) -> None:
    """Where a value is written is looked up by people, in the file as it is."""
    path = tmp_path / "sidecar.toml"

    async def story() -> None:
        text = toml(inbound="127.0.0.1:0")
        path.write_text(text)
        async with started(text) as sidecar:
            read = partial(load_with_origins, str(path))
            reloader = Reloader(sidecar, read(), read, lambda settings: None)
            path.write_text("# A line more.\n" + text)
            told = asyncio.Event()
            reloader.request("a test", lambda problems: told.set())
            await told.wait()
            assert Entry("service.name", '"shop"', f"{path}:3") in reloader.loaded.entries()

    asyncio.run(story())
