"""The steady load of the bench: a server that hangs is seen by every request that was due meanwhile."""

from __future__ import annotations

import heapq
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from bench.figures import percentile
from bench.steady import Job, OpenModel, Result, run

TAKES = 0.001
"""What the server of these tests needs for an answer, seconds."""


def drive(
    *,
    seconds: float,
    connections: int,
    stall: tuple[float, float] = (0.0, 0.0),
    frozen: tuple[float, float] = (0.0, 0.0),
) -> tuple[Result, list[float]]:
    """Send 1,000 requests a second to a server that hangs during ``stall``, from a generator that stands still during
    ``frozen``, both as from and to in virtual seconds; the result, and latencies as one would see them who counts from
    the moment of sending."""
    now = 0.0
    events: list[tuple[float, int, float]] = []
    seen: list[float] = []

    def send(connection: int) -> None:
        begins = stall[1] if stall[0] <= now < stall[1] else now
        heapq.heappush(events, (begins + TAKES, connection, now))

    model: OpenModel[int] = OpenModel(0.0, 1000.0, round(seconds * 1000), send)
    for connection in range(connections):
        model.free(connection)
    while not model.over:
        upcoming = [event[0] for event in events[:1]] + [due for due in (model.next_due,) if due is not None]
        now = max(now, min(upcoming))
        if frozen[0] <= now < frozen[1]:
            now = frozen[1]
        while events and events[0][0] <= now:
            _, connection, sent = heapq.heappop(events)
            seen.append(now - sent)
            model.answered(connection, now, good=True)
        model.tick(now)
    return model.result(), sorted(seen)


def test_a_server_that_hangs_for_a_second_shows_at_the_99th_percentile() -> None:
    """A thousand of ten thousand requests were due while it hung: they waited half a second on average, and all count."""
    result, seen = drive(seconds=10, connections=32, stall=(4.0, 5.0))
    assert result.requests == 10_000
    assert result.p50 == pytest.approx(1_000, abs=10)
    # The last tenth of ten thousand begins where the stall does; a tenth of those is 0.9 s and more away from its end.
    assert 850_000 < result.p99 < 950_000
    assert result.max == pytest.approx(1_001_000, rel=0.01)
    # Counted from the moment of sending, the same second would have been 32 unlucky requests.
    assert percentile(seen, 0.99) < 0.01


def test_what_waits_for_a_free_connection_counts_from_the_instant_it_was_due() -> None:
    """One connection and a server that takes 2 ms at 1,000 a second: the queue grows by a half, and so do latencies."""
    sent: list[int] = []
    model: OpenModel[int] = OpenModel(0.0, 1000.0, 100, sent.append)
    model.free(7)
    for millisecond in range(200):
        now = millisecond / 1000
        model.tick(now)
        if millisecond % 2 and model.in_flight:
            model.answered(7, now, good=True)
    assert len(sent) == 100
    assert model.over
    assert model.result().max == pytest.approx(100_000, rel=0.02)


def test_the_generator_tells_how_late_it_was_itself() -> None:
    """Where the generator stood still for 50 ms, its lag says so, and a latency of 50 ms is not put on the server."""
    prompt, _ = drive(seconds=1, connections=32)
    late, _ = drive(seconds=1, connections=32, frozen=(0.5, 0.55))
    assert prompt.lag_max == pytest.approx(0, abs=1)
    assert late.lag_max == pytest.approx(50_000, rel=0.05)
    assert late.lag_p99 > 30_000


def test_what_is_never_answered_has_failed_and_took_until_the_end() -> None:
    """Requests in flight and in the queue are neither forgotten nor fast, and a lost connection fails its own alone."""
    model: OpenModel[str] = OpenModel(10.0, 10.0, 4, lambda connection: None)
    model.free("a")
    model.free("b")
    model.tick(10.3)
    model.lost("b", 10.4)
    model.give_up(12.0)
    result = model.result()
    assert (result.requests, result.errors) == (4, 4)
    assert result.p50 == pytest.approx(1_700_000)
    assert result.max == pytest.approx(1_900_000)
    assert model.over


def test_an_answer_that_is_not_good_counts_as_an_error_with_its_latency() -> None:
    """A fast refusal does not make a proxy fast."""
    model: OpenModel[str] = OpenModel(0.0, 1000.0, 1, lambda connection: None)
    model.free("a")
    model.tick(0.0)
    model.answered("a", 0.002, good=False)
    assert (model.result().requests, model.result().errors) == (1, 1)


@contextmanager
def answering(*answers: bytes) -> Iterator[int]:
    """A server on a port of its own: one answer of ``answers`` a request in turn; ``b""`` closes the connection."""
    turn = iter(answers)

    def serve(connection: socket.socket) -> None:
        with connection, suppress(ConnectionError):
            while connection.recv(65536):
                answer = next(turn, answers[-1])
                if not answer:
                    return
                connection.sendall(answer)

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            thread = threading.Thread(target=serve, args=(connection,), daemon=True)
            thread.start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        accepting.join(5)


def test_over_real_sockets_every_request_is_sent_and_a_lost_connection_replaced() -> None:
    """A closed connection and a refusal are two errors; all others are answered, over the connection that came instead."""
    good = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    with answering(good, b"", b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", good) as port:
        result = run(Job(port, "/", {"Host": "origin"}, connections=1, seconds=0.05, rate=400))
    assert (result.requests, result.errors) == (20, 2)
    assert 0 < result.p50 <= result.p90 <= result.p99 <= result.p999 <= result.max
