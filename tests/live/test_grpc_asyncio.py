"""The same calls from asyncio, whose client and server use HTTP/2 in a way of their own, and many of them at once."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator

import pytest

from tests.support.grpc_mesh import WAYS, App, Methods, Way, aio_channel, grpc, mesh
from tests.support.live import PATIENCE


async def seen(methods: Methods, what: str, name: str, seconds: float) -> None:
    """Waits until the application has seen it."""
    until = time.monotonic() + seconds
    while name not in json.loads(await methods.seen(b"", timeout=PATIENCE))[what]:
        assert time.monotonic() < until, f"{name} has not {what} within {seconds:g} s"


def test_all_kinds_of_calls(orders: Way) -> None:
    """Unary, both streams, and both at once."""

    async def messages() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield bytes(50_000)

    async def run() -> None:
        async with aio_channel(orders.port) as one:
            methods = Methods(one)
            assert await methods.echo(b"hello", timeout=PATIENCE) == b"hello"
            count = methods.count(b'{"messages": 40, "bytes": 50000}', timeout=PATIENCE)
            assert [len(message) async for message in count] == [50_000] * 40
            assert json.loads(await methods.collect(messages(), timeout=PATIENCE)) == [40, 2_000_000]
            assert [len(one) async for one in methods.talk(messages(), timeout=PATIENCE)] == [50_000] * 40
            assert [len(one) async for one in methods.replay(messages(), timeout=PATIENCE)] == [50_000] * 40

    asyncio.run(run())


def test_both_sides_talk(orders: Way) -> None:
    """Read and write by hand, and the client ends it."""

    async def run() -> None:
        async with aio_channel(orders.port) as one:
            call = Methods(one).talk(timeout=PATIENCE)
            for number in range(20):
                await call.write(b"%d" % number)
                assert await call.read() == b"%d" % number
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF
            assert await call.code() is grpc.StatusCode.OK

    asyncio.run(run())


def test_a_deadline_and_a_cancellation_reach_the_callee(orders: Way) -> None:
    """The first as DEADLINE_EXCEEDED at the caller; both end the method within a second."""

    async def run() -> None:
        late, left = uuid.uuid4().hex, uuid.uuid4().hex
        async with aio_channel(orders.port) as one:
            methods = Methods(one)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await methods.sleep(late.encode(), timeout=0.5)
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            await seen(methods, "ended", late, 1.0)

            call = methods.sleep(left.encode())
            await seen(methods, "begun", left, PATIENCE)
            call.cancel()
            await seen(methods, "ended", left, 1.0)

    asyncio.run(run())


def test_many_calls_at_once_on_one_channel(orders: Way) -> None:
    """200 at a time, 2,000 in all, each with its own answer."""

    async def run() -> None:
        async with aio_channel(orders.port) as one:
            methods = Methods(one)
            for turn in range(10):
                messages = [b"%d-%d " % (turn, number) * 200 for number in range(200)]
                calls = [methods.echo(message, timeout=PATIENCE) for message in messages]
                assert await asyncio.gather(*calls) == messages

    asyncio.run(run())


@pytest.mark.parametrize("through", WAYS)
def test_more_streams_than_a_connection_may_have(through: str) -> None:
    """Three callers with 80 streams each, all open at a time: behind the first sidecar they are too many for one connection."""

    async def talk(methods: Methods, open_now: asyncio.Barrier) -> None:
        call = methods.talk(timeout=20)
        await call.write(b"hello")
        assert await call.read() == b"hello"
        await open_now.wait()
        await call.write(b"still there?")
        assert await call.read() == b"still there?"
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF

    async def run(port: int) -> None:
        open_now = asyncio.Barrier(240)
        async with aio_channel(port) as one, aio_channel(port) as two, aio_channel(port) as three:
            callers = [Methods(channel) for channel in (one, two, three)]
            await asyncio.gather(*(talk(methods, open_now) for methods in callers for _ in range(80)))

    with App("asyncio") as app, mesh(through, app) as way:
        asyncio.run(run(way.port))
        for sidecar in way.sidecars:
            assert "Traceback" not in sidecar.log()
