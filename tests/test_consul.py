"""The Consul registry without a Consul: what it makes of answers, when it asks, and how it keeps its entry, in virtual time."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.clock import Clock, Random
from sidecar.discovery.consul.agent import Reading, Trouble, Unknown, token_of
from sidecar.discovery.consul.instances import MOST, Parsed
from sidecar.discovery.consul.instances import parse as in_slices
from sidecar.discovery.consul.outage import Outage
from sidecar.discovery.consul.registration import Registration, check_of, definition, id_of
from sidecar.discovery.consul.registry import Agents
from sidecar.discovery.consul.settings import Settings
from sidecar.discovery.consul.watch import LONG_SECONDS, TURN_SECONDS, Watches
from sidecar.discovery.source import Instance
from tests.support.virtual import VirtualLoop


def entry(port: object = 80, status: str = "passing", **more: Any) -> dict[str, Any]:
    """An element of what ``/v1/health/service`` answers."""
    checks = more.pop("checks", [{"CheckID": "c", "Name": "ttl", "Status": status, "Output": "disk full\nsecond line"}])
    service = {"ID": f"orders-{port}", "Address": "10.0.0.1", "Port": port, "Weights": {"Passing": 1, "Warning": 1}}
    return {"Node": {"Address": "10.9.9.9"}, "Service": service | more, "Checks": checks}


def body(*entries: object) -> bytes:
    return json.dumps(entries).encode()


def parse(service: str, said: bytes) -> Parsed:
    """All of it at once."""
    parsing = in_slices(service, said)
    try:
        while True:
            next(parsing)
    except StopIteration as end:
        return end.value


def only(*entries: object) -> Instance:
    (instance,) = parse("orders", body(*entries)).instances
    return instance


# What is made of an answer


def test_an_instance_is_what_its_registration_says() -> None:
    """Address, port, weight; zone and version from its meta; nothing else of that is kept."""
    found = only(entry(8080, Meta={"zone": "a", "version": "2", "team": "x"}, Weights={"Passing": 7, "Warning": 2}))
    assert found == Instance(
        service="orders", host="10.0.0.1", port=8080, weight=7, zone="a", version="2", id="orders-8080"
    )


def test_without_an_address_of_its_own_it_is_at_its_node_s() -> None:
    """As Consul means it."""
    assert only(entry(Address="")).host == "10.9.9.9"


def test_a_critical_instance_is_in_trouble_and_says_which() -> None:
    """The check and the first line of its output, printable and short."""
    assert only(entry(status="critical")).trouble == "ttl: disk full"
    checks = [{"Status": "critical", "Name": "a\x1b[31m", "Output": "x" * 5000}]
    trouble = only(entry(checks=checks)).trouble
    assert "\x1b" not in trouble and len(trouble) <= 200


def test_a_warning_changes_the_weight_and_nothing_else() -> None:
    """A registration says what it is worth then."""
    found = only(entry(status="warning", Weights={"Passing": 10, "Warning": 3}))
    assert (found.weight, found.trouble) == (3, "")


def test_who_wants_no_calls_gets_none_in_a_warning_either() -> None:
    """The weight of warning is 1 in every registration, and more than 0."""
    assert only(entry(status="warning", Meta={"weight": "0"}, Weights={"Passing": 1, "Warning": 1})).weight == 0
    assert only(entry(status="warning", Meta={"weight": "90000"}, Weights={"Passing": 65535, "Warning": 1})).weight == 1


@pytest.mark.parametrize("check", ["_node_maintenance", "_service_maintenance:orders-80"])
def test_who_is_in_maintenance_is_not_listed(check: str) -> None:
    """Somebody has taken it out on purpose: panic must not bring it back."""
    checks = [{"CheckID": check, "Status": "critical"}]
    assert not parse("orders", body(entry(checks=checks))).instances


@pytest.mark.parametrize(("written", "weight"), [("0", 0), ("100000", 100000), ("-1", 5), ("many", 5), ("99999999", 5)])
def test_a_weight_that_consul_cannot_hold_is_in_the_meta(written: str, weight: int) -> None:
    """What makes no sense there is ignored."""
    assert only(entry(Meta={"weight": written}, Weights={"Passing": 5, "Warning": 1})).weight == weight


@pytest.mark.parametrize(
    "odd",
    [
        entry(0), entry(-1), entry(65536), entry("80"), entry(None), entry(Address="a b"), entry(Address="x" * 300),
        entry(Meta=[1]), entry(Weights={"Passing": -1}), entry(Weights={"Passing": 10**30}), entry(checks=[7]), {}, 7,
        None, "x", [], {"Service": None}, {"Service": {}},
    ],
)  # fmt: skip
def test_an_entry_that_makes_no_sense_does_not_take_the_others_with_it(odd: object) -> None:
    """It is left out, and somebody is told why."""
    parsed = parse("orders", body(entry(1), odd, entry(2)))
    assert [one.port for one in parsed.instances] == [1, 2]
    assert parsed.odd


@pytest.mark.parametrize(
    "said", [b"", b"{}", b"null", b"<html>", b"[{]", b'[{"Service": ', b"\xff\xfe", b"[" * 100_000, b'"x"', b"nan"]
)
def test_what_is_no_list_is_refused_whole(said: bytes) -> None:
    """Half an answer is none."""
    with pytest.raises(ValueError):
        parse("orders", said)


def test_a_list_of_nothing_but_commas_is_refused_before_it_is_taken_apart() -> None:
    """Each element would cost thirty times its bytes."""
    with pytest.raises(ValueError, match="far too many parts"):
        parse("orders", b"[" + b"0," * 3_000_000 + b"0]")


def test_of_too_many_instances_the_first_are_read_and_that_is_told() -> None:
    """Nobody should wonder where the others are."""
    said = b"[" + b",".join([body(entry(1))[1:-1]] * (MOST + 5)) + b"]"
    parsed = parse("orders", said)
    assert len(parsed.instances) == MOST
    assert parsed.odd == "there are 20,005 of them, and only the first 20,000 are read"


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(
    st.sampled_from(["Service", "Node", "Checks", "Port", "Address", "Meta", "Status", "ID"]), inner)))  # fmt: skip
def test_whatever_it_says_instances_come_out_or_a_refusal(said: object) -> None:
    """Nothing that a registry says is any other exception."""
    try:
        parsed = parse("orders", json.dumps(said).encode())
    except ValueError:
        return
    assert all(1 <= one.port <= 65535 for one in parsed.instances)


# The registration


def test_a_registration_says_all_that_consul_can_hold() -> None:
    """A restart has the same id; whoever cannot be told by Consul's own fields is told by meta."""
    instance = Instance(
        service="orders", host="10.0.0.1", port=80, weight=0, zone="a", version="2", tags=("v1",), meta={"team": "x"}
    )
    said = definition(instance, Settings())
    assert said["service_id"] == "orders-10.0.0.1-80"
    assert said["meta"] == {"team": "x", "zone": "a", "version": "2", "weight": "0"}
    assert said["weights"] == {"Passing": 1, "Warning": 1}
    assert said["check"]["TTL"] == "15s" and said["check"]["DeregisterCriticalServiceAfter"] == "60s"
    assert said["check"]["Status"] == "passing"


@pytest.mark.parametrize(
    "meta", [{"a b": "x"}, {"": "x"}, {"consul-x": "y"}, {"k": "v" * 513}, {f"k{n}": "" for n in range(65)}]
)
def test_what_consul_would_refuse_is_refused_at_once(meta: dict[str, str]) -> None:
    """In words, and before anybody is asked."""
    with pytest.raises(ValueError, match="Consul takes"):
        definition(Instance(service="orders", host="10.0.0.1", port=80, meta=meta), Settings())


def test_a_weight_in_the_meta_that_is_not_ours_is_refused() -> None:
    """Others would go by it."""
    with pytest.raises(ValueError, match=r"service\.weight"):
        definition(Instance(service="orders", host="10.0.0.1", port=80, meta={"weight": "0"}), Settings())


class FakeAgent:
    """An agent that does what the test says: it may be down, or forget everything."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.entries: dict[str, str] = {}
        """The trouble of each registered check."""
        self.down = False
        self.mute = False
        """It does what it is told, and its answer is lost."""
        self.said: list[tuple[float, str]] = []

    def _say(self, what: str) -> None:
        self.said.append((self._loop.time(), what))
        if self.down:
            raise Trouble("the agent is down")

    async def register(self, said: Any) -> None:
        self._say("register")
        self.entries.setdefault(said["check"]["CheckID"], "initial")
        if self.mute:
            raise Trouble("the agent does not answer within 5 s")

    async def deregister(self, service_id: str) -> None:
        self._say("deregister")
        self.entries.pop(f"service:{service_id}", None)

    async def alive(self, check_id: str, trouble: str) -> None:
        self._say("fail" if trouble else "pass")
        if check_id not in self.entries:
            raise Unknown("no such check")
        self.entries[check_id] = trouble

    def count(self, what: str) -> int:
        return sum(said == what for _, said in self.said)


ORDERS = Instance(service="orders", host="10.0.0.1", port=80)


def registration(loop: VirtualLoop, settings: Settings | None = None) -> tuple[Registration, FakeAgent]:
    agent = FakeAgent(loop)
    return Registration(loop, Clock(loop.time, lambda: 0.0), Random(1), agent, settings or Settings()), agent  # type: ignore[arg-type]


def test_an_entry_is_kept_alive_three_times_in_its_time_to_live(loop: VirtualLoop) -> None:
    """One sign of life may be lost."""

    async def story() -> None:
        ours, agent = registration(loop)
        ours.want(ORDERS)
        await ours.start()
        assert ours.registered and agent.entries == {check_of(ORDERS): ""}
        await asyncio.sleep(60.5)
        assert 12 <= agent.count("pass") <= 14
        await ours.close()
        assert agent.entries == {}

    loop.run_until_complete(story())


def test_health_travels_by_the_check_and_at_once(loop: VirtualLoop) -> None:
    """An application that falls ill fails it, in words; nothing is registered anew."""

    async def story() -> None:
        ours, agent = registration(loop)
        ours.want(ORDERS)
        await ours.start()
        ours.want(Instance(service="orders", host="10.0.0.1", port=80, trouble="answers 503"))
        await asyncio.sleep(0.01)
        assert agent.entries == {check_of(ORDERS): "answers 503"}
        await asyncio.sleep(30)
        assert agent.entries == {check_of(ORDERS): "answers 503"}
        ours.want(ORDERS)
        await asyncio.sleep(0.01)
        assert agent.entries == {check_of(ORDERS): ""}
        assert agent.count("register") == 1
        await ours.close()

    loop.run_until_complete(story())


def test_an_agent_that_forgot_us_is_told_again_within_a_beat(loop: VirtualLoop) -> None:
    """It came back empty: it does not know the check that we pass."""

    async def story() -> None:
        ours, agent = registration(loop)
        ours.want(ORDERS)
        await ours.start()
        agent.entries.clear()
        await asyncio.sleep(5.1)
        assert agent.entries == {check_of(ORDERS): ""}
        await ours.close()

    loop.run_until_complete(story())


def test_an_agent_that_is_down_is_tried_at_most_five_seconds_apart(loop: VirtualLoop) -> None:
    """And when it is back and empty, others find us again within ten."""

    async def story() -> None:
        ours, agent = registration(loop)
        ours.want(ORDERS)
        await ours.start()
        agent.down = True
        await asyncio.sleep(3600)
        assert ours.trouble
        tried = [at for at, _ in agent.said][5:]
        assert max(later - earlier for earlier, later in pairwise(tried)) <= 5.0
        agent.entries.clear()
        agent.down = False
        await asyncio.sleep(5.1)
        assert agent.entries == {check_of(ORDERS): ""} and not ours.trouble
        await ours.close()

    loop.run_until_complete(story())


def test_an_entry_whose_answer_was_lost_is_taken_back_all_the_same(loop: VirtualLoop) -> None:
    """Whoever drains must not stay where others find it because the agent was slow; nor under a former address."""

    async def story() -> None:
        ours, agent = registration(loop)
        agent.mute = True
        ours.want(ORDERS)
        await ours.start()
        assert agent.entries and not ours.registered
        moved = Instance(service="orders", host="10.0.0.1", port=81)
        ours.want(moved)
        await asyncio.sleep(0.01)
        assert agent.entries.keys() == {check_of(moved)}
        await ours.withdraw()
        assert agent.entries == {}
        await ours.close()

    loop.run_until_complete(story())


def test_a_withdrawal_that_nobody_waits_for_any_longer_is_made_up_for(loop: VirtualLoop) -> None:
    """The drain has other things to do; the agent is told as soon as it can be."""

    async def story() -> None:
        ours, agent = registration(loop)
        ours.want(ORDERS)
        await ours.start()
        agent.down = True
        await ours.withdraw()
        agent.down = False
        await asyncio.sleep(1.0)
        assert agent.entries == {}
        await ours.close()

    loop.run_until_complete(story())


def test_a_long_time_to_live_does_not_keep_us_away_from_an_empty_agent(loop: VirtualLoop) -> None:
    """That it has forgotten us is found out by a sign of life."""

    async def story() -> None:
        ours, agent = registration(loop, Settings(ttl=3600.0))
        ours.want(ORDERS)
        await ours.start()
        agent.entries.clear()
        await asyncio.sleep(5.1)
        assert agent.entries == {check_of(ORDERS): ""}
        await ours.close()

    loop.run_until_complete(story())


def test_trouble_in_registering_that_lasts_is_told_once_a_minute(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever looks at the log of today must find it."""

    async def story() -> None:
        ours, agent = registration(loop)
        agent.down = True
        ours.want(ORDERS)
        await ours.start()
        await asyncio.sleep(600)
        agent.down = False
        await asyncio.sleep(6)
        await ours.close()

    loop.run_until_complete(story())
    assert 9 <= caplog.text.count("cannot register: the agent is down; trying again") <= 11


def test_another_address_replaces_the_entry_and_another_weight_changes_it(loop: VirtualLoop) -> None:
    """Nobody is left behind under the old id."""

    async def story() -> None:
        ours, agent = registration(loop)
        ours.want(ORDERS)
        await ours.start()
        moved = Instance(service="orders", host="10.0.0.1", port=81, weight=3)
        ours.want(moved)
        await asyncio.sleep(0.01)
        assert agent.entries == {check_of(moved): ""}
        ours.want(Instance(service="orders", host="10.0.0.1", port=81, weight=4))
        await asyncio.sleep(0.01)
        assert (agent.count("register"), agent.count("deregister")) == (3, 1)
        await ours.close()

    loop.run_until_complete(story())


def test_a_withdrawal_that_fails_is_told_and_holds_nobody_up(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    """The time to live does the rest."""

    async def story() -> None:
        ours, agent = registration(loop)
        ours.want(ORDERS)
        await ours.start()
        agent.down = True
        await ours.withdraw()
        assert "cannot deregister" in caplog.text
        await ours.close()

    loop.run_until_complete(story())


def test_the_id_is_the_same_after_a_restart() -> None:
    """What a crash left behind is taken over."""
    assert id_of(ORDERS) == id_of(Instance(service="orders", host="10.0.0.1", port=80, trouble="x", weight=9))


# Watching


class FakeReader:
    """Answers blocking queries as Consul does: at once if there is news, else after the wait."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.index = 1
        self.bodies: dict[str, bytes] = {}
        self.asked: list[tuple[float, str, int, float]] = []
        self.open = self.most_open = 0
        self.news = asyncio.Event()
        self.trouble = ""

    async def instances(self, service: str, index: int, wait: float) -> Reading:
        self.asked.append((self._loop.time(), service, index, wait))
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            end = self._loop.time() + wait
            while index and index == self.index and self._loop.time() < end and not self.trouble:
                news = self.news
                try:
                    async with asyncio.timeout(end - self._loop.time()):
                        await news.wait()
                except TimeoutError:
                    break
            if self.trouble:
                raise Trouble(self.trouble)
            return Reading(self.index, self.bodies.get(service, b"[]"))
        finally:
            self.open -= 1

    async def reach(self) -> None:
        self.asked.append((self._loop.time(), "", 0, 0.0))
        await asyncio.sleep(0.001)
        if self.trouble:
            raise Trouble(self.trouble)

    def change(self, index: int | None = None, **bodies: bytes) -> None:
        self.bodies |= bodies
        self.index = self.index + 1 if index is None else index
        self.news.set()
        self.news = asyncio.Event()


class Followed:
    """Watches over a fake, and what they have told."""

    def __init__(self, loop: VirtualLoop, most: int = 100) -> None:
        self.reader = FakeReader(loop)
        clock = Clock(loop.time, lambda: 0.0)
        self.outage = Outage(loop, clock, Random(1), self.reader.reach)
        self.told: list[tuple[str, list[int]]] = []
        self.watches = Watches(loop, clock, Random(1), self.reader, self.outage, most, self._tell)

    def _tell(self, service: str, instances: Sequence[Instance]) -> None:
        self.told.append((service, [one.port for one in instances]))

    def close(self) -> None:
        self.watches.close()
        self.outage.close()


def test_a_service_is_told_at_once_and_whenever_it_has_changed(loop: VirtualLoop) -> None:
    """An answer that says the same again is no news; one open question is all it takes."""

    async def story() -> None:
        followed = Followed(loop)
        followed.reader.bodies["orders"] = body(entry(1))
        followed.watches.add("orders")
        await asyncio.sleep(0.1)
        assert followed.told == [("orders", [1])]
        await asyncio.sleep(600)
        followed.reader.change(orders=body(entry(1), entry(2)))
        await asyncio.sleep(0.1)
        followed.reader.change()  # Another service's news.
        await asyncio.sleep(0.1)
        assert followed.told == [("orders", [1]), ("orders", [1, 2])]
        assert len(followed.reader.asked) < 600 / LONG_SECONDS + 6
        followed.watches.remove("orders")
        followed.reader.change(orders=body())
        await asyncio.sleep(100)
        assert len(followed.told) == 2
        followed.close()

    loop.run_until_complete(story())


def test_an_index_that_goes_backwards_begins_anew(loop: VirtualLoop) -> None:
    """The registry was restored from a copy: its numbers mean something else now."""

    async def story() -> None:
        followed = Followed(loop)
        followed.reader.index = 500
        followed.watches.add("orders")
        await asyncio.sleep(1)
        followed.reader.change(index=3, orders=body(entry(7)))
        await asyncio.sleep(5)
        assert followed.told[-1] == ("orders", [7])
        assert [index for _, _, index, _ in followed.reader.asked] == [0, 500, 0, 3]
        followed.close()

    loop.run_until_complete(story())


def test_an_index_of_nothing_is_never_asked_for(loop: VirtualLoop) -> None:
    """It would be answered at once, for ever; about one question a second is asked then."""

    async def story() -> None:
        followed = Followed(loop)
        followed.reader.index = 0
        followed.watches.add("orders")
        await asyncio.sleep(60)
        assert {index for _, _, index, _ in followed.reader.asked} == {0}
        assert 55 <= len(followed.reader.asked) <= 65
        followed.close()

    loop.run_until_complete(story())


def test_news_without_end_are_asked_for_once_a_second(loop: VirtualLoop) -> None:
    """A service that flaps costs no more than that; the latest of it is told."""

    async def story() -> None:
        followed = Followed(loop)
        followed.watches.add("orders")
        for number in range(1000):
            await asyncio.sleep(0.05)
            followed.reader.change(orders=body(entry(number + 1)))
        assert len(followed.reader.asked) <= 50 + 8
        await asyncio.sleep(2)
        assert followed.told[-1] == ("orders", [1000])
        followed.close()

    loop.run_until_complete(story())


def test_a_thousand_services_take_turns_and_each_hears_of_news_soon(loop: VirtualLoop) -> None:
    """Never more questions are open than may be, and each service has its turn within the time that all turns take."""

    async def story() -> None:
        followed = Followed(loop, most=100)
        for number in range(1000):
            followed.reader.bodies[f"s{number}"] = body(entry(1))
            followed.watches.add(f"s{number}")
        await asyncio.sleep(2 * 1000 / 100 * TURN_SECONDS)
        assert len(followed.told) == 1000
        assert followed.reader.most_open <= 100 + 16
        began, asked = loop.time(), len(followed.reader.asked)
        followed.reader.index += 1  # Nobody is woken: it came while most had no question open.
        followed.reader.bodies["s7"] = body(entry(1), entry(2))
        await asyncio.sleep(1000 / 100 * TURN_SECONDS + 10)
        assert followed.told[-1] == ("s7", [1, 2])
        assert (len(followed.reader.asked) - asked) / (loop.time() - began) < 40
        followed.close()

    loop.run_until_complete(story())


def test_a_new_service_is_asked_for_at_once_however_many_are_followed(loop: VirtualLoop) -> None:
    """Somebody waits for it; and those that had a long question open give way within a turn."""

    async def story() -> None:
        followed = Followed(loop, most=10)
        for number in range(10):
            followed.watches.add(f"s{number}")
        await asyncio.sleep(30)
        followed.reader.bodies["new"] = body(entry(9))
        followed.watches.add("new")
        await asyncio.sleep(0.1)
        assert followed.told[-1] == ("new", [9])
        await asyncio.sleep(2 * TURN_SECONDS)
        assert any(service == "new" and index for _, service, index, _ in followed.reader.asked)
        followed.close()

    loop.run_until_complete(story())


def test_while_the_agent_is_down_one_asks_for_all_and_what_is_known_stays(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    """At most ten seconds apart, for an hour; a line in the log a minute. With its first answer everybody is followed again."""
    caplog.set_level(logging.INFO)

    async def story() -> None:
        followed = Followed(loop)
        for number in range(50):
            followed.reader.bodies[f"s{number}"] = body(entry(1))
            followed.watches.add(f"s{number}")
        await asyncio.sleep(1)
        followed.reader.trouble = "connection refused"
        followed.reader.change()
        await asyncio.sleep(1)
        asked = len(followed.reader.asked)
        await asyncio.sleep(3600)
        assert followed.outage.since is not None and followed.outage.trouble == "connection refused"
        assert len(followed.reader.asked) - asked < 3600 / 4
        assert len(followed.told) == 50
        followed.reader.trouble = ""
        followed.reader.bodies["s3"] = body(entry(1), entry(2))
        await asyncio.sleep(12)
        assert followed.told[50:] == [("s3", [1, 2])]
        assert followed.outage.since is None
        followed.close()

    loop.run_until_complete(story())
    assert 55 <= caplog.text.count("connection refused; keeping what is known") <= 62
    assert caplog.text.count("the registry answers again") == 1


def test_those_that_wait_for_a_place_do_not_run_into_the_same_trouble_one_by_one(loop: VirtualLoop) -> None:
    """Of a thousand services, as many find out that the agent is down as had a question open; and a start does not wait."""

    async def story() -> None:
        followed = Followed(loop, most=10)
        for number in range(1000):
            followed.watches.add(f"s{number}")
        await asyncio.sleep(60)
        asked = len(followed.reader.asked)
        followed.reader.trouble = "connection refused"
        followed.reader.change()
        await asyncio.sleep(60)
        assert sum(service != "" for _, service, _, _ in followed.reader.asked[asked:]) <= 10 + 16
        followed.close()

    loop.run_until_complete(story())


def test_a_start_with_many_services_does_not_wait_for_an_agent_that_is_down(loop: VirtualLoop) -> None:
    """The first trouble is the answer for all of them."""

    async def story() -> None:
        followed = Followed(loop)
        followed.reader.trouble = "connection refused"
        for number in range(100):
            followed.watches.add(f"s{number}")
        async with asyncio.timeout(3.0):
            await followed.watches.first_answers()
        assert sum(service != "" for _, service, _, _ in followed.reader.asked) <= 16
        followed.close()

    loop.run_until_complete(story())


def test_a_defect_in_asking_whether_it_is_back_does_not_end_the_asking(loop: VirtualLoop) -> None:
    """All services wait for that one question."""

    async def story() -> None:
        followed = Followed(loop)
        followed.watches.add("orders")
        await asyncio.sleep(1)
        defects = [RuntimeError("a defect")]
        whole = followed.reader.reach

        async def reach() -> None:
            if defects:
                raise defects.pop()
            await whole()

        followed.outage._reach = reach
        followed.reader.trouble = "connection refused"
        followed.reader.change()
        await asyncio.sleep(5)
        assert not defects
        followed.reader.trouble = ""
        followed.reader.bodies["orders"] = body(entry(3))
        await asyncio.sleep(30)
        assert followed.outage.since is None and followed.told[-1] == ("orders", [3])
        followed.close()

    loop.run_until_complete(story())


def test_an_answer_that_makes_no_sense_is_trouble_and_changes_nothing(loop: VirtualLoop) -> None:
    """HTML of a proxy in between, with status 200."""

    async def story() -> None:
        followed = Followed(loop)
        followed.reader.bodies["orders"] = body(entry(1))
        followed.watches.add("orders")
        await asyncio.sleep(1)
        followed.reader.change(orders=b"<html>")
        await asyncio.sleep(30)
        assert followed.told == [("orders", [1])]
        followed.reader.change(orders=body(entry(2)))
        await asyncio.sleep(30)
        assert followed.told[-1] == ("orders", [2])
        followed.close()

    loop.run_until_complete(story())


def test_a_service_that_alone_makes_no_sense_is_asked_for_ever_more_seldom(loop: VirtualLoop) -> None:
    """Once a minute in the end, and as ever after its first good answer; the others are followed meanwhile."""

    async def story() -> None:
        followed = Followed(loop)
        followed.reader.bodies["bad"] = b"<html>"
        followed.watches.add("bad")
        followed.watches.add("orders")
        await asyncio.sleep(600)
        asked = sum(service == "bad" for _, service, _, _ in followed.reader.asked)
        await asyncio.sleep(600)
        assert 9 <= sum(service == "bad" for _, service, _, _ in followed.reader.asked) - asked <= 11
        followed.reader.change(orders=body(entry(1)))
        await asyncio.sleep(5)
        assert followed.told[-1] == ("orders", [1])
        followed.reader.bodies["bad"] = body(entry(2))
        await asyncio.sleep(70)
        assert followed.told[-1] == ("bad", [2])
        followed.close()

    loop.run_until_complete(story())


def test_odd_instances_are_told_once_for_as_long_as_they_are_there(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    """And again if they come back."""

    async def story() -> None:
        followed = Followed(loop)
        followed.watches.add("orders")
        for odd in (True, True, False, True):
            followed.reader.change(orders=body(entry(1), *([entry(-1)] if odd else []), entry(len(followed.told) + 2)))
            await asyncio.sleep(5)
        followed.close()

    loop.run_until_complete(story())
    assert caplog.text.count("make no sense and are left out") == 2


def test_a_large_answer_is_read_in_turns_with_everybody_else(loop: VirtualLoop) -> None:
    """All of it arrives, and the loop has had other turns meanwhile."""

    async def story() -> None:
        followed = Followed(loop)
        followed.reader.bodies["orders"] = body(*(entry(port) for port in range(1, 2001)))
        followed.watches.add("orders")
        turns = 0
        while not followed.told:
            turns += 1
            await asyncio.sleep(0)
        assert turns > 2000 / 250
        ((_, ports),) = followed.told
        assert len(ports) == 2000
        followed.close()

    loop.run_until_complete(story())


def test_the_next_agent_is_asked_when_the_first_does_not_answer(loop: VirtualLoop) -> None:
    """The service is read from its beginning there; if none answers, all of their troubles are told."""

    async def story() -> None:
        first, second = FakeReader(loop), FakeReader(loop)
        second.bodies["orders"] = body(entry(5))
        agents = Agents(Clock(loop.time, lambda: 0.0), [first, second])  # type: ignore[list-item]
        first.trouble = "refused"
        reading = await agents.instances("orders", 7, 10.0)
        assert reading.body == second.bodies["orders"]
        second.trouble = "timeout"
        with pytest.raises(Trouble, match="refused; timeout"):
            await agents.instances("orders", 0, 0.0)
        first.trouble = ""
        await agents.reach()
        assert (await agents.instances("orders", 0, 0.0)).body == b"[]"

    loop.run_until_complete(story())


def test_the_first_agent_is_asked_again_when_it_is_back(loop: VirtualLoop) -> None:
    """It is the one beside us; tried once a minute, by one question."""

    async def story() -> None:
        first, second = FakeReader(loop), FakeReader(loop)
        agents = Agents(Clock(loop.time, lambda: 0.0), [first, second])  # type: ignore[list-item]
        first.trouble = "refused"
        await agents.instances("orders", 0, 0.0)
        first.trouble = ""
        first.asked.clear()
        await asyncio.sleep(30)
        await agents.instances("orders", 0, 0.0)
        assert not first.asked
        await asyncio.sleep(31)
        await agents.instances("orders", 0, 0.0)
        assert [service for _, service, _, _ in first.asked] == ["", "orders"]

    loop.run_until_complete(story())


def test_a_hundred_questions_that_fail_at_once_look_for_another_agent_once(loop: VirtualLoop) -> None:
    """Whether they find one or not."""

    async def story() -> None:
        first, second = FakeReader(loop), FakeReader(loop)
        agents = Agents(Clock(loop.time, lambda: 0.0), [first, second])  # type: ignore[list-item]
        for trouble in ("", "refused, too"):
            asking = [loop.create_task(agents.instances("orders", 1, 60.0)) for _ in range(100)]
            await asyncio.sleep(1)
            first.trouble, second.trouble = "refused", trouble
            first.change(index=1)
            second.change(index=1)
            await asyncio.sleep(1)
            second.change(index=2)
            found = await asyncio.gather(*asking, return_exceptions=True)
            assert all(isinstance(one, Trouble if trouble else Reading) for one in found)
            assert [service for _, service, _, _ in second.asked].count("") == 1
            second.asked.clear()
            second.index = 1

    loop.run_until_complete(story())


# The token


def test_a_token_is_read_again_when_its_file_has_changed(tmp_path: Path) -> None:
    """It rotates; a file that is missing is trouble, which names the file and no secret."""
    path = tmp_path / "token"
    token = token_of(str(path))
    with pytest.raises(Trouble, match=r"token in .* cannot be read: No such file"):
        token()
    path.write_text("first-secret\n")
    assert token() == "first-secret"
    new = tmp_path / "new"
    new.write_text("other-secret")
    new.rename(path)
    assert token() == "other-secret"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(Trouble, match="visible ASCII"):
        token()
    assert token_of(None)() is None


def test_the_defaults_are_those_of_the_documentation() -> None:
    """A time to live of 15 s and a minute until an entry is removed, Consul's least."""
    settings = Settings()
    assert (settings.ttl, settings.deregister_after, settings.watches) == (15.0, 60.0, 100)
    assert math.isclose(settings.ttl / 3, 5.0)
