"""What gRPC is made of comes through unchanged: the four kinds of calls, metadata, compression, statuses; with grpcio at
both ends."""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.grpc_mesh import Methods, Way, channel, grpc
from tests.support.live import PATIENCE

CODES = {code.value[0]: code for code in grpc.StatusCode}


@pytest.fixture
def methods(orders: Way) -> Iterator[Methods]:
    with channel(orders.port) as one:
        yield Methods(one)


class Messages:
    """Messages of a client, sent when the test says so."""

    def __init__(self) -> None:
        self._queue: queue.Queue[bytes | None] = queue.Queue()

    def send(self, message: bytes) -> None:
        self._queue.put(message)

    def end(self) -> None:
        self._queue.put(None)

    def __iter__(self) -> Iterator[bytes]:
        while (message := self._queue.get(timeout=PATIENCE)) is not None:
            yield message


def pairs(metadata: Any, prefix: str) -> list[tuple[str, str | bytes]]:
    found = [(key, value) for key, value in metadata if key.startswith(prefix)]
    return sorted(found, key=lambda pair: pair[0])  # Among equal keys, and only there, the order has a meaning.


def test_a_unary_call(methods: Methods) -> None:
    """Bytes of any length, none and more than a frame among them."""
    for size in (0, 1, 16_379, 16_380, 100_000):
        message = bytes(range(256)) * (size // 256) + bytes(size % 256)
        assert methods.echo(message, timeout=PATIENCE) == message


def test_a_server_streams(methods: Methods) -> None:
    """Each message by itself; empty streams, empty messages, and more than any window holds."""
    for messages, size in ((0, 0), (3, 0), (1, 1), (500, 10), (40, 100_000)):
        wanted = json.dumps({"messages": messages, "bytes": size}).encode()
        assert [len(one) for one in methods.count(wanted, timeout=PATIENCE)] == [size] * messages


def test_a_client_streams(methods: Methods) -> None:
    """Nothing at all, many small messages, and more than any window holds."""
    for messages, size in ((0, 0), (500, 10), (40, 100_000)):
        answer = methods.collect(iter([bytes(size)] * messages), timeout=PATIENCE)
        assert json.loads(answer) == [messages, messages * size]


def test_both_sides_talk(methods: Methods) -> None:
    """Every message is answered before the next is sent, and the end of one side brings that of the other."""
    said = Messages()
    heard = methods.talk(iter(said), timeout=PATIENCE)
    for number in range(20):
        said.send(b"%d" % number)
        assert next(heard) == b"%d" % number
    said.end()
    assert list(heard) == []
    assert heard.code() is grpc.StatusCode.OK


def test_a_client_that_has_said_all_goes_on_listening(methods: Methods) -> None:
    """It closes its half before the first answer comes."""
    messages = [bytes([number]) * 10_000 for number in range(30)]
    assert list(methods.replay(iter(messages), timeout=PATIENCE)) == messages


def test_a_server_that_has_heard_enough_answers_before_the_client_has_finished(methods: Methods) -> None:
    """Its answer is an answer, and the channel is good for the next call."""
    for _ in range(20):
        said = Messages()
        said.send(b"first")
        call = methods.first.future(iter(said), timeout=PATIENCE)
        try:
            assert call.result(PATIENCE) == b"first"
            assert call.code() is grpc.StatusCode.OK
        finally:
            said.end()
    assert methods.echo(b"hello", timeout=PATIENCE) == b"hello"


def test_a_server_that_has_heard_enough_in_the_midst_of_much(methods: Methods) -> None:
    """The client is held up by flow control when the answer comes."""
    call = methods.first.future((bytes(100_000) for _ in range(1_000)), timeout=PATIENCE)
    assert call.result(PATIENCE) == bytes(100_000)
    assert methods.echo(b"hello", timeout=PATIENCE) == b"hello"


def test_metadata_goes_both_ways(methods: Methods) -> None:
    """Initial and trailing; repeated keys keep their order, binary values their bytes."""
    sent = [
        ("initial-bin", bytes(range(256))),
        ("initial-twice", "two"),
        ("initial-twice", "one"),
        ("trailing-bin", b"\xff\x00"),
        ("trailing-bin", b""),
        ("trailing-text", "a, b;c=\"d\" %41"),
    ]  # fmt: skip
    answer, call = methods.echo.with_call(b"", metadata=sent, timeout=PATIENCE)
    assert answer == b""
    assert pairs(call.initial_metadata(), "initial-") == sent[:3]
    assert pairs(call.trailing_metadata(), "trailing-") == sent[3:]


def test_the_callee_sees_what_the_caller_sent(methods: Methods) -> None:
    """Its own keys as they are, and who it is: nothing of gRPC's is lost on the way."""
    sent = [("key", "one"), ("key", "two"), ("key-bin", b"\x00\x01"), ("cookie", "a=b"), ("cookie", "c=d")]
    seen = json.loads(methods.metadata(b"", metadata=sent, timeout=PATIENCE))["metadata"]
    assert [value for key, value in seen if key == "key"] in (["one", "two"], ["one,two"], ["one, two"])
    assert ["key-bin", "0001"] in seen
    # HTTP/2 allows cookies to be split and joined.
    assert "; ".join(value for key, value in seen if key == "cookie") == "a=b; c=d"
    assert any(key == "user-agent" and "grpc-python" in value for key, value in seen)


def test_much_metadata(methods: Methods) -> None:
    """More than a frame holds; grpcio itself takes no more than 8 to 16 KiB without being told."""
    sent = [(f"initial-{number}", "x" * 70) for number in range(50)]
    _, call = methods.echo.with_call(b"", metadata=sent, timeout=PATIENCE)
    assert pairs(call.initial_metadata(), "initial-") == sorted(sent)


def test_messages_may_be_compressed(methods: Methods) -> None:
    """By the client, by the server, and by both."""
    message = b"again and again " * 10_000
    for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate, grpc.Compression.NoCompression):
        assert methods.echo(message, compression=compression, timeout=PATIENCE) == message
        assert methods.squeezed(message, compression=compression, timeout=PATIENCE) == message


@pytest.mark.parametrize("code", [code for code in CODES if code])
def test_a_status_is_the_applications(methods: Methods, code: int) -> None:
    """Every one that there is, with its message, its details and its metadata; nothing of a sidecar's is added."""
    wanted = {
        "code": code,
        "message": "Größe überschritten: 100 %, »✓«\n%41",
        "trailing": [["grpc-status-details-bin", "\x08\x05\x12\x04nöt!"], ["why", "because"], ["why", "so"]],
    }
    with pytest.raises(grpc.RpcError) as caught:
        methods.fail(json.dumps(wanted).encode(), timeout=PATIENCE)
    error = caught.value
    assert (error.code(), error.details()) == (CODES[code], wanted["message"])
    trailing = list(error.trailing_metadata())
    assert ("grpc-status-details-bin", "\x08\x05\x12\x04nöt!".encode()) in trailing
    assert [value for key, value in trailing if key == "why"] == ["because", "so"]
    assert not [
        key for key, _ in [*trailing, *error.initial_metadata()] if key in ("x-sidecar-reason", "x-sidecar-source")
    ]


def test_a_stream_may_fail_after_all_its_messages(methods: Methods) -> None:
    """They have come, and then comes the status."""
    stream = methods.count(json.dumps({"messages": 5, "bytes": 50_000, "code": 9}).encode(), timeout=PATIENCE)
    heard = []
    with pytest.raises(grpc.RpcError) as caught:
        for message in stream:
            heard.append(len(message))
    assert heard == [50_000] * 5
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "that was all")


def test_a_method_that_the_application_does_not_have_is_its_own_affair(orders: Way) -> None:
    """UNIMPLEMENTED comes from the application, in its words."""
    with channel(orders.port) as one:
        for path in ("/test.Echo/Nothing", "/test.Nothing/Echo"):
            with pytest.raises(grpc.RpcError) as caught:
                one.unary_unary(path)(b"", timeout=PATIENCE)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
            assert "Method not found" in caught.value.details()


def test_health_is_asked_and_watched_as_anywhere(orders: Way) -> None:
    """The callee's own health service answers, through its stream too."""
    with channel(orders.port) as one:
        check = one.unary_unary("/grpc.health.v1.Health/Check")
        serving = b"\x08\x01"
        assert check(b"", timeout=PATIENCE) == serving
        watched = one.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=PATIENCE)
        assert next(watched) == serving
        watched.cancel()
        with pytest.raises(grpc.RpcError) as caught:
            check(b"\x0a\x04none", timeout=PATIENCE)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_many_calls_at_once_on_one_channel(methods: Methods) -> None:
    """200, each with its own answer; nobody waits for anybody longer than for the others' bytes."""
    messages = [b"%d " % number * 500 for number in range(200)]
    calls = [methods.echo.future(message, timeout=PATIENCE) for message in messages]
    assert [call.result(PATIENCE) for call in calls] == messages
