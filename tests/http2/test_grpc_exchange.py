"""gRPC calls through an exchange: deadlines, outcomes, retries and refusals, with endpoints that speak HTTP/2."""

from __future__ import annotations

import pytest

from sidecar.resilience.breaker import OPEN
from tests.http2.mesh import GRPC, MESSAGE, NAMED, OK, Mesh, grpc_counts, said, status
from tests.support.http2 import Code, Type, data, headers, rst_stream
from tests.support.world import ONE_ENDPOINT, TWO_ENDPOINTS


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
