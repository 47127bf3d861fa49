"""gRPC calls through an exchange: deadlines, outcomes, retries and refusals, with endpoints that speak HTTP/2."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from sidecar.model import Endpoint as ModelEndpoint
from sidecar.resilience.breaker import OPEN
from tests.support.http2 import Code, Message, Setting, Type, data, goaway, headers, rst_stream
from tests.support.http2_peers import Conversation, Endpoint, WorldPipe
from tests.support.world import ONE_ENDPOINT, TWO_ENDPOINTS, Peer, World

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


def test_a_call_and_its_answer_pass_with_their_trailers() -> None:
    """The first attempt names itself, ``te`` is kept for the server, and the message is the one that was sent."""
    mesh = Mesh()
    mesh.call(1, ("x-tenant", "acme"))
    endpoint = mesh.endpoint()
    stream, request = endpoint.request()
    assert (request.get(b":path"), request.get(b"te"), request.get(b"x-tenant")) == (
        b"/shop.Orders/Get", b"trailers", b"acme",
    )  # fmt: skip
    assert (request.get(b"x-sidecar-attempt"), bytes(request.body)) == (b"1", MESSAGE)
    endpoint.respond(stream, [GRPC[0]], MESSAGE, OK)
    answer = mesh.client.response(1)
    assert (answer.status, bytes(answer.body), status(answer)) == (200, MESSAGE, b"0")


def test_a_deadline_is_smaller_on_its_way_on() -> None:
    """What is left of it goes on as ``grpc-timeout``, and nothing else bounds the call."""
    mesh = Mesh()
    mesh.call(1, ("grpc-timeout", "500m"))
    mesh.world.pass_time(0.125)
    _, request = mesh.endpoint().request()
    assert request.get(b"grpc-timeout") == b"374m"
    assert request.get(b"x-request-timeout-ms") is None


def test_a_call_without_a_deadline_gets_none_that_would_end_a_stream() -> None:
    """The route's timeout lasts to the response's head, and goes on as what it is."""
    mesh = Mesh()
    mesh.call(1)
    _, request = mesh.endpoint().request()
    assert (request.get(b"grpc-timeout"), request.get(b"x-request-timeout-ms")) == (None, b"29999")


def test_a_deadline_that_is_longer_than_the_timeout_is_kept() -> None:
    """A stream of an hour has thirty seconds for its head."""
    mesh = Mesh()
    mesh.call(1, ("grpc-timeout", "1H"))
    _, request = mesh.endpoint().request()
    assert (request.get(b"grpc-timeout"), request.get(b"x-request-timeout-ms")) == (b"3599999m", b"29999")


@pytest.mark.parametrize("timeout", ["-1m", "1", "m", "1x", "123456789m", "1.5S", ""])
def test_a_malformed_timeout_bounds_nothing(timeout: str) -> None:
    """H11: it does not go on either."""
    mesh = Mesh()
    mesh.call(1, ("grpc-timeout", timeout))
    _, request = mesh.endpoint().request()
    assert request.get(b"grpc-timeout") is None


def test_a_deadline_that_passes_cancels_the_attempt() -> None:
    """The client gets DEADLINE_EXCEEDED in trailers alone, the endpoint a reset."""
    mesh = Mesh()
    mesh.call(1, ("grpc-timeout", "200m"))
    endpoint = mesh.endpoint()
    stream, _ = endpoint.request()
    mesh.world.pass_time(0.25)
    answer = mesh.client.response(1)
    assert (answer.status, status(answer), answer.get(b"x-sidecar-reason")) == (200, b"4", b"deadline_exceeded")
    assert answer.get(b"content-type") == b"application/grpc"
    assert endpoint.of(Type.RST_STREAM, stream).code == Code.CANCEL


def test_a_client_that_cancels_cancels_the_attempt() -> None:
    """RST_STREAM on one side is RST_STREAM on the other, and the call is counted as CANCELLED."""
    mesh = Mesh()
    mesh.call(1)
    endpoint = mesh.endpoint()
    stream, _ = endpoint.request()
    mesh.client.send(rst_stream(1))
    mesh.world.settle()
    assert endpoint.of(Type.RST_STREAM, stream).code == Code.CANCEL
    assert grpc_counts(mesh.world) == {(1, "client_gone"): 1}


def grpc_counts(world: World) -> dict[tuple[int, str], int]:
    counts: dict[tuple[int, str], int] = {}
    for stats in world.sidecar.assembly.all_stats():
        for (code, reason, _), count in stats.grpc.items():
            counts[code, reason] = counts.get((code, reason), 0) + count
    return counts


def test_calls_of_one_client_alternate_between_endpoints() -> None:
    """One channel reaches all of them: a call is what is balanced, not a connection."""
    mesh = Mesh(TWO_ENDPOINTS)
    endpoints = []
    for stream in range(1, 9, 2):
        mesh.call(stream)
        while mesh.world.dialing:
            endpoints.append(mesh.endpoint())
    assert [len(list(one.frames(Type.HEADERS))) for one in endpoints] == [2, 2]


def test_streams_share_a_connection_as_far_as_the_endpoint_allows() -> None:
    """The third call of an endpoint that takes two at a time has a connection of its own; later ones use what is free."""
    mesh = Mesh()
    mesh.call(1)
    first = mesh.endpoint(values=((Setting.MAX_CONCURRENT_STREAMS, 2),))
    mesh.call(3)
    assert not mesh.world.dialing
    mesh.call(5)
    second = mesh.endpoint(values=((Setting.MAX_CONCURRENT_STREAMS, 2),))
    assert len(first.frames(Type.HEADERS)) == 2
    stream, _ = second.request()
    second.respond(stream, OK)
    mesh.call(7)
    assert not mesh.world.dialing
    assert second.request()[0] == stream + 2


@pytest.mark.parametrize("grpc_status", [2, 4, 13, 14, 15])
def test_statuses_that_are_failures_trip_the_breaker(grpc_status: int) -> None:
    """In trailers behind a message as well as alone."""
    mesh = Mesh()
    endpoint = None
    for number in range(5):
        mesh.call(2 * number + 1)
        endpoint = endpoint or mesh.endpoint()
        stream, _ = endpoint.request()
        if number % 2:
            endpoint.respond(stream, [GRPC[0]], MESSAGE, [("grpc-status", str(grpc_status))])
        else:
            endpoint.respond(stream, [("grpc-status", str(grpc_status))])
        assert status(mesh.client.response(2 * number + 1)) == b"%d" % grpc_status
    breaker = mesh.named("10.0.0.1:9001").breaker
    assert breaker is not None and breaker.state == OPEN
    mesh.call(11)
    refused = mesh.client.response(11)
    assert (status(refused), refused.get(b"x-sidecar-reason")) == (b"14", b"breaker_open")
    assert int(refused.get(b"grpc-retry-pushback-ms") or 0) > 25_000


@pytest.mark.parametrize("grpc_status", [0, 1, 3, 5, 6, 7, 8, 9, 10, 11, 12, 16])
def test_other_statuses_are_answers(grpc_status: int) -> None:
    """However many there are of them."""
    mesh = Mesh()
    endpoint = None
    for number in range(12):
        mesh.call(2 * number + 1)
        endpoint = endpoint or mesh.endpoint()
        stream, _ = endpoint.request()
        endpoint.respond(stream, [GRPC[0]], b"", [("grpc-status", str(grpc_status))])
        assert status(mesh.client.response(2 * number + 1)) == b"%d" % grpc_status
    assert mesh.named("10.0.0.1:9001").breaker.state != OPEN  # type: ignore[union-attr]
    assert grpc_counts(mesh.world) == {(grpc_status, ""): 12}


@pytest.mark.parametrize("code", [Code.REFUSED_STREAM], ids=["refused"])
def test_a_stream_that_was_refused_is_sent_again(code: Code) -> None:
    """H12: nothing was done about it, and the client hears nothing of it; it is no failure of the endpoint's."""
    mesh = Mesh()
    mesh.call(1)
    endpoint = mesh.endpoint()
    stream, _ = endpoint.request()
    endpoint.reset(stream, code)
    again = mesh.endpoint()
    stream, request = again.request()
    assert bytes(request.body) == MESSAGE
    again.respond(stream, OK)
    assert status(mesh.client.response(1)) == b"0"


def test_streams_above_a_goaway_are_sent_again_and_those_below_go_on() -> None:
    """H12: a server that leaves costs no call."""
    mesh = Mesh()
    mesh.call(1)
    endpoint = mesh.endpoint()
    mesh.call(3)
    assert len(endpoint.frames(Type.HEADERS)) == 2
    endpoint.send(goaway(1))
    again = mesh.endpoint()
    stream, _ = again.request()
    again.respond(stream, OK)
    assert status(mesh.client.response(3)) == b"0"
    endpoint.respond(1, OK)
    assert status(mesh.client.response(1)) == b"0"


def test_a_reset_is_not_tried_again_unless_the_configuration_says_so() -> None:
    """H12: nobody knows what the endpoint has done."""
    mesh = Mesh(TWO_ENDPOINTS)
    mesh.call(1)
    endpoint = mesh.endpoint()
    stream, _ = endpoint.request()
    endpoint.reset(stream, Code.INTERNAL_ERROR)
    mesh.world.pass_time(1.0)
    answer = mesh.client.response(1)
    assert (status(answer), answer.get(b"x-sidecar-reason")) == (b"14", b"upstream_reset")
    assert not mesh.world.dialing


def test_a_call_whose_endpoint_dies_is_tried_elsewhere_if_it_may_be_repeated() -> None:
    """H12: its method and what its client would see are named."""
    mesh = Mesh(TWO_ENDPOINTS + NAMED)
    mesh.call(1)
    endpoint = mesh.endpoint()
    endpoint.request()
    endpoint.peer.reset()
    mesh.world.pass_time(0.3)
    other = mesh.endpoint()
    stream, request = other.request()
    assert request.get(b"x-sidecar-attempt") == b"2"
    other.respond(stream, OK)
    assert status(mesh.client.response(1)) == b"0"


def test_a_status_that_is_named_is_tried_again() -> None:
    """In trailers alone, or with a head before them, as long as there is no message."""
    mesh = Mesh(TWO_ENDPOINTS + NAMED)
    mesh.call(1)
    endpoint = mesh.endpoint()
    stream, _ = endpoint.request()
    endpoint.respond(stream, [GRPC[0]], b"", [("grpc-status", "14")])
    mesh.world.pass_time(0.3)
    other = mesh.endpoint()
    stream, _ = other.request()
    other.respond(stream, [GRPC[0]], MESSAGE, OK)
    assert status(mesh.client.response(1)) == b"0"
    assert grpc_counts(mesh.world) == {(0, ""): 1}


@pytest.mark.parametrize("toml", [TWO_ENDPOINTS, TWO_ENDPOINTS + NAMED], ids=["unnamed", "another-method"])
def test_a_status_is_not_tried_again_for_other_methods(toml: str) -> None:
    """UNAVAILABLE of a method that nobody named is the answer."""
    mesh = Mesh(toml)
    mesh.call(1, path="/shop.Payments/Pay")
    endpoint = mesh.endpoint()
    stream, _ = endpoint.request()
    endpoint.respond(stream, [("grpc-status", "14"), ("grpc-message", "later")])
    answer = mesh.client.response(1)
    assert (status(answer), answer.get(b"grpc-message")) == (b"14", b"later")


def test_a_peer_sidecar_that_drains_is_left_for_another_whatever_the_method() -> None:
    """It has handed nothing on."""
    mesh = Mesh(TWO_ENDPOINTS)
    mesh.call(1)
    endpoint = mesh.endpoint()
    stream, _ = endpoint.request()
    endpoint.respond(stream, [("grpc-status", "14"), ("x-sidecar-reason", "draining")])
    mesh.world.pass_time(0.3)
    other = mesh.endpoint()
    stream, _ = other.request()
    other.respond(stream, OK)
    assert status(mesh.client.response(1)) == b"0"


def test_a_pushback_says_when() -> None:
    """gRFC A6: not the back-off, but what the server says."""
    mesh = Mesh(TWO_ENDPOINTS + NAMED)
    mesh.call(1)
    endpoint = mesh.endpoint()
    stream, _ = endpoint.request()
    endpoint.respond(stream, [("grpc-status", "14"), ("grpc-retry-pushback-ms", "2000")])
    mesh.world.pass_time(1.9)
    assert not mesh.world.dialing
    mesh.world.pass_time(0.2)
    assert mesh.world.dialing


def test_a_negative_pushback_forbids() -> None:
    """gRFC A6: not to be tried again."""
    mesh = Mesh(TWO_ENDPOINTS + NAMED)
    mesh.call(1)
    endpoint = mesh.endpoint()
    stream, _ = endpoint.request()
    endpoint.respond(stream, [("grpc-status", "14"), ("grpc-retry-pushback-ms", "-1")])
    assert status(mesh.client.response(1)) == b"14"


def test_a_response_without_a_status_is_internal() -> None:
    """H11: its client is told what is wrong, and the endpoint's breaker counts it."""
    mesh = Mesh()
    mesh.call(1)
    endpoint = mesh.endpoint()
    stream, _ = endpoint.request()
    endpoint.respond(stream, [GRPC[0]], MESSAGE)
    answer = mesh.client.response(1)
    assert (bytes(answer.body), status(answer)) == (MESSAGE, b"13")
    assert b"10.0.0.1:9001" in (said(answer, b"grpc-message") or b"")


def test_a_response_that_breaks_off_ends_with_a_status() -> None:
    """A message or two have been passed on: the client is told why there are no more."""
    mesh = Mesh()
    mesh.call(1)
    endpoint = mesh.endpoint()
    stream, _ = endpoint.request()
    endpoint.send(headers(stream, endpoint.block([(":status", "200"), GRPC[0]]), end=False), data(stream, MESSAGE))
    endpoint.peer.reset()
    answer = mesh.client.response(1)
    assert (bytes(answer.body), status(answer), said(answer, b"x-sidecar-reason")) == (
        MESSAGE,
        b"14",
        b"upstream_reset",
    )


def test_an_unknown_service_is_unimplemented() -> None:
    """In trailers alone, with the reason that any other request would get."""
    mesh = Mesh()
    mesh.client.authority = b"nobody"
    mesh.call(1)
    answer = mesh.client.response(1)
    assert (answer.status, status(answer), answer.get(b"x-sidecar-reason")) == (200, b"12", b"no_route")
    assert bytes(answer.body) == b""


def test_a_stream_may_be_quiet_for_longer_than_anything_stalls() -> None:
    """Nothing is owed: neither side has said anything that the other has not taken."""
    mesh = Mesh(ONE_ENDPOINT)
    mesh.call(1, end=False)
    endpoint = mesh.endpoint()
    endpoint.until(lambda one: one.type == Type.DATA, "the message")
    endpoint.send(headers(1, endpoint.block([(":status", "200"), GRPC[0]]), end=False))
    mesh.world.pass_time(600.0, step=1.0)
    endpoint.send(data(1, MESSAGE))
    endpoint.send(headers(1, endpoint.block(OK)))
    assert bytes(mesh.client.response(1).body) == MESSAGE


def test_an_endpoint_that_speaks_http_1_is_named() -> None:
    """An error that says what to do about it."""
    mesh = Mesh()
    mesh.call(1)
    server = mesh.world.accept()
    mesh.world.settle()
    server.send(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")
    answer = mesh.client.response(1)
    assert (status(answer), answer.get(b"x-sidecar-reason")) == (b"13", b"upstream_protocol")
    assert b"does not speak HTTP/2" in (answer.get(b"grpc-message") or b"")


def test_a_connection_on_which_nobody_answers_is_left() -> None:
    """A call that timed out asks whether anybody is there; when nobody is, later calls have another connection."""
    mesh = Mesh()
    mesh.call(1, ("grpc-timeout", "200m"))
    server = mesh.world.accept()
    mesh.world.pass_time(0.3)
    assert status(mesh.client.response(1)) == b"4"
    mesh.world.pass_time(5.1)
    assert server.over
    mesh.call(3)
    assert mesh.world.dialing


def test_a_listener_that_drains_says_so_and_answers_what_is_on_its_way() -> None:
    """GOAWAY above every stream first; the connection closes when the last one has ended."""
    mesh = Mesh()
    mesh.call(1)
    endpoint = mesh.endpoint()
    stream, _ = endpoint.request()
    mesh.world.sidecar.listeners["outbound"].end()
    mesh.world.settle()
    assert mesh.client.of(Type.GOAWAY).last == 2**31 - 1
    mesh.call(3)
    second, _ = endpoint.request()
    endpoint.respond(stream, OK)
    endpoint.respond(second, OK)
    assert (status(mesh.client.response(1)), status(mesh.client.response(3))) == (b"0", b"0")
    mesh.world.pass_time(1.1)
    assert mesh.client.of(Type.GOAWAY).last == 3
    mesh.client.closes()


def test_a_listener_that_takes_nothing_new_lets_others_be_asked() -> None:
    """A connection that comes too late is told by GOAWAY that nothing was looked at."""
    mesh = Mesh()
    mesh.world.sidecar.listeners["outbound"].accepting = False
    late = Conversation(WorldPipe(mesh.world, mesh.world.client()), strict=False)
    late.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
    away = late.of(Type.GOAWAY)
    assert (away.last, away.code) == (0, Code.NO_ERROR)


def test_many_calls_at_once_wait_until_a_new_endpoint_says_how_many_it_takes() -> None:
    """The first goes at once, the others when they are known to be taken: none is refused, whatever its size."""
    mesh = Mesh()
    for stream in range(1, 9, 2):
        mesh.call(stream)
    server = mesh.world.accept()
    mesh.world.settle()
    assert server.received.count(b"/shop.Orders/Get") == 1
    two = ((Setting.MAX_CONCURRENT_STREAMS, 2),)
    first = Endpoint(WorldPipe(mesh.world, server), *two)
    mesh.world.settle()
    assert len(first.frames(Type.HEADERS)) == 2
    second = mesh.endpoint(values=two)
    assert len(second.frames(Type.HEADERS)) == 2


def test_a_connection_that_is_full_before_its_pool_hears_of_it_is_followed_by_another() -> None:
    """What it says may come in the same turn of the loop as the connection itself."""
    mesh = Mesh()
    for stream in range(1, 9, 2):
        mesh.call(stream)
    pool, endpoint = mesh.world._dialed(None)
    peer = Peer((endpoint.host, endpoint.port))
    peer.protocol = connection = pool.new_connection()
    mesh.world.peers.append(peer)
    connection.connection_made(cast(asyncio.Transport, peer))
    Endpoint(WorldPipe(mesh.world, peer), (Setting.MAX_CONCURRENT_STREAMS, 3))
    assert not mesh.world.dialing
    pool.dialed(connection)
    assert mesh.world.dialing


def test_a_balancer_that_measures_hears_of_a_failed_call_once() -> None:
    """As of a failure, and not of a quick answer as well."""
    mesh = Mesh(ONE_ENDPOINT + 'balance = "peak_ewma"\n')
    mesh.call(1)
    endpoint = mesh.endpoint()
    heard: list[str] = []

    class Load:
        def responded(self, now: float, seconds: float, status: int) -> None:
            heard.append("responded")

        def failed(self, now: float, seconds: float) -> None:
            heard.append("failed")

        def describe(self, now: float) -> str:
            return ""

    mesh.named("10.0.0.1:9001").load = Load()
    stream, _ = endpoint.request()
    endpoint.respond(stream, [("grpc-status", "14")])
    assert status(mesh.client.response(1)) == b"14"
    assert heard == ["failed"]


def test_a_status_in_a_head_that_does_not_end_the_stream_is_the_status() -> None:
    """A server may end its stream with a frame of its own; nothing is made up behind it."""
    mesh = Mesh()
    mesh.call(1)
    endpoint = mesh.endpoint()
    stream, _ = endpoint.request()
    endpoint.send(headers(stream, endpoint.block([(":status", "200"), GRPC[0], ("grpc-status", "5")]), end=False))
    endpoint.send(data(stream, b"", end=True))
    answer = mesh.client.response(1)
    assert (dict(answer.fields)[b"grpc-status"], answer.trailers) == (b"5", [])
    assert grpc_counts(mesh.world) == {(5, ""): 1}
