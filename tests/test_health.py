"""What probes are told: whether we started, live and are ready, and what we wait for."""

from __future__ import annotations

import msgspec
import pytest

from sidecar.admin.health import Gate, Probes
from sidecar.admin.metrics import Sources
from sidecar.balance.round_robin import RoundRobin
from sidecar.clock import Clock, Random
from sidecar.http.h1.request import parse
from sidecar.http.head import Settings
from sidecar.model import Dial, Endpoint
from sidecar.resilience.breaker import Breaker
from sidecar.resilience.breaker import Settings as BreakerSettings
from sidecar.resilience.limits import Limits
from sidecar.resilience.limits import Settings as LimitSettings
from sidecar.routing.plan import Service
from sidecar.telemetry.lag import Lag

BREAKER = BreakerSettings()
HEALTH = ["/health/startup", "/health/live", "/health/ready", "/health/detailed"]


class World:
    """What the app knows and the probes ask: gates to open and close, services, and a clock that stands."""

    def __init__(self) -> None:
        self.now = 100.0
        self.bound = False
        self.draining = False
        self.services: list[tuple[str, Service]] = []
        startup: dict[str, Gate] = {
            "configuration": lambda: (True, "loaded"),
            "listeners": lambda: (self.bound, "bound" if self.bound else "waiting for outbound"),
        }
        operation: dict[str, Gate] = {
            "drain": lambda: (not self.draining, "draining" if self.draining else "not draining")
        }
        self.probes = Probes(
            Sources(lambda: (), lambda: self.services, lambda: (), lambda: True, lambda: (0.5, "calm"), Lag),
            startup,
            lambda: operation,
            Clock(lambda: self.now, lambda: 0.0),
            lambda: "orders",
            "1.4.2",
            lambda: b"made-here",
        )

    def ask(self, path: str, method: str = "GET", fields: str = "") -> Answered:
        request = f"{method} {path} HTTP/1.1\r\nhost: sidecar\r\n{fields}\r\n".encode()
        reply, pieces = self.probes.handle(parse(request, Settings()))
        assert (reply.body is None) == (pieces is not None)
        body = list(pieces) if pieces is not None else [reply.body or b""]
        return Answered(reply.status, dict(reply.fields), body)


class Answered:
    def __init__(self, status: int, fields: dict[bytes, bytes], pieces: list[bytes]) -> None:
        self.status = status
        self.fields = fields
        self.pieces = pieces

    def json(self) -> dict[str, object]:
        document = msgspec.json.decode(b"".join(self.pieces))
        assert isinstance(document, dict)
        return document


def started() -> World:
    world = World()
    world.bound = True
    return world


def a_service(name: str, *endpoints: Endpoint, breaker: BreakerSettings | None = BREAKER) -> Service:
    return Service(name, endpoints, RoundRobin(Random(1)), Limits(LimitSettings()), None, breaker, Dial())


def test_not_ready_names_every_gate_and_what_it_waits_for() -> None:
    """The gates that are open are in the list as well: it is always complete."""
    answer = World().ask("/health/ready")
    assert answer.status == 503
    assert answer.json() == {
        "status": "not ready",
        "gates": [
            {"name": "configuration", "ok": True, "detail": "loaded"},
            {"name": "listeners", "ok": False, "detail": "waiting for outbound"},
            {"name": "drain", "ok": True, "detail": "not draining"},
        ],
    }


def test_readiness_follows_its_gates() -> None:
    """They are asked at every probe: what opens or closes in between shows at once."""
    world = World()
    assert world.ask("/health/ready").status == 503
    world.bound = True
    ready = world.ask("/health/ready")
    assert (ready.status, ready.json()["status"]) == (200, "ready")
    world.draining = True
    assert world.ask("/health/ready").status == 503


def test_a_drain_does_not_undo_the_start() -> None:
    """The startup probe waits for the listeners, and never fails again afterwards."""
    world = World()
    starting = world.ask("/health/startup")
    assert (starting.status, starting.json()["status"]) == (503, "starting")
    world.bound = world.draining = True
    answer = world.ask("/health/startup")
    assert answer.status == 200
    assert answer.json() == {
        "status": "started",
        "gates": [
            {"name": "configuration", "ok": True, "detail": "loaded"},
            {"name": "listeners", "ok": True, "detail": "bound"},
        ],
    }


def test_a_sidecar_that_is_not_ready_is_alive() -> None:
    """No gate can make an orchestrator kill the process."""
    world = World()
    world.draining = True
    answer = world.ask("/health/live")
    assert (answer.status, answer.json()) == (200, {"status": "live"})


def test_the_details_are_given_ready_or_not() -> None:
    """They say who we are, how long we have run, and the verdict; the status is always 200."""
    world = World()
    world.now = 112.3456
    answer = world.ask("/health/detailed")
    assert answer.status == 200
    document = answer.json()
    assert document.pop("gates") == world.ask("/health/ready").json()["gates"]
    assert document == {
        "service": "orders",
        "version": "1.4.2",
        "uptimeSeconds": 12.346,
        "status": "not ready",
        "memory": {"pressure": 0.5, "step": "calm"},
        "loop": {"longestLagSeconds": 0.0},
        "dependencies": [],
        "services": [],
    }
    world.bound = True
    assert world.ask("/health/detailed").json()["status"] == "ready"


def test_the_details_show_services_with_endpoints_and_breakers() -> None:
    """A breaker is shown by name, closed before its first call; where the policy is off there is none."""
    world = started()
    open_, fresh = Endpoint("10.0.0.1", 80), Endpoint("10.0.0.2", 80, weight=3)
    open_.breaker = Breaker(BreakerSettings())
    for _ in range(5):
        open_.breaker.failure(0.0, open_.breaker.begin(0.0))
    fresh.in_flight = 2
    payments = a_service("payments", open_, fresh)
    payments.limits.in_flight = 2
    application = a_service("orders", Endpoint("127.0.0.1", 8080), breaker=None)
    world.services = [("inbound", application), ("outbound", payments), ("outbound", payments)]
    assert world.ask("/health/detailed").json()["services"] == [
        {
            "name": "orders",
            "direction": "inbound",
            "inFlight": 0,
            "endpoints": [
                {"address": "127.0.0.1:8080", "weight": 1, "state": "available", "inFlight": 0, "breaker": None}
            ],
        },
        {
            "name": "payments",
            "direction": "outbound",
            "inFlight": 2,
            "endpoints": [
                {"address": "10.0.0.1:80", "weight": 1, "state": "barred", "inFlight": 0, "breaker": "open"},
                {"address": "10.0.0.2:80", "weight": 3, "state": "available", "inFlight": 2, "breaker": "closed"},
            ],
        },
    ]


def test_the_details_of_a_large_mesh_come_a_service_a_piece() -> None:
    """No piece is empty, which would end a chunked body, and none is longer than one service."""
    world = started()
    world.services = [("outbound", a_service(f"s{number}", Endpoint("10.0.0.1", 80))) for number in range(100)]
    answer = world.ask("/health/detailed")
    assert all(answer.pieces)
    assert max(piece.count(b'"address"') for piece in answer.pieces) == 1
    services = answer.json()["services"]
    assert isinstance(services, list) and len(services) == 100


@pytest.mark.parametrize("path", HEALTH)
def test_health_is_json_and_never_cached(path: str) -> None:
    """An answer of yesterday is worse than none; the query does not matter."""
    answer = started().ask(f"{path}?verbose=1")
    assert answer.status == 200
    assert answer.fields[b"content-type"] == b"application/json"
    assert answer.fields[b"cache-control"] == b"no-store"
    assert isinstance(answer.json()["status"], str)


def test_metrics_are_served_as_prometheus_text() -> None:
    """The content type names the version of the format that every scraper reads."""
    answer = started().ask("/metrics")
    assert answer.status == 200
    assert answer.fields[b"content-type"] == b"text/plain; version=0.0.4; charset=utf-8"
    assert b"\nsidecar_config_last_reload_successful 1.0\n" in b"".join(answer.pieces)


@pytest.mark.parametrize("path", [*HEALTH, "/metrics"])
def test_head_has_the_same_status_and_fields(path: str) -> None:
    """A HEAD tells what a GET would."""
    world = World()
    get, head = world.ask(path), world.ask(path, "HEAD")
    assert (head.status, head.fields) == (get.status, get.fields)


@pytest.mark.parametrize(
    "path", ["/", "/health", "/health/", "/health/ready/", "/HEALTH/ready", "/metrics/x", "/admin"]
)
def test_any_other_path_is_a_404_with_the_error_document(path: str) -> None:
    """The listener serves its few pages to the last byte of their paths; the document says which they are."""
    answer = started().ask(path)
    assert answer.status == 404
    assert answer.fields[b"x-sidecar-reason"] == b"no_route"
    assert answer.fields[b"x-sidecar-source"] == b"orders/probes"
    errors = answer.json()["errors"]
    assert isinstance(errors, list)
    assert errors[0]["code"] == "NO_ROUTE"
    assert "/health/ready" in errors[0]["detail"]
    assert errors[0]["meta"] == {"timestamp": "1970-01-01T00:00:00.000Z", "requestId": "made-here"}


@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/health/live", "/metrics"])
def test_a_method_that_would_change_something_is_a_405(path: str, method: str) -> None:
    """Allow says what can be done instead (RFC 9110 section 15.5.6)."""
    answer = started().ask(path, method)
    assert answer.status == 405
    assert answer.fields[b"allow"] == b"GET, HEAD"
    assert answer.fields[b"x-sidecar-reason"] == b"method_not_allowed"


@pytest.mark.parametrize("path", ["/health/ready", "/health/detailed", "/metrics", "/nowhere"])
def test_every_answer_has_a_request_id(path: str) -> None:
    """The asker's own if it is well-formed, else one of ours."""
    world = started()
    assert world.ask(path, fields="x-request-id: abc-1\r\n").fields[b"x-request-id"] == b"abc-1"
    assert world.ask(path, fields="x-request-id: a b\r\n").fields[b"x-request-id"] == b"made-here"
    assert world.ask(path).fields[b"x-request-id"] == b"made-here"
