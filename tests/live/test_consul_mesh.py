"""Three instances in a real Consul under load: what dies, comes back empty or drains costs nobody a call."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.support.callers import Callers
from tests.support.consul import Consul
from tests.support.live import Sidecar, Upstream, answering, until

OUTAGE_SECONDS = 60.0
DRAIN = '[drain]\ndelay = "3s"\ngrace = "3s"\n'


@dataclass
class Instance:
    """A sidecar with its application, which answers with a name."""

    name: bytes
    sidecar: Sidecar


def answer(name: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(name), name)


class Mesh:
    """The agent, three instances of ``shop``, and the sidecar of their caller."""

    def __init__(self, stack: ExitStack) -> None:
        self.consul = stack.enter_context(Consul())
        self.instances = [self._instance(stack, name) for name in (b"one", b"two", b"three")]
        self.caller = stack.enter_context(Sidecar(self.consul.toml()))
        until(lambda: self.consul.passing("shop") == 3, "three instances are registered")

    def _instance(self, stack: ExitStack, name: bytes) -> Instance:
        app = stack.enter_context(Upstream(answering(answer(name))))
        return Instance(name, stack.enter_context(Sidecar(self.consul.toml(DRAIN), app=app.address)))

    def calls(self, rate: int = 300) -> Callers:
        return Callers(self.caller.ports["outbound"], "shop", rate)


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    with ExitStack() as stack:
        yield Mesh(stack)


def test_calls_spread_and_an_instance_that_is_killed_costs_none_of_them(mesh: Mesh) -> None:
    """300 a second: kill -9 of one of three. It has its last call at once, and in Consul it is critical in time."""
    with mesh.calls() as callers:
        callers.more(600)
        shares = Counter(body for _, _, body in callers.answers)
        assert set(shares) == {b"one", b"two", b"three"} and min(shares.values()) > 150
        victim = mesh.instances[0]
        victim.sidecar.signal(signal.SIGKILL)
        victim.sidecar.process.wait()
        killed = time.monotonic()
        callers.more(1200)
        assert max(at for at, _, body in callers.answers if body == victim.name) < killed + 2.0
        until(lambda: mesh.consul.passing("shop") == 2, "Consul has noticed", 20)
        callers.more(300)
    assert callers.failed() == []
    assert callers.since(killed + 2.0) == {b"two", b"three"}


def test_a_minute_without_the_registry_costs_nothing_and_an_empty_one_is_full_within_ten_seconds(mesh: Mesh) -> None:
    """kill -9 of Consul under load; then it is started without its data."""
    with mesh.calls() as callers:
        callers.more(300)
        mesh.consul.kill()
        end = time.monotonic() + OUTAGE_SECONDS
        until(lambda: time.monotonic() >= end, "a minute has passed", OUTAGE_SECONDS + 1)
        assert callers.since(end - 5.0) == {b"one", b"two", b"three"}
        assert mesh.caller.metric("sidecar_registry_stale_seconds") > OUTAGE_SECONDS - 5.0
        mesh.consul.start()
        until(lambda: mesh.consul.passing("shop") == 3, "all are registered again", 10)
        until(lambda: mesh.caller.metric("sidecar_registry_stale_seconds") == 0, "the caller knows", 12)
        callers.more(300)
    assert callers.failed() == []
    assert len(callers.answers) > 0.9 * 300 * OUTAGE_SECONDS
    assert mesh.caller.metric("sidecar_endpoints", service="shop", state="available") == 3


def test_an_instance_that_drains_gets_no_call_once_others_have_heard(mesh: Mesh) -> None:
    """SIGTERM: out of Consul first, and still serving whoever comes; nothing fails, and it ends in order."""
    with mesh.calls() as callers:
        callers.more(300)
        leaver = mesh.instances[2]
        leaver.sidecar.signal(signal.SIGTERM)
        told = time.monotonic()
        until(lambda: mesh.consul.passing("shop") == 2, "it has deregistered", 2)
        until(lambda: mesh.caller.metric("sidecar_endpoints", service="shop", state="available") == 2, "it is known", 2)
        heard = time.monotonic()
        callers.more(600)
        assert leaver.sidecar.exit_code() == 0
        assert callers.since(heard + 0.1) == {b"one", b"two"}
    assert heard - told < 2.0
    assert callers.failed() == []
