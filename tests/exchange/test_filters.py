"""Filters stand before the endpoints: each says go on, answers itself, or takes its time."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from sidecar.filters import PAUSE, Reply, RequestView, Verdict
from tests.exchange.inside import all_given_back, watch, with_filters
from tests.exchange.steps import counted, heard, mesh, request, response
from tests.support.world import World


class Thinker:
    """A filter that pauses and keeps what it was shown."""

    def __init__(self) -> None:
        self.views: list[RequestView] = []

    def __call__(self, view: RequestView) -> Verdict:
        self.views.append(view)
        return PAUSE


def paused(*more: Any) -> tuple[World, Thinker]:
    thinker = Thinker()
    return with_filters(mesh(), thinker, *more), thinker


def test_filters_are_asked_in_their_order_and_see_the_request() -> None:
    """The second one answers, so that the third is not asked."""
    asked: list[tuple[int, bytes, bytes | None]] = []

    def note(number: int, verdict: Verdict) -> Any:
        def ask(view: RequestView) -> Verdict:
            asked.append((number, view.head.target, view.head.get(b"x-who")))
            return verdict

        return ask

    world = with_filters(mesh(), note(1, None), note(2, Reply(418, [(b"x-mine", b"1")], b"tea")), note(3, None))
    begun = watch(world)
    client = world.client()
    client.send(request(target="/pot", X_Who="me"))
    assert asked == [(1, b"/pot", b"me"), (2, b"/pot", b"me")]
    answer = heard(client)
    assert (answer.status, answer.body, answer.fields["x-mine"]) == (418, b"tea", "1")
    assert (world.dialing, counted(world, status="418", reason="")) == ([], 1)
    all_given_back(world, begun)


def test_a_filters_reply_is_labelled_like_every_response_of_a_sidecar() -> None:
    """Who made it and for which request, but no reason: nothing failed."""
    world = with_filters(mesh(), lambda view: Reply(401, [], b"who?"))
    client = world.client()
    client.send(request(X_Request_Id="r-1"))
    answer = heard(client)
    assert (answer.fields["x-request-id"], answer.fields["x-sidecar-source"]) == ("r-1", "shop/outbound")
    assert answer.reason is None


def test_a_request_id_of_the_filters_own_is_kept() -> None:
    """There is always exactly one."""
    world = with_filters(mesh(), lambda view: Reply(401, [(b"X-Request-Id", b"mine")], b""))
    client = world.client()
    client.send(request(X_Request_Id="r-1"))
    assert heard(client).fields["x-request-id"] == "mine"


def test_a_paused_request_goes_on_where_it_stood() -> None:
    """Nobody is asked meanwhile; the filters behind are asked afterwards, once."""
    asked: list[int] = []

    def second(view: RequestView) -> Verdict:
        asked.append(2)
        return None

    world, thinker = paused(second)
    begun = watch(world)
    client = world.client()
    client.send(request())
    world.pass_time(5)
    assert (asked, world.dialing) == ([], [])
    thinker.views[0].resume(None)
    assert asked == [2]
    world.accept().send(response())
    assert heard(client).status == 200
    world.settle()
    all_given_back(world, begun)


def test_a_paused_request_may_be_answered_by_its_filter() -> None:
    """As if the filter had known at once."""
    world, thinker = paused()
    begun = watch(world)
    client = world.client()
    client.send(request())
    thinker.views[0].resume(Reply(403, [], b"no"))
    assert (heard(client).body, world.dialing) == (b"no", [])
    all_given_back(world, begun)


def test_the_second_of_two_pauses_is_a_pause_of_its_own() -> None:
    """And the way back from the first leads nowhere any more."""
    other = Thinker()
    world, thinker = paused(other)
    client = world.client()
    client.send(request())
    thinker.views[0].resume(None)
    thinker.views[0].resume(Reply(500, [], b"again?"))
    assert (len(other.views), client.take(), world.dialing) == (1, b"", [])
    other.views[0].resume(None)
    assert len(world.dialing) == 1


@pytest.mark.parametrize("verdict", [None, Reply(403, [], b"no")])
def test_a_verdict_that_comes_twice_counts_once(verdict: Reply | None) -> None:
    """One attempt and one answer, whatever the filter does."""
    world, thinker = paused()
    begun = watch(world)
    client = world.client()
    client.send(request())
    for _ in range(2):
        thinker.views[0].resume(verdict)
    assert len(world.dialing) == (verdict is None)
    while world.dialing:
        world.accept().send(response())
    thinker.views[0].resume(verdict)
    assert heard(client).status == (200 if verdict is None else 403)
    world.settle()
    all_given_back(world, begun)


@pytest.mark.parametrize("said", [PAUSE, None, Reply(500, [], b"what now?")])
def test_a_filter_may_resume_before_it_has_returned(said: Verdict) -> None:
    """Its answer was there at once, for instance from a cache; what it says afterwards is late."""

    def hasty(view: RequestView) -> Verdict:
        view.resume(None)
        return said

    world = with_filters(mesh(), hasty, hasty)
    begun = watch(world)
    client = world.client()
    client.send(request())
    assert len(world.dialing) == 1
    world.accept().send(response())
    assert heard(client).status == 200
    world.settle()
    all_given_back(world, begun)


def failing(view: RequestView) -> Verdict:
    raise KeyError("no such thing")


def test_a_filter_that_raises_fails_its_request_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    """The caller learns which filter and what kind of error, the log has the rest."""
    world = with_filters(mesh(), lambda view: None, failing)
    begun = watch(world)
    client = world.client()
    with caplog.at_level(logging.ERROR, "sidecar.filters"):
        client.send(request())
    answer = heard(client)
    assert (answer.status, answer.reason) == (500, "filter_failed")
    assert "filter 2 raised KeyError" in answer.error()["detail"]
    assert "no such thing" in caplog.text
    client.send(request())
    assert heard(client).status == 500
    all_given_back(world, begun)


def test_an_answer_that_is_no_verdict_is_a_failed_filter() -> None:
    """Sooner than anything is made of it."""
    untrue: Any = lambda view: True  # noqa: E731
    world = with_filters(mesh(), untrue)
    client = world.client()
    client.send(request())
    answer = heard(client)
    assert (answer.reason, world.dialing) == ("filter_failed", [])
    assert "bool" in answer.error()["detail"]


def test_a_body_that_comes_during_a_pause_is_kept_and_bounded() -> None:
    """Up to 64 KiB and what was on its way; all of it goes on, in order."""
    world, thinker = paused()
    begun = watch(world)
    client = world.client()
    body = bytes(range(256)) * 1000
    raw = request("PUT", body=body)
    client.send(raw[: -len(body) + 10])
    for sent in range(10, 80_010, 20_000):
        client.send(body[sent : sent + 20_000])
    sent = 80_010
    assert client.paused
    thinker.views[0].resume(None)
    server = world.accept()
    assert heard(server).body == body[:sent]
    assert not client.paused
    client.send(body[sent:])
    assert server.take() == body[sent:]
    server.send(response(201))
    assert heard(client).status == 201
    world.settle()
    all_given_back(world, begun)


def test_the_deadline_covers_the_thinking() -> None:
    """A verdict that comes too late is not heard."""
    world, thinker = paused()
    begun = watch(world)
    client = world.client()
    client.send(request(X_Request_Timeout_Ms="2000"))
    world.pass_time(2.1)
    answer = heard(client)
    assert (answer.reason, "filter" in answer.error()["detail"]) == ("deadline_exceeded", True)
    thinker.views[0].resume(None)
    assert world.dialing == []
    all_given_back(world, begun)


def test_a_caller_that_leaves_during_a_pause_is_forgotten() -> None:
    """The verdict comes for nobody."""
    world, thinker = paused()
    begun = watch(world)
    client = world.client()
    client.send(request())
    client.end()
    thinker.views[0].resume(None)
    assert world.dialing == []
    all_given_back(world, begun)


def test_a_filter_is_asked_once_for_all_attempts() -> None:
    """It judges the request, not the tries."""
    asked: list[int] = []

    def count(view: RequestView) -> Verdict:
        asked.append(1)
        return None

    world = with_filters(mesh(endpoints=2), count)
    client = world.client()
    client.send(request())
    world.accept().send(response(503))
    world.pass_time(0.2)
    world.accept().send(response())
    assert (heard(client).status, len(asked)) == (200, 1)
