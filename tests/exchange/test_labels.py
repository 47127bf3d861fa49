"""What a request carries on: trace, request id, attempt; what is left out; whom we believe what."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.exchange.steps import at_rest, heard, mesh, request, response
from tests.support.world import LISTEN, World

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def sent_on(world: World, raw: bytes, listener: str = "outbound") -> dict[str, str]:
    """The fields that the endpoint gets."""
    world.client(listener).send(raw)
    return heard(world.accept()).fields


def test_a_trace_is_continued_with_a_new_span() -> None:
    """Same trace and decision, another parent, and the vendors' part untouched."""
    fields = sent_on(mesh(), request(traceparent=PARENT, tracestate="vendor=1"))
    match = re.fullmatch(rf"00-{TRACE}-([0-9a-f]{{16}})-01", fields["traceparent"])
    assert match is not None and match[1] != "00f067aa0ba902b7"
    assert fields["tracestate"] == "vendor=1"


def test_every_attempt_is_a_span_of_its_own() -> None:
    """A retry is another call in the same trace."""
    world = mesh(endpoints=2)
    client = world.client()
    client.send(request(traceparent=PARENT))
    server = world.accept()
    first = heard(server).fields
    server.send(response(503))
    world.pass_time(0.2)
    second = heard(world.accept()).fields
    assert first["traceparent"] != second["traceparent"]
    assert first["traceparent"][:36] == second["traceparent"][:36]
    assert (first["x-sidecar-attempt"], second["x-sidecar-attempt"]) == ("1", "2")


@pytest.mark.parametrize(
    "bad",
    [
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE.upper()}-00f067aa0ba902b7-01",
        f"ff-{TRACE}-00f067aa0ba902b7-01", f"00-{TRACE}-00f067aa0ba902b7-01-more", f"00-{TRACE}-00f067aa0ba902b7",
        "nonsense", f"{PARENT}, {PARENT}",
    ],
)  # fmt: skip
def test_a_malformed_trace_is_replaced_and_its_state_dropped(bad: str) -> None:
    """W3C Trace Context, section 3.3."""
    fields = sent_on(mesh(), request(traceparent=bad, tracestate="vendor=1"))
    assert re.fullmatch(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[01]", fields["traceparent"])
    assert TRACE not in fields["traceparent"]
    assert "tracestate" not in fields


def test_a_later_version_of_traceparent_is_understood_as_far_as_it_goes() -> None:
    """Of its flags only the sampled bit is known to mean the same."""
    fields = sent_on(mesh(), request(traceparent=f"cc-{TRACE}-00f067aa0ba902b7-03-what-will-be"))
    assert fields["traceparent"].startswith(f"00-{TRACE}-") and fields["traceparent"].endswith("-01")


@pytest.mark.parametrize(
    ("b3", "trace", "flags"),
    [
        (f"{TRACE}-00f067aa0ba902b7-1", TRACE, "01"), (f"{TRACE}-00f067aa0ba902b7-0", TRACE, "00"),
        (f"{TRACE}-00f067aa0ba902b7-d-05e3ac9a4f6e3b90", TRACE, "01"),
        (f"{TRACE[16:]}-00f067aa0ba902b7-1", TRACE[16:].rjust(32, "0"), "01"),
    ],
)  # fmt: skip
def test_b3_is_accepted_and_said_on_as_traceparent_too(b3: str, trace: str, flags: str) -> None:
    """64 and 128 bits; what the next application understands is there."""
    fields = sent_on(mesh(), request(b3=b3))
    assert fields["traceparent"].startswith(f"00-{trace}-") and fields["traceparent"].endswith(f"-{flags}")
    assert fields["b3"] == b3


def test_new_traces_are_sampled_as_configured() -> None:
    """One in a hundred by default; all of them if all are asked for."""
    assert sent_on(mesh(more="[trace]\nsample = 1.0\n"), request())["traceparent"].endswith("-01")
    world = mesh()
    flags = [sent_on(world, request())["traceparent"][-2:] for _ in range(300)]
    assert 0 < flags.count("01") < 15


@pytest.mark.parametrize("given", ["r-1", "!" * 128, "7D9F4E1C-2b3a"])
def test_a_good_request_id_is_kept_and_comes_back(given: str) -> None:
    """Also in capitals, to the letter."""
    world = mesh()
    client = world.client()
    client.send(request(X_Request_Id=given))
    server = world.accept()
    assert heard(server).fields["x-request-id"] == given
    server.send(response())
    assert heard(client).fields["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "caf\xe9"])
def test_another_one_is_replaced(given: str) -> None:
    """1 to 128 visible ASCII characters; there is always exactly one."""
    fields = sent_on(mesh(), f"GET / HTTP/1.1\r\nHost: orders\r\nX-Request-Id: {given}\r\n\r\n".encode("latin-1"))
    assert re.fullmatch("[0-9a-f]{32}", fields["x-request-id"])


def test_without_one_it_is_made_and_is_the_trace_id() -> None:
    """One name less to look for."""
    fields = sent_on(mesh(), request())
    assert fields["x-request-id"] == fields["traceparent"][3:35]


def test_every_response_has_a_request_id_and_the_applications_own_is_kept() -> None:
    """Ours, theirs, and never two."""
    world = mesh()
    client = world.client()
    client.send(request(host="nobody", X_Request_Id="r-1"))
    assert heard(client).fields["x-request-id"] == "r-1"
    client.send(request(X_Request_Id="r-2"))
    world.accept().send(response(200, X_Request_Id="theirs"))
    assert heard(client).fields["x-request-id"] == "theirs"


def test_what_belongs_to_one_hop_stays_there_in_both_directions() -> None:
    """RFC 9110 section 7.6.1, and what only a proxy is told."""
    world = mesh()
    client = world.client()
    client.send(
        request(
            Connection="keep-alive, X-Mine", X_Mine="1", Keep_Alive="timeout=5", TE="trailers", Proxy_Authorization="secret",
            Proxy_Connection="keep-alive", Upgrade="h2c", HTTP2_Settings="AAMAAABk", X_Theirs="2",
        )
    )  # fmt: skip
    server = world.accept()
    fields = heard(server).fields
    assert fields.keys().isdisjoint(
        {
            "connection",
            "x-mine",
            "keep-alive",
            "te",
            "proxy-authorization",
            "proxy-connection",
            "upgrade",
            "http2-settings",
        }
    )
    assert (fields["x-theirs"], fields["host"]) == ("2", "orders")
    server.send(response(200, Connection="X-Secret", X_Secret="1", Keep_Alive="timeout=5", X_App="2"))
    answer = heard(client)
    assert answer.fields.keys().isdisjoint({"connection", "x-secret", "keep-alive"})
    assert answer.fields["x-app"] == "2"


def test_connection_cannot_take_away_what_others_rely_on() -> None:
    """A sender that names Host, length or trace there wants to hide them from somebody."""
    raw = request(
        "PUT", body=b"abc", Connection="Host, Content-Length, traceparent, X-Request-Id, Cookie", Cookie="a=b"
    )
    fields = sent_on(mesh(), raw)
    assert {"host", "content-length", "traceparent", "x-request-id", "cookie"} <= fields.keys()


def test_the_host_is_kept() -> None:
    """The application behind may serve several."""
    assert sent_on(mesh(), request(host="Orders.mesh:8080"))["host"] == "Orders.mesh:8080"


def test_inbound_the_attempt_of_the_caller_is_passed_on_and_the_mark_is_not() -> None:
    """The application may want to know of a retry; the mark is the sidecars' own."""
    world = mesh()
    fields = sent_on(world, request(host="shop", x_sidecar_attempt="3", x_sidecar_passed="abc"), "inbound")
    assert fields["x-sidecar-attempt"] == "3"
    assert "x-sidecar-passed" not in fields


def test_a_request_that_passed_here_before_is_a_loop() -> None:
    """It carries the mark that we put on it."""
    world = mesh()
    mark = sent_on(world, request())["x-sidecar-passed"]
    client = world.client()
    client.send(request(x_sidecar_passed=f"0123456789abcdef, {mark}"))
    answer = heard(client)
    assert (answer.status, answer.reason, world.dialing) == (508, "loop_detected", [])


FORWARDED: dict[str, Any] = {
    "Forwarded": "for=1",
    "X_Forwarded_For": "10.1.1.1",
    "X_Forwarded_Proto": "https",
    "X_Real_Ip": "10.1.1.1",
}


def forwarded(fields: dict[str, str]) -> set[str]:
    return {name for name in fields if "forwarded" in name or name == "x-real-ip"}


def test_who_the_client_was_is_believed_from_the_local_application_and_from_trusted_peers_only() -> None:
    """The names go, not only their values."""
    raw = request(host="shop", **FORWARDED)
    untrusting = mesh()
    assert forwarded(sent_on(untrusting, raw, "inbound")) == set()
    assert len(forwarded(sent_on(untrusting, request(**FORWARDED)))) == 4
    trusting = World(LISTEN + '[inbound]\ntrusted = ["192.0.2.0/24"]\n')
    client = trusting.client("inbound", ("192.0.2.7", 1))
    client.send(raw)
    assert len(forwarded(heard(trusting.accept()).fields)) == 4
    client = trusting.client("inbound", ("198.51.100.7", 1))
    client.send(raw)
    assert forwarded(heard(trusting.accept()).fields) == set()


def test_the_application_cannot_speak_as_a_sidecar() -> None:
    """Its inbound side takes ``x-sidecar-*`` away; outbound a peer's sidecar is heard."""
    for listener, host, kept in (("inbound", "shop", False), ("outbound", "orders", True)):
        world = mesh()
        client = world.client(listener)
        client.send(request(host=host))
        world.accept().send(response(404, x_sidecar_reason="no_route", x_sidecar_source="me"))
        assert ("x-sidecar-reason" in heard(client).fields) == kept
        at_rest(world)
