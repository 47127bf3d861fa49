"""Services that are names, whatever the zone and the servers make of them; in virtual time, over a resolver that is told
what to say."""

from __future__ import annotations

import asyncio
import logging

import pytest

from sidecar.clock import Clock
from sidecar.discovery.dns.naming import Naming
from sidecar.discovery.dns.registry import EMPTY_SECONDS, QUESTIONS_AT_ONCE, REPEAT_SECONDS, RETRY_SECONDS
from sidecar.discovery.dns.resolver import Answer, Trouble
from sidecar.discovery.dns.settings import DnsRegistry as Settings
from sidecar.discovery.registries import MISS_SECONDS, Registries
from sidecar.discovery.source import Selective, Source
from sidecar.timing.wheel import Wheel
from tests.support.names import NXDOMAIN, Asker, Zone, addresses, srv
from tests.support.virtual import VirtualLoop

SHOP = Settings(domains=("shop.test",))
FAILED = Trouble("the server says that it has failed")


@pytest.fixture
def asker(loop: VirtualLoop) -> Asker:
    return Asker(loop, SHOP)


def asker_of(loop: VirtualLoop, **settings: object) -> Asker:
    return Asker(loop, Settings(domains=("shop.test",), **settings))  # type: ignore[arg-type]


# Which question a service is


@pytest.mark.parametrize(
    ("settings", "service", "questions"),
    [
        (Settings(), "orders", [("orders", "address", 80)]),
        (SHOP, "orders", [("orders.shop.test", "address", 80)]),
        (SHOP, "orders.shop.test", [("orders.shop.test", "address", 80)]),
        (SHOP, "db.example.com", [("db.example.com", "address", 80)]),
        (
            Settings(domains=("a", "b"), port=8080),
            "orders",
            [("orders.a", "address", 8080), ("orders.b", "address", 8080)],
        ),
        (
            Settings(domains=("a",), srv="_http._tcp"),
            "orders",
            [("_http._tcp.orders.a", "SRV", 0), ("orders.a", "address", 80)],
        ),
        (Settings(domains=("service.consul",), record="srv"), "orders", [("orders.service.consul", "SRV", 0)]),
        (Settings(domains=("a",), srv="_h._tcp", record="srv"), "orders", [("_h._tcp.orders.a", "SRV", 0)]),
        (Settings(domains=("a",), srv="_h._tcp", record="address"), "orders", [("orders.a", "address", 80)]),
        (Settings(domains=("a",), names={"x": "y.z:81"}, record="srv"), "x", [("y.z", "address", 81)]),
        (Settings(domains=("a",), names={"x": "srv:_h._tcp.y.z."}), "x", [("_h._tcp.y.z", "SRV", 0)]),
        (Settings(names={"x": "y.z."}, port=81), "x", [("y.z", "address", 81)]),
    ],
)
def test_a_service_is_asked_for_by_its_name(
    settings: Settings, service: str, questions: list[tuple[str, str, int]]
) -> None:
    """In the domains, with its SRV prefix, or as it is written in ``names``."""
    assert [tuple(question) for question in Naming(settings).questions(service)] == questions


@pytest.mark.parametrize(
    ("service", "ours"),
    [
        ("orders", True),
        ("orders.shop.test", True),
        ("a.orders.shop.test", True),
        ("shop.test", False),
        ("orders.workshop.test", False),
        ("example.com", False),
        ("10.0.0.1", False),
        ("localhost", False),
        ("far.example.com", True),
    ],
)
def test_only_what_may_be_a_service_is_asked_for(loop: VirtualLoop, service: str, ours: bool) -> None:
    """A name without a dot, one under our domains, one that is written: all else is a miss without a question."""
    asker = asker_of(loop, names={"far.example.com": "x.example.com"})
    registries = Registries(
        loop, Clock(loop.time, loop.time), Wheel(), asker.registry, 0.0, lambda name, endpoints: None, lambda name: None
    )
    loop.run_until_complete(asker.registry.start())
    assert (registries.find(service) is not None) == ours
    assert registries.owns(service) == ours
    asker.wait(1)
    assert bool(asker.zone.asked) == ours


def test_it_is_a_source(asker: Asker) -> None:
    """That is selective, and not certain that what vanishes is gone."""
    source: Source = asker.registry
    assert isinstance(source, Selective)
    assert not source.certain


# What answers come to


def test_the_addresses_of_a_name_are_its_instances(asker: Asker) -> None:
    """Sorted, each once; told once as long as they stay."""
    asker.zone.says["orders.shop.test", "A"] = addresses("10.0.0.2", "10.0.0.1", "10.0.0.2")
    asker.start("orders")
    assert asker.sees("orders") == ["10.0.0.1:80", "10.0.0.2:80"]
    asker.wait(100)
    assert len(asker.told["orders"]) == 1
    asker.zone.says["orders.shop.test", "A"] = addresses("10.0.0.2")
    asker.wait(32)
    assert asker.sees("orders") == ["10.0.0.2:80"]


def test_of_two_families_one_counts(asker: Asker) -> None:
    """IPv4 where there is any; a name that does not exist is not asked for twice."""
    zone = asker.zone
    zone.says |= {("both.shop.test", "A"): addresses("10.0.0.1"), ("both.shop.test", "AAAA"): addresses("fd00::1")}
    zone.says |= {("six.shop.test", "A"): Answer(), ("six.shop.test", "AAAA"): addresses("fd00::1")}
    asker.start("both", "six", "none")
    assert (asker.sees("both"), asker.sees("six"), asker.sees("none")) == (["10.0.0.1:80"], ["fd00::1:80"], [])
    assert ("both.shop.test", "AAAA") not in zone.asked and ("none.shop.test", "AAAA") not in zone.asked


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "nonsense"])
def test_what_nobody_can_be_called_at_is_no_address(asker: Asker, address: str) -> None:
    """Blockers give unspecified ones, and a connection to those ends at our own machine."""
    asker.zone.says["orders.shop.test", "A"] = addresses("10.0.0.1", address)
    asker.start("orders")
    assert asker.sees("orders") == ["10.0.0.1:80"]


def test_the_first_domain_that_has_the_name_counts(loop: VirtualLoop) -> None:
    """And one that comes to it later, since it is asked first again."""
    asker = Asker(loop, Settings(domains=("one.test", "two.test")))
    asker.zone.says["orders.two.test", "A"] = addresses("10.0.0.2")
    asker.start("orders")
    assert asker.sees("orders") == ["10.0.0.2:80"]
    asker.zone.says["orders.one.test", "A"] = addresses("10.0.0.1")
    asker.wait(32)
    assert asker.sees("orders") == ["10.0.0.1:80"]


def test_a_domain_that_does_not_answer_is_not_passed_over(loop: VirtualLoop) -> None:
    """Otherwise calls would go elsewhere each time that a server hiccups."""
    asker = Asker(loop, Settings(domains=("one.test", "two.test")))
    asker.zone.says |= {("orders.one.test", "A"): FAILED, ("orders.two.test", "A"): addresses("10.0.0.2")}
    asker.start("orders")
    assert asker.told["orders"] == []


def test_srv_brings_ports_and_weights(loop: VirtualLoop) -> None:
    """Of the lowest priority; a weight of 0 is very little, a common factor says nothing."""
    asker = asker_of(loop, srv="_http._tcp")
    asker.zone.says["_http._tcp.orders.shop.test", "SRV"] = srv(
        ("a.test", 9001, 0, 0), ("b.test", 9002, 0, 20), ("c.test", 9003, 0, 40), ("d.test", 9004, 1, 10),
        **{"a.test": "10.0.0.1", "b.test": "10.0.0.2", "c.test": "10.0.0.3", "d.test": "10.0.0.4"},
    )  # fmt: skip
    asker.start("orders")
    found = asker.told["orders"][-1]
    assert [(one.host, one.port, one.weight) for one in found] == [
        ("10.0.0.1", 9001, 1), ("10.0.0.2", 9002, 10), ("10.0.0.3", 9003, 20),
    ]  # fmt: skip
    assert asker.zone.asked == [("_http._tcp.orders.shop.test", "SRV")], "what came along is not asked for"


def test_weights_that_are_all_the_same_are_one(loop: VirtualLoop) -> None:
    """CoreDNS shares out a hundred: that somebody joined is no news about the others."""
    asker = asker_of(loop, record="srv")
    asker.zone.says["orders.shop.test", "SRV"] = srv(("a", 1, 0, 50), ("b", 2, 0, 50), a="10.0.0.1", b="10.0.0.2")
    asker.zone.says["zero.shop.test", "SRV"] = srv(("a", 1, 0, 0), ("b", 2, 0, 0), a="10.0.0.1", b="10.0.0.2")
    asker.start("orders", "zero")
    assert [one.weight for one in asker.told["orders"][-1]] == [1, 1] == [one.weight for one in asker.told["zero"][-1]]


def test_the_next_priority_counts_where_the_lowest_leads_nowhere(loop: VirtualLoop) -> None:
    """Targets without an address are none, nor is the dot that says that there is no such service, nor port 0."""
    asker = asker_of(loop, record="srv")
    asker.zone.says["orders.shop.test", "SRV"] = srv(("gone.test", 1, 0, 1), ("b.test", 2, 1, 1), ("c.test", 0, 0, 1))
    asker.zone.says["b.test", "A"] = addresses("10.0.0.2")
    asker.zone.says["no.shop.test", "SRV"] = srv(("", 80, 0, 0))
    asker.start("orders", "no")
    assert (asker.sees("orders"), asker.sees("no")) == (["10.0.0.2:2"], [])


def test_without_srv_records_addresses_count(loop: VirtualLoop) -> None:
    """As ``auto`` says; ``srv`` alone would be content with nothing."""
    auto, strict = asker_of(loop, srv="_http._tcp"), asker_of(loop, srv="_http._tcp", record="srv")
    for one in (auto, strict):
        one.zone.says["orders.shop.test", "A"] = addresses("10.0.0.1")
        one.start("orders")
    assert (auto.sees("orders"), strict.sees("orders")) == (["10.0.0.1:80"], [])


def test_a_target_that_cannot_be_resolved_keeps_its_last_addresses(loop: VirtualLoop) -> None:
    """The others come and go meanwhile, and it is asked again soon."""
    asker = asker_of(loop, record="srv")
    zone = asker.zone
    zone.says |= {("a.test", "A"): addresses("10.0.0.1"), ("b.test", "A"): addresses("10.0.0.2")}
    zone.says["orders.shop.test", "SRV"] = srv(("a.test", 1, 0, 1), ("b.test", 2, 0, 1))
    asker.start("orders")
    zone.says["a.test", "A"] = FAILED
    zone.says["c.test", "A"] = addresses("10.0.0.3")
    zone.says["orders.shop.test", "SRV"] = srv(("a.test", 1, 0, 1), ("c.test", 3, 0, 1))
    asker.wait(32)
    assert asker.sees("orders") == ["10.0.0.1:1", "10.0.0.3:3"]
    assert "a.test: the server says that it has failed" in asker.registry.state().trouble
    zone.says["a.test", "A"] = addresses("10.0.0.9")
    asker.wait(3)
    assert asker.sees("orders") == ["10.0.0.3:3", "10.0.0.9:1"]
    assert asker.registry.state().trouble == ""


def test_of_a_thousand_and_more_addresses_a_thousand_count(asker: Asker, caplog: pytest.LogCaptureFixture) -> None:
    """Always the same ones, and it is told once."""
    many = [f"10.0.{number // 250}.{number % 250}" for number in range(1200)]
    asker.zone.says["orders.shop.test", "A"] = addresses(*reversed(many))
    asker.start("orders")
    asker.wait(200)
    assert [one.host for one in asker.told["orders"][0]] == sorted(many)[:1000]
    assert len(asker.told["orders"]) == 1
    assert [line for line in caplog.messages if "200 addresses more than the 1000" in line] == caplog.messages


# When it is asked again


@pytest.mark.parametrize(("ttl", "wait"), [(0, 1), (5, 5), (30, 30), (86400, 300)])
def test_an_answer_holds_as_long_as_it_says_within_bounds(asker: Asker, ttl: int, wait: float) -> None:
    """A second at least and five minutes at most; then it is asked for a little later, and never sooner."""
    asker.zone.says["orders.shop.test", "A"] = addresses("10.0.0.1", ttl=ttl)
    asker.start("orders")
    asker.wait(10 * wait)
    waits = [later - earlier for earlier, later in zip(asker.zone.times, asker.zone.times[1:], strict=False)]
    assert len(waits) >= 8
    assert all(wait <= one <= wait * 1.1 + 0.01 for one in waits)
    assert len({round(one, 6) for one in waits}) > 1, "a fleet must not ask at the same moment"


def test_the_shortest_time_of_all_records_counts(loop: VirtualLoop) -> None:
    """Of the SRV records and of the addresses that they lead to."""
    asker = asker_of(loop, record="srv")
    asker.zone.says["orders.shop.test", "SRV"] = srv(("a.test", 1, 0, 1), ("b.test", 1, 0, 1), ttl=100)
    asker.zone.says |= {("a.test", "A"): addresses("10.0.0.1", ttl=50), ("b.test", "A"): addresses("10.0.0.2", ttl=9)}
    asker.start("orders")
    asker.wait(8.9)
    assert asker.zone.asked.count(("orders.shop.test", "SRV")) == 1
    asker.wait(1.2)
    assert asker.zone.asked.count(("orders.shop.test", "SRV")) == 2


def test_nothing_is_an_answer_and_is_asked_again(asker: Asker) -> None:
    """Told as such of a service that nobody has seen and of one that had endpoints: to doubt it is not our part."""
    asker.start("orders")
    assert asker.told["orders"] == [()]
    assert asker.registry.state().seen and asker.registry.state().stale_since is None
    asker.zone.says["orders.shop.test", "A"] = addresses("10.0.0.1")
    asker.wait(EMPTY_SECONDS * 1.2)
    assert asker.sees("orders") == ["10.0.0.1:80"]
    asker.zone.says["orders.shop.test", "A"] = NXDOMAIN
    asker.wait(32)
    assert asker.told["orders"][-1] == ()


def test_a_thousand_services_are_asked_for_in_turns(loop: VirtualLoop) -> None:
    """No more than 64 at once; all of them are answered, and by one timer."""
    asker = Asker(loop, SHOP)
    services = [f"s{number}" for number in range(1000)]
    for number, service in enumerate(services):
        asker.zone.says[f"{service}.shop.test", "A"] = addresses(f"10.0.{number // 250}.{number % 250}")
    asker.start(*services)
    assert asker.zone.most == QUESTIONS_AT_ONCE
    assert all(len(asker.told[service]) == 1 for service in services)
    timers = len([timer for timer in loop._scheduled if not timer.cancelled()])  # type: ignore[attr-defined]
    assert timers == 1 and not asyncio.all_tasks(loop)


def test_many_targets_are_no_flood_either(loop: VirtualLoop) -> None:
    """One service with five hundred targets asks as many questions, and not at once."""
    asker = asker_of(loop, record="srv")
    targets = [f"t{number}.test" for number in range(500)]
    asker.zone.says["orders.shop.test", "SRV"] = srv(*((target, 80, 0, 1) for target in targets))
    asker.zone.says |= {(target, "A"): addresses(f"10.0.1.{n % 250}") for n, target in enumerate(targets)}
    asker.start("orders")
    assert asker.zone.most == QUESTIONS_AT_ONCE and len(asker.told["orders"][-1]) > 0


def test_who_is_unsubscribed_is_told_no_more_and_not_asked_for(asker: Asker) -> None:
    """Also if the answer is on its way."""
    asker.zone.says["orders.shop.test", "A"] = addresses("10.0.0.1", ttl=1)
    asker.start("shop")
    asker.watch("orders")
    asker.wait(0.0005)
    asker.registry.unsubscribe("orders")
    asker.wait(10)
    assert asker.told["orders"] == [] and len([one for one in asker.zone.asked if one[0][:6] == "orders"]) == 1
    asker.watch("orders")
    asker.wait(0.01)
    assert asker.sees("orders") == ["10.0.0.1:80"]


# Trouble


def test_trouble_keeps_what_is_known_and_is_tried_again(asker: Asker, caplog: pytest.LogCaptureFixture) -> None:
    """After a second at first and half a minute at last; it is told at once, then each minute, and when it is over."""
    caplog.set_level(logging.INFO)
    asker.zone.says["orders.shop.test", "A"] = addresses("10.0.0.1")
    asker.start("orders")
    asker.zone.down = FAILED
    asker.wait(33)
    state = asker.registry.state()
    assert state.stale_since is not None and asker.loop.time() - 3.5 < state.stale_since < asker.loop.time()
    assert state.trouble == "orders cannot be looked up: the server says that it has failed"
    begun = len(asker.zone.times)
    asker.wait(300)
    waits = [later - earlier for earlier, later in zip(asker.zone.times[1:], asker.zone.times[2:], strict=False)]
    assert [round(one) for one in waits[:5]] in ([1, 2, 4, 8, 16], [1, 2, 4, 9, 17], [1, 2, 4, 8, 17], [1, 2, 4, 9, 16])
    assert all(RETRY_SECONDS[1] <= one <= RETRY_SECONDS[1] + 1.01 for one in waits[5:])
    assert len(asker.zone.times) > begun
    assert asker.told["orders"] == [asker.told["orders"][0]]
    warned = [line for line in caplog.messages if "keeping what is known and trying again" in line]
    assert 4 <= len(warned) <= 333 / REPEAT_SECONDS + 1
    assert asker.registry.state().stale_since == state.stale_since
    asker.zone.down = None
    asker.wait(31)
    assert asker.registry.state().stale_since is None
    assert caplog.messages[-1] == "DNS works again: every service can be looked up"


def test_back_offs_begin_anew_after_an_answer(asker: Asker) -> None:
    """The next trouble is another one."""
    asker.zone.says["orders.shop.test", "A"] = addresses("10.0.0.1", ttl=1)
    asker.zone.down = FAILED
    asker.start("orders")
    asker.wait(100)
    asker.zone.down = None
    asker.wait(32)
    asker.zone.down = FAILED
    asker.wait(1.2)
    before = len(asker.zone.times)
    asker.wait(1.2)
    assert len(asker.zone.times) > before


def test_before_the_first_answer_there_is_none(asker: Asker) -> None:
    """The start goes on, nobody is told that there is nothing, and nothing is stale that was never known."""
    asker.zone.down = Trouble("no answer within 2 s")
    asker.start("orders")
    state = asker.registry.state()
    assert (state.seen, state.stale_since, asker.told["orders"]) == (False, None, [])
    assert state.trouble == "orders cannot be looked up: no answer within 2 s"
    asker.zone.down = None
    asker.zone.says["orders.shop.test", "A"] = addresses("10.0.0.1")
    asker.wait(1.2)
    assert asker.registry.state().seen and asker.sees("orders") == ["10.0.0.1:80"]


def test_trouble_with_many_is_one_line(asker: Asker, caplog: pytest.LogCaptureFixture) -> None:
    """Of a server that is down a hundred services say the same."""
    asker.zone.down = FAILED
    asker.start(*(f"s{number}" for number in range(100)))
    assert len(caplog.messages) == 1
    assert asker.registry.state().trouble.endswith(" (and 99 more)")


def test_a_name_in_trouble_that_nobody_wants_any_more_is_none(asker: Asker) -> None:
    """The registry is not stale because of what nobody follows."""
    asker.zone.down = FAILED
    asker.start("orders")
    asker.registry.unsubscribe("orders")
    assert asker.registry.state().trouble == ""


def test_without_a_service_it_is_ready_at_once(asker: Asker) -> None:
    """Nothing is wanted, so nothing is missing, whether or not anybody would answer."""
    asker.zone.down = FAILED
    asker.start()
    assert asker.registry.state().seen and not asker.zone.asked


def test_one_who_cannot_cope_with_what_it_is_told_ends_nothing(asker: Asker, caplog: pytest.LogCaptureFixture) -> None:
    """The defect is logged, and the questions go on."""
    asker.registry.subscribe("orders", lambda instances: 1 / len(instances))  # type: ignore[arg-type, return-value]
    asker.start("shop")
    assert asker.told["shop"] == [()]
    assert "a defect in what follows the instances of orders" in caplog.text
    asker.wait(20)
    assert asker.zone.asked.count(("orders.shop.test", "A")) > 2


def test_a_defect_of_ours_does_not_end_the_questions(asker: Asker, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and asked again half a minute later."""
    asker.zone.says["orders.shop.test", "A"] = KeyError("defect")  # type: ignore[assignment]
    asker.start("orders")
    assert "a defect in the DNS registry at orders" in caplog.text
    asker.zone.says["orders.shop.test", "A"] = addresses("10.0.0.1")
    asker.wait(31)
    assert asker.sees("orders") == ["10.0.0.1:80"]


def test_nobody_is_told_anything_after_the_end(loop: VirtualLoop) -> None:
    """Questions that are open are given up, and so is the resolver; ending twice is ending once."""
    asker = Asker(loop, SHOP)
    asker.zone.says["orders.shop.test", "A"] = addresses("10.0.0.1")
    asker.start("shop")
    asker.watch("orders")
    asker.wait(0.0005)
    assert asker.zone.open == 1

    async def end() -> None:
        await asker.registry.close()
        await asker.registry.deregister()
        await asker.registry.close()

    loop.run_until_complete(end())
    asker.wait(60)
    assert asker.zone.closed and asker.told["orders"] == [] and asker.zone.open == 0


# As the app uses it


def test_the_first_call_waits_for_the_answer_and_a_miss_is_remembered(loop: VirtualLoop) -> None:
    """What is missing is not asked for again by each caller, and by nobody in between."""
    zone = Zone(loop)
    asker = Asker(loop, SHOP, zone)
    found: list[str] = []
    published: dict[str, list[str]] = {}
    registries = Registries(
        loop,
        Clock(loop.time, loop.time),
        Wheel(),
        asker.registry,
        0.0,
        lambda name, endpoints: published.update({name: [one.label for one in endpoints]}),
        found.append,
    )
    loop.run_until_complete(registries.start())
    zone.says["orders.shop.test", "A"] = addresses("10.0.0.1")
    answered: list[str] = []
    for name in ("orders", "nobody"):
        lookup = registries.find(name)
        assert lookup is not None
        lookup.wait(lambda name=name: answered.append(name))  # type: ignore[misc]
    asker.wait(0.1)
    assert sorted(answered) == ["nobody", "orders"] and found == ["orders"]
    assert published == {"orders": ["10.0.0.1:80"]}
    assert registries.find("nobody") is None
    asker.wait(MISS_SECONDS - 0.2)
    assert zone.asked.count(("nobody.shop.test", "A")) == 1
    asker.wait(0.2)
    assert registries.find("nobody") is not None
    loop.run_until_complete(registries.close())
