"""Which service a request goes to, and by which of its policies."""

from __future__ import annotations

import pytest

from tests.exchange.steps import NO_JITTER, heard, request, response
from tests.support.world import LISTEN, World

SERVICES = (
    NO_JITTER
    + """
[services.orders]
endpoints = ["10.0.0.1:1"]
[services.v2]
endpoints = ["10.0.0.2:2"]
"""
)


def asked(world: World, raw: bytes) -> str | None:
    """The endpoint that a request goes to; ``None`` if it goes nowhere."""
    client = world.client()
    client.send(raw)
    if not world.dialing:
        assert heard(client).reason == "no_route"
        return None
    label = world.dialing[0][1].label
    client.end()
    world.dialing.clear()
    for endpoint in (e for s in world.sidecar.assembly.services.values() for e in s.endpoints):
        if endpoint.pool is not None:
            endpoint.pool.connecting = 0  # type: ignore[attr-defined]
    return label


@pytest.mark.parametrize(
    "host", ["orders", "ORDERS", "orders.", "orders.mesh", "orders.mesh.", "orders:80", "Orders.Mesh:8080"]
)
def test_the_host_names_the_service(host: str) -> None:
    """In any case, with a trailing dot, under .mesh, with any port."""
    assert asked(World(LISTEN + SERVICES), request(host=host)) == "10.0.0.1:1"


@pytest.mark.parametrize("host", ["order", "orders.example", "mesh", "xorders.mesh", "10.0.0.1"])
def test_other_names_are_other_names(host: str) -> None:
    """No guessing."""
    assert asked(World(LISTEN + SERVICES), request(host=host)) is None


def test_as_a_proxy_the_target_names_the_service() -> None:
    """``HTTP_PROXY`` and a URL are enough."""
    assert asked(World(LISTEN + SERVICES), request(target="http://orders/a", host="orders")) == "10.0.0.1:1"


MATCHES = [
    ('path = "/a"', request(target="/a?x=1"), True),
    ('path = "/a"', request(target="/a/"), False),
    ('path_prefix = "/api/v2"', request(target="/api/v2"), True),
    ('path_prefix = "/api/v2"', request(target="/api/v2/x?y"), True),
    ('path_prefix = "/api/v2/"', request(target="/api/v2/x"), True),
    ('path_prefix = "/api/v2"', request(target="/api/v20"), False),
    ('path_prefix = "/"', request(target="/anything"), True),
    ('methods = ["PUT", "POST"]', request("POST"), True),
    ('methods = ["PUT", "POST"]', request("GET"), False),
    ('headers = { "x-canary" = "true" }', request(X_Canary="true"), True),
    ('headers = { "x-canary" = "true" }', request(X_Canary="True"), False),
    ('headers = { "x-canary" = "true" }', request(), False),
    ('methods = ["GET"], path = "/a", headers = { a = "1" }', request(target="/a", a="1"), True),
    ('methods = ["GET"], path = "/a", headers = { a = "1" }', request(target="/b", a="1"), False),
    ('host = "elsewhere"', request(host="elsewhere.mesh"), True),
    ('host = "elsewhere"', request(), False),
]


@pytest.mark.parametrize(("match", "raw", "hit"), MATCHES)
def test_a_route_takes_what_matches_in_full(match: str, raw: bytes, hit: bool) -> None:
    """All that it asks must hold; else the host decides."""
    world = World(LISTEN + SERVICES + f'[[routes]]\nname = "r"\nmatch = {{ {match} }}\nservice = "v2"\n')
    assert asked(world, raw) == ("10.0.0.2:2" if hit else "10.0.0.1:1")


def test_the_first_route_that_matches_wins() -> None:
    """Order is the file's."""
    routes = '[[routes]]\nname = "a"\nmatch = { path_prefix = "/x" }\nservice = "v2"\n'
    routes += '[[routes]]\nname = "b"\nmatch = { path_prefix = "/x/y", host = "orders" }\nservice = "orders"\n'
    assert asked(World(LISTEN + SERVICES + routes), request(target="/x/y")) == "10.0.0.2:2"


def test_a_split_follows_its_weights() -> None:
    """A fifth of a thousand, give or take."""
    split = '[[routes]]\nname = "s"\nsplit = [{ service = "orders", weight = 80 }, { service = "v2", weight = 20 }]\n'
    world = World(LISTEN + SERVICES + split)
    labels = [asked(world, request()) for _ in range(1000)]
    assert 160 < labels.count("10.0.0.2:2") < 240


def test_a_route_has_its_own_timeout_and_retry() -> None:
    """And what it does not say is its service's."""
    route = '[[routes]]\nname = "r"\nmatch = { path = "/quick" }\nservice = "orders"\ntimeout = "2s"\nretry = false\n'
    world = World(LISTEN + SERVICES + route)
    client = world.client()
    client.send(request(target="/quick"))
    assert 1900 < int(heard(world.accept()).fields["x-request-timeout-ms"]) < 2000
    world.pass_time(2.1)
    assert heard(client).reason == "deadline_exceeded"
    client.send(request(target="/quick"))
    world.accept().send(response(503))
    assert heard(client).status == 503
    counted = {plan.stats.route: sum(plan.stats.requests.values()) for plan in world.sidecar.assembly.plans}
    assert counted["r"] == 2
