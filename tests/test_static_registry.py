"""Host names as endpoints: asked for again and again, never missed for a moment, and never waited for by others."""

from __future__ import annotations

import asyncio
import logging
import socket
import tempfile
from collections.abc import Sequence
from functools import partial

import pytest

from sidecar.app import Sidecar
from sidecar.clock import Clock, Random
from sidecar.config.load import load
from sidecar.discovery.endpoint_set import EndpointSet
from sidecar.discovery.registries import FIRST_ANSWER_SECONDS
from sidecar.discovery.static import REFRESH_SECONDS, RETRY_SECONDS, Resolve, StaticRegistry, Written, resolve
from sidecar.model import Endpoint
from tests.support.virtual import VirtualLoop


class Names:
    """A resolver that answers what the test wrote down: addresses, an error, or nothing for a long time."""

    def __init__(self, **known: list[str] | Exception | None) -> None:
        self.known = known
        self.asked: list[tuple[float, str]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((asyncio.get_running_loop().time(), host))
        answer = self.known[host]
        if answer is None:
            await asyncio.sleep(1000)
            raise OSError("timed out")
        if isinstance(answer, Exception):
            raise answer
        return answer


UNKNOWN = socket.gaierror(-2, "Name or service not known")


class Published:
    """A registry and every set that it has published."""

    def __init__(self, names: Resolve, *written: Written) -> None:
        self.sets: list[Sequence[Endpoint]] = []
        self.registry = StaticRegistry(written, self.sets.append, names)

    @property
    def labels(self) -> list[str]:
        return [endpoint.label for endpoint in self.sets[-1]]


def test_a_name_becomes_an_endpoint_for_each_of_its_addresses(loop: VirtualLoop) -> None:
    """With the port, weight and zone that were written for the name."""
    published = Published(Names(db=["10.0.0.2", "10.0.0.1"]), Written("db", 5432, 3, "a"))
    loop.run_until_complete(published.registry.refresh())
    assert published.labels == ["10.0.0.1:5432", "10.0.0.2:5432"]
    assert {(endpoint.weight, endpoint.zone) for endpoint in published.sets[-1]} == {(3, "a")}


def test_addresses_are_not_resolved_and_localhost_is_left_to_each_connection(loop: VirtualLoop) -> None:
    """Where an application listens, IPv4 or IPv6, is known only when it is tried."""
    names = Names()
    published = Published(names, Written("10.0.0.1", 80), Written("::1", 80), Written("localhost", 80))
    published.registry.publish()
    assert published.labels == ["10.0.0.1:80", "[::1]:80", "localhost:80"]
    assert not published.registry.has_names
    loop.run_until_complete(published.registry.refresh())
    assert names.asked == []


@pytest.mark.parametrize("answer", [UNKNOWN, [], UnicodeError("label too long")])
def test_the_last_good_set_outlives_failures_and_empty_answers(
    loop: VirtualLoop, answer: list[str] | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """A resolver in trouble must not take a service away; the log says what is kept."""
    names = Names(db=["10.0.0.1"])
    published = Published(names, Written("db", 80))
    loop.run_until_complete(published.registry.refresh())
    names.known["db"] = answer
    with caplog.at_level(logging.WARNING):
        loop.run_until_complete(published.registry.refresh())
    assert published.labels == ["10.0.0.1:80"]
    assert len(published.sets) == 1
    assert "db cannot be resolved" in caplog.text
    assert "keeping its last addresses" in caplog.text


def test_an_endpoint_that_stays_is_the_same_object(loop: VirtualLoop) -> None:
    """On it hang its breaker and its connections: they survive whatever comes and goes beside it."""
    names = Names(db=["10.0.0.1", "10.0.0.2"])
    published = Published(names, Written("db", 80))
    loop.run_until_complete(published.registry.refresh())
    kept = published.sets[-1][1]
    names.known["db"] = ["10.0.0.2", "10.0.0.3"]
    loop.run_until_complete(published.registry.refresh())
    assert published.labels == ["10.0.0.2:80", "10.0.0.3:80"]
    assert published.sets[-1][0] is kept


def test_the_same_answer_in_another_order_is_no_news(loop: VirtualLoop) -> None:
    """Resolvers rotate what they give; a balancer that began anew each time would not balance."""
    names = Names(db=["10.0.0.1", "10.0.0.2"])
    published = Published(names, Written("db", 80))
    loop.run_until_complete(published.registry.refresh())
    names.known["db"] = ["10.0.0.2", "10.0.0.1"]
    loop.run_until_complete(published.registry.refresh())
    assert len(published.sets) == 1


def test_a_name_that_hangs_holds_up_no_other(loop: VirtualLoop) -> None:
    """What is known of a service is served while the rest of it is being looked for."""
    names = Names(slow=None, unknown=UNKNOWN, fast=["10.0.0.9"])
    written = [Written("10.0.0.1", 80), Written("slow", 80), Written("unknown", 80), Written("fast", 80)]
    published = Published(names, *written)
    published.registry.publish()
    assert published.labels == ["10.0.0.1:80"]
    task = loop.create_task(published.registry.refresh())
    loop.run_until_complete(asyncio.sleep(1))
    assert published.labels == ["10.0.0.1:80", "10.0.0.9:80"]
    assert not published.registry.asked.is_set()
    assert not published.registry.complete
    task.cancel()


def test_names_are_asked_for_every_30_seconds_and_every_5_while_one_is_unknown(loop: VirtualLoop) -> None:
    """What has never been found is urgent, what may have changed is not."""
    names = Names(db=UNKNOWN)
    published = Published(names, Written("db", 80))
    task = loop.create_task(published.registry.run())
    loop.run_until_complete(asyncio.sleep(RETRY_SECONDS + 1))
    names.known["db"] = ["10.0.0.1"]
    loop.run_until_complete(asyncio.sleep(REFRESH_SECONDS + RETRY_SECONDS))
    times = [at - names.asked[0][0] for at, _ in names.asked]
    assert times == [0, RETRY_SECONDS, 2 * RETRY_SECONDS, 2 * RETRY_SECONDS + REFRESH_SECONDS]
    assert published.labels == ["10.0.0.1:80"]
    task.cancel()


Infos = list[tuple[socket.AddressFamily, int, int, str, tuple[str, int]]]


@pytest.mark.parametrize(
    ("found", "used"),
    [
        (["fd00::1", "10.0.0.1", "10.0.0.2"], ["10.0.0.1", "10.0.0.2"]),
        (["fd00::1", "fd00::2"], ["fd00::1", "fd00::2"]),
        (["10.0.0.1", "10.0.0.1"], ["10.0.0.1"]),
        ([], []),
    ],
)
def test_ipv4_is_preferred_and_families_are_not_mixed(loop: VirtualLoop, found: list[str], used: list[str]) -> None:
    """The same server behind two families would count twice, and so would one that the resolver gives twice."""

    async def getaddrinfo(host: str, port: int, **more: object) -> Infos:
        families = [socket.AF_INET6 if ":" in one else socket.AF_INET for one in found]
        return [(family, 1, 6, "", (one, port)) for family, one in zip(families, found, strict=True)]

    loop.getaddrinfo = getaddrinfo  # type: ignore[assignment, method-assign]
    assert loop.run_until_complete(resolve("db", 80)) == used


# The whole sidecar

NAMED = """
[service]
name = "shop"
[listen]
inbound = "none"
outbound = "127.0.0.1:0"
probes = "127.0.0.1:0"
admin = "127.0.0.1:0"
[services.orders]
endpoints = ["slow:9001", "10.0.0.1:9001"]
[services.payments]
endpoints = ["fast:9001"]
"""


def started(loop: VirtualLoop, names: Names, monkeypatch: pytest.MonkeyPatch) -> Sidecar:
    """A sidecar in virtual time that asks ``names``, and has started."""
    monkeypatch.setattr("sidecar.discovery.registries.StaticRegistry", partial(StaticRegistry, resolve=names))
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(NAMED)
        file.flush()
        config = load(file.name)
    sidecar = Sidecar(config, loop, Clock(loop.time, loop.time), Random(1))
    loop.run_until_complete(sidecar.start())
    return sidecar


def labels(sidecar: Sidecar, service: str) -> list[str]:
    return [endpoint.label for endpoint in sidecar.assembly.services[service].endpoints]


def test_the_start_waits_for_names_but_not_for_ever(
    loop: VirtualLoop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One that does not come in time is missed by nobody else: listeners are open, other services have endpoints."""
    began = loop.time()
    sidecar = started(loop, Names(slow=None, fast=["10.0.0.2"]), monkeypatch)
    assert loop.time() - began == pytest.approx(FIRST_ANSWER_SECONDS)
    assert labels(sidecar, "orders") == ["10.0.0.1:9001"]
    assert labels(sidecar, "payments") == ["10.0.0.2:9001"]
    assert all(listener.address is not None for listener in sidecar.listeners.values())
    assert "not resolved yet: orders" in caplog.text
    loop.run_until_complete(sidecar.close())


def test_the_start_is_over_when_every_name_has_been_asked_for_once(
    loop: VirtualLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if one of them is not known: it may never be."""
    began = loop.time()
    names = Names(slow=UNKNOWN, fast=["10.0.0.2"])
    sidecar = started(loop, names, monkeypatch)
    assert loop.time() == began
    assert sorted(host for _, host in names.asked) == ["fast", "slow"]
    loop.run_until_complete(sidecar.close())


def test_no_connection_is_left_to_an_address_that_a_name_has_lost(
    loop: VirtualLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service knows the new set, and the pool of the address that went is closed."""
    names = Names(slow=["10.0.0.3"], fast=["10.0.0.2"])
    sidecar = started(loop, names, monkeypatch)
    before = sidecar.assembly.services["payments"].endpoints[0]
    forgotten: list[Endpoint] = []
    monkeypatch.setattr(type(sidecar._pools), "forget", lambda pools, endpoint: forgotten.append(endpoint))
    names.known["fast"] = ["10.0.0.4"]
    loop.run_until_complete(asyncio.sleep(REFRESH_SECONDS + 1))
    assert labels(sidecar, "payments") == ["10.0.0.4:9001"]
    assert forgotten == [before]
    loop.run_until_complete(sidecar.close())


# Reloads


def test_what_is_written_anew_keeps_the_endpoints_that_stay(loop: VirtualLoop) -> None:
    """Whatever else changes about them; what is written twice is one endpoint, by its first line."""
    published: list[Sequence[Endpoint]] = []
    registry = StaticRegistry([Written("10.0.0.1", 80), Written("10.0.0.2", 80)], published.append)
    registry.publish()
    registry.write([Written("10.0.0.2", 80, 5, "b"), Written("10.0.0.3", 80), Written("10.0.0.2", 80, 9)])
    (first, second), (stayed, new) = published
    assert stayed is second and first not in published[1]
    assert (stayed.weight, stayed.zone, new.label) == (5, "b", "10.0.0.3:80")
    registry.write([Written("10.0.0.2", 80, 5, "b"), Written("10.0.0.3", 80)])
    assert len(published) == 2, "nothing has changed"


def test_a_name_is_known_before_it_counts(loop: VirtualLoop) -> None:
    """``learn`` changes nothing that runs; when the new text counts, its names have addresses at once."""
    published: list[Sequence[Endpoint]] = []
    registry = StaticRegistry([Written("10.0.0.1", 80)], published.append, Names(fast=["10.0.0.7"]))
    registry.publish()
    new = [Written("fast", 80)]
    loop.run_until_complete(registry.learn(new))
    assert len(published) == 1
    registry.write(new)
    assert [endpoint.label for endpoint in published[1]] == ["10.0.0.7:80"]
    assert registry.complete


def test_a_service_that_moves_to_a_name_is_never_without_endpoints(
    loop: VirtualLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is resolved before the new configuration is taken over, and again and again from then on."""
    names = Names(slow=["10.0.0.3"], fast=["10.0.0.2"], new=["10.0.0.8"])
    sidecar = started(loop, names, monkeypatch)
    seen: list[Sequence[str]] = []
    publish = sidecar._publish

    def watched(name: str, endpoints: Sequence[Endpoint]) -> None:
        publish(name, endpoints)
        seen.append([endpoint.label for endpoint in endpoints])

    monkeypatch.setattr(sidecar, "_publish", watched)
    monkeypatch.setattr(sidecar.registries._static["payments"], "_publish", partial(watched, "payments"))
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(NAMED.replace("fast:9001", "new:9001") + '[services.billing]\nendpoints = ["fast:9001"]\n')
        file.flush()
        config = load(file.name)
    loop.run_until_complete(sidecar.reload(config))
    assert labels(sidecar, "payments") == ["10.0.0.8:9001"]
    assert labels(sidecar, "billing") == ["10.0.0.2:9001"]
    assert all(seen)
    names.known["new"] = ["10.0.0.9"]
    loop.run_until_complete(asyncio.sleep(REFRESH_SECONDS + 1))
    assert labels(sidecar, "payments") == ["10.0.0.9:9001"]
    loop.run_until_complete(sidecar.close())


def test_a_service_that_has_no_names_any_more_is_not_looked_up(
    loop: VirtualLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its task ends with its names."""
    names = Names(slow=["10.0.0.3"], fast=["10.0.0.2"])
    sidecar = started(loop, names, monkeypatch)
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(NAMED.replace("fast:9001", "10.0.0.2:9001"))
        file.flush()
        config = load(file.name)
    before = sidecar.assembly.services["payments"].endpoints[0]
    loop.run_until_complete(sidecar.reload(config))
    assert sidecar.assembly.services["payments"].endpoints[0] is before
    names.asked.clear()
    loop.run_until_complete(asyncio.sleep(2 * REFRESH_SECONDS))
    assert {host for _, host in names.asked} == {"slow"}
    loop.run_until_complete(sidecar.close())


def test_what_is_learned_ahead_takes_nothing_from_a_service_that_has_its_endpoints_from_elsewhere(
    loop: VirtualLoop,
) -> None:
    """A reload that gives a service of the registry host names may yet be refused."""
    endpoints = EndpointSet("payments")
    endpoints.update([Written("10.0.0.1", 80)])
    sets: list[Sequence[Endpoint]] = []
    registry = StaticRegistry((), sets.append, Names(shop=["10.0.0.2"]), endpoints)
    loop.run_until_complete(registry.learn([Written("shop", 80)]))
    assert sets == []
    registry.write([Written("shop", 80)])
    assert [one.label for one in sets[-1]] == ["10.0.0.2:80"]
