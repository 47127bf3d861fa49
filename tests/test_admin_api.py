"""The admin API: what it tells of a sidecar, in which form, and what it refuses."""

from __future__ import annotations

import re
from types import SimpleNamespace

import msgspec
import pytest

import sidecar
from sidecar.discovery.source import State
from sidecar.resilience.standing import judge
from tests.support.admin import BROKEN, JSON, Admin, Asked
from tests.support.world import LISTEN

COLLECTIONS = ["services", "services/orders/endpoints", "breakers", "routes", "config"]

MESH = (
    LISTEN
    + """
[defaults]
retry = false
[services.orders]
endpoints = ["10.0.0.1:9001", { address = "10.0.0.2:9001", weight = 3, zone = "b" }]
[services.payments]
endpoints = ["10.0.1.1:9001"]
breaker = false
[[routes]]
name = "orders-v2"
match = { host = "orders", path_prefix = "/api/v2", methods = ["GET"], headers = { x-canary = "true", x-api-key = "k-123" } }
service = "payments"
timeout = "2s"
"""
)


def many(services: int) -> str:
    return LISTEN + "".join(
        f'[services.s{number:04}]\nendpoints = ["10.0.{number // 250}.{number % 250}:9001"]\n'
        for number in range(services)
    )


def test_the_root_lists_what_there_is() -> None:
    """Whoever finds the API finds everything in it, and learns whom it asks."""
    document = Admin().document("/api/v1")
    assert document["data"]["type"] == "sidecar"
    about = document["data"]["attributes"]
    assert (about["service"], about["version"], about["draining"]) == ("shop", sidecar.__version__, False)
    paths = {one["path"] for one in about["resources"] if one["method"] == "GET"}
    assert {f"/api/v1/{name}" for name in ("services", "breakers", "routes", "config", "openapi.json")} < paths
    assert {one["path"] for one in about["resources"] if one["method"] == "POST"} == {
        "/api/v1/reload",
        "/api/v1/drain",
        "/api/v1/shutdown",
    }


def test_a_page_is_the_user_s_response_document() -> None:
    """data, meta and links, with the request's own id and the time at which it came."""
    admin = Admin(MESH)
    response = admin.ask("/api/v1/services?page=2&size=2&sort=name", fields="x-request-id: req_1\r\n")
    document = msgspec.json.decode(response.body)
    (only,) = document["data"]
    assert (only["id"], only["type"]) == ("inbound/shop", "service")
    assert document["meta"] == {
        "timestamp": "2027-01-15T08:16:40.000Z",
        "requestId": "req_1",
        "version": "v1",
        "page": 2,
        "size": 2,
        "total": 3,
    }
    assert document["links"] == {
        "self": "/api/v1/services?page=2&size=2&sort=name",
        "first": "/api/v1/services?page=1&size=2&sort=name",
        "prev": "/api/v1/services?page=1&size=2&sort=name",
        "next": None,
        "last": "/api/v1/services?page=2&size=2&sort=name",
    }
    assert response.fields["x-request-id"] == "req_1"


def test_the_links_lead_through_all_pages() -> None:
    """From the first on, each row is on one page, and the last page has no next one."""
    admin = Admin(many(45))
    path, names = "/api/v1/services?size=20&sort=-name", []
    while path:
        document = admin.document(path)
        names += [one["attributes"]["name"] for one in document["data"]]
        path = document["links"]["next"]
    assert names == sorted(names, reverse=True) and len(names) == 46


def test_an_empty_collection_has_one_empty_page() -> None:
    """Nothing is an answer too."""
    document = Admin(LISTEN).document("/api/v1/breakers")
    assert (document["data"], document["meta"]["total"]) == ([], 0)
    assert document["links"]["last"] == document["links"]["first"] == "/api/v1/breakers?page=1&size=20"


@pytest.mark.parametrize("sort", ["name", "name:asc"])
def test_an_order_can_be_written_in_both_ways(sort: str) -> None:
    """-name is name:desc, as the user's integration patterns write it."""
    admin = Admin(MESH)
    up = [one["name"] for one in admin.rows(f"/api/v1/services?sort={sort}")]
    down = [one["name"] for one in admin.rows(f"/api/v1/services?sort={'-name' if sort == 'name' else 'name:desc'}")]
    assert up == ["orders", "payments", "shop"] == down[::-1]


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_every_collection_can_be_sorted_by_every_field_that_it_names(collection: str) -> None:
    """The refusal of a wrong field says which there are; each of them is taken, in both directions."""
    admin = Admin(MESH)
    admin.call()
    _, _, detail = admin.refused(f"/api/v1/{collection}?sort=nonsense")
    named = re.search(r"; by (.*), as in", detail)
    assert named is not None
    for field in named[1].split(", "):
        assert admin.ask(f"/api/v1/{collection}?sort={field}").status == 200
        assert admin.ask(f"/api/v1/{collection}?sort={field}:desc").status == 200


@pytest.mark.parametrize(
    ("query", "parameter", "detail"),
    [
        ("pgae=1", "pgae", "there is no parameter 'pgae' here: it takes page, size, sort"),
        ("page=1&page=2", "page", "page is given twice"),
        ("page=0", "page", "page is a whole number from 1, not '0'"),
        ("page=-1", "page", "page is a whole number from 1, not '-1'"),
        ("page=%D9%A3", "page", "page is a whole number from 1, not '٣'"),
        ("page=99999999999999999999", "page", "page is a whole number"),
        ("page=2", "page", "there is no page 2: of size 20 there are 1"),
        ("size=1001", "size", "a page has 1 to 1000 rows, not 1001"),
        ("size=", "size", "size is a whole number from 1, not ''"),
        ("sort=", "sort", "cannot be sorted by ''; by name, direction"),
        ("sort=nme", "sort", "cannot be sorted by 'nme'; by name, direction"),
        ("sort=name:up", "sort", "cannot be sorted by 'name:up'"),
        ("sort=--name", "sort", "cannot be sorted by '-name'"),
        ("=", None, "there is no parameter '' here"),
        ("page=%FF", None, "the query is not of the form"),
        ("&".join(["page=1"] * 17), None, "the query is not of the form"),
    ],
)
def test_a_wrong_query_is_refused_with_what_is_allowed(query: str, parameter: str | None, detail: str) -> None:
    """The error names the parameter, as the user's error document has a place for, and nobody has to guess."""
    response = Admin(MESH).ask(f"/api/v1/services?{query}")
    (error,) = msgspec.json.decode(response.body)["errors"]
    assert (response.status, error["code"]) == (400, "BAD_REQUEST")
    assert error["detail"].startswith(detail)
    assert error["source"].get("parameter") == parameter


def test_a_resource_that_is_one_document_takes_no_query() -> None:
    """What would not be looked at is not taken silently."""
    assert Admin().refused("/api/v1?page=1")[:2] == (400, "bad_request")
    assert Admin().refused("/api/v1/openapi.json?x")[:2] == (400, "bad_request")


@pytest.mark.parametrize("path", ["/api/v1", *(f"/api/v1/{name}" for name in COLLECTIONS), "/health/live", "/metrics"])
def test_head_is_get_without_the_body(path: str) -> None:
    """And the connection goes on."""
    admin = Admin(MESH)
    response = admin.ask(path, "HEAD")
    assert (response.status, response.body) == (200, b"")
    assert admin.ask("/api/v1").status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_what_can_be_read_cannot_be_written(method: str) -> None:
    """405 says which methods there are."""
    admin = Admin()
    response = admin.ask("/api/v1/services", method, JSON)
    assert (response.status, response.reason, response.fields["allow"]) == (405, "method_not_allowed", "get, head")


@pytest.mark.parametrize("action", ["reload", "drain", "shutdown"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "OPTIONS"])
def test_an_action_is_for_post_alone(action: str, method: str) -> None:
    """A link or an image must not do anything."""
    asked = Asked()
    response = Admin(actions=asked).ask(f"/api/v1/{action}", method, JSON)
    assert (response.status, response.fields["allow"], asked.told) == (405, "post", [])


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api",
        "/api/v1/",
        "/api/v1/services/",
        "/api/v1//services",
        "/api/v2/services",
        "/API/V1/services",
        "/api/v1/../v1/services",
        "/api/v1/services/orders/../../config",
        "/api/v1/services/%2e%2e/endpoints",
        "/api/v1/%73ervices",
        "/api/v1/services/orders%2Fendpoints",
        "/api/v1/services/%6frders/endpoints",
        "/api/v1/services/orders/endpoints/",
        "/api/v1/services/ORDERS/endpoints",
        "/api/v1/services//endpoints",
        "/api/v1/services/nope/endpoints",
        "/api/v1/services/{name}/endpoints",
        "/api/v1/services;x",
        "/api/v1/services/orders",
        "/health/live/",
        "/health",
    ],
)
def test_there_is_one_way_to_write_a_path(path: str) -> None:
    """No path is cleaned, decoded or completed: what is not written as it is served is not there."""
    assert Admin().refused(path)[:2] == (404, "no_route")


def test_probes_and_metrics_are_here_as_well() -> None:
    """One address is enough for whoever looks after a sidecar."""
    admin = Admin()
    assert admin.ask("/health/live").body == b'{"status":"live"}\n'
    ready = admin.ask("/health/ready")
    assert (ready.status, msgspec.json.decode(ready.body)["status"]) == (503, "not ready")
    assert b"sidecar_endpoints{" in admin.ask("/metrics").body


# What the documents say


def test_a_service_tells_its_load_and_limits() -> None:
    """What is in flight shows while it is."""
    admin = Admin()
    admin.world.client().send(b"GET / HTTP/1.1\r\nHost: orders\r\n\r\n")
    orders = next(one for one in admin.rows("/api/v1/services") if one["name"] == "orders")
    assert orders == {
        "name": "orders",
        "direction": "outbound",
        "endpoints": 1,
        "available": 1,
        "inFlight": 1,
        "pending": 1,
        "panic": False,
        "maxRequests": 1024,
        "maxPending": 1024,
        "maxConnections": 1024,
        "retriesLeft": 30.2,
    }


def test_endpoints_tell_of_breakers_and_connections() -> None:
    """Before the first call there is nothing to tell, and afterwards there is an idle connection."""
    admin = Admin(MESH)
    first, second = admin.rows("/api/v1/services/orders/endpoints")
    assert (second["address"], second["weight"], second["zone"]) == ("10.0.0.2:9001", 3, "b")
    assert (first["breaker"], first["connections"], first["idleLimitSeconds"]) == ("closed", 0, None)
    client = admin.world.client()
    client.send(b"GET / HTTP/1.1\r\nHost: orders\r\n\r\n")
    server = admin.world.accept()
    busy = max(admin.rows("/api/v1/services/orders/endpoints"), key=lambda one: one["inFlight"])
    assert (busy["inFlight"], busy["connections"], busy["idle"]) == (1, 1, 0)
    server.send(b"HTTP/1.1 503 x\r\nretry-after: 7\r\nkeep-alive: timeout=5\r\ncontent-length: 0\r\n\r\n")
    busy = next(one for one in admin.rows("/api/v1/services/orders/endpoints") if one["address"] == busy["address"])
    assert (busy["inFlight"], busy["connections"], busy["idle"], busy["idleLimitSeconds"]) == (0, 1, 1, 5.0)
    assert busy["retryAfterSeconds"] == 7.0
    (payments,) = admin.rows("/api/v1/services/payments/endpoints")
    assert payments["breaker"] is None


def test_endpoints_tell_why_they_are_not_used() -> None:
    """Each reason in words, the worst state first by sort=-state; a service in panic says so."""
    admin = Admin(MESH)
    service = admin.world.sidecar.assembly.services["orders"]
    judge(service.listed[0], registry="critical: disk full")
    judge(service.listed[1], refused="refused")
    service.review()
    first, second = admin.rows("/api/v1/services/orders/endpoints?sort=-state")
    assert (first["state"], first["why"]) == ("refused", "refused")
    assert (second["state"], second["why"]) == ("unhealthy", "the registry: critical: disk full")
    judge(service.listed[1], check="answers 503")
    service.review()
    (orders,) = [one for one in admin.rows("/api/v1/services") if one["name"] == "orders"]
    assert (orders["available"], orders["panic"]) == (0, True)


def test_it_tells_how_the_registry_fares() -> None:
    """Nothing where all endpoints are written; else since when it cannot be asked, and why."""
    admin = Admin(MESH)
    assert admin.document("/api/v1")["data"]["attributes"]["registry"] is None
    state = State(seen=True, stale_since=admin.world.time.now - 3, trouble="no answer")
    admin.world.sidecar.registries.source = SimpleNamespace(state=lambda: state)
    assert admin.document("/api/v1")["data"]["attributes"]["registry"] == {
        "kind": "local",
        "seen": True,
        "registered": False,
        "staleSeconds": 3.0,
        "trouble": "no answer",
    }


def test_a_breaker_that_trips_comes_first_by_state() -> None:
    """sort=-state begins with what is open; it says since when, and when it will be tested."""
    admin = Admin(LISTEN + '[defaults]\nretry = false\n[services.orders]\nendpoints = ["10.0.0.1:9001"]\n')
    for failures in range(5):
        (breaker,) = admin.rows("/api/v1/breakers?sort=-state")
        assert (breaker["state"], breaker["failures"], breaker["openedAt"]) == ("closed", failures, None)
        admin.call(BROKEN)
    admin.world.pass_time(10.0)
    (breaker,) = admin.rows("/api/v1/breakers?sort=-state")
    assert breaker["state"] == "open" and breaker["openedAt"].startswith("2027-01-15T08:16:40.1")
    assert breaker["retryAfterSeconds"] == pytest.approx(20.0, abs=0.001)
    assert breaker["transitions"] == {"closed": 0, "halfOpen": 0, "open": 1}


def test_a_service_without_a_breaker_is_not_among_the_breakers() -> None:
    """Nor is the application, which nothing bars."""
    assert {one["service"] for one in Admin(MESH).rows("/api/v1/breakers")} == {"orders"}


def test_routes_tell_match_policies_and_figures() -> None:
    """What a request would go by, in effect, and what has become of those that did."""
    admin = Admin(MESH)
    for _ in range(3):
        admin.call()
    admin.call(BROKEN)
    rows = {(one["service"], one["route"]): one for one in admin.rows("/api/v1/routes")}
    canary = rows["payments", "orders-v2"]
    assert (
        canary["match"] == "host is orders, path under /api/v2, method GET, x-canary is 'true', x-api-key is (redacted)"
    )
    assert canary["policies"] == {
        "timeoutSeconds": 2.0,
        "attemptTimeoutSeconds": None,
        "stallTimeoutSeconds": 60.0,
        "idleTimeoutSeconds": 3600.0,
        "maxRetries": 0,
        "retryOn": [],
    }
    assert (canary["requests"], canary["successRatio"], canary["p50Seconds"]) == (0, None, None)
    orders = rows["orders", ""]
    assert (orders["match"], orders["requests"], orders["failures"]) == ("host is orders", 4, 1)
    assert orders["successRatio"] == 0.75
    assert 0.01 < orders["p50Seconds"] <= orders["p99Seconds"] <= 0.025
    assert sum(orders["durations"]["counts"]) == 4
    assert rows["shop", ""]["match"] == "everything"
    assert rows["", ""]["policies"] is None


def test_the_configuration_is_what_whoever_runs_us_says_it_is() -> None:
    """Key, value as TOML, and where it was said; a page and an order like every other."""
    admin = Admin()
    assert admin.rows("/api/v1/config") == []
    admin.world.sidecar.entries = lambda told: told(
        [("service.name", '"shop"', "sidecar.toml:2"), ("drain.delay", '"5s"', "default")]
    )
    assert admin.rows("/api/v1/config?sort=key") == [
        {"key": "drain.delay", "value": '"5s"', "origin": "default"},
        {"key": "service.name", "value": '"shop"', "origin": "sidecar.toml:2"},
    ]


def test_a_host_that_passes_through_has_a_breaker_too() -> None:
    """What was called without being a service is listed as passthrough."""
    admin = Admin()
    admin.world.client().send(b"GET http://example.org/ HTTP/1.1\r\nHost: example.org\r\n\r\n")
    assert ("passthrough", "example.org:80") in {
        (o["direction"], o["endpoint"]) for o in admin.rows("/api/v1/breakers")
    }
    (only,) = admin.rows("/api/v1/services/passthrough/endpoints")
    assert (only["address"], only["inFlight"]) == ("example.org:80", 1)


# What can be done


def test_drain_and_shutdown_are_accepted() -> None:
    """202: it has begun, and is not over."""
    asked = Asked()
    admin = Admin(actions=asked)
    drain = admin.ask("/api/v1/drain", "POST", JSON)
    assert (drain.status, msgspec.json.decode(drain.body)["data"]["attributes"]) == (202, {"result": "draining"})
    assert admin.ask("/api/v1/shutdown", "POST", "content-type: Application/JSON; charset=utf-8\r\n").status == 202
    assert asked.told == ["drain", "shutdown"]


def test_reload_answers_when_it_is_done() -> None:
    """Until the new configuration runs there is no answer; then it is 200."""
    asked = Asked()
    admin = Admin(actions=asked)
    admin.send("/api/v1/reload", "POST", JSON)
    assert admin.client.take() == b""
    assert asked.reloaded is not None
    asked.reloaded([])
    response = admin.response()
    assert (response.status, msgspec.json.decode(response.body)["data"]["id"]) == (200, "reload")


def test_a_reload_that_is_refused_tells_all_problems() -> None:
    """Each is an error document of its own; the sidecar has done what it was asked, so no reason of its own is given."""
    asked = Asked()
    admin = Admin(actions=asked)
    admin.send("/api/v1/reload", "POST", JSON)
    assert asked.reloaded is not None
    asked.reloaded(["sidecar.toml:2: service.nam: unknown key", "sidecar.toml:3: service.app: is missing"])
    response = admin.response()
    errors = msgspec.json.decode(response.body)["errors"]
    assert (response.status, response.reason) == (422, "")
    assert [error["detail"] for error in errors] == [
        "sidecar.toml:2: service.nam: unknown key",
        "sidecar.toml:3: service.app: is missing",
    ]
    assert len({error["id"] for error in errors}) == 2


def test_a_reload_whose_caller_has_left_answers_nobody() -> None:
    """It is carried out all the same."""
    asked = Asked()
    admin = Admin(actions=asked)
    admin.send("/api/v1/reload", "POST", JSON)
    admin.client.reset()
    assert asked.reloaded is not None
    asked.reloaded([])
    assert admin.client.take() == b""


def test_without_actions_nothing_can_be_done() -> None:
    """Who embeds a sidecar need not let it be ended from outside."""
    assert Admin().refused("/api/v1/shutdown", "POST", JSON)[:2] == (501, "not_implemented")


def test_a_body_is_taken_and_not_read() -> None:
    """What clients send with a POST of JSON is in nobody's way, whole or in chunks."""
    asked = Asked()
    admin = Admin(actions=asked)
    assert admin.ask("/api/v1/drain", "POST", JSON + "content-length: 0\r\n").status == 202
    head = f"POST /api/v1/drain HTTP/1.1\r\nHost: localhost\r\n{JSON}content-length: 2\r\n\r\n"
    admin.client.send(head.encode() + b"{")
    admin.client.send(b"}")
    admin.world.settle()
    assert admin.response().status == 202
    assert admin.ask("/api/v1").status == 200
    assert asked.told == ["drain", "drain"]


def test_without_the_listener_nothing_of_the_api_is_loaded() -> None:
    """listen.admin = "none" costs no memory either."""
    import subprocess
    import sys

    script = (
        "import sys; from tests.support.world import World, ONE_ENDPOINT\n"
        "World(ONE_ENDPOINT + '[listen]\\nadmin = \"none\"\\n')\n"
        "assert 'sidecar.admin.health' in sys.modules\n"
        "print([name for name in sys.modules if name.startswith('sidecar.admin.') and name.endswith(('api', 'documents'))])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
