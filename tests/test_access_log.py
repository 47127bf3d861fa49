"""The access log: which exchanges get a line, what is in it, and what never is."""

from __future__ import annotations

import json
import os
import shlex
import sys
from typing import Any

import pytest

from sidecar.clock import Clock, Random
from sidecar.telemetry import access_log
from sidecar.telemetry.access_log import PATH_BYTES, AccessLog, Entry, Settings, path_of
from sidecar.telemetry.export.writer import Writer
from sidecar.telemetry.stats import Stats
from tests.exchange.inside import scope_of
from tests.exchange.test_call_count import CALLS, ELEVEN, FEW, counted, exchange, warm
from tests.support.world import LISTEN, ONE_ENDPOINT, TWO_ENDPOINTS, World

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
BAD = b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n"
FIELDS = [
    "time", "direction", "service", "route", "method", "path", "host", "status", "reason", "duration_ms", "attempts",
    "endpoint", "request_id", "trace_id", "peer", "grpc_status",
]  # fmt: skip
ALL = '[access_log]\nmode = "all"\n'
NO_RETRY = "[defaults]\nretry = false\n"


class Logged:
    """A world whose access log is kept."""

    def __init__(self, toml: str) -> None:
        self.writer = Writer(Clock(), -1, -1)
        self.world = World(toml, writer=self.writer)

    def texts(self) -> list[str]:
        """The lines since it was asked last."""
        output = self.writer.access
        lines = [output.format(entry).decode() for entry in output._queue]
        output._queue.clear()
        return lines

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.texts()]

    def ask(self, request: bytes = b"GET / HTTP/1.1\r\nHost: orders\r\n\r\n", response: bytes = OK) -> None:
        """One exchange with an endpoint that answers after 5 ms."""
        client = self.world.client()
        client.send(request)
        if self.world.dialing:
            server = self.world.accept()
        else:
            server = next(peer for peer in self.world.peers if peer.address[0].startswith("10.") and peer.received)
        self.world.time.now += 0.005
        server.take()
        server.send(response)


# What is in a line


def test_an_exchange_is_one_line_of_json_with_every_field_in_its_order() -> None:
    """When, where to, what was asked, what became of it, who was asked and how often, and by which names to find it."""
    logged = Logged(ONE_ENDPOINT + ALL)
    logged.ask(
        b"POST /orders/7?token=s3cret HTTP/1.1\r\nHost: Orders:80\r\nContent-Length: 0\r\nX-Request-Id: r-1\r\n"
        b"Authorization: Bearer s3cret\r\nCookie: s3cret\r\n"
        b"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n"
    )
    (text,) = logged.texts()
    assert text == (
        '{"time":"2027-01-15T08:16:40.005Z","direction":"outbound","service":"orders","route":"","method":"POST",'
        '"path":"/orders/7","host":"orders:80","status":200,"reason":"","duration_ms":5.0,"attempts":1,'
        '"endpoint":"10.0.0.1:9001","request_id":"r-1","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","peer":"127.0.0.1","grpc_status":""}\n'
    )
    assert list(json.loads(text)) == FIELDS


def test_the_same_in_text_leaves_out_what_is_empty() -> None:
    """``name=value``, as logfmt has it."""
    logged = Logged(ONE_ENDPOINT + ALL + 'format = "text"\n')
    logged.ask(b"GET /a?b=c HTTP/1.1\r\nHost: orders\r\nX-Request-Id: r-1\r\n\r\n")
    (text,) = logged.texts()
    words = dict(word.split("=", 1) for word in text.split())
    assert len(words.pop("trace_id")) == 32
    assert words == {
        "time": "2027-01-15T08:16:40.005Z",
        "direction": "outbound",
        "service": "orders",
        "method": "GET",
        "path": "/a",
        "host": "orders",
        "status": "200",
        "duration_ms": "5.0",
        "attempts": "1",
        "endpoint": "10.0.0.1:9001",
        "request_id": "r-1",
        "peer": "127.0.0.1",
    }


def test_a_retried_exchange_is_one_line_with_the_endpoint_that_was_asked_last() -> None:
    """Its attempts say that it was not the first one."""
    logged = Logged(TWO_ENDPOINTS + ALL)
    client = logged.world.client()
    client.send(b"GET / HTTP/1.1\r\nHost: orders\r\n\r\n")
    first = logged.world.accept()
    first.send(BAD)
    logged.world.pass_time(1)
    second = logged.world.accept()
    second.send(OK)
    (record,) = logged.records()
    assert (record["status"], record["reason"], record["attempts"]) == (200, "", 2)
    assert record["endpoint"] == f"{second.address[0]}:9001" != f"{first.address[0]}:9001"


def test_a_route_is_named() -> None:
    """By the name that the configuration gives it."""
    routes = '[[routes]]\nname = "v2"\nservice = "orders"\nmatch = { path_prefix = "/v2" }\n'
    logged = Logged(ONE_ENDPOINT + routes + ALL)
    logged.ask(b"GET /v2/x HTTP/1.1\r\nHost: orders\r\n\r\n")
    assert logged.records()[0]["route"] == "v2"


def test_inbound_says_who_asked() -> None:
    """The peer's address is that of the connection, without a port; the service is our own."""
    logged = Logged(LISTEN + ALL)
    client = logged.world.client("inbound", ("10.9.9.9", 1234))
    client.send(b"GET /x HTTP/1.1\r\nHost: shop\r\n\r\n")
    logged.world.accept().send(OK)
    (record,) = logged.records()
    assert (record["direction"], record["service"], record["peer"]) == ("inbound", "shop", "10.9.9.9")
    assert record["endpoint"] == "127.0.0.1:8080"


# Every end has its line


def no_route(logged: Logged) -> None:
    logged.world.client().send(b"GET /x HTTP/1.1\r\nHost: nobody\r\n\r\n")


def unreadable(logged: Logged) -> None:
    logged.world.client(address=("10.9.9.9", 1)).send(b"GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")


def unreachable(logged: Logged) -> None:
    logged.world.client().send(b"GET /x HTTP/1.1\r\nHost: orders\r\n\r\n")
    logged.world.refuse()


def broken_off(logged: Logged) -> None:
    logged.world.client().send(b"GET /x HTTP/1.1\r\nHost: orders\r\n\r\n")
    server = logged.world.accept()
    server.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
    server.reset()


def left(logged: Logged) -> None:
    client = logged.world.client(address=("10.9.9.9", 1))
    client.send(b"GET /x HTTP/1.1\r\nHost: orders\r\n\r\n")
    client.reset()


def dead_on_arrival(logged: Logged) -> None:
    logged.world.client().send(b"GET /x HTTP/1.1\r\nHost: orders\r\nX-Request-Timeout-Ms: 0\r\n\r\n")


ENDS = {
    no_route: (404, "no_route", 0, "/x", "127.0.0.1"),
    unreadable: (400, "bad_request", 0, "", "10.9.9.9"),
    unreachable: (502, "connect_failed", 1, "/x", "127.0.0.1"),
    broken_off: (200, "upstream_reset", 1, "/x", "127.0.0.1"),
    left: (499, "client_gone", 1, "/x", "10.9.9.9"),
    dead_on_arrival: (504, "deadline_exceeded", 0, "/x", "127.0.0.1"),
}


@pytest.mark.parametrize("mode", ["failed", "all"])
@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_every_failure_has_its_line_with_the_reason(end: Any, mode: str) -> None:
    """Whoever failed, and also where no request could be read; each has the id that its caller was told."""
    logged = Logged(ONE_ENDPOINT + NO_RETRY + f'[access_log]\nmode = "{mode}"\n')
    end(logged)
    (record,) = logged.records()
    assert (record["status"], record["reason"], record["attempts"], record["path"], record["peer"]) == ENDS[end]
    told = logged.world.peers[0].take()
    assert b"x-sidecar-reason" not in told or f"x-request-id: {record['request_id']}\r\n".encode() in told
    assert record["service"] in ("", "orders")


def test_there_are_as_many_lines_as_requests_are_counted() -> None:
    """With mode = "all" the log and ``sidecar_requests_total`` tell the same story."""
    logged = Logged(ONE_ENDPOINT + NO_RETRY + "breaker = false\n" + ALL)
    logged.ask(response=OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
    logged.world.settle()
    for end in ENDS:
        end(logged)
        logged.world.settle()
        logged.world.dialing.clear()
    lines = [(record["status"], record["reason"]) for record in logged.records()]
    counts: dict[tuple[int, str], int] = {}
    for stats in logged.world.sidecar.assembly.all_stats():
        for (_, status, reason), count in stats.requests.items():
            counts[status, reason] = counts.get((status, reason), 0) + count
    assert {one: lines.count(one) for one in lines} == counts
    assert len(lines) == len(ENDS) + 1


# Which exchanges


def test_failed_has_what_failed_whoever_failed() -> None:
    """A 5xx of the application is a failure, a 404 of it is an answer."""
    logged = Logged(ONE_ENDPOINT + NO_RETRY + '[access_log]\nmode = "failed"\n')
    logged.ask()
    logged.ask(response=b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
    assert logged.texts() == []
    logged.ask(response=BAD)
    (record,) = logged.records()
    assert (record["status"], record["reason"]) == (500, "")


def test_sampled_has_what_failed_and_a_share_of_the_rest() -> None:
    """The share is one of chance, not every hundredth."""
    log = AccessLog(Settings(mode="sampled", sample=0.25), Random(1), lambda entry: None)
    wanted = [log.wants(False) for _ in range(4000)]
    assert 900 < sum(wanted) < 1100
    assert all(log.wants(True) for _ in range(100))
    assert wanted != [log.wants(False) for _ in range(4000)]


@pytest.mark.parametrize(("sample", "lines"), [("0.0", 0), ("1.0", 5)])
def test_a_share_may_be_nothing_or_all(sample: str, lines: int) -> None:
    """0 leaves the failed ones, 1 is all."""
    logged = Logged(ONE_ENDPOINT + f'[access_log]\nmode = "sampled"\nsample = {sample}\n')
    for _ in range(5):
        logged.ask()
    assert len(logged.texts()) == lines


def test_off_is_nothing_at_all() -> None:
    """There is no log to be asked: one test an exchange is what it costs."""
    logged = Logged(ONE_ENDPOINT)
    assert scope_of(logged.world).access_log is None
    assert logged.world.sidecar.listeners["outbound"].access_log is None
    logged.ask()
    no_route(logged)
    unreadable(logged)
    assert logged.texts() == []


def test_probes_are_not_logged() -> None:
    """Somebody asks for them every second."""
    logged = Logged(ONE_ENDPOINT + ALL)
    logged.world.client("probes").send(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
    logged.world.settle()
    assert logged.texts() == []


def test_a_reload_may_replace_it_under_a_running_exchange() -> None:
    """An exchange that began before is logged as the new one says."""
    logged = Logged(ONE_ENDPOINT)
    client = logged.world.client()
    client.send(b"GET /slow HTTP/1.1\r\nHost: orders\r\n\r\n")
    scope = scope_of(logged.world)
    scope.access_log = AccessLog(Settings(mode="all"), Random(1), logged.writer.access.put)
    logged.world.accept().send(OK)
    assert [record["path"] for record in logged.records()] == ["/slow"]
    client.send(b"GET / HTTP/1.1\r\nHost: orders\r\n\r\n")
    scope.access_log = None
    logged.world.settle()
    assert logged.texts() == []


# What it costs


@pytest.mark.parametrize("request_bytes", [FEW, ELEVEN], ids=["few", "eleven"])
def test_a_logged_exchange_makes_six_calls_more_and_asks_nothing_of_the_loop(request_bytes: bytes) -> None:
    """It is put into a queue as it is; the line is made elsewhere."""
    world, client, servers = warm()
    output = Writer(Clock(), -1, -1).access
    scope_of(world).access_log = AccessLog(Settings(mode="all"), Random(1), output.put)
    exchange(client, servers, request_bytes)
    world.loop.made.clear()
    calls = counted("call", sys.setprofile, lambda: exchange(client, servers, request_bytes))
    assert calls <= CALLS[request_bytes] + 6
    assert not world.loop.made
    assert len(output._queue) == 2


def test_what_waits_is_small_however_long_the_target_is() -> None:
    """Neither a request's head nor its query is kept for the sake of a line."""
    assert path_of(b"/a") == b"/a"
    assert path_of(b"/a?" + b"q" * 60_000) == b"/a"
    assert len(path_of(b"/" + b"a" * 60_000 + b"?q")) == PATH_BYTES + 1


# What peers may put into it


def line(kind: str, **values: Any) -> str:
    """The line of an entry that is ordinary but for ``values``."""
    ordinary = {
        "wall": 1_800_000_000.0, "stats": Stats("outbound", "orders", ""), "method": b"GET", "path": b"/", "host": "orders",
        "port": 0, "status": 200, "reason": "", "seconds": 0.001, "attempts": 1, "endpoint": "10.0.0.1:9001",
        "request_id": b"r-1", "trace_id": b"0" * 32, "peer": "127.0.0.1",
    }  # fmt: skip
    return access_log.FORMATS[kind](Entry(**(ordinary | values))).decode()


ATTACKS = [
    b'/"}\n{"time":"2027-01-15T08:16:40.000Z","status":200}',
    b"/\r\nstatus=200 reason=",
    b"/\x1b[2J\x00\x7f",
    b"/\xff\xfe\x80",
    "/\u2028\u202e\x85".encode(),
    b"/\xed\xa0\x80",  # A surrogate, as UTF-8 forbids it.
    b'/a=b "c" \\n',
    "/\U000e0041注文".encode(),
]


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("field", ["path", "method", "request_id"])
def test_a_line_is_one_line_of_printable_characters_whatever_a_request_holds(field: str, attack: bytes) -> None:
    """In JSON it is an object with the same keys, in text the same names with the value in quotes."""
    text = line("json", **{field: attack})
    assert text.endswith("\n")
    assert text[:-1].isprintable()
    record = json.loads(text)
    assert list(record) == FIELDS
    assert record[field] == attack.decode("utf-8", "backslashreplace")

    text = line("text", **{field: attack})
    assert text[:-1].isprintable()
    words = [word.partition("=")[0] for word in shlex.split(text)]
    assert words == [name for name in FIELDS if name not in ("route", "reason", "grpc_status")]


def test_a_host_is_escaped_too() -> None:
    """The parser lets none of this through; the log does not count on that."""
    text = line("json", host='a"\n\u2028', port=8080)
    assert json.loads(text)["host"] == 'a"\n\u2028:8080'
    assert text[:-1].isprintable()


def test_a_long_path_ends_in_an_ellipsis() -> None:
    """2 KiB of it are enough to know it by."""
    path = json.loads(line("json", path=path_of(b"/" + b"a" * 5000)))["path"]
    assert path == "/" + "a" * 2047 + "…"
    assert json.loads(line("json", path=path_of(b"/" + b"a" * 2047)))["path"] == "/" + "a" * 2047


def test_no_secret_of_a_request_is_in_its_line() -> None:
    """Neither query nor header values, in whatever form the target came."""
    logged = Logged(ONE_ENDPOINT + ALL)
    for target in (b"/a?s3cret", b"http://orders/a?s3cret", b"/a?x=1?s3cret", b"/a?%73&s3cret#"):
        client = logged.world.client()
        client.send(b"GET " + target + b" HTTP/1.1\r\nHost: orders\r\nAuthorization: s3cret\r\nCookie: s3cret\r\n\r\n")
    client.send(b"GET /a HTTP/1.1\r\nHost: s3cret@orders\r\n\r\n")
    logged.world.pass_time(60)
    lines = logged.texts()
    assert len(lines) >= 4
    assert "s3cret" not in "".join(lines)


def test_a_full_queue_loses_lines_and_no_request() -> None:
    """What does not fit is counted; the exchange does not notice."""
    logged = Logged(ONE_ENDPOINT + ALL)
    output = logged.writer.access
    output._limit = 3
    for _ in range(5):
        logged.ask()
    assert (len(output._queue), dict(logged.writer.dropped())) == (3, {"access": 2, "process": 0})
    assert all(peer.take().endswith(b"hi") for peer in logged.world.peers if peer.address[0] == "127.0.0.1")


def test_lost_lines_are_a_metric() -> None:
    """One series a log, there from the beginning, so that its increase is seen."""
    logged = Logged(ONE_ENDPOINT + ALL)
    client = logged.world.client("probes")
    client.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    logged.world.settle()
    page = client.take()
    assert b'sidecar_log_lines_dropped_total{log="access"} 0.0' in page
    assert b'sidecar_log_lines_dropped_total{log="process"} 0.0' in page


def test_the_lines_go_to_the_descriptor_of_the_access_log() -> None:
    """Whole, and in the order of the exchanges' ends."""
    reader, end = os.pipe()
    writer = Writer(Clock(), -1, end)
    world = World(ONE_ENDPOINT + ALL, writer=writer)
    for path in (b"/1", b"/2"):
        world.client().send(b"GET %b HTTP/1.1\r\nHost: nobody\r\n\r\n" % path)
    writer.close()
    os.close(end)
    with os.fdopen(reader) as file:
        assert [json.loads(line)["path"] for line in file] == ["/1", "/2"]
