"""When a gRPC call ends before its answer, and when it does not: deadlines, callers that leave, quiet streams."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator

import pytest

from tests.support.grpc_mesh import APPS, WAYS, App, Methods, Way, channel, grpc, mesh
from tests.support.live import PATIENCE, until
from tests.support.needs import program


@pytest.fixture
def methods(orders: Way) -> Iterator[Methods]:
    with channel(orders.port) as one:
        yield Methods(one)


def seen(methods: Methods, what: str) -> list[str]:
    found: list[str] = json.loads(methods.seen(b"", timeout=PATIENCE))[what]
    return found


def test_a_deadline_travels_on(methods: Methods) -> None:
    """The callee has the time that the caller gave, or less; grpcio rounds it up by at most a hundredth when it sends it."""
    for given in (0.5, 5.0, 3_600.0, 100_000.0):
        remaining = json.loads(methods.metadata(b"", timeout=given))["remaining"]
        # A timeout has at most eight digits: the longer it is, the coarser.
        assert given * 0.98 - 0.2 < remaining <= given * 1.02


def test_a_deadline_comes_nearer_with_each_sidecar(orders: Way) -> None:
    """None of them ever gives more than is left: of a timeout in milliseconds at least one is gone at each."""
    for given in ("5000m", "5S", "5000000u", "00005S"):
        answer = by_hand(orders.port, "Metadata", "grpc-timeout: " + given)
        remaining = json.loads(answer[5:])["remaining"]
        assert 4.0 < remaining <= 5.0 - 0.001 * len(orders.sidecars)


def by_hand(port: int, method: str, *fields: str) -> bytes:
    """What comes back for an empty message, framed as gRPC does it."""
    command = [program("curl", "curl"), "-sS", "--max-time", "10", "--http2-prior-knowledge", "--data-binary", "@-"]
    for line in ("host: orders", "te: trailers", "content-type: application/grpc", *fields):
        command += ["-H", line]
    url = f"http://127.0.0.1:{port}/test.Echo/{method}"
    return subprocess.run([*command, url], input=bytes(5), capture_output=True, check=True, timeout=PATIENCE).stdout


def test_who_gave_no_deadline_gives_none(methods: Methods) -> None:
    """A timeout of the route ends the call here, and is no deadline of the callee's: a stream may last."""
    call = methods.metadata.future(b"")
    assert json.loads(call.result(PATIENCE))["remaining"] is None


def test_a_deadline_ends_the_call_at_both_ends(methods: Methods) -> None:
    """The caller is told DEADLINE_EXCEEDED when it passes, and the callee need not go on."""
    name = uuid.uuid4().hex
    began = time.monotonic()
    with pytest.raises(grpc.RpcError) as caught:
        methods.sleep(name.encode(), timeout=0.5)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert 0.45 < time.monotonic() - began < 1.5
    until(lambda: name in seen(methods, "ended"), "the callee is told", 1.0)


def test_a_deadline_ends_a_stream_that_has_begun(methods: Methods) -> None:
    """Messages have come and gone; the deadline still stands."""
    first = threading.Event()

    def messages() -> Iterator[bytes]:
        yield b"hello"
        first.wait(PATIENCE)

    talk = methods.talk(messages(), timeout=0.5)
    assert next(talk) == b"hello"
    with pytest.raises(grpc.RpcError) as caught:
        next(talk)
    first.set()
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_caller_that_leaves_takes_its_call_with_it(methods: Methods, orders: Way) -> None:
    """Within a second the callee knows, and the channel goes on."""
    names = [uuid.uuid4().hex for _ in range(10)]
    calls = [methods.sleep.future(name.encode()) for name in names]
    until(lambda: set(names) <= set(seen(methods, "begun")), "all have begun")
    for call in calls[:9]:
        call.cancel()
    until(lambda: set(names[:9]) <= set(seen(methods, "ended")), "the callee is told", 1.0)
    assert names[9] not in seen(methods, "ended")
    calls[9].cancel()
    until(lambda: names[9] in seen(methods, "ended"), "and of the last one", 1.0)
    for sidecar in orders.sidecars:
        until(
            lambda one=sidecar: one.metric("sidecar_requests_in_flight") == 0, "nothing of them is left in the sidecar"
        )


def test_a_channel_that_is_closed_takes_its_calls_with_it(orders: Way) -> None:
    """As if each had been cancelled."""
    name = uuid.uuid4().hex
    with channel(orders.port) as other:
        methods = Methods(other)
        with channel(orders.port) as one:
            call = Methods(one).sleep.future(name.encode())
            until(lambda: name in seen(methods, "begun"), "it has begun")
        assert call.code() is grpc.StatusCode.CANCELLED
        until(lambda: name in seen(methods, "ended"), "the callee is told", 1.0)


class Talk:
    """A call of Talk that says something when it is asked to."""

    def __init__(self, methods: Methods) -> None:
        self._said: queue.Queue[bytes | None] = queue.Queue()
        self._heard = methods.talk(iter(lambda: self._said.get(timeout=60), None))

    def says(self, message: bytes) -> bytes:
        """What is answered."""
        self._said.put(message)
        answer: bytes = next(self._heard)
        return answer

    def end(self) -> None:
        self._said.put(None)
        assert list(self._heard) == []


@pytest.mark.parametrize("through", WAYS)
def test_a_stream_may_be_quiet_longer_than_any_timeout(through: str) -> None:
    """Timeouts are for the beginning of an answer and for bytes that are owed; a stream owes nothing."""
    policies = 'timeout = "1s"\nattempt_timeout = "1s"\nstall_timeout = "1s"\n'
    with App() as app, mesh(through, app, policies=policies) as way, channel(way.port) as one:
        talk = Talk(Methods(one))
        assert talk.says(b"hello") == b"hello"
        assert not threading.Event().wait(2.5)
        assert talk.says(b"still there?") == b"still there?"
        talk.end()
        for sidecar in way.sidecars:
            assert "Traceback" not in sidecar.log()


@pytest.mark.parametrize("through", WAYS)
def test_a_client_may_be_quiet_before_the_answer_has_begun(through: str) -> None:
    """It is in no debt: how much it will send is its own affair, and nobody waits for the rest of a message."""
    policies = 'timeout = "none"\nstall_timeout = "1s"\n'
    with App() as app, mesh(through, app, policies=policies) as way, channel(way.port) as one:
        quiet = threading.Event()

        def messages() -> Iterator[bytes]:
            yield b"hello"
            quiet.wait(2.5)
            yield b"still there!"

        assert json.loads(Methods(one).collect(messages())) == [2, 17]


@pytest.mark.parametrize("kind", APPS)
@pytest.mark.parametrize("through", WAYS)
def test_keepalive_pings_are_answered(through: str, kind: str) -> None:
    """Ten a second, on a connection where nothing else happens and beside a stream; were one not, the channel would break."""
    with App(kind) as app, mesh(through, app) as way:
        with channel(
            way.port,
            keepalive_time_ms=100,
            keepalive_timeout_ms=1_000,
            keepalive_permit_without_calls=1,
            **{"http2.max_pings_without_data": 0},
        ) as one:
            methods = Methods(one)
            talk = Talk(methods)
            assert talk.says(b"hello") == b"hello"
            assert not threading.Event().wait(1.5)
            assert talk.says(b"still there?") == b"still there?"
            talk.end()
            states: list[object] = []
            one.subscribe(states.append)
            until(lambda: states, "the channel says how it is")
            assert not threading.Event().wait(1.5)
            assert set(states) == {grpc.ChannelConnectivity.READY}
            assert methods.echo(b"hello", timeout=PATIENCE) == b"hello"


@pytest.mark.parametrize("through", ["one", "two"])
def test_a_sidecar_that_drains_lets_a_stream_finish(through: str) -> None:
    """Within the grace it stays whole, message by message; a call that comes on the same channel is served as well."""
    with App() as app, mesh(through, app, more='[drain]\ndelay = "0s"\ngrace = "20s"\n') as way:
        with channel(way.port) as one:
            talk = Talk(Methods(one))
            assert talk.says(b"hello") == b"hello"
            for sidecar in way.sidecars:
                sidecar.signal(signal.SIGTERM)
            for sidecar in way.sidecars:
                until(lambda one=sidecar: one.probe("/health/ready").status == 503, "the drain begins")
            assert not threading.Event().wait(1.5)
            assert talk.says(b"still there?") == b"still there?"
            talk.end()
        for sidecar in way.sidecars:
            assert sidecar.exit_code() == 0
            assert "cut off" not in sidecar.log()
            assert "Traceback" not in sidecar.log()
