"""What a sidecar adds to gRPC: each call finds an instance that answers, and one that cannot be made says why."""

from __future__ import annotations

import json
import re
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.grpc_mesh import App, Callers, Methods, channel, grpc, mesh
from tests.support.http2_tools import curl2, nghttp
from tests.support.live import PATIENCE, Sidecar, free_port, until


def retried(status: str) -> str:
    """Policies that have calls with this status made again."""
    return f'[services.orders.retry]\ngrpc_statuses = ["{status}"]\ngrpc_methods = ["/test.Echo/*"]\n'


def refusal(port: int, authority: str) -> grpc.RpcError:
    """What becomes of a call that the sidecar cannot make."""
    with channel(port, authority) as one, pytest.raises(grpc.RpcError) as caught:
        Methods(one).echo(b"hello", timeout=PATIENCE)
    return caught.value


def test_a_service_that_nobody_knows_is_unimplemented() -> None:
    """The status is all that comes, with the sidecar's reason in its metadata and the explanation in its message."""
    with Sidecar() as sidecar:
        error = refusal(sidecar.ports["outbound"], "nobody")
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "no service and no route is named by the host 'nobody'" in error.details()
    # Of a head that is all there is, grpcio makes trailing metadata.
    assert not list(error.initial_metadata())
    trailing = dict(error.trailing_metadata())
    assert (trailing["x-sidecar-reason"], trailing["x-sidecar-source"]) == ("no_route", "shop/outbound")
    assert len(trailing["x-request-id"]) == 32


@pytest.mark.parametrize(
    ("host", "timeout", "status", "reason"),
    [
        ("nobody", "1S", "12", "no_route"),
        ("orders", "1S", "14", "connect_failed"),
        ("orders", "0m", "4", "deadline_exceeded"),
    ],
)
def test_a_refusal_is_one_head_and_nothing_else(
    host: str, timeout: str, status: str, reason: str, tmp_path: Path
) -> None:
    """Status 200 with gRPC's own in the same head, which ends the stream: what gRPC calls trailers-only."""
    (tmp_path / "empty").write_bytes(bytes(5))
    fields = ("content-type: application/grpc", "te: trailers", f"grpc-timeout: {timeout}")
    arguments = ["-d", str(tmp_path / "empty"), *(f"--header={field}" for field in fields)]
    endpoint = f"127.0.0.1:{free_port()}"
    with Sidecar(f'[services.orders]\nendpoints = ["{endpoint}"]\nretry = false\n') as sidecar:
        account = nghttp(sidecar.ports["outbound"], "/test.Echo/Echo", *arguments, host=host)
    answer = dict(re.findall(r"recv \(stream_id=\d+\) (\S+): (.*)", account))
    assert (answer[":status"], answer["content-type"]) == ("200", "application/grpc")
    assert (answer["grpc-status"], answer["x-sidecar-reason"]) == (status, reason)
    assert answer["grpc-message"]
    heads = re.findall(r"recv HEADERS frame <length=\d+, flags=0x(..),", account)
    assert [int(flags, 16) & 1 for flags in heads] == [1]
    assert "recv DATA" not in account


def test_who_does_not_speak_grpc_is_refused_as_ever() -> None:
    """HTTP/2 alone is not gRPC: a status of HTTP, and the error document."""
    with Sidecar() as sidecar:
        head, _, body = curl2(sidecar.ports["outbound"], "/", "-i", host="nobody").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/2 404")
    assert b"\r\nx-sidecar-reason: no_route" in head
    assert json.loads(body)["errors"][0]["code"] == "NO_ROUTE"


def test_a_service_whose_endpoints_are_all_dead_is_unavailable() -> None:
    """At once, and every time, for a stream as well."""
    with Sidecar(f'[services.orders]\nendpoints = ["127.0.0.1:{free_port()}"]\n') as sidecar:
        port = sidecar.ports["outbound"]
        for _ in range(3):
            error = refusal(port, "orders")
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            assert error.details()
            assert not list(error.initial_metadata())
            trailing = dict(error.trailing_metadata())
            assert trailing["x-sidecar-reason"] in ("connect_failed", "no_healthy_endpoint", "breaker_open")
            assert trailing["x-sidecar-source"] == "shop/outbound"
        with channel(port) as one, pytest.raises(grpc.RpcError) as caught:
            list(Methods(one).talk(iter([b"hello"]), timeout=PATIENCE))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_an_application_that_is_not_there_is_told_by_its_own_sidecar() -> None:
    """The caller's sidecar passes on what the callee's says: who failed can be seen."""
    app = App()
    with mesh("two", app) as way:
        error = refusal(way.port, "orders")
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    trailing = dict(error.trailing_metadata())
    assert (trailing["x-sidecar-reason"], trailing["x-sidecar-source"]) == ("app_unreachable", "shop/inbound")


@pytest.mark.parametrize("through", ["one", "two"])
def test_each_call_is_balanced_and_not_each_connection(through: str) -> None:
    """One channel, two instances: they take turns."""
    with App() as one, App() as two, mesh(through, one, two) as way, channel(way.port) as orders:
        who = Methods(orders).who
        answers = [int(who(b"", timeout=PATIENCE)) for _ in range(20)]
        assert answers[:2] in ([one.port, two.port], [two.port, one.port])
        assert answers == answers[:2] * 10


@pytest.mark.parametrize("through", ["one", "two"])
def test_an_instance_that_is_killed_costs_no_call_that_may_be_repeated(through: str) -> None:
    """Its calls are UNAVAILABLE, and are made again elsewhere; it is left out, and back when it is."""
    with ExitStack() as stack:
        first, second = stack.enter_context(App("asyncio")), stack.enter_context(App("asyncio"))
        policies = retried("UNAVAILABLE") + '[services.orders.breaker]\nopen = "3s"\n'
        way = stack.enter_context(mesh(through, first, second, policies=policies))
        callers = stack.enter_context(Callers(way.port))
        callers.more(200)
        assert callers.since(0) == {str(first.port), str(second.port)}
        first.kill()
        killed = time.monotonic()
        callers.more(600)
        assert callers.failures == []
        assert str(first.port) not in callers.since(killed + 0.5)
        assert way.outbound is not None
        assert left_out(way.outbound) == 1
        stack.enter_context(App("asyncio", first.port))
        until(lambda: callers.more(1) or str(first.port) in callers.since(killed + 0.5), "it is called again", 60)
        assert callers.failures == []


def left_out(sidecar: Sidecar) -> float:
    """How many endpoints of orders get no calls, because their breaker is open or they take no connection."""
    refused = sidecar.metric("sidecar_endpoints", service="orders", state="refused")
    return max(refused, sidecar.metric("sidecar_breaker_state", service="orders") / 2)


@pytest.mark.parametrize(
    ("through", "kind", "policies"),
    [
        ("one", "asyncio", ""),
        ("one", "threads", ""),
        # Its sidecar goes on alone, and says UNAVAILABLE for it.
        ("two", "asyncio", retried("UNAVAILABLE")),
    ],
    ids=["one-asyncio", "one-threads", "two-asyncio"],
)
def test_an_instance_that_stops_costs_no_call(through: str, kind: str, policies: str) -> None:
    """It says GOAWAY; what it has not begun is made elsewhere, whatever the method, without any configuration."""
    with ExitStack() as stack:
        first, second = stack.enter_context(App(kind)), stack.enter_context(App(kind))
        way = stack.enter_context(mesh(through, first, second, policies=policies))
        callers = stack.enter_context(Callers(way.port))
        callers.more(200)
        assert callers.since(0) == {str(first.port), str(second.port)}
        first.stop()
        stopped = time.monotonic()
        callers.more(400)
        # Now and then grpcio itself answers CANCELLED to what comes the moment it stops; callers through Envoy see that too.
        own = [
            failure for failure in callers.failures if failure.startswith("CANCELLED") and "x-sidecar" not in failure
        ]
        assert [failure for failure in callers.failures if failure not in own] == []
        assert len(own) <= 3
        assert callers.since(stopped + 0.5) == {str(second.port)}


@pytest.mark.parametrize("delay", ["0s", "300ms"])
def test_a_sidecar_that_drains_costs_no_call(delay: str) -> None:
    """The one in front of an instance ends in order, and no caller notices."""
    more = f'[drain]\ndelay = "{delay}"\ngrace = "5s"\n'
    with App("asyncio") as first, App("asyncio") as second, mesh("two", first, second, more=more) as way:
        with Callers(way.port) as callers:
            callers.more(200)
            assert callers.since(0) == {str(first.port), str(second.port)}
            way.inbound[0].signal(signal.SIGTERM)
            assert way.inbound[0].exit_code() == 0
            drained = time.monotonic()
            callers.more(400)
            assert callers.failures == []
            assert callers.since(drained + 0.5) == {str(second.port)}
        log = way.inbound[0].log()
        assert "cut off" not in log
        assert "Traceback" not in log


def test_what_became_of_calls_is_counted_by_their_status() -> None:
    """In the metrics of both sidecars: the status of the trailers, and the reason where a sidecar has refused."""
    with App() as app, mesh("two", app) as way:
        with channel(way.port) as one:
            methods = Methods(one)
            for _ in range(3):
                methods.echo(b"hello", timeout=PATIENCE)
            with pytest.raises(grpc.RpcError):
                methods.fail(b'{"code": 9, "message": "", "trailing": []}', timeout=PATIENCE)
        refusal(way.port, "nobody")
        outbound, (inbound,) = way.outbound, way.inbound
        assert outbound is not None
        for sidecar, direction in ((outbound, "outbound"), (inbound, "inbound")):
            calls = {"direction": direction, "reason": ""}
            until(
                lambda one=sidecar, calls=calls: (
                    one.metric("sidecar_grpc_requests_total", grpc_status="OK", **calls) == 3
                ),
                "they are counted",
            )
            assert sidecar.metric("sidecar_grpc_requests_total", grpc_status="FAILED_PRECONDITION", **calls) == 1
        assert outbound.metric("sidecar_grpc_requests_total", grpc_status="UNIMPLEMENTED", reason="no_route") == 1


def test_connections_of_http_2_are_counted() -> None:
    """One on each side carries all calls of a channel; when the application has gone, there is none to it."""
    with App() as app, mesh("one", app) as way:
        assert way.outbound is not None
        with channel(way.port) as one:
            methods = Methods(one)
            for _ in range(5):
                methods.echo(b"hello", timeout=PATIENCE)
            assert way.outbound.metric("sidecar_connections", side="downstream", direction="outbound") == 1
            assert way.outbound.metric("sidecar_connections", side="upstream", direction="outbound") == 1
            app.stop()
        for side in ("upstream", "downstream"):
            until(
                lambda side=side: way.outbound.metric("sidecar_connections", side=side, direction="outbound") == 0,
                f"no connection {side} is left",
            )
