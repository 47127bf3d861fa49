"""Requests that belong together: which key they have, which endpoint that belongs to, and what moves when."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.balance.ring_hash import RingHash
from sidecar.balance.settings import RingHash as Settings
from sidecar.clock import Random
from sidecar.http.h1.request import parse
from sidecar.http.head import Settings as HttpSettings
from sidecar.model import Endpoint
from sidecar.resilience.limits import Limits
from sidecar.resilience.limits import Settings as LimitsSettings
from sidecar.routing.affinity import key_of
from tests.exchange.steps import heard, request, response
from tests.support.world import LISTEN, World
from tests.test_balance import FakeBreaker

_random = Random(7)
KEYS = [_random.getrandbits(64) for _ in range(4000)]


def service(count: int, *weights: int) -> tuple[Endpoint, ...]:
    weights = weights or (1,) * count
    return tuple(Endpoint(f"10.0.{number >> 8}.{number & 255}", 80, weight) for number, weight in enumerate(weights))


def ring(load: float = 1.25, total: int = 0, seed: int = 1) -> RingHash:
    limits = Limits(LimitsSettings())
    limits.in_flight = total
    return RingHash(Settings(load=load), Random(seed), limits)


def owners(balancer: RingHash, endpoints: Sequence[Endpoint], tried: Sequence[Endpoint] = ()) -> list[str]:
    """The labels that the keys belong to."""
    found = [balancer.pick(endpoints, 0.0, tried, key) for key in KEYS]
    return [endpoint.label if endpoint else "" for endpoint in found]


def moved(before: Sequence[str], after: Sequence[str]) -> list[tuple[str, str]]:
    return [(one, other) for one, other in zip(before, after, strict=True) if one != other]


# The ring


@pytest.mark.parametrize(("count", "most"), [(3, 1.1), (10, 1.2), (100, 1.7)])
def test_keys_are_shared_out_evenly(count: int, most: float) -> None:
    """No endpoint has much more than its share of four thousand keys (of a hundred, chance alone makes 1.4 of it)."""
    shares = Counter(owners(ring(), service(count)))
    assert len(shares) == count
    assert max(shares.values()) < most * len(KEYS) / count


def test_a_new_endpoint_takes_its_share_and_moves_no_other_key() -> None:
    """A tenth of nine endpoints' keys, and every one that moves goes to it."""
    endpoints = service(10)
    balancer = ring()
    before = owners(balancer, endpoints[:9])
    changes = moved(before, owners(balancer, endpoints))
    assert {there for _, there in changes} == {endpoints[9].label}
    assert len(changes) == pytest.approx(len(KEYS) / 10, rel=0.25)


def test_an_endpoint_that_leaves_leaves_its_keys_to_all_others() -> None:
    """Nobody else's keys move, no single neighbour gets them, and when it is back so are they."""
    endpoints = service(10)
    balancer = ring()
    before = owners(balancer, endpoints)
    changes = moved(before, owners(balancer, endpoints[:4] + endpoints[5:]))
    assert {here for here, _ in changes} == {endpoints[4].label}
    heirs = Counter(there for _, there in changes)
    assert len(heirs) == 9
    assert max(heirs.values()) < 0.3 * len(changes)
    assert owners(balancer, list(endpoints)) == before


def test_one_that_may_not_be_picked_moves_its_own_keys_only() -> None:
    """An open breaker, a Retry-After and an attempt that was made: as if the endpoint were not there, for each key."""
    endpoints = service(10)
    before = owners(ring(), endpoints)
    without = owners(ring(), endpoints[:4] + endpoints[5:])
    assert owners(ring(), endpoints, tried=(endpoints[4],)) == without
    endpoints[4].breaker = FakeBreaker(state=2)
    assert owners(ring(), endpoints) == without
    endpoints[4].breaker = None
    endpoints[4].not_before = 5.0
    assert owners(ring(), endpoints) == without
    endpoints[4].not_before = 0.0
    assert owners(ring(), endpoints) == before


def test_weights_are_shares_of_the_keys_and_a_change_moves_no_more_than_it_must() -> None:
    """Three times the weight is three times the keys; one more takes keys from the others and gives none."""
    endpoints = service(4, 3, 1, 1, 1)
    balancer = ring()
    before = owners(balancer, endpoints)
    assert before.count(endpoints[0].label) == pytest.approx(len(KEYS) / 2, rel=0.12)
    endpoints[0].weight = 4
    changes = moved(before, owners(balancer, list(endpoints)))
    assert {there for _, there in changes} == {endpoints[0].label}
    endpoints[0].weight = 0
    assert endpoints[0].label not in owners(balancer, list(endpoints))


@given(st.lists(st.sets(st.integers(0, 11), min_size=1), min_size=1, max_size=6), st.data())
def test_however_a_set_came_about_its_keys_are_where_they_belong(sets: list[set[int]], data: st.DataObject) -> None:
    """A ring that followed every change is the ring that is built at once, in any order of the endpoints."""
    endpoints = service(12)
    followed = ring()
    for chosen in sets:
        present = data.draw(st.permutations([endpoints[number] for number in sorted(chosen)]))
        followed.pick(present, 0.0, (), 1)
    fresh = ring(seed=2)
    for key in KEYS[:50]:
        choice = followed.pick(present, 0.0, (), key)
        assert choice is not None
        assert choice is fresh.pick(sorted(present, key=lambda one: one.label), 0.0, (), key)


def test_a_large_ring_that_is_mended_is_the_one_that_is_built() -> None:
    """Point by point, after forty changes of one to three endpoints that come, go or weigh differently, most of them small."""
    everybody = list(service(0, *(1, 2, 3) * 100))
    random = Random(5)
    followed = ring()
    present = everybody[:250]
    mended = 0
    for _ in range(40):
        for endpoint in random.sample(everybody, random.randint(1, 3)):
            if endpoint not in present:
                present.append(endpoint)
            elif random.random() < 0.5:
                present.remove(endpoint)
            else:
                endpoint.weight = random.randint(0, 4)
        present = list(present)
        before = followed._points
        followed.pick(present, 0.0, (), 1)
        mended += followed._points is before
        fresh = ring()
        fresh.pick(present, 0.0, (), 1)
        assert (followed._points, followed._owners) == (fresh._points, fresh._owners)
    assert mended >= 20


def test_every_process_agrees() -> None:
    """Not Python's hash, which differs from process to process: these owners are part of the contract."""
    code = (
        "from tests.test_ring_hash import KEYS, owners, ring, service\n"
        "print(','.join(owners(ring(), service(50))[:200]), end='')"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout
    assert said.split(",") == owners(ring(), service(50))[:200]
    assert owners(ring(), service(5))[:4] == EXPECTED


EXPECTED = ["10.0.0.4:80", "10.0.0.3:80", "10.0.0.0:80", "10.0.0.0:80"]


def test_ten_thousand_endpoints_have_a_ring_of_bounded_size() -> None:
    """Eighty thousand points; and weights in the thousands do not make it any larger."""
    balancer = ring()
    balancer.pick(service(10_000), 0.0, (), 1)
    assert len(balancer._points) == 80_000
    balancer = ring()
    heavy = service(0, *(1000, 3000) * 50)
    shares = Counter(owners(balancer, heavy))
    assert len(balancer._points) <= 100_000
    assert sum(shares[endpoint.label] for endpoint in heavy if endpoint.weight == 3000) / len(KEYS) == pytest.approx(
        0.75, abs=0.03
    )


# Bounded loads


def test_an_endpoint_that_is_full_passes_on_and_stays_within_the_bound() -> None:
    """A thousand requests of which half have one key: nobody holds more than 1.25 of the average, rounded up."""
    endpoints = service(10)
    limits = Limits(LimitsSettings())
    balancer = RingHash(Settings(), Random(1), limits)
    random = Random(3)
    for _ in range(1000):
        limits.in_flight += 1
        hot = random.random() < 0.5
        choice = balancer.pick(endpoints, 0.0, (), KEYS[0] if hot else random.getrandbits(64))
        assert choice is not None
        choice.in_flight += 1
        assert choice.in_flight <= max(4, -(-1.25 * limits.in_flight // 10))
    assert max(endpoint.in_flight for endpoint in endpoints) == 125


def test_without_load_the_bound_moves_nothing() -> None:
    """One request at a time goes home, whatever the bound; twice the bound lets a hot endpoint hold twice as much."""
    endpoints = service(4)
    assert owners(ring(load=1.0, total=1), endpoints) == owners(ring(load=100.0, total=1), endpoints)
    home = ring().pick(endpoints, 0.0, (), KEYS[0])
    assert home is not None
    home.in_flight = 30
    assert ring(load=1.25, total=80).pick(endpoints, 0.0, (), KEYS[0]) is not home
    assert ring(load=2.5, total=80).pick(endpoints, 0.0, (), KEYS[0]) is home


def test_a_handful_of_requests_goes_home() -> None:
    """In a quiet service one request more is at once more than a fair share, and no reason to send a user elsewhere."""
    endpoints = service(10)
    home = ring().pick(endpoints, 0.0, (), KEYS[0])
    assert home is not None
    home.in_flight = 3
    assert ring(total=4).pick(endpoints, 0.0, (), KEYS[0]) is home
    home.in_flight = 4
    assert ring(total=4).pick(endpoints, 0.0, (), KEYS[0]) is not home


def test_where_all_are_full_the_owner_gets_it() -> None:
    """What is in flight elsewhere, at endpoints that have left, must not leave a request without one."""
    endpoints = service(3)
    home = ring().pick(endpoints, 0.0, (), KEYS[0])
    for endpoint in endpoints:
        endpoint.in_flight = 50
    assert ring(total=10).pick(endpoints, 0.0, (), KEYS[0]) is home


@given(data=st.data())
def test_with_a_key_too_the_pick_is_the_best_that_there_is(data: st.DataObject) -> None:
    """Over any mixture of weights, breakers, Retry-Afters, loads and tried ones."""
    endpoints = service(0, *data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=6)))
    tried = []
    for endpoint in endpoints:
        endpoint.breaker = data.draw(st.sampled_from([None, FakeBreaker(0), FakeBreaker(1, True), FakeBreaker(2)]))
        endpoint.not_before = data.draw(st.sampled_from([0.0, 0.0, 5.0, 9.0]))
        endpoint.in_flight = data.draw(st.integers(0, 5))
        if data.draw(st.booleans()):
            tried.append(endpoint)

    def rank(endpoint: Endpoint | None) -> float:
        if endpoint is None or endpoint.weight == 0 or (endpoint.breaker is not None and endpoint.breaker.state == 2):
            return float("inf")
        if endpoint.not_before > 1.0:
            return 1.0 + endpoint.not_before
        return 1.0 if endpoint in tried else 0.0

    choice = ring(total=8).pick(endpoints, 1.0, tried, data.draw(st.sampled_from(KEYS)))
    assert rank(choice) == min(map(rank, endpoints))


# Keys

HEAD = b"GET /orders/7?page=2 HTTP/1.1\r\nHost: orders\r\nX-User: Ann\r\nCookie: a=1; session=s-17 ;session=other; b\r\n\r\n"


def key(settings: Settings, head: bytes = HEAD, peer: str = "10.1.1.1") -> int | None:
    return key_of(settings)(parse(head, HttpSettings()), peer)


@pytest.mark.parametrize(
    ("settings", "same", "other"),
    [
        (Settings(on="path"), (b"page=2", b"page=3"), (b"/7?", b"/8?")),
        (Settings(on="header", name="X-User"), (b"X-User", b"x-user"), (b"Ann", b"ann")),
        (Settings(on="cookie", name="session"), (b"a=1;", b""), (b"s-17", b"s-18")),
    ],
    ids=["path", "header", "cookie"],
)
def test_what_belongs_together_has_one_key(
    settings: Settings, same: tuple[bytes, bytes], other: tuple[bytes, bytes]
) -> None:
    """The path without its query, a header by any spelling of its name, the first cookie of the name."""
    known = key(settings)
    assert known is not None
    assert 0 <= known < 1 << 64
    assert key(settings, HEAD.replace(*same)) == known
    assert key(settings, HEAD.replace(*other)) not in (known, None)


@pytest.mark.parametrize(
    "settings",
    [Settings(on="header", name="x-tenant"), Settings(on="cookie", name="ses"), Settings(on="cookie", name="b")],
)
def test_a_request_may_have_no_key(settings: Settings) -> None:
    """No such header, no such cookie, or an empty one."""
    assert key(settings) is None


def test_a_caller_is_known_by_its_address() -> None:
    """Not by its port, which changes with each connection."""
    settings = Settings(on="source")
    assert key(settings, peer="10.1.1.1") == key(settings, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", peer="10.1.1.1")
    assert key(settings, peer="10.1.1.1") != key(settings, peer="10.1.1.2")


def test_requests_without_a_key_are_drawn_by_weight() -> None:
    """They belong nowhere, and are not all sent to one endpoint for that."""
    endpoints = service(2, 3, 1)
    balancer = ring()
    drawn = Counter(balancer.pick(endpoints, 0.0, (), None) for _ in range(8000))
    assert drawn[endpoints[0]] == pytest.approx(6000, rel=0.05)


# In a sidecar

STICKY = (
    LISTEN
    + '[services.orders]\nbalance = "ring_hash"\nring_hash = { on = "header", name = "X-User" }\n'
    + f"endpoints = [{', '.join(f'{chr(34)}10.0.0.{number}:9001{chr(34)}' for number in range(1, 9))}]\n"
)


def asked(world: World, user: str) -> str:
    """The endpoint that a request of the user goes to."""
    client = world.client()
    client.send(request(x_user=user))
    server = (
        world.accept() if world.dialing else next(peer for peer in world.peers if peer.received and peer is not client)
    )
    server.take()
    server.send(response())
    assert heard(client).status == 200
    return server.address[0]


def test_a_user_stays_at_an_endpoint_and_users_are_spread() -> None:
    """Through real plans and heads; another sidecar sends the same user to the same endpoint."""
    world, other = World(STICKY), World(STICKY)
    users = [f"user-{number}" for number in range(30)]
    homes = {user: asked(world, user) for user in users}
    assert len(set(homes.values())) >= 6
    for user in users:
        assert asked(world, user) == asked(other, user) == homes[user]


def test_another_header_is_another_key_from_the_next_request_on() -> None:
    """A reload changes what a key is, for the service that lives on."""
    world = World(STICKY)
    before = {asked(world, user) for user in ("ann", "bob", "eve", "joe")}
    world.reload(STICKY.replace("X-User", "Host"))
    after = {asked(world, user) for user in ("ann", "bob", "eve", "joe")}
    assert len(before) > 1
    assert len(after) == 1
