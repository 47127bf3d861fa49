"""One configuration after another: what is new from the next request on, and what lives on."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from sidecar.resilience.breaker import OPEN, Breaker
from tests.exchange.steps import at_rest, counted, heard, mesh, request, response
from tests.support.world import LISTEN, Peer, World

ORDERS = '[services.orders]\nendpoints = ["10.0.0.1:9001", "10.0.0.2:9001"]\n'


def configured(more: str = "", orders: str = ORDERS) -> str:
    return LISTEN + '[defaults.retry]\njitter = "none"\n' + orders + more


def asked(world: World, *clients: Peer) -> Peer:
    """The end of the endpoint that has just been sent a request, on an old connection or a new one."""
    if world.dialing:
        return world.accept()
    (peer,) = (peer for peer in world.peers if peer.received and peer not in clients)
    return peer


def call(world: World, client: Peer, **fields: str) -> Peer:
    """A request and its answer by whichever endpoint is asked; that endpoint's end."""
    client.send(request(**fields))
    server = asked(world, client)
    server.take()
    server.send(response())
    assert heard(client).status == 200
    return server


def trip(world: World, client: Peer, label: str) -> Breaker:
    """Opens the breaker of an endpoint that has been called."""
    endpoint = next(one for one in world.endpoints if one.label == label)
    assert isinstance(endpoint.breaker, Breaker)
    for _ in range(5):
        endpoint.breaker.failure(world.time.now, endpoint.breaker.begin(world.time.now))
    assert endpoint.breaker.state == OPEN
    return endpoint.breaker


def test_a_new_timeout_holds_for_the_next_request_and_not_for_the_one_that_runs() -> None:
    """A running exchange keeps the plan that it began with."""
    world = mesh()
    early, late = world.client(), world.client()
    early.send(request())
    world.accept()
    world.reload(configured("timeout = '2s'\n", '[services.orders]\nendpoints = ["10.0.0.1:9001"]\n'))
    late.send(request())
    world.accept()
    world.pass_time(2.1)
    assert heard(late).reason == "deadline_exceeded"
    assert early.take() == b""
    world.pass_time(28)
    assert heard(early).reason == "deadline_exceeded"
    at_rest(world)


def test_endpoints_keep_breakers_and_connections_when_all_around_them_changes() -> None:
    """Weights, balancer, timeouts and the order in which endpoints stand: the addresses are the same, so is their state."""
    world = World(configured())
    client = world.client()
    servers = {call(world, client).address: None for _ in range(4)}
    assert len(servers) == 2
    breaker = trip(world, client, "10.0.0.1:9001")
    before = {endpoint.label: endpoint for endpoint in world.endpoints}
    world.reload(
        configured(
            orders='[services.orders]\nbalance = "random"\ntimeout = "2s"\n'
            'endpoints = ["10.0.0.3:9001", { address = "10.0.0.2:9001", weight = 7 }, "10.0.0.1:9001"]\n'
        )
    )
    after = {endpoint.label: endpoint for endpoint in world.endpoints}
    assert list(after) == ["10.0.0.3:9001", "10.0.0.2:9001", "10.0.0.1:9001"]
    assert all(after[label] is endpoint for label, endpoint in before.items())
    assert after["10.0.0.2:9001"].weight == 7
    assert after["10.0.0.1:9001"].breaker is breaker and breaker.state == OPEN
    assert not any(peer.over for peer in world.peers)


def test_a_service_that_is_gone_closes_its_idle_connections_and_finishes_what_runs() -> None:
    """Who calls it from now on is told that there is no such service; who has called it gets the answer."""
    world = mesh()
    idle, busy, late = world.client(), world.client(), world.client()
    idle.send(request())
    first = world.accept()
    busy.send(request())
    second = world.accept()
    first.send(response())
    assert heard(idle).status == 200
    world.reload(LISTEN)
    world.settle()
    assert first.over and not second.over
    late.send(request())
    assert heard(late).reason == "no_route"
    second.send(response())
    assert heard(busy).status == 200


def test_counters_go_on_and_a_series_outlives_its_route_by_one_reload() -> None:
    """What was in flight on it counts there; Prometheus sees no sum fall."""
    route = '[[routes]]\nname = "r"\nservice = "orders"\nmatch = { path = "/r" }\n'
    world = World(configured(route))
    client = world.client()
    call(world, client)
    call(world, client, target="/r")
    client.send(request(target="/r"))
    server = asked(world)
    world.reload(configured())
    server.send(response())
    assert heard(client)
    series = {(one.service, one.route): sum(one.requests.values()) for one in world.sidecar.assembly.all_stats()}
    assert (series["orders", ""], series["orders", "r"]) == (1, 2)
    world.reload(configured())
    assert ("orders", "r") not in {(one.service, one.route) for one in world.sidecar.assembly.all_stats()}
    assert counted(world, status="200") == 1


def test_what_http_2_has_ended_is_scraped_and_lives_on_with_another_listener() -> None:
    """Each direction has its counts, whichever address it is bound to; a sum that fell would be a restart to Prometheus."""
    world = World(configured())
    sidecar = world.sidecar
    sidecar.listeners["inbound"].http2.count("resets")
    sidecar.listeners["outbound"].http2.count("streams")
    sidecar.listeners["inbound"] = sidecar._new_listener("inbound", sidecar.assembly)
    sidecar.listeners["inbound"].http2.count("resets")
    client = world.client("probes")
    client.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    world.settle()
    text = client.take()
    assert b'sidecar_http2_limits_total{direction="inbound",limit="resets"} 2.0\n' in text
    assert b'sidecar_http2_limits_total{direction="inbound",limit="streams"} 0.0\n' in text
    assert b'sidecar_http2_limits_total{direction="outbound",limit="streams"} 1.0\n' in text


def test_limits_hold_at_once_and_count_what_was_in_flight_before() -> None:
    """Two requests run; a limit of two leaves no room for a third."""
    world = World(configured())
    first, second, third = world.client(), world.client(), world.client()
    first.send(request())
    second.send(request())
    world.reload(configured("[defaults.limits]\nmax_requests = 2\n"))
    third.send(request())
    assert heard(third).reason == "overloaded"
    for client in (first, second):
        world.accept().send(response())
        assert heard(client).status == 200
    at_rest(world)


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize(("before", "after"), [("", "breaker = false\n"), ("breaker = false\n", "")])
def test_an_attempt_that_runs_while_breakers_are_switched_says_nothing_to_them(
    before: str, after: str, status: int
) -> None:
    """It began by other rules: it neither needs a breaker that is gone nor counts at one that is new."""
    orders = '[services.orders]\nretry = false\nendpoints = ["10.0.0.1:9001"]\n'
    world = World(configured(before, orders))
    early, late = world.client(), world.client()
    early.send(request())
    server = world.accept()
    world.reload(configured(after, orders))
    late.send(request())
    world.accept().send(response())
    server.send(response(status))
    assert (heard(late).status, heard(early).status) == (200, status)
    (endpoint,) = world.endpoints
    assert (endpoint.breaker is None) == bool(after)
    if isinstance(endpoint.breaker, Breaker):
        assert len(endpoint.breaker._latest) == 0
    at_rest(world)


def test_the_retry_budget_is_kept_unless_it_is_the_budget_that_changed() -> None:
    """A reload in the middle of an outage must not hand out a new allowance."""
    small = "[defaults.retry.budget]\nratio = 0\nmin_per_second = 0.1\n"
    world = World(configured(small))
    budget = world.sidecar.assembly.services["orders"].budget
    assert budget is not None and budget.withdraw(world.time.now) and not budget.withdraw(world.time.now)
    world.reload(configured(small + "[trace]\nsample = 0.5\n", ORDERS + 'timeout = "1s"\n'))
    assert world.sidecar.assembly.services["orders"].budget is budget
    world.reload(configured("[defaults.retry.budget]\nratio = 0.3\n"))
    assert world.sidecar.assembly.services["orders"].budget is not budget


def test_hosts_that_pass_through_keep_their_connections() -> None:
    """They are in no configuration, but somebody calls them."""
    world = World(configured())
    client = world.client()
    client.send(request(target="http://example.org/", host="example.org"))
    server = world.accept("example.org:80")
    server.send(response())
    assert heard(client).status == 200
    world.reload(configured("[limits]\nheaders = 50\n"))
    client.send(request(target="http://example.org/", host="example.org"))
    assert server.take() and not world.dialing
    server.send(response())
    assert heard(client).status == 200
    world.reload(configured('[outbound]\npassthrough = "none"\n'))
    world.settle()
    assert server.over


def test_the_application_keeps_its_connections_unless_it_has_moved() -> None:
    """Inbound is a service too."""
    world = World(configured())
    client = world.client("inbound")
    client.send(request(host="shop"))
    app = world.accept("127.0.0.1:8080")
    app.send(response())
    assert heard(client).status == 200
    world.reload(configured("[inbound]\ntimeout = '3s'\n"))
    client.send(request(host="shop"))
    assert app.take()
    app.send(response())
    assert heard(client).status == 200
    world.reload(configured().replace("8080", "8081"))
    world.settle()
    assert app.over
    client.send(request(host="shop"))
    world.accept("127.0.0.1:8081").send(response())
    assert heard(client).status == 200


def test_what_is_spoken_upstream_is_the_services_and_follows_a_reload() -> None:
    """As the request came, unless somebody has said otherwise; the application is asked for by itself."""

    def spoken(world: World) -> dict[str, bool | None]:
        return {service.name: service.dial.http2 for _, service in world.sidecar.assembly.all_services()}

    world = World(configured())
    assert spoken(world) == {"shop": None, "orders": None}
    world.reload(configured('[inbound]\nprotocol = "http1"\n', ORDERS + 'protocol = "http2"\n'))
    assert spoken(world) == {"shop": False, "orders": True}
    world.reload(
        configured('[defaults]\nprotocol = "http2"\n', ORDERS + 'protocol = "http1"\n').replace(
            '[defaults.retry]\njitter = "none"\n', ""
        )
    )
    assert spoken(world) == {"shop": None, "orders": False}
    client = world.client()
    client.send(request(target="http://example.org/", host="example.org"))
    world.accept("example.org:80")
    assert [service.dial.http2 for service in world.sidecar.assembly.passing()] == [None]


def test_limits_of_heads_and_the_sampling_of_traces_follow() -> None:
    """Also on connections that stood before."""
    world = World(configured("[trace]\nsample = 0\n"))
    client = world.client()
    client.send(request())
    server = world.accept()
    assert b"-00\r\n" in server.take()
    server.send(response())
    client.take()
    world.reload(configured("[trace]\nsample = 1\n[limits]\nheaders = 3\n"))
    client.send(request())
    server = asked(world)
    assert b"-01\r\n" in server.take()
    server.send(response())
    client.take()
    client.send(request(a="1", b="2", c="3", d="4"))
    assert heard(client).reason == "headers_too_large"


def test_a_peer_that_is_no_longer_trusted_is_not_believed_on_the_connection_that_it_has() -> None:
    """Nor need one that is trusted now connect anew."""
    world = World(configured('[inbound]\ntrusted = ["192.0.2.0/24"]\n'))
    before, after = (world.client("inbound", (address, 1)) for address in ("192.0.2.7", "198.51.100.7"))

    def believed(client: Peer) -> bool:
        client.send(request(host="shop", **{"x-forwarded-for": "203.0.113.1"}))
        server = asked(world, client)
        fields = heard(server).fields
        server.send(response())
        client.take()
        return "x-forwarded-for" in fields

    assert (believed(before), believed(after)) == (True, False)
    world.reload(configured('[inbound]\ntrusted = ["198.51.100.0/24"]\n'))
    assert (believed(before), believed(after)) == (False, True)


def test_former_assemblies_are_not_kept() -> None:
    """A thousand reloads are no leak."""
    world = World(configured())
    first = weakref.ref(world.sidecar.assembly)
    for _ in range(3):
        world.reload(configured())
    gc.collect()
    assert first() is None


def test_an_address_that_cannot_be_bound_leaves_everything_as_it_was() -> None:
    """The error comes before anything is taken over."""
    world = World(configured())
    before = world.sidecar.assembly

    async def refused(*_: object) -> None:
        raise OSError("address in use")

    world.sidecar._open_changed = refused  # type: ignore[method-assign,assignment]
    with pytest.raises(OSError, match="in use"):
        asyncio.run(world.sidecar.reload(world.sidecar.config))
    assert world.sidecar.assembly is before
