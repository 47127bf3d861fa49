"""What a gRPC call leaves behind, however it ends: one word to the breaker of each attempt, and nothing in flight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from sidecar.resilience.breaker import Breaker
from tests.http2.test_grpc_exchange import GRPC, MESSAGE, NAMED, OK, Mesh, grpc_counts, status
from tests.support.http2 import Type, data, headers, rst_stream
from tests.support.http2_peers import Endpoint
from tests.support.world import LISTEN, ONE_ENDPOINT, TWO_ENDPOINTS


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What breakers were told, by the name of the method."""
    told: Counter[str] = Counter()

    def listen(name: str) -> None:
        original = getattr(Breaker, name)

        def method(self: Breaker, *arguments: float) -> object:
            told[name] += 1
            return original(self, *arguments)

        monkeypatch.setattr(Breaker, name, method)

    for name in ("begin", "success", "failure", "ignored"):
        listen(name)
    return told


def head(endpoint: Endpoint, *fields: tuple[str, str], status: str = "200") -> bytes:
    """The HEADERS frame of a response that goes on."""
    return headers(1, endpoint.block([(":status", status), GRPC[0], *fields]), end=False)


def trailers_only(mesh: Mesh, endpoint: Endpoint) -> None:
    endpoint.respond(1, [("grpc-status", "14")])


def trailers_later(mesh: Mesh, endpoint: Endpoint) -> None:
    endpoint.send(head(endpoint))
    endpoint.send(data(1, MESSAGE))
    endpoint.send(headers(1, endpoint.block([("grpc-status", "14")])))


def no_status(mesh: Mesh, endpoint: Endpoint) -> None:
    endpoint.send(head(endpoint))
    endpoint.send(data(1, MESSAGE, end=True))


def status_in_the_head(mesh: Mesh, endpoint: Endpoint) -> None:
    endpoint.send(head(endpoint, ("grpc-status", "0")))
    endpoint.send(data(1, end=True))


def another_http_status(mesh: Mesh, endpoint: Endpoint) -> None:
    endpoint.respond(1, body=b"<html>", status=404)


def failure_that_breaks_off(mesh: Mesh, endpoint: Endpoint) -> None:
    endpoint.send(head(endpoint, status="500"))
    endpoint.send(data(1, b"<html>"))
    endpoint.peer.reset()


def stream_that_breaks_off(mesh: Mesh, endpoint: Endpoint) -> None:
    endpoint.send(head(endpoint))
    endpoint.send(data(1, MESSAGE))
    endpoint.peer.reset()


def cancelled_before_the_head(mesh: Mesh, endpoint: Endpoint) -> None:
    mesh.client.send(rst_stream(1))


def cancelled_behind_the_head(mesh: Mesh, endpoint: Endpoint) -> None:
    endpoint.send(head(endpoint))
    mesh.client.send(rst_stream(1))


def lost_behind_the_head(mesh: Mesh, endpoint: Endpoint) -> None:
    endpoint.send(head(endpoint))
    mesh.client.pipe.peer.lose()  # type: ignore[attr-defined]


def late(mesh: Mesh, endpoint: Endpoint) -> None:
    mesh.world.pass_time(1.0)


def stalled(mesh: Mesh, endpoint: Endpoint) -> None:
    endpoint.send(head(endpoint))
    mesh.world.pass_time(4000.0, step=5.0)


def malformed(mesh: Mesh, endpoint: Endpoint) -> None:
    endpoint.send(headers(1, endpoint.block([("x", "200")]), end=False))


ENDS = [
    (trailers_only, "failure", (14, "")),
    (trailers_later, "failure", (14, "")),
    (no_status, "failure", (13, "")),
    (status_in_the_head, "success", (0, "")),
    (another_http_status, "success", (12, "")),
    (failure_that_breaks_off, "failure", (14, "upstream_reset")),
    (stream_that_breaks_off, "failure", (14, "upstream_reset")),
    (cancelled_before_the_head, "ignored", (1, "client_gone")),
    (cancelled_behind_the_head, "ignored", (1, "client_gone")),
    (lost_behind_the_head, "ignored", (1, "client_gone")),
    (late, "ignored", (4, "deadline_exceeded")),
    (stalled, "ignored", (14, "stalled")),
    (malformed, "failure", (13, "upstream_protocol")),
]


@pytest.mark.parametrize(("end", "told", "count"), ENDS, ids=[end.__name__ for end, _, _ in ENDS])
def test_the_breaker_hears_of_each_call_once(
    heard: Counter[str], end: Callable[[Mesh, Endpoint], None], told: str, count: tuple[int, str]
) -> None:
    """As often as it was told that one begins; the call is counted once, and nothing is in flight any more."""
    mesh = Mesh(TWO_ENDPOINTS)
    mesh.call(1, ("grpc-timeout", "200m"))
    endpoint = mesh.endpoint()
    endpoint.request()
    end(mesh, endpoint)
    mesh.world.settle()
    assert heard == {"begin": 1, told: 1}
    assert grpc_counts(mesh.world) == {count: 1}
    at_rest(mesh)


def at_rest(mesh: Mesh) -> None:
    service = mesh.world.sidecar.assembly.services["orders"]
    assert (service.limits.in_flight, service.limits.pending) == (0, 0)
    assert [endpoint.in_flight for endpoint in service.listed] == [0] * len(service.listed)


@pytest.mark.parametrize("http_status", ["200", "404", "500"])
def test_a_second_attempt_that_breaks_off_is_told_once(heard: Counter[str], http_status: str) -> None:
    """The first has told the endpoint's breaker of a failure already, and left a status that is not the call's."""
    mesh = Mesh(ONE_ENDPOINT + NAMED)
    mesh.call(1)
    endpoint = mesh.endpoint()
    stream, _ = endpoint.request()
    endpoint.respond(stream, [("grpc-status", "14")])
    mesh.world.pass_time(0.3)
    stream, _ = endpoint.request()
    endpoint.send(headers(stream, endpoint.block([(":status", http_status)]), end=False))
    endpoint.send(data(stream, MESSAGE))
    endpoint.peer.reset()
    mesh.world.settle()
    assert heard["begin"] == 2 == heard["success"] + heard["failure"] + heard["ignored"]
    assert grpc_counts(mesh.world) == {(14, "upstream_reset"): 1}
    at_rest(mesh)


@pytest.mark.parametrize("number", [0, 5, 14])
def test_a_status_in_the_head_counts_wherever_the_stream_ends(number: int) -> None:
    """Servers that end it with an empty frame of data behind the head have not forgotten the status."""
    for apart in (False, True):
        mesh = Mesh()
        mesh.call(1)
        endpoint = mesh.endpoint()
        endpoint.request()
        frames = (head(endpoint, ("grpc-status", str(number))), data(1, end=True))
        if apart:
            for one in frames:
                endpoint.send(one)
        else:
            endpoint.send(*frames)
        answer = mesh.client.response(1)
        assert (status(answer), answer.trailers) == (b"%d" % number, [])
        assert grpc_counts(mesh.world) == {(number, ""): 1}


def test_an_answer_that_was_held_is_given_in_the_end(heard: Counter[str]) -> None:
    """Nobody is left to be asked when the back-off is over."""
    mesh = Mesh(TWO_ENDPOINTS + NAMED)
    mesh.call(1)
    mesh.endpoint().respond(1, [("grpc-status", "14"), ("grpc-message", "held")])
    mesh.world.reload(LISTEN + "[services.orders]\nendpoints = []\n" + NAMED)
    mesh.world.pass_time(0.5)
    answer = mesh.client.response(1)
    assert (status(answer), answer.get(b"grpc-message")) == (b"14", b"held")
    assert heard == {"begin": 1, "failure": 1}
    assert grpc_counts(mesh.world) == {(14, ""): 1}


def test_a_call_that_failed_is_no_fast_answer() -> None:
    """A balancer that measures is told of a failure, and of nothing else."""
    mesh = Mesh()
    told: list[str] = []

    class Load:
        def responded(self, now: float, seconds: float, status: int) -> None:
            told.append("responded")

        def failed(self, now: float, seconds: float) -> None:
            told.append("failed")

        def describe(self, now: float) -> str:
            return ""

    mesh.named("10.0.0.1:9001").load = Load()
    mesh.call(1)
    endpoint = mesh.endpoint()
    endpoint.respond(1, [("grpc-status", "14")])
    mesh.client.response(1)
    mesh.call(3)
    endpoint.respond(3, OK)
    mesh.client.response(3)
    assert told == ["failed", "responded"]


def test_a_connection_in_use_takes_further_calls_however_long_it_has_been() -> None:
    """The endpoint cannot be closing it for idleness: no call, though none may be repeated, needs another one."""
    mesh = Mesh()
    mesh.call(1, end=False)
    endpoint = mesh.endpoint()
    for stream in range(3, 13, 2):
        mesh.world.pass_time(5.0)
        mesh.call(stream)
        assert not mesh.world.dialing
        endpoint.request(stream)
        endpoint.respond(stream, OK)
        assert status(mesh.client.response(stream)) == b"0"
    endpoint.respond(1, OK)
    mesh.client.response(1)
    mesh.world.pass_time(5.0)
    mesh.call(13)
    assert mesh.world.dialing
    assert endpoint.frames(Type.GOAWAY) == []
