"""Balancing between real processes: what several sidecars agree on, what a slow application costs, changes under load."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.live.test_reload import Load, body, read_anew
from tests.support.live import Client, Sidecar, Upstream, Wire, answering, until


@contextmanager
def applications(*names: str) -> Iterator[dict[str, str]]:
    """One for each name, which it answers with; addresses by name."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(Upstream(answering(body(name)))).address for name in names}


def configured(addresses: dict[str, str], more: str) -> str:
    listed = ", ".join(f'"{address}"' for address in addresses.values())
    return f"[services.orders]\nendpoints = [{listed}]\n{more}"


def homes(sidecar: Sidecar, users: list[str]) -> dict[str, str]:
    """Who answers each user."""
    with Client(sidecar.ports["outbound"]) as client:
        return {user: client.get("orders", fields=f"Cookie: a=b; session={user}\r\n").body.decode() for user in users}


STICKY = 'balance = "ring_hash"\nring_hash = { on = "cookie", name = "session" }\n'


def test_two_sidecars_send_a_user_to_the_same_application_and_move_none_but_those_who_must() -> None:
    """Each in a process of its own; after an application has left, only its users are elsewhere, in both alike."""
    users = [f"user-{number}" for number in range(60)]
    with applications("one", "two", "three") as addresses:
        text = configured(addresses, STICKY)
        with Sidecar(text) as first, Sidecar(text) as second:
            before = homes(first, users)
            assert homes(second, users) == before
            assert min(Counter(before.values())[name] for name in addresses) > 5
            del addresses["two"]
            for sidecar in (first, second):
                sidecar.write(configured(addresses, STICKY))
                read_anew(sidecar)
            after = homes(first, users)
            assert homes(second, users) == after
            assert {user for user in users if after[user] != before[user]} == {
                user for user in users if before[user] == "two"
            }


def test_a_slow_application_is_left_alone() -> None:
    """Of a hundred calls one after the other hardly any goes to an application that takes a tenth of a second."""

    def slow(wire: Wire) -> None:
        while True:
            wire.head()
            time.sleep(0.1)
            wire.send(body("slow"))

    with applications("fast") as addresses, Upstream(slow) as upstream:
        addresses["slow"] = upstream.address
        with (
            Sidecar(configured(addresses, 'balance = "peak_ewma"\n')) as sidecar,
            Client(sidecar.ports["outbound"]) as client,
        ):
            answers = Counter(client.get("orders").body for _ in range(100))
    assert answers[b"slow"] <= 3
    assert answers[b"fast"] + answers[b"slow"] == 100


def test_any_algorithm_takes_over_from_any_other_while_requests_run() -> None:
    """A reload to each of them in turn, with a thousand requests in between: none fails."""
    algorithms = ["weighted", "peak_ewma", "least_connections", "ring_hash", "random", "least_request", "round_robin"]
    with applications("one", "two", "three") as addresses:
        with Sidecar(configured(addresses, "")) as sidecar:
            load = Load(sidecar.ports["outbound"], 4)
            for number, algorithm in enumerate(algorithms):
                sidecar.write(configured(addresses, f'balance = "{algorithm}"\n'))
                sidecar.signal(signal.SIGHUP)
                until(lambda: sidecar.log().count(": reloaded, ") > number, "the file is read")  # noqa: B023
                load.reach(1000 * (number + 1))
            load.end()
            assert load.failures == []
