"""What a request keeps on its way through several sidecars, and on its way out of the mesh."""

from __future__ import annotations

from tests.exchange.steps import heard, mesh, request, response
from tests.support.world import World

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def sent_on(world: World, raw: bytes) -> bytes:
    """The request as the endpoint gets it."""
    world.client().send(raw)
    return world.accept().take()


def test_a_loop_over_several_sidecars_is_detected() -> None:
    """Each adds its mark to those that are there, so that the first one knows the request again."""
    one, other = World(seed=1), World(seed=2)
    once = sent_on(one, request())
    twice = sent_on(other, once)
    client = one.client()
    client.send(twice)
    assert (heard(client).reason, one.dialing) == ("loop_detected", [])


def test_two_sidecars_in_a_row_are_no_loop() -> None:
    """The second one passes on what the first one marked, and counts its own attempts."""
    one, other = World(seed=1), World(seed=2)
    text = sent_on(other, sent_on(one, request())).lower()
    assert text.count(b"x-sidecar-attempt: 1\r\n") == 1
    assert text.count(b"traceparent:") == text.count(b"x-request-id:") == text.count(b"x-request-timeout-ms:") == 1


def test_what_leaves_the_mesh_is_as_the_application_wrote_it() -> None:
    """Labels that mean nothing to us may mean something there; only what belongs to one hop goes."""
    raw = request(
        target="http://example.org/a", host="example.org", b3="0", tracestate="v=1", X_Request_Id="not ours",
        traceparent="none", X_Request_Timeout_Ms="soon", Connection="X-Mine", X_Mine="1",
    )  # fmt: skip
    assert sent_on(mesh(), raw) == (
        b"GET /a HTTP/1.1\r\nHost: example.org\r\nb3: 0\r\ntracestate: v=1\r\nX-Request-Id: not ours\r\n"
        b"traceparent: none\r\nX-Request-Timeout-Ms: soon\r\n\r\n"
    )


def test_what_leaves_the_mesh_is_tried_again_and_broken_off_like_any_call() -> None:
    """The defaults hold for it: a connect failure is retried, and enough failures open the breaker of that host alone."""
    world = mesh(more="[defaults.breaker]\nfailures = 2\n")
    client = world.client()
    raw = request(target="http://example.org/", host="example.org")
    client.send(raw)
    world.refuse("example.org:80")
    world.pass_time(0.2)
    world.accept("example.org:80").send(response(200))
    assert heard(client).status == 200
    client.send(raw)
    (server,) = (peer for peer in world.peers if peer.address[0] == "example.org")
    server.send(response(500))
    world.pass_time(0.2)
    assert heard(client).status == 500, "its breaker is open: the answer that was held is the answer"
    client.send(raw)
    assert heard(client).reason == "breaker_open"
    client.send(request(target="http://example.com/", host="example.com"))
    assert client.take() == b"" and world.dialing, "another host has a breaker of its own"


def test_the_state_of_a_trace_goes_with_the_trace() -> None:
    """Where the trace is B3's, the vendors' part of another one is misleading."""
    text = sent_on(mesh(), request(b3=f"{TRACE}-00f067aa0ba902b7-1", tracestate="v=1"))
    assert b"traceparent: 00-%b-" % TRACE.encode() in text
    assert b"tracestate" not in text and b"\r\nb3: " in text


def test_b3_that_names_no_trace_goes() -> None:
    """The trace that is sent on is a new one."""
    assert b"\r\nb3:" not in sent_on(mesh(), request(b3="0"))


def test_labels_without_a_host_are_read_all_the_same() -> None:
    """HTTP/1.0 needs none; inbound there is one application."""
    world = mesh()
    client = world.client("inbound")
    client.send(b"GET / HTTP/1.0\r\nX-Request-Timeout-Ms: 0\r\n\r\n")
    assert heard(client).reason == "deadline_exceeded"
    client = world.client("inbound")
    client.send(b"GET / HTTP/1.0\r\nX-Request-Id: r-1\r\n\r\n")
    assert world.accept().take().lower().count(b"x-request-id: r-1\r\n") == 1


def test_a_deadline_that_passes_names_whom_it_waited_for() -> None:
    """Whether an answer was missing or a connection."""
    world = mesh()
    connecting, asking = world.client(), world.client()
    asking.send(request(X_Request_Timeout_Ms="1000"))
    world.accept()
    connecting.send(request(X_Request_Timeout_Ms="1000"))
    world.pass_time(1.1)
    assert "no response came from 10.0.0.1:9001" in heard(asking).error()["detail"]
    assert "no connection to 10.0.0.1:9001" in heard(connecting).error()["detail"]
