"""Requests that would come back for ever are answered 508 the first time that they do."""

from __future__ import annotations

from tests.support.live import Client, Sidecar, Upstream, Wire, free_port, services, until


def test_an_endpoint_that_is_our_own_outbound_listener_is_a_loop() -> None:
    """A slip in the configuration, found at the first call and not by running out of connections."""
    port = free_port()
    with Sidecar(services(orders=f"127.0.0.1:{port}"), outbound=f"127.0.0.1:{port}") as sidecar:
        for method in ("GET", "POST"):
            with Client(port) as client:
                answer = client.get("orders", method=method)
                assert (answer.status, answer.reason) == (508, "loop_detected")
        assert sidecar.requests(service="orders", status=508, reason="loop_detected") == 2
        until(lambda: sidecar.metric("sidecar_connections", side="upstream") == 0, "no connection to itself is left")


def test_an_application_that_is_our_own_inbound_listener_is_a_loop() -> None:
    """Behind a name the configuration cannot see it, and inbound calling inbound would never end."""
    port = free_port()
    with Sidecar("", app=f"localhost:{port}", inbound=f"127.0.0.1:{port}") as sidecar, Client(port) as client:
        answer = client.get("shop")
        assert (answer.status, answer.reason) == (508, "loop_detected")
        assert sidecar.requests(direction="inbound") == 1


def test_an_application_may_call_its_own_service() -> None:
    """Outbound to our own inbound listener is an ordinary call."""
    port = free_port()

    def script(wire: Wire) -> None:
        wire.head()
        wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nme")

    with Upstream(script) as app:
        toml = services(shop=f"127.0.0.1:{port}")
        listening = f"127.0.0.1:{port}"
        with Sidecar(toml, app=app.address, inbound=listening) as sidecar, Client(sidecar.ports["outbound"]) as client:
            assert client.get("shop").body == b"me"


def test_a_request_that_somebody_sends_back_to_us_is_a_loop() -> None:
    """Whoever it passed through meanwhile: it is known by the mark that we put on it."""
    port = free_port()

    def sends_back(wire: Wire) -> None:
        head = wire.head()
        with Client(port) as client:
            client.send(head)
            answer = client.response()
        lines = [b"HTTP/1.1 %d Back\r\n" % answer.status, b"content-length: %d\r\n\r\n" % len(answer.body), answer.body]
        wire.send(b"".join(lines))

    with (
        Upstream(sends_back) as server,
        Sidecar(services(orders=server.address), outbound=f"127.0.0.1:{port}") as sidecar,
        Client(port) as client,
    ):
        answer = client.get("orders")
        assert answer.status == 508
        assert b"LOOP_DETECTED" in answer.body
        assert server.accepted == 1
        until(lambda: sidecar.requests(reason="loop_detected") == 1, "the loop is counted")


def test_two_sidecars_that_call_each_other_notice_the_loop() -> None:
    """Each leaves the mark of the other alone: the request comes round once, and no further."""
    one, other = free_port(), free_port()
    with (
        Sidecar(services(orders=f"127.0.0.1:{other}"), outbound=f"127.0.0.1:{one}") as first,
        Sidecar(services(orders=f"127.0.0.1:{one}"), outbound=f"127.0.0.1:{other}") as second,
        Client(one) as client,
    ):
        answer = client.get("orders", fields="x-request-timeout-ms: 3000\r\n")
        assert (answer.status, answer.reason) == (508, "loop_detected")
        assert first.requests() == 2
        assert second.requests() == 1
