"""What ``sidecar demo`` makes of what the sidecars say: figures, sentences, and what is drawn; and the shop's own parts."""

from __future__ import annotations

import io
import json
import sys
import urllib.request
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from sidecar.cli.stat import Counts
from sidecar.demo import lines, topology, wishes
from sidecar.demo.crew import last_words, remove
from sidecar.demo.interval import between
from sidecar.demo.readings import NOTHING, Breaker, Reading, Snapshot, reading
from sidecar.demo.run import choose
from sidecar.demo.shop import moods, orders, web_wsgi, wsgi
from sidecar.demo.story import Story, breakers, endpoints
from sidecar.telemetry.stats import BOUNDS

NAMES = tuple(instance.name for instance in topology.shop())
WELL = {"payments-1": Breaker("closed"), "payments-2": Breaker("closed")}


def counts(requests: int, failures: int = 0, retries: int = 0, seconds: float = 0.002) -> Counts:
    """So many requests, all of which took about ``seconds``."""
    durations = [0] * (len(BOUNDS) + 1)
    durations[next(number for number, bound in enumerate(BOUNDS) if seconds <= bound)] = requests
    return Counts(requests, failures, retries, tuple(durations))


def orders_at(at: float, calls: Counts = NOTHING, pid: int = 1, **payments: Breaker) -> Snapshot:
    """A look at the mesh in which only the sidecar of orders answers, which calls the endpoints of payments."""
    seen = {"payments": {name.replace("_", "-"): breaker for name, breaker in payments.items()} or WELL}
    return Snapshot(at, {"orders": Reading(pid, calls=dict(payments=calls), breakers=seen)})


def told(*looks: Snapshot, running: tuple[str, ...] = ("orders",)) -> list[str]:
    story = Story()
    return [sentence for look in looks for sentence in story.go_on(look, running)]


# Sentences


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        (
            Breaker("closed"),
            Breaker("open", 9.4, opened=1),
            "payments-2 failed 5 times in 10 s: orders' breaker is open for 10 s, calls go to payments-1",
        ),
        (
            Breaker("open", 0.3, opened=1),
            Breaker("open", 9.9, opened=2, half_opened=1),
            "payments-2 failed when orders tried it again: breaker open for another 10 s",
        ),
        (
            Breaker("open", 0.3, opened=1),
            Breaker("half-open", opened=1, half_opened=1),
            "orders tries payments-2 again, one call at a time: breaker half-open",
        ),
        (
            Breaker("open", 0.3, opened=1),
            Breaker("closed", opened=1, half_opened=1, closed=1),
            "payments-2 answered orders 3 times in a row: breaker closed, it takes its share again",
        ),
        (
            Breaker("half-open", opened=1, half_opened=1),
            Breaker("open", 9.9, opened=2, half_opened=1, closed=1),
            "payments-2 failed 5 times in 10 s: orders' breaker is open for 10 s, calls go to payments-1",
        ),
    ],
)
def test_each_change_of_a_breaker_is_a_sentence(before: Breaker, after: Breaker, sentence: str) -> None:
    """It names the endpoint, the caller, what the mesh does about it, and for how long."""
    one = Breaker("closed")
    looks = (orders_at(1, payments_1=one, payments_2=before), orders_at(2, payments_1=one, payments_2=after))
    assert list(breakers(*looks)) == [sentence]
    assert list(breakers(looks[1], looks[1])) == []


def test_a_breaker_that_leaves_nobody_says_so() -> None:
    """With the last endpoint barred, calls are refused."""
    out = Breaker("open", 5.0, opened=1)
    before = orders_at(1, payments_1=out, payments_2=Breaker("closed"))
    (sentence,) = breakers(before, orders_at(2, payments_1=out, payments_2=Breaker("open", 10.0, opened=1)))
    assert sentence.endswith("orders' breaker is open for 10 s, calls are refused at once")


def test_a_caller_that_was_started_anew_has_no_past() -> None:
    """The counts of another process are not compared: what it has counted since its start is what happened."""
    before = orders_at(1, counts(100, failures=90), payments_2=Breaker("closed", opened=7, closed=7))
    after = orders_at(2, counts(10), pid=2, payments_2=Breaker("open", 10.0, opened=1))
    assert between(before, after).calls["orders", "payments"] == counts(10)
    assert len(list(breakers(before, after))) == 1
    assert list(endpoints(before, orders_at(2, counts(1), pid=2))) == []


def test_endpoints_that_go_and_come_are_told_by_those_who_call_them() -> None:
    """Whoever knows a service and does not call it has nothing to say; the first endpoints are no news."""
    one = Breaker("closed")
    both, alone = orders_at(1, counts(1)), orders_at(2, counts(2), payments_1=one)
    assert list(endpoints(both, alone)) == [
        "payments-2 has left the registry, and orders knows: calls go to payments-1"
    ]
    assert list(endpoints(alone, both)) == ["payments-2 is in the registry, and orders calls it from now on"]
    none = Snapshot(3, {"orders": Reading(1, calls={"payments": counts(2)})})
    assert list(endpoints(alone, none)) == [
        "payments-1 has left the registry, and orders knows: there is no payments any more"
    ]
    assert list(endpoints(Snapshot(0, {"orders": Reading(1)}), both)) == []
    idle = {"catalog": Reading(2, breakers={"payments": WELL})}
    assert list(endpoints(Snapshot(1, idle), Snapshot(2, {"catalog": Reading(2)}))) == []


def test_failing_calls_are_told_once_and_then_how_it_ended() -> None:
    """The first failures, not the following ones; the end after three looks without one, with the sum."""
    seen = [(0, 0), (10, 0), (20, 4), (30, 10), (40, 10), (40, 10), (50, 10), (60, 10), (70, 10)]
    looks = [orders_at(at, counts(requests, failures)) for at, (requests, failures) in enumerate(seen)]
    assert told(*looks) == [
        "4 of 10 calls of orders to payments failed",
        "calls of orders to payments succeed again: 10 failed within 3 s",
    ]


def test_retries_that_hid_a_failure_are_told_now_and_then() -> None:
    """Once in twenty seconds for the same calls, and not while calls fail, since then they hid nothing."""
    looks = [orders_at(at, counts(10 * at, retries=at)) for at in range(30)]
    assert told(*looks) == ["orders' sidecar tried a call to payments again: orders saw no failure"] * 2
    failing = [orders_at(at, counts(10 * at, failures=at, retries=at)) for at in range(30)]
    assert told(*failing) == ["1 of 10 calls of orders to payments failed"]


def test_a_sidecar_that_stands_still_is_told_apart_from_one_that_is_dead() -> None:
    """Two looks without an answer of a process that lives; and that it answers again."""
    there, silent = orders_at(1), Snapshot(2, {})
    sentence = "the sidecar of orders runs and does not answer: it stands still"
    assert told(there, silent, there) == []
    assert told(there, silent, silent, silent, there) == [sentence, "the sidecar of orders answers again"]
    assert told(there, silent, silent, running=()) == []


# Figures


def test_a_reading_is_what_two_documents_of_the_api_say() -> None:
    """Inbound routes are added up, calls are by service, endpoints have their instances' names where they are known."""

    def route(direction: str, service: str, requests: int) -> dict[str, Any]:
        one = {"direction": direction, "service": service, "requests": requests, "failures": 1, "retries": 2}
        return one | {"durations": {"counts": counts(requests).durations}}

    changes = {"open": 3, "halfOpen": 2, "closed": 1}
    breaker = {"service": "payments", "state": "open", "retryAfterSeconds": 4.5, "transitions": changes}
    found = reading(
        7,
        [
            route("inbound", "", 1),
            route("inbound", "orders", 2),
            route("outbound", "payments", 3),
            route("outbound", "", 0),
        ],
        [breaker | {"endpoint": "127.0.0.1:1"}, breaker | {"endpoint": "127.0.0.1:2"}],
        {"127.0.0.1:1": "payments-1"},
    )
    assert found.served[:3] == (3, 2, 4)
    assert {service: each[:3] for service, each in found.calls.items()} == {"payments": (3, 1, 2)}
    state = Breaker("open", 4.5, 3, 2, 1)
    assert found.breakers == {"payments": {"payments-1": state, "127.0.0.1:2": state}}


def test_a_line_has_rate_success_percentiles_retries_and_whose_breaker_is_not_closed() -> None:
    """The difference of two looks, in columns that stay where they are."""
    before = orders_at(10, counts(100))
    after = orders_at(12, counts(160, failures=6), payments_1=Breaker("closed"), payments_2=Breaker("half-open"))
    interval = between(before, after)
    figures = interval.figures(interval.calls["orders", "payments"])
    assert lines.line(figures, 3, lines.barred(after)) == (
        "customers  30.0/s   90.0 % ok  p50    1.8 ms  p95    2.4 ms  p99    2.5 ms  retries  3  barred payments-2"
    )
    nothing = lines.line(interval.figures(NOTHING), 0, lines.barred(before))
    assert nothing == (
        "customers   0.0/s      - % ok  p50         -  p95         -  p99         -  retries  0  barred -"
    )


@pytest.mark.parametrize(("width", "encoding"), [(80, "utf-8"), (40, "ascii")])
def test_the_view_of_calls_fits_and_is_plain(width: int, encoding: str) -> None:
    """80 columns hold all of it; fewer cut it; no letter that a terminal may not have."""
    console = pytest.importorskip("rich.console")
    from sidecar.demo.view import calls

    after = orders_at(2, counts(60, 6, 3), payments_1=Breaker("closed"), payments_2=Breaker("open", 7.2, opened=1))
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    shown = console.Console(file=file, width=width, color_system=None)
    shown.print(calls(after, between(orders_at(0), after), list(NAMES)))
    file.flush()
    assert isinstance(file.buffer, io.BytesIO)
    header, row = file.buffer.getvalue().decode("ascii").splitlines()
    assert max(len(header), len(row)) <= width
    if width == 80:
        assert " ".join(row.split()) == "orders > payments 30.0 90.0% 2.4 ms 2.5 ms 3 1:closed 2:open 7s"


# Wishes


@pytest.mark.parametrize("written", ["kill payments-2", "k payments-2", " KILL  payments-2\n"])
def test_a_wish_is_a_key_or_a_word_and_a_name(written: str) -> None:
    """However it is written."""
    assert wishes.parse(written, NAMES) == wishes.Wish("kill", "payments-2")
    assert wishes.parse("q", NAMES) is wishes.parse("quit", NAMES) is None


@pytest.mark.parametrize(
    ("written", "answer"),
    [
        ("dance web", "dance is not understood: write kill, delay, fail, restore and a name, or quit"),
        ("", "an empty line is not understood: write kill, .*"),
        ("kill", "whom to kill\\? There are customers, web, orders, payments-1, payments-2, catalog"),
        ("delay payments", "whom to delay\\? There are .*"),
    ],
)
def test_what_is_not_understood_is_answered_with_what_would_be(written: str, answer: str) -> None:
    """A sentence for whoever typed it."""
    with pytest.raises(wishes.Wrong, match=f"^{answer}$"):
        wishes.parse(written, NAMES)


def test_a_mood_is_kept_to_by_counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly the share of the answers fails or is slow; a change counts from the next request on; no file is a good mood."""
    file = tmp_path / "web.mood"
    monkeypatch.setenv("SHOP_MOOD", str(file))
    fates = moods.Moods()
    assert fates.next() == moods.Fate(0.0, False)
    moods.write(file, moods.Mood(delay=0.5, slow=1.0, slow_share=0.2, fail_share=0.9))
    seen = [fates.next() for _ in range(100)]
    assert sum(fate.fails for fate in seen) == 90
    assert [sum(fate.delay == delay for fate in seen) for delay in (0.5, 1.5)] == [80, 20]
    moods.write(file, wishes.mood("restore", moods.Mood()))
    assert fates.next() == moods.Fate(0.0, False)
    assert [path.name for path in tmp_path.iterdir()] == ["web.mood"]


# The shop


def ask(serve: wsgi.Serve, path: str) -> tuple[str, Any]:
    """Status line and document of the application, without a server."""
    status: list[str] = []

    def start_response(line: str, headers: object, error: object = None) -> Callable[[bytes], object]:
        status.append(line)
        return lambda data: None

    (body,) = wsgi.application(serve, moods.Moods())({"PATH_INFO": path, "HTTP_TRACEPARENT": "00-1"}, start_response)
    return status[0], json.loads(body)


def test_the_wsgi_front_asks_orders_and_the_catalog_and_passes_the_trace_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands in for the one with aiohttp: the same pages, made of one call each."""
    asked: list[tuple[str, str | None]] = []

    def urlopen(request: urllib.request.Request, timeout: float) -> io.BytesIO:
        asked.append((request.full_url, request.get_header("Traceparent")))
        if "payments" in request.full_url:
            raise HTTPError(request.full_url, 503, "Service Unavailable", Message(), io.BytesIO())
        answer = io.BytesIO(b'{"article": "4"}')
        answer.status = 200  # type: ignore[attr-defined]
        return answer

    monkeypatch.delenv("SHOP_MOOD", raising=False)
    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    assert ask(web_wsgi.serve, "/health") == ("200 OK", {"status": "up"})
    assert ask(web_wsgi.serve, "/catalog/4") == ("200 OK", {"page": {"article": "4"}})
    assert ask(web_wsgi.serve, "/orders/5")[0] == "200 OK"
    assert ask(orders.serve, "/orders/5")[0] == "503 Failed"
    urls = ["http://catalog/articles/4", "http://orders/orders/5", "http://payments/payments/5"]
    assert asked == [(url, "00-1") for url in urls]


def test_what_the_machine_lacks_is_told_and_stood_in_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without aiohttp and Node both are WSGI applications; nobody is missing."""
    monkeypatch.setattr(topology, "find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    poor = topology.shop()
    assert tuple(instance.name for instance in poor) == NAMES
    assert [instance.command[-1] for instance in poor if instance.name in ("web", "catalog")] == [
        "sidecar.demo.shop.web_wsgi",
        "sidecar.demo.shop.catalog",
    ]
    assert [sentence.partition(":")[0] for sentence in topology.missing(poor)] == [
        "aiohttp is not installed",
        "there is no node in PATH",
    ]


@pytest.mark.parametrize(
    ("terminal", "term", "rich", "said"),
    [
        (True, "xterm", False, "rich is not installed: a line a second instead of a view"),
        (True, "dumb", True, ""),
        (False, "xterm", True, ""),
    ],
)
def test_where_a_view_cannot_be_drawn_there_are_lines(
    terminal: bool,
    term: str,
    rich: bool,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No terminal, one that can nothing, or no rich, which is said."""
    from contextlib import ExitStack

    monkeypatch.setattr("os.isatty", lambda file: terminal)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr("sidecar.demo.run.find_spec", lambda name: rich or name != "rich" or None)
    with ExitStack() as stack:
        assert isinstance(choose(topology.shop(), False, stack), lines.Lines)
    assert capsys.readouterr().out.startswith(said)


# Files


def test_last_words_are_the_end_of_what_was_said(tmp_path: Path) -> None:
    """The last lines, or that there are none."""
    log = tmp_path / "web.log"
    assert last_words(log) == "    (nothing)"
    log.write_text("".join(f"line {number}\n" for number in range(100)))
    assert last_words(log, 2) == "    line 98\n    line 99"


def test_a_directory_is_removed_with_all_that_is_in_it(tmp_path: Path) -> None:
    """Also a second time, when it is gone."""
    (tmp_path / "demo" / "registry").mkdir(parents=True)
    (tmp_path / "demo" / "registry" / "web.json").write_text("{}")
    for _ in range(2):
        remove(tmp_path / "demo")
        assert list(tmp_path.iterdir()) == []
