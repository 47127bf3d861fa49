"""An application as somebody might write it with grpcio, in a process of its own: ``grpc_app.py PORT``, and on asyncio
``grpc_app.py PORT --asyncio``. On SIGTERM it stops as a server should: it says GOAWAY and finishes what runs.

Its service is ``test.Echo``; messages are bytes, requests that need more are JSON.

==========  ==============  ========================================================================================
Echo        unary           the request; metadata whose keys begin with ``initial-`` and ``trailing-`` comes back so
Squeezed    unary           the request, compressed
Metadata    unary           JSON: the metadata, binary values in hexadecimal, and the seconds until the deadline
Fail        unary           ``{"code", "message", "trailing"}``: that status, with this metadata, pairs of strings
Sleep       unary           never; remembers the request as the name of who slept
Seen        unary           JSON: who has begun to sleep, and whose sleep has been ended
Who         unary           its port
Count       server stream   ``{"messages", "bytes", "code"}``: that many messages of that many bytes, then the status
Collect     client stream   JSON: how many messages and how many bytes there were
First       client stream   the first message, as soon as it is there
Talk        both            each message, as it comes
Replay      both            all messages, once the last has come
==========  ==============  ========================================================================================

It also is a server of ``grpc.health.v1``.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2_grpc

KINDS = {
    grpc.unary_unary_rpc_method_handler: ["Echo", "Squeezed", "Metadata", "Fail", "Sleep", "Seen", "Who"],
    grpc.unary_stream_rpc_method_handler: ["Count"],
    grpc.stream_unary_rpc_method_handler: ["Collect", "First"],
    grpc.stream_stream_rpc_method_handler: ["Talk", "Replay"],
}
OPTIONS = [
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", -1),
    # Tests ping more often than a server in earnest would put up with.
    ("grpc.http2.max_ping_strikes", 0),
]
CODES = {code.value[0]: code for code in grpc.StatusCode}
GRACE_SECONDS = 5


def told(metadata: Iterable[tuple[str, Any]], prefix: str) -> list[tuple[str, Any]]:
    return [(key, value) for key, value in metadata if key.startswith(prefix)]


def shown(metadata: Iterable[tuple[str, Any]], remaining: float | None) -> bytes:
    pairs = [(key, value.hex() if isinstance(value, bytes) else value) for key, value in metadata]
    # Without a deadline one kind of server says None, the other that there are centuries.
    none = remaining is None or remaining > 1e9
    return json.dumps({"metadata": pairs, "remaining": None if none else remaining}).encode()


class Application:
    """What both kinds of server have in common."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._begun: list[str] = []
        self._ended: list[str] = []

    def handlers(self) -> Any:
        methods = {name: kind(getattr(self, name.lower())) for kind, names in KINDS.items() for name in names}
        return grpc.method_handlers_generic_handler("test.Echo", methods)

    def _seen(self) -> bytes:
        return json.dumps({"begun": self._begun, "ended": self._ended}).encode()


class Threaded(Application):
    def echo(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        metadata = context.invocation_metadata()
        context.send_initial_metadata(told(metadata, "initial-"))
        context.set_trailing_metadata(told(metadata, "trailing-"))
        return request

    def squeezed(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.set_compression(grpc.Compression.Gzip)
        return request

    def metadata(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        return shown(context.invocation_metadata(), context.time_remaining())

    def fail(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        wanted = json.loads(request)
        context.set_trailing_metadata([(key, encoded(key, value)) for key, value in wanted["trailing"]])
        context.abort(CODES[wanted["code"]], wanted["message"])

    def sleep(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        over = threading.Event()
        self._begun.append(request.decode())
        if context.add_callback(over.set):
            over.wait()
        self._ended.append(request.decode())
        return b""

    def seen(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        return self._seen()

    def who(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        return b"%d" % self._port

    def count(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        wanted = json.loads(request)
        for _ in range(wanted["messages"]):
            yield bytes(wanted["bytes"])
        if wanted.get("code"):
            context.abort(CODES[wanted["code"]], "that was all")

    def collect(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        sizes = [len(request) for request in requests]
        return json.dumps([len(sizes), sum(sizes)]).encode()

    def first(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        return next(requests)

    def talk(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        yield from requests

    def replay(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        yield from list(requests)


class Asynchronous(Application):
    async def echo(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        metadata = context.invocation_metadata()
        await context.send_initial_metadata(told(metadata, "initial-"))
        context.set_trailing_metadata(told(metadata, "trailing-"))
        return request

    async def squeezed(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        context.set_compression(grpc.Compression.Gzip)
        return request

    async def metadata(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        return shown(context.invocation_metadata(), context.time_remaining())

    async def fail(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        wanted = json.loads(request)
        context.set_trailing_metadata([(key, encoded(key, value)) for key, value in wanted["trailing"]])
        await context.abort(CODES[wanted["code"]], wanted["message"])

    async def sleep(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        self._begun.append(request.decode())
        try:
            await asyncio.Event().wait()
        finally:
            self._ended.append(request.decode())
        return b""

    async def seen(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        return self._seen()

    async def who(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        return b"%d" % self._port

    async def count(self, request: bytes, context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        wanted = json.loads(request)
        for _ in range(wanted["messages"]):
            yield bytes(wanted["bytes"])
        if wanted.get("code"):
            await context.abort(CODES[wanted["code"]], "that was all")

    async def collect(self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> bytes:
        sizes = [len(request) async for request in requests]
        return json.dumps([len(sizes), sum(sizes)]).encode()

    async def first(self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> bytes:
        return await anext(aiter(requests))

    async def talk(self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request

    async def replay(self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        for request in [request async for request in requests]:
            yield request


def encoded(key: str, value: str) -> str | bytes:
    return value.encode() if key.endswith("-bin") else value


def threaded(port: int) -> None:
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: told.set())
    server = grpc.server(ThreadPoolExecutor(64), options=OPTIONS)
    server.add_generic_rpc_handlers((Threaded(port).handlers(),))
    health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    print("serving", flush=True)
    told.wait()
    server.stop(GRACE_SECONDS).wait()


async def asynchronous(port: int) -> None:
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((Asynchronous(port).handlers(),))
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print("serving", flush=True)
    await told.wait()
    await server.stop(GRACE_SECONDS)


if __name__ == "__main__":
    if "--asyncio" in sys.argv:
        asyncio.run(asynchronous(int(sys.argv[1])))
    else:
        threaded(int(sys.argv[1]))
