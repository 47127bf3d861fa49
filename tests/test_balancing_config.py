"""Balancing from the file to the service: what is read, what is refused, what a reload changes, and what a pick calls."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from sidecar.balance import Balancer, settings
from sidecar.balance.make import Algorithm, make
from sidecar.balance.peak_ewma import Latency
from sidecar.balance.ring_hash import RingHash
from sidecar.balance.slow_start import SlowStart
from sidecar.balance.weighted import Record, Weighted
from sidecar.balance.zone import ZoneFirst
from sidecar.clock import Random
from sidecar.config.load import load
from sidecar.config.schema import Policies
from sidecar.model import Endpoint
from sidecar.resilience.limits import Limits
from sidecar.resilience.limits import Settings as LimitsSettings
from sidecar.resilience.standing import judge
from tests.exchange.steps import heard, request, response
from tests.exchange.test_call_count import counted
from tests.support.admin import Admin
from tests.support.configs import lined, written
from tests.support.world import LISTEN, Peer, World

APP = '[service]\napp = "127.0.0.1:8080"\nzone = "a"\n'
ENDPOINTS = 'endpoints = ["10.0.0.1:9001", "10.0.0.2:9001", "10.0.0.3:9001"]\n'

# What is read


def test_algorithms_are_set_for_all_and_by_service(tmp_path: Path) -> None:
    """Tables merge key by key; what nobody says has its default."""
    text = (
        '[defaults]\nbalance = "peak_ewma"\nprefer_zone = true\nslow_start = "30s"\npeak_ewma = { decay = "5s" }\n'
        '[services.a]\npeak_ewma = { penalty = "1s" }\n'
        '[services.b]\nbalance = "weighted"\nslow_start = "none"\nweighted = { dynamic = false }\n'
    )
    config = load(written(tmp_path, text, APP))
    a, b = config.services["a"], config.services["b"]
    assert (a.balance, a.prefer_zone, a.slow_start) == ("peak_ewma", True, 30.0)
    assert a.peak_ewma == settings.PeakEwma(decay=5.0, penalty=1.0)
    assert (b.balance, b.slow_start, b.weighted) == ("weighted", None, settings.Weighted(dynamic=False))


def test_a_host_that_is_no_service_has_nothing_to_balance(tmp_path: Path) -> None:
    """Whatever the defaults say: there is one address, and nothing to measure or to look up for it."""
    text = '[defaults]\nbalance = "peak_ewma"\nprefer_zone = true\nslow_start = "30s"\n'
    passing = load(written(tmp_path, text, APP)).passthrough
    assert (passing.balance, passing.prefer_zone, passing.slow_start) == ("round_robin", False, None)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[defaults]\nring_hash = { on = "header" }\nbalance = "ring_hash"\n',
         ":5: defaults.ring_hash.name: is missing: which header says where a request belongs?"),
        ('[services.a]\nbalance = "ring_hash"\n[services.a.ring_hash]\non = "cookie"\n',
         ":6: services.a.ring_hash.name: is missing: which cookie says where a request belongs?"),
        ('[defaults]\nslow_start = "30s"\n[services.a]\nbalance = "ring_hash"\n',
         ":6: services.a.slow_start: goes with every algorithm but ring_hash, where the key alone decides: set it to "
         '"none"'),
        ('[services.a]\nbalance = "ring_hash"\nprefer_zone = true\n',
         ":6: services.a.prefer_zone: goes with every algorithm but ring_hash, where the key alone decides: set it to "
         "false"),
        ("[defaults.weighted]\nfloor = 0\n", ":5: defaults.weighted.floor: must be above 0, not 0.0"),
        ("[defaults.weighted]\ndynamic = 1\n", ":5: defaults.weighted.dynamic: expected true or false, not 1"),
        ("[defaults.ring_hash]\nload = 0.9\n", ":5: defaults.ring_hash.load: must be at least 1, not 0.9"),
        ('[defaults.ring_hash]\nname = "a b"\n',
         ':5: defaults.ring_hash.name: expected the name of a header or a cookie, not "a b"'),
        ('[defaults]\nslow_start = "0s"\n', ':5: defaults.slow_start: expected a duration above zero, not "0s"'),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_where_it_is_written(text: str, problem: str, tmp_path: Path) -> None:
    """With file and line, and what to write instead."""
    path = written(tmp_path, text, APP)
    (found,) = lined(path)
    assert found.removeprefix(path) == problem


def test_zones_need_a_zone_of_our_own(tmp_path: Path) -> None:
    """Said once for all services that inherit it."""
    text = "[defaults]\nprefer_zone = true\n[services.a]\n[services.b]\n"
    path = written(tmp_path, text)
    (found,) = lined(path)
    assert found.removeprefix(path) == (
        ":4: defaults.prefer_zone: needs to know which zone is our own: say so in service.zone"
    )


def test_a_flag_of_the_environment_is_true_or_false(tmp_path: Path) -> None:
    """As TOML would read it."""
    config = load(written(tmp_path, "", APP), {"SIDECAR_DEFAULTS__PREFER_ZONE": "true"})
    assert config.defaults.prefer_zone is True


# What is made of it


def service_of(world: World, name: str = "orders") -> object:
    return world.sidecar.assembly.services[name].balancer


def configured(more: str = "", zone: str = "a") -> str:
    return LISTEN + f'zone = "{zone}"\n[services.orders]\n{ENDPOINTS}' + more


def call(world: World, client: Peer, seconds: float = 0.0, status: int = 200) -> None:
    client.send(request("POST"))
    server = world.accept() if world.dialing else next(one for one in world.peers if one.received and one is not client)
    server.take()
    world.pass_time(seconds)
    server.send(response(status))
    assert heard(client).status == status


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ('balance = "weighted"\n', Weighted),
        ('balance = "ring_hash"\n', RingHash),
        ('balance = "peak_ewma"\nslow_start = "10s"\n', SlowStart),
        ("prefer_zone = true\n", ZoneFirst),
    ],
)
def test_a_reload_gives_a_live_service_its_new_balancer_and_keeps_one_that_is_the_same(more: str, kind: type) -> None:
    """The service and its endpoints live on."""
    world = World(configured())
    before, endpoints = service_of(world), list(world.endpoints)
    world.reload(configured(more))
    made = service_of(world)
    assert made is not before
    assert isinstance(made, kind)
    assert world.endpoints == endpoints
    world.reload(configured(more + 'timeout = "3s"\n[services.orders.weighted]\ndecay = "10s"\n'))
    assert service_of(world) is made


def test_another_zone_of_our_own_is_another_balancer_only_where_zones_count() -> None:
    """A service that does not look at zones keeps what it knows."""
    world = World(configured())
    before = service_of(world)
    world.reload(configured(zone="b"))
    assert service_of(world) is before
    world.reload(configured("prefer_zone = true\n", zone="b"))
    before = service_of(world)
    world.reload(configured("prefer_zone = true\n", zone="c"))
    assert service_of(world) is not before


def test_an_exchange_tells_a_balancer_how_it_went() -> None:
    """The latency from its pick, and that it failed; another balancer begins with nothing."""
    world = World(configured('balance = "peak_ewma"\nretry = false\nbreaker = false\n'))
    client = world.client()
    call(world, client, seconds=0.5)
    (load,) = (
        endpoint.load for endpoint in world.endpoints if endpoint.load and endpoint.load.at(world.time.now) > 0.1
    )  # type: ignore[attr-defined]
    assert isinstance(load, Latency)
    assert load.at(world.time.now) == pytest.approx(0.5)
    for _ in range(20):
        world.pass_time(1.0)
        call(world, client, status=500)
    assert max(endpoint.load.at(world.time.now) for endpoint in world.endpoints if endpoint.load) > 0.4  # type: ignore[attr-defined]
    world.reload(configured('balance = "weighted"\nretry = false\nbreaker = false\n'))
    assert [endpoint.load for endpoint in world.endpoints] == [None] * 3
    call(world, client)
    assert [type(endpoint.load) for endpoint in world.endpoints if endpoint.load is not None] == [Record]


def test_a_weight_that_changes_is_heeded_though_the_endpoints_are_the_same() -> None:
    """A set is a new set when it is listed anew."""
    text = LISTEN + '[services.orders]\nbalance = "random"\nendpoints = ["10.0.0.1:9001", "10.0.0.2:9001"]\n'
    world = World(text)
    service = world.sidecar.assembly.services["orders"]

    def share() -> float:
        found = Counter(service.balancer.pick(service.endpoints, 0.0, (), None) for _ in range(3000))
        return found[service.endpoints[0]] / 3000

    assert share() == pytest.approx(0.5, abs=0.04)
    world.reload(text.replace('"10.0.0.1:9001"', '{ address = "10.0.0.1:9001", weight = 9 }'))
    assert share() == pytest.approx(0.9, abs=0.03)


# What it costs


CALLS: dict[Algorithm, int] = {
    "round_robin": 1, "random": 4, "weighted": 5, "least_request": 4, "least_connections": 1, "peak_ewma": 8,
    "ring_hash": 4,
}  # fmt: skip
"""Python calls of a pick."""


class Service:
    def __init__(self, listed: tuple[Endpoint, ...]) -> None:
        self.listed = listed
        self.limits = Limits(LimitsSettings())


def made(policies: Policies, endpoints: tuple[Endpoint, ...]) -> Balancer:
    return make(policies, "a", Service(endpoints), Random(1))


@pytest.mark.parametrize("algorithm", CALLS)
def test_a_pick_makes_exactly_so_many_python_calls(algorithm: Algorithm) -> None:
    """With nothing amiss; weighted and peak_ewma read what was measured, ring_hash finds the places of a key."""
    endpoints = tuple(Endpoint(f"10.0.0.{number}", 80) for number in range(10))
    balancer = made(Policies(balance=algorithm), endpoints)
    for _ in range(200):
        balancer.pick(endpoints, 0.0, (), 1)
    assert counted("call", sys.setprofile, lambda: balancer.pick(endpoints, 0.0, (), 1)) == CALLS[algorithm]


def test_slow_start_and_zones_cost_a_call_each() -> None:
    """With nobody new, and everybody of our zone well."""
    endpoints = tuple(Endpoint(f"10.0.0.{number}", 80, zone="a") for number in range(4))
    for policies in (Policies(slow_start=10.0), Policies(prefer_zone=True)):
        balancer = made(policies, endpoints)
        for _ in range(10):
            balancer.pick(endpoints, 0.0, (), None)
        assert counted("call", sys.setprofile, lambda: balancer.pick(endpoints, 0.0, (), None)) == 2  # noqa: B023


def test_algorithms_that_nobody_asks_for_are_not_loaded() -> None:
    """A sidecar with the defaults has round robin in memory and none of the others."""
    code = (
        "import sys, sidecar.app, sidecar.config.load\n"
        "print(sorted(name for name in sys.modules if name.startswith('sidecar.balance.')))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout
    loaded = [f"sidecar.balance.{name}" for name in ("make", "round_robin", "settings", "turns")]
    assert said.strip() == repr(loaded)


def test_the_admin_api_tells_what_was_measured() -> None:
    """In words, for each endpoint; where nothing is measured there are none."""
    admin = Admin(configured('balance = "peak_ewma"\n'))
    call(admin.world, admin.world.client(), seconds=0.25)
    told = {row["measured"] for row in admin.rows("/api/v1/services/orders/endpoints")}
    assert "counts as one that answers in 250 ms" in told
    assert told - {"counts as one that answers in 250 ms"} <= {
        "counts as one that answers in 30 ms, which is assumed",
        "",
    }
    admin = Admin(configured('balance = "weighted"\n'))
    call(admin.world, admin.world.client(), seconds=0.04)
    told = {row["measured"] for row in admin.rows("/api/v1/services/orders/endpoints")}
    assert told == {"", "has 100% of its weight, answers take 40 ms, 0% of the attempts fail"}
    admin = Admin(configured())
    call(admin.world, admin.world.client())
    assert {row["measured"] for row in admin.rows("/api/v1/services/orders/endpoints")} == {""}


ZONES = (
    LISTEN + 'zone = "a"\n[services.orders]\nprefer_zone = true\n'
    'endpoints = [{ address = "10.0.0.1:9001", zone = "a" }, { address = "10.0.0.2:9001", zone = "b" }]\n'
)


def test_calls_stay_in_the_zone_and_leave_it_for_a_retry() -> None:
    """With the only endpoint of the zone refusing, the next attempt goes to the other one; afterwards calls come back."""
    world = World(ZONES)
    client = world.client()
    for _ in range(4):
        call(world, client)
    assert [endpoint.label for endpoint in world.endpoints if endpoint.pool is not None] == ["10.0.0.1:9001"]
    client.send(request())
    near = next(one for one in world.peers if one.received and one is not client)
    near.take()
    near.send(response(503))
    world.pass_time(0.2)
    far = world.accept("10.0.0.2:9001")
    far.send(response())
    assert heard(client).status == 200
    client.send(request())
    assert near.take()


def test_a_zone_without_anybody_well_is_left_and_its_share_is_of_those_that_are_listed() -> None:
    """What the registry or a check says of an endpoint counts, though it is not in the set that is picked from."""
    listed = ", ".join(
        f'{{ address = "10.0.0.{number}:9001", zone = "{"a" if number < 5 else "b"}" }}' for number in range(1, 9)
    )
    world = World(LISTEN + f'zone = "a"\n[services.orders]\nprefer_zone = true\nendpoints = [{listed}]\n')
    service = world.sidecar.assembly.services["orders"]

    def stay() -> float:
        found = [service.balancer.pick(service.endpoints, world.time.now, (), None) for _ in range(2000)]
        return sum(endpoint is not None and endpoint.zone == "a" for endpoint in found) / 2000

    assert stay() == 1.0
    for ill, share in ((1, 1.0), (2, 0.7), (3, 0.35), (4, 0.0)):
        judge(service.listed[ill - 1], check="it does not answer")
        service.review()
        assert stay() == pytest.approx(share, abs=0.04)
