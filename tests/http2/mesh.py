"""A client and endpoints that speak gRPC over HTTP/2, around a sidecar in virtual time."""

from __future__ import annotations

from sidecar.model import Endpoint as ModelEndpoint
from tests.support.http2 import Message, data
from tests.support.http2_peers import Conversation, Endpoint, WorldPipe
from tests.support.world import ONE_ENDPOINT, World

GRPC = (("content-type", "application/grpc"), ("te", "trailers"))
NAMED = '[services.orders.retry]\ngrpc_statuses = ["UNAVAILABLE"]\ngrpc_methods = ["/shop.Orders/*"]\n'
OK = [("grpc-status", "0")]
MESSAGE = b"\0\0\0\0\x05hello"


class Mesh:
    """A client that has shaken hands with ``outbound``."""

    def __init__(self, toml: str = ONE_ENDPOINT) -> None:
        self.world = World(toml)
        self.client = self.another()

    def another(self) -> Conversation:
        return Conversation(WorldPipe(self.world, self.world.client())).handshake()

    def call(self, stream: int, *more: tuple[str, str], path: str = "/shop.Orders/Get", end: bool = True) -> None:
        """A unary call of one message; not ``end``: a stream of them that goes on."""
        head = self.client.request(stream, *GRPC, *more, method="POST", path=path, end=False)
        self.client.send(head + data(stream, MESSAGE, end=end))

    def endpoint(self, label: str | None = None, values: tuple[tuple[int, int], ...] = ()) -> Endpoint:
        endpoint = Endpoint.accept(self.world, label, values)
        self.world.settle()
        return endpoint

    def named(self, label: str) -> ModelEndpoint:
        return next(one for one in self.world.sidecar.assembly.services["orders"].listed if one.label == label)


def said(message: Message, name: bytes) -> bytes | None:
    """A field of the trailers, which may be all that there is."""
    return dict(message.trailers or message.fields).get(name)


def status(message: Message) -> bytes | None:
    return said(message, b"grpc-status")


def grpc_counts(world: World) -> dict[tuple[int, str], int]:
    counts: dict[tuple[int, str], int] = {}
    for stats in world.sidecar.assembly.all_stats():
        for (code, reason, _), count in stats.grpc.items():
            counts[code, reason] = counts.get((code, reason), 0) + count
    return counts
