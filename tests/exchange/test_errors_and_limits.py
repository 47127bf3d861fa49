"""Answers of our own: the document, the words, and the bounds that make us say no."""

from __future__ import annotations

import pytest

from tests.exchange.steps import at_rest, counted, heard, mesh, request, response
from tests.support.world import LISTEN, World


def test_an_error_is_the_users_document() -> None:
    """Every field of it, as JSON."""
    world = mesh()
    client = world.client()
    client.send(request(host="nobody", X_Request_Id="r-1"))
    answer = heard(client)
    assert answer.first == "HTTP/1.1 404 Not Found"
    assert answer.fields["content-type"] == "application/json"
    error = answer.error()
    assert error == {
        "id": "err_r-1",
        "status": "404",
        "code": "NO_ROUTE",
        "title": "No route",
        "detail": "no service and no route is named by the host 'nobody'",
        "source": {"sidecar": "shop/outbound"},
        "meta": {"timestamp": "2027-01-15T08:16:40.000Z", "requestId": "r-1"},
    }
    assert (answer.reason, answer.fields["x-sidecar-source"]) == ("no_route", "shop/outbound")


def test_an_answer_of_the_application_has_no_reason_of_ours() -> None:
    """So that its 503 is never taken for ours, nor ours for its."""
    world = mesh(more="retry = false\n")
    client = world.client()
    client.send(request())
    world.accept().send(response(503, b"mine"))
    answer = heard(client)
    assert (answer.body, answer.reason, answer.fields.get("x-sidecar-source")) == (b"mine", None, None)


def test_the_detail_names_who_was_tried() -> None:
    """What failed, where, how often."""
    world = mesh(endpoints=2, more="retry = { max_retries = 1 }\n")
    client = world.client()
    client.send(request())
    world.refuse()
    world.pass_time(0.2)
    world.refuse()
    detail = heard(client).error()["detail"]
    assert "10.0.0.1:9001" in detail and "10.0.0.2:9001" in detail and "2 attempts" in detail


def test_an_unreachable_application_has_a_word_of_its_own() -> None:
    """Inbound there is nobody else to blame."""
    world = mesh()
    client = world.client("inbound")
    client.send(request(host="shop"))
    world.refuse()
    answer = heard(client)
    assert (answer.status, answer.reason, answer.fields["x-sidecar-source"]) == (502, "app_unreachable", "shop/inbound")


def test_the_answer_to_a_head_has_the_length_but_no_body() -> None:
    """RFC 9110 section 9.3.2."""
    world = mesh()
    client = world.client()
    client.send(request("HEAD", host="nobody"))
    answer = heard(client)
    assert (answer.status, answer.body) == (404, b"")
    assert int(answer.fields["content-length"]) > 100
    client.send(request("HEAD", host="nobody"))
    assert heard(client).status == 404


def test_a_refusal_does_not_cost_the_connection() -> None:
    """A small body that was still on its way is thrown away, a large one ends the connection."""
    world = mesh()
    client = world.client()
    client.send(request("PUT", host="nobody", body=b"x" * 1000)[:-500])
    assert (heard(client).status, client.half_closed) == (404, False)
    client.send(b"x" * 500 + request(host="nobody"))
    assert heard(client).status == 404
    client.send(request("PUT", host="nobody", body=b"x" * 100_000)[:-70_000])
    assert (heard(client).fields["connection"], client.half_closed) == ("close", True)


def test_no_more_requests_are_in_flight_than_allowed() -> None:
    """The next one is told so at once, and when to come back."""
    world = mesh(more="limits = { max_requests = 2 }\n")
    clients = [world.client() for _ in range(3)]
    for client in clients:
        client.send(request())
    answer = heard(clients[2])
    assert (answer.status, answer.reason, answer.fields["retry-after"]) == (503, "overloaded", "1")
    world.accept().send(response())
    assert heard(clients[0]).status == 200
    clients[2].send(request())
    assert clients[2].take() == b""


def test_no_more_wait_for_a_connection_than_allowed() -> None:
    """Waiting without end helps nobody."""
    world = mesh(more="limits = { max_connections = 1, max_pending = 2 }\n")
    clients = [world.client() for _ in range(4)]
    for client in clients:
        client.send(request())
    assert len(world.dialing) == 1
    assert heard(clients[2]).reason == "overloaded"
    server = world.accept()
    for client in (clients[0], clients[1]):
        server.take()
        server.send(response())
        assert heard(client).status == 200
    at_rest(world)


@pytest.mark.parametrize("ending", ["end", "reset"])
def test_a_caller_that_leaves_cancels_its_attempt(ending: str) -> None:
    """Whether it says goodbye or not, and wherever its exchange stands."""
    world = mesh(endpoints=2)
    connecting, waiting, backing_off, receiving = (world.client() for _ in range(4))
    connecting.send(request())
    getattr(connecting, ending)()
    unused = world.accept()
    waiting.send(request())
    server = next(peer for peer in (unused, *(world.accept() for _ in world.dialing)) if peer.received)
    getattr(waiting, ending)()
    assert server.aborted
    world.settle()
    backing_off.send(request())
    server = next(
        p for p in (*world.peers, *(world.accept() for _ in list(world.dialing))) if p.received and not p.over
    )
    server.take()
    server.send(response(503))
    getattr(backing_off, ending)()
    world.pass_time(1)
    assert all(not peer.received for peer in world.peers if not peer.over)
    receiving.send(request())
    server = next(
        p for p in (*world.peers, *(world.accept() for _ in list(world.dialing))) if p.received and not p.over
    )
    server.send(response(200, b"0123")[:-1])
    receiving.take()
    getattr(receiving, ending)()
    assert server.aborted
    world.settle()
    assert counted(world, reason="client_gone", status="499") == 4
    at_rest(world)


def test_two_hundred_fifty_six_hosts_that_are_no_service_are_remembered_and_no_more() -> None:
    """What only requests name must not grow without bound."""
    world = mesh()
    client = world.client()
    for number in range(300):
        client.send(request(target=f"http://h{number}.example/", host=f"h{number}.example"))
        world.refuse()
        world.pass_time(60)
        world.dialing.clear()
        client.end()
        client = world.client()
    assert len(list(world.sidecar.assembly.passing())) == 256


@pytest.mark.parametrize(
    ("allowed", "absolute", "plain"), [("proxy", True, False), ("all", True, True), ("none", False, False)]
)
def test_passthrough_lets_through_what_it_is_told_to(allowed: str, absolute: bool, plain: bool) -> None:
    """By default only a caller that uses us as its proxy means to go elsewhere."""
    for passes, raw in (
        (absolute, request(target="http://example.org:8080/a?b", host="example.org:8080")),
        (plain, request(target="/a?b", host="example.org:8080")),
    ):
        world = World(LISTEN + f'[outbound]\npassthrough = "{allowed}"\n')
        client = world.client()
        client.send(raw)
        if passes:
            server = world.accept("example.org:8080")
            assert server.take() == b"GET /a?b HTTP/1.1\r\nHost: example.org:8080\r\n\r\n"
            server.send(response())
            assert heard(client).status == 200
        else:
            assert heard(client).reason == "no_route"


def test_what_passes_through_has_fifteen_seconds_and_one_label() -> None:
    """The class ``external``; its metrics name no host."""
    world = mesh()
    client = world.client()
    client.send(request(target="http://example.org/", host="example.org"))
    world.accept("example.org:80")
    probes = world.client("probes")
    probes.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    world.settle()
    metrics = probes.take()
    assert b'sidecar_requests_in_flight{direction="outbound",service="passthrough"} 1.0' in metrics
    assert b"example.org" not in metrics
    world.pass_time(14.9)
    assert client.take() == b""
    world.pass_time(0.2)
    assert heard(client).reason == "deadline_exceeded"
    stats = world.sidecar.assembly._passed
    assert (stats.service, stats.requests) == ("passthrough", {(b"GET", 504, "deadline_exceeded"): 1})
