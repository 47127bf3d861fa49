"""Asking after somebody: what a series of answers comes to, how often is asked, and what a dependency's breaker spares."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from itertools import pairwise
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.clock import Clock, Random
from sidecar.health import application, dependencies, peers
from sidecar.health.application import Application
from sidecar.health.dependencies import Dependency
from sidecar.health.health import Health
from sidecar.health.http import among, http
from sidecar.health.monitor import Counts, Monitor
from sidecar.health.peers import FEW, Peers
from sidecar.health.settings import Application as ApplicationSettings
from sidecar.health.settings import Dependency as DependencySettings
from sidecar.health.settings import Peers as PeersSettings
from sidecar.health.settings import Settings
from sidecar.health.verdict import Verdict
from sidecar.http.head import Settings as HttpSettings
from sidecar.model import Dial, Endpoint
from sidecar.proxy.outbox import Outbox
from sidecar.proxy.pool import EndpointPool, Pools
from sidecar.resilience.standing import why
from sidecar.timing.wheel import Wheel
from tests.support.virtual import VirtualLoop
from tests.support.world import Peer


def clock_of(loop: VirtualLoop) -> Clock:
    return Clock(loop.time, lambda: 0.0)


# Verdicts


def test_it_takes_so_many_bad_answers_in_a_row_and_so_many_good_ones() -> None:
    """One in between begins the count anew."""
    verdict = Verdict(unhealthy_after=3, healthy_after=2, well=True)
    said = [verdict.hear(reason) for reason in ["a", "b", "", "a", "b", "c"]]
    assert said == [False, False, False, False, False, True]
    assert (verdict.well, verdict.reason) == (False, "c")
    assert verdict.hear("d") and verdict.reason == "d"
    assert [verdict.hear("") for _ in range(2)] == [False, True]
    assert (verdict.well, verdict.reason) == (True, "")


@pytest.mark.parametrize(("first", "well"), [("", True), ("down", False)])
def test_the_first_answer_of_all_decides_alone(first: str, well: bool) -> None:
    """There is nothing else to go by."""
    verdict = Verdict(3, 3)
    assert verdict.well is None
    assert verdict.hear(first)
    assert verdict.well is well


@given(st.integers(1, 5), st.integers(1, 5), st.lists(st.booleans()))
def test_a_verdict_changes_only_after_a_whole_series_against_it(down: int, up: int, answers: list[bool]) -> None:
    """Held against the definition, answer by answer."""
    verdict = Verdict(down, up, well=True)
    well, history = True, []
    for good in answers:
        history.append(good)
        verdict.hear("" if good else "bad")
        needed = down if well else up
        if len(history) >= needed and all(one != well for one in history[-needed:]):
            well, history = not well, []
        elif good == well:
            history = []
        assert verdict.well is well


def test_statuses_are_single_or_ranges() -> None:
    """Both ends belong to a range."""
    well = among(["200-299", "404"])
    assert [status for status in range(100, 600) if well(status)] == [*range(200, 300), 404]


# Monitors


class Subject:
    """Somebody who is asked; notes when."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.reason = ""
        self.hangs = False
        self.asked: list[float] = []
        self.running = self.most = 0

    async def __call__(self) -> str:
        self.asked.append(self._loop.time())
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(3600 if self.hangs else 0.01)
        finally:
            self.running -= 1
        return self.reason


def monitored(
    loop: VirtualLoop, subject: Subject, told: Callable[[], None] = lambda: None, **options: Any
) -> tuple[Monitor, Verdict]:
    settings = Settings(interval=10.0, timeout=1.0)
    verdict = Verdict(settings.unhealthy_after, settings.healthy_after)
    return Monitor(loop, clock_of(loop), Random(1), settings, subject, verdict, told, Counts(), **options), verdict


def test_a_subject_that_starts_is_found_well_a_moment_after_it_is(loop: VirtualLoop) -> None:
    """However long that takes, it is asked again within half of the time that it has taken so far."""

    async def story() -> None:
        subject = Subject(loop)
        subject.reason = "not yet"
        monitor, verdict = monitored(loop, subject, eager=True)
        monitor.start()
        began = loop.time()
        await asyncio.sleep(20)
        subject.reason = ""
        await asyncio.sleep(10.1)
        assert verdict.well
        gaps = [(later - began, later - earlier) for earlier, later in pairwise(subject.asked)]
        assert all(gap <= 0.2 + 0.5 * at for at, gap in gaps if at < 20)
        asked = len(subject.asked)
        await asyncio.sleep(100)
        assert len(subject.asked) - asked in (9, 10)
        monitor.close()

    loop.run_until_complete(story())


def test_no_answer_in_time_is_a_bad_one_and_is_given_up(loop: VirtualLoop) -> None:
    """It says for how long was waited; nothing is left behind."""

    async def story() -> None:
        subject = Subject(loop)
        subject.hangs = True
        monitor, verdict = monitored(loop, subject, eager=True)
        monitor.start()
        await asyncio.sleep(1.5)
        assert (verdict.well, verdict.reason) == (False, "gives no answer within 1 s")
        await asyncio.sleep(60)
        assert subject.most == 1 and monitor.latency == pytest.approx(1.0)
        monitor.close()

    loop.run_until_complete(story())


def test_a_check_that_is_itself_wrong_is_a_bad_answer(loop: VirtualLoop, caplog: pytest.LogCaptureFixture) -> None:
    """And the asking goes on."""

    async def broken() -> str:
        raise RuntimeError("a bug")

    async def story() -> None:
        monitor, verdict = monitored(loop, broken, eager=True)  # type: ignore[arg-type]
        monitor.start()
        await asyncio.sleep(30)
        assert verdict.reason == "the check itself failed; the log tells more"
        assert caplog.text.count("a bug in a health check") > 3
        monitor.close()

    loop.run_until_complete(story())


def test_told_is_what_has_changed_and_nothing_else(loop: VirtualLoop) -> None:
    """Ill, for another reason, well."""

    async def story() -> None:
        subject = Subject(loop)
        told: list[str] = []
        monitor, verdict = monitored(loop, subject, lambda: told.append(verdict.reason))
        monitor.start()
        for reason in ("", "a", "b", ""):
            subject.reason = reason
            await asyncio.sleep(60)
        assert told == ["", "a", "b", ""]
        monitor.close()

    loop.run_until_complete(story())


# Peers


@pytest.fixture
def subjects(monkeypatch: pytest.MonkeyPatch, loop: VirtualLoop) -> dict[tuple[str, int], Subject]:
    """Whoever is asked after, by place; made when first asked for."""
    known: dict[tuple[str, int], Subject] = {}

    def new_probe(loop_: Any, pool: Any, settings: Any, host: str, port: int) -> Subject:
        return known.setdefault((host, port), Subject(loop))

    for module in (application, peers, dependencies):
        monkeypatch.setattr(module, "new_probe", new_probe)
    return known


def endpoints(count: int) -> list[Endpoint]:
    return [Endpoint(f"10.{number >> 8}.{number & 255}.1", 80, service="orders") for number in range(count)]


def test_an_endpoint_that_fails_its_checks_is_ill_until_it_passes_them(
    loop: VirtualLoop, subjects: dict[tuple[str, int], Subject]
) -> None:
    """Three in a row, and two to be back; it is told whose it is, and the reason stands at the endpoint."""

    async def story() -> None:
        changed: list[str] = []
        listed = endpoints(2)
        followed = Peers(loop, clock_of(loop), Random(1), None, changed.append)  # type: ignore[arg-type]
        followed.follow("orders", PeersSettings(port=15020), listed)
        followed.start()
        assert set(subjects) == {(one.host, 15020) for one in listed}
        subjects[listed[0].host, 15020].reason = "answers 503"
        await asyncio.sleep(17)
        assert not why(listed[0])
        await asyncio.sleep(17)
        assert (why(listed[0]), why(listed[1])) == ("our check: answers 503", "")
        subjects[listed[0].host, 15020].reason = ""
        await asyncio.sleep(24)
        assert not why(listed[0])
        assert changed == ["orders", "orders"]
        followed.close()

    loop.run_until_complete(story())


def test_who_is_listed_no_more_is_asked_no_more(loop: VirtualLoop, subjects: dict[tuple[str, int], Subject]) -> None:
    """And a new one counts as well from its first moment on."""

    async def story() -> None:
        old, new = endpoints(2)
        followed = Peers(loop, clock_of(loop), Random(1), None, lambda name: None)  # type: ignore[arg-type]
        followed.follow("orders", PeersSettings(), [old])
        followed.start()
        await asyncio.sleep(20)
        followed.follow("orders", PeersSettings(), [new])
        asked = len(subjects[old.host, 80].asked)
        await asyncio.sleep(40)
        assert len(subjects[old.host, 80].asked) == asked
        assert subjects[new.host, 80].asked
        followed.close()

    loop.run_until_complete(story())


def test_checks_that_are_switched_off_leave_no_verdict(
    loop: VirtualLoop, subjects: dict[tuple[str, int], Subject]
) -> None:
    """Who was held ill by them is well again, since nobody says otherwise; other settings begin anew."""

    async def story() -> None:
        listed = endpoints(1)
        followed = Peers(loop, clock_of(loop), Random(1), None, lambda name: None)  # type: ignore[arg-type]
        followed.follow("orders", PeersSettings(), listed)
        followed.start()
        subjects[listed[0].host, 80].reason = "down"
        await asyncio.sleep(60)
        assert why(listed[0])
        followed.follow("orders", PeersSettings(unhealthy_after=100), listed)
        assert not why(listed[0])
        await asyncio.sleep(60)
        assert not why(listed[0])
        followed.follow("orders", None, listed)
        assert followed.followed() == set()
        followed.close()

    loop.run_until_complete(story())


def test_ten_thousand_endpoints_are_asked_a_few_at_a_time(
    loop: VirtualLoop, subjects: dict[tuple[str, int], Subject]
) -> None:
    """Spread over the interval, and all of them within it."""

    async def story() -> None:
        listed = endpoints(10_000)
        followed = Peers(loop, clock_of(loop), Random(1), None, lambda name: None)  # type: ignore[arg-type]
        followed.follow("orders", PeersSettings(), listed)
        followed.start()
        began = loop.time()
        while not all(subject.asked for subject in subjects.values()):
            await asyncio.sleep(0.1)
        assert 9.0 <= loop.time() - began <= 12.0
        moments = sorted(at for subject in subjects.values() for at in subject.asked[:1])
        assert max(sum(at <= one < at + 0.5 for one in moments) for at in moments[::500]) < 1000
        assert sum(subject.most for subject in subjects.values()) == 10_000
        assert FEW == 64
        followed.close()

    loop.run_until_complete(story())


# Connections


def test_questions_leave_nothing_behind(loop: VirtualLoop) -> None:
    """Neither a connection that stands only when nobody waits any more, nor a pool: peers come and go."""

    class Dialer:
        dialing: EndpointPool | None = None

        def dial(self, pool: EndpointPool, endpoint: Endpoint, settings: Dial) -> None:
            self.dialing = pool

        def accept(self) -> Peer:
            assert self.dialing is not None
            peer = Peer()
            peer.protocol = connection = self.dialing.new_connection()
            connection.connection_made(cast(asyncio.Transport, peer))
            self.dialing.dialed(connection)
            return peer

    async def story() -> None:
        dialer = Dialer()
        pools = Pools(Wheel(), clock_of(loop), HttpSettings(), dialer, lambda name: None, Outbox(loop.call_soon))
        probe = http(pools, "10.0.0.1", 80, "/", among(["200-399"]), 1.0)

        async def asked() -> asyncio.Task[str]:
            task = asyncio.ensure_future(probe())
            await asyncio.sleep(0)
            return cast("asyncio.Task[str]", task)

        task = await asked()
        peer = dialer.accept()
        assert peer.received.startswith(b"GET / HTTP/1.1\r\nhost: 10.0.0.1:80\r\n")
        peer.send(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
        assert await task == ""
        assert peer.over
        peer.lose()
        task = await asked()
        task.cancel()
        await asyncio.wait([task])
        late = dialer.accept()
        assert late.aborted and not late.received
        late.lose()
        pool = dialer.dialing
        assert pool is not None and not (pool.open or pool.idle or pool.connecting or pool.waiters)
        assert not pools._pools

    loop.run_until_complete(story())


# Dependencies


def test_a_dependency_that_is_down_is_left_alone_by_its_breaker_and_found_again(
    loop: VirtualLoop, subjects: dict[tuple[str, int], Subject], caplog: pytest.LogCaptureFixture
) -> None:
    """After three failures it is asked once in thirty seconds; the first success ends that."""
    caplog.set_level(logging.INFO)

    async def story() -> None:
        told: list[bool | None] = []
        settings = DependencySettings(address="db:5432", interval=2.0)
        database = Dependency(
            "database", settings, loop, clock_of(loop), Random(1), None,  # type: ignore[arg-type]
            lambda one: told.append(one.verdict.well),
        )  # fmt: skip
        subject = subjects["db", 5432]
        assert database.gate() == (False, "database has not been asked yet")
        database.monitor.start()
        await asyncio.sleep(5)
        assert database.gate() == (True, "database is well")
        subject.reason = "takes no connections: refused"
        await asyncio.sleep(20)
        assert database.gate() == (False, "takes no connections: refused")
        asked = len(subject.asked)
        await asyncio.sleep(120)
        assert len(subject.asked) - asked in (3, 4)
        assert database.counts.good + database.counts.bad == len(subject.asked)
        assert database.monitor.latency == pytest.approx(0.01)
        since = database.since
        subject.reason = ""
        await asyncio.sleep(35)
        assert database.gate()[0] and database.since > since
        assert told == [True, False, True]
        database.monitor.close()

    loop.run_until_complete(story())


def dependency(loop: VirtualLoop) -> Dependency:
    """A database at db:5432 as it is by default."""
    settings = DependencySettings(address="db:5432")
    return Dependency(
        "database", settings, loop, clock_of(loop), Random(1), None, lambda one: None  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_dependency_that_starts_after_us_is_found_a_moment_after_it_has(
    loop: VirtualLoop, subjects: dict[tuple[str, int], Subject]
) -> None:
    """Its breaker counts nothing before it has been well or has had its time to start."""

    async def story() -> None:
        database = dependency(loop)
        subjects["db", 5432].reason = "not yet"
        database.monitor.start()
        await asyncio.sleep(6)
        subjects["db", 5432].reason = ""
        await asyncio.sleep(4)
        assert database.gate()[0]
        database.monitor.close()

    loop.run_until_complete(story())


def test_a_dependency_that_never_starts_is_left_alone_in_the_end(
    loop: VirtualLoop, subjects: dict[tuple[str, int], Subject]
) -> None:
    """By its breaker, as one that was well before."""

    async def story() -> None:
        database = dependency(loop)
        subjects["db", 5432].reason = "refused"
        database.monitor.start()
        await asyncio.sleep(120)
        assert database.breaker is not None and database.breaker.state == 2
        database.monitor.close()

    loop.run_until_complete(story())


def test_a_dependency_that_hangs_is_a_failure_for_its_breaker(
    loop: VirtualLoop, subjects: dict[tuple[str, int], Subject]
) -> None:
    """Its check is broken off from outside."""

    async def story() -> None:
        settings = DependencySettings(address="[fd00::1]:5432", interval=2.0)
        database = Dependency(
            "database", settings, loop, clock_of(loop), Random(1), None, lambda one: None  # type: ignore[arg-type]
        )  # fmt: skip
        subjects["fd00::1", 5432].hangs = True
        database.monitor.start()
        await asyncio.sleep(30)
        assert database.breaker is not None and database.breaker.state == 2
        assert database.verdict.reason == "gives no answer within 1 s"
        database.monitor.close()

    loop.run_until_complete(story())


# All together


def health(loop: VirtualLoop, registration: Callable[[], None] = lambda: None) -> Health:
    return Health(loop, clock_of(loop), Random(1), None, lambda name: None, registration)  # type: ignore[arg-type]


def test_an_application_of_which_nothing_is_said_gates_no_readiness(loop: VirtualLoop) -> None:
    """It is asked for the registry's sake alone; one that is configured gates it, and "none" is never ill."""
    ours = health(loop)
    ours.follow_application(None, True, ("127.0.0.1", 1))
    assert ours.trouble == "the application has not answered yet" and not ours.gates()
    ours.follow_application(ApplicationSettings(kind="tcp"), True, ("127.0.0.1", 1))
    assert set(ours.gates()) == {"application"}
    ours.follow_application(ApplicationSettings(kind="none"), True, ("127.0.0.1", 1))
    assert not ours.trouble and not ours.gates()
    ours.follow_application(None, False, ("127.0.0.1", 1))
    assert ours.application is None
    ours.close()


def test_a_reload_keeps_whatever_is_as_it_was(loop: VirtualLoop, subjects: dict[tuple[str, int], Subject]) -> None:
    """Same settings, same object, same verdict; others begin anew, and those that are gone end."""
    ours = health(loop)
    settings = ApplicationSettings(kind="tcp")
    ours.follow_application(settings, False, ("127.0.0.1", 1))
    before = ours.application
    ours.follow_application(ApplicationSettings(kind="tcp"), False, ("127.0.0.1", 1))
    assert ours.application is before
    ours.follow_application(settings, False, ("127.0.0.1", 2))
    assert isinstance(ours.application, Application) and ours.application is not before
    one, other = DependencySettings(address="a:1"), DependencySettings(address="b:1", gates=True)
    ours.follow_dependencies({"one": one, "other": other})
    kept = ours.dependencies["one"]
    assert set(ours.gates()) == {"application", "dependency other"}
    ours.follow_dependencies({"one": DependencySettings(address="a:1"), "other": one})
    assert ours.dependencies["one"] is kept and ours.dependencies["other"].settings is one
    assert set(ours.gates()) == {"application"}
    ours.close()


@pytest.mark.parametrize("ill", ["", "takes no connections: refused"])
def test_who_is_asked_in_another_way_is_held_to_be_what_it_was(
    loop: VirtualLoop, subjects: dict[tuple[str, int], Subject], monkeypatch: pytest.MonkeyPatch, ill: str
) -> None:
    """Until it says otherwise: a reload alone makes nobody unready. Somebody at another place is somebody else."""
    told: list[str] = []

    async def story() -> None:
        ours = health(loop, lambda: told.append(ours.trouble))
        place, database = ("127.0.0.1", 1), DependencySettings(address="db:1", gates=True)
        for known in (place, ("db", 1)):
            subjects[known] = Subject(loop)
            subjects[known].reason = ill
        ours.follow_application(ApplicationSettings(kind="tcp"), False, place)
        ours.follow_dependencies({"database": database})
        ours.start()
        await asyncio.sleep(8)
        before = {name: gate() for name, gate in ours.gates().items()}
        since, count = ours.dependencies["database"].since, len(told)
        assert [well for well, _ in before.values()] == [not ill, not ill]
        ours.follow_application(ApplicationSettings(kind="tcp", interval=2.0), False, place)
        ours.follow_dependencies({"database": msgspec.structs.replace(database, interval=3.0)})
        assert {name: gate() for name, gate in ours.gates().items()} == before
        await asyncio.sleep(8)
        assert {name: gate() for name, gate in ours.gates().items()} == before
        assert ours.dependencies["database"].since == since and len(told) == count
        ours.follow_application(ApplicationSettings(kind="tcp", interval=2.0), False, ("127.0.0.1", 2))
        ours.follow_dependencies({"database": msgspec.structs.replace(database, address="db:2")})
        assert ours.trouble == "the application has not answered yet"
        assert ours.gates()["dependency database"]() == (False, "database has not been asked yet")
        ours.close()

    loop.run_until_complete(story())
