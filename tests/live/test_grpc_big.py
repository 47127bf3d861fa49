"""Messages far larger than what a sidecar may hold pass through it piece by piece."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from tests.support.grpc_mesh import APPS, WAYS, App, Methods, aio_channel, channel, mesh
from tests.support.live import Sidecar

BIG = 20_000_000
HELD = 40_000_000
SECONDS = 60.0


class Peaks:
    """What the sidecars have taken at most before, and what that has become."""

    def __init__(self, sidecars: list[Sidecar]) -> None:
        self._before = [(sidecar, sidecar.memory("VmHWM")) for sidecar in sidecars]

    def grown(self) -> list[int]:
        """Those that have grown by more than they may, in bytes."""
        growth = [sidecar.memory("VmHWM") - before for sidecar, before in self._before]
        return [one for one in growth if one > HELD]


@pytest.mark.parametrize("kind", APPS)
@pytest.mark.parametrize("through", WAYS)
def test_20_mb_go_up_and_come_down(through: str, kind: str) -> None:
    """Whole, and twice in a row on one channel."""
    message = bytes(range(250)) * (BIG // 250)
    with App(kind) as app, mesh(through, app) as way, channel(way.port) as one:
        methods = Methods(one)
        methods.echo(b"", timeout=SECONDS)
        peaks = Peaks(way.sidecars)
        for _ in range(2):
            assert methods.echo(message, timeout=SECONDS) == message
        assert peaks.grown() == []


@pytest.mark.parametrize("through", WAYS)
def test_a_reader_that_takes_its_time_holds_up_who_writes(through: str) -> None:
    """60 MB that nobody has read yet are with the callee, and not in a sidecar between; then all of them come."""
    with App() as app, mesh(through, app) as way, channel(way.port) as one:
        methods = Methods(one)
        methods.echo(b"", timeout=SECONDS)
        peaks = Peaks(way.sidecars)
        answers = methods.count(json.dumps({"messages": 6, "bytes": BIG // 2}).encode(), timeout=SECONDS)
        # Other calls on the same connection are not held up by the one that nobody reads.
        for _ in range(100):
            assert methods.echo(b"hello", timeout=SECONDS) == b"hello"
        assert [len(answer) for answer in answers] == [BIG // 2] * 6
        assert peaks.grown() == []


@pytest.mark.parametrize("through", WAYS)
def test_many_streams_of_much(through: str) -> None:
    """Ten calls that bring 10 MB each at a time."""

    def pieces() -> Iterator[bytes]:
        for _ in range(100):
            yield bytes(100_000)

    async def run(port: int) -> None:
        async with aio_channel(port) as one:
            methods = Methods(one)
            await methods.echo(b"", timeout=SECONDS)
            answers = await asyncio.gather(*(methods.collect(pieces(), timeout=SECONDS) for _ in range(10)))
            assert [json.loads(answer) for answer in answers] == [[100, 10_000_000]] * 10

    with App("asyncio") as app, mesh(through, app) as way:
        peaks = Peaks(way.sidecars)
        asyncio.run(run(way.port))
        assert peaks.grown() == []


def test_calls_leave_nothing_behind() -> None:
    """5,000 calls later two sidecars take no more memory than before."""

    async def calls(port: int, count: int) -> None:
        async with aio_channel(port) as one:
            echo = Methods(one).echo
            for _ in range(count // 100):
                await asyncio.gather(*(echo(b"hello", metadata=(("key", "value"),)) for _ in range(100)))

    with App("asyncio") as app, mesh("two", app) as way:
        asyncio.run(calls(way.port, 3_000))
        before = [sidecar.memory("VmRSS") for sidecar in way.sidecars]
        asyncio.run(calls(way.port, 5_000))
        grown = [sidecar.memory("VmRSS") - old for sidecar, old in zip(way.sidecars, before, strict=True)]
        assert max(grown) < 1_000_000
