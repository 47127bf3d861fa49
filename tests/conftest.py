"""What all tests share: property tests that find the same examples everywhere and do not mind a slow machine, and a
registry of their own."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support.virtual import VirtualLoop

settings.register_profile("sidecar", derandomize=True, deadline=None, database=None)
settings.load_profile("sidecar")


@pytest.fixture(autouse=True, scope="session")
def machine_of_our_own() -> Iterator[None]:
    """Sidecars of the tests find each other, and not those that run on this machine for somebody else."""
    directory = tempfile.mkdtemp()
    before = os.environ.get("XDG_RUNTIME_DIR")
    os.environ["XDG_RUNTIME_DIR"] = directory
    yield
    if before is None:
        del os.environ["XDG_RUNTIME_DIR"]
    else:
        os.environ["XDG_RUNTIME_DIR"] = before
    shutil.rmtree(directory)


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
