"""Reloads that meet something else: a drain, a start, whoever asked and is wrong. With sockets, without a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sidecar.app import Draining, Sidecar
from sidecar.clock import Clock, Random
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
