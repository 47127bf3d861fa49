"""Who there is in the mesh, on which ports, and what each sidecar is told about the others."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

ILL_SECONDS = 8.0
"""How long payments-2 is ill in each half minute."""

POLICIES = """\
attempt_timeout = "250ms"        # a late answer is not waited for: another instance may be quicker
retry = { initial = "25ms" }
breaker = { open = "5s" }        # short, so that one sees it close again
"""
"""What the sidecar of orders does about payments; all else is the default."""


@dataclass(frozen=True, slots=True)
class Member:
    """One instance and its sidecar: ports on loopback. ``app`` and ``inbound`` are missing where nobody is served."""

    name: str
    service: str
    app: int | None
    inbound: int | None
    outbound: int
    probes: int
    calls: str = ""
    """The tables of the services that it calls."""

    @property
    def config(self) -> str:
        """The sidecar's configuration, TOML."""
        app = [] if self.app is None else [f'app = "{address(self.app)}"']
        inbound = "none" if self.inbound is None else address(self.inbound)
        lines = [
            "[service]",
            f'name = "{self.service}"',
            *app,
            "",
            "[listen]",
            f'inbound = "{inbound}"',
            f'outbound = "{address(self.outbound)}"',
            f'probes = "{address(self.probes)}"',
            'admin = "127.0.0.1:0"             # several sidecars on one machine cannot all have the default port',
            "",
            self.calls,
            "[drain]",
            'delay = "0s"                     # when it ends, nobody is left who has to be told to go elsewhere',
            "",
        ]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Mesh:
    """``payments`` maps the names of its two instances to the addresses at which their sidecars serve them."""

    members: tuple[Member, ...]
    shop: Member
    orders: Member
    payments: dict[str, str]

    def applications(self) -> Iterator[tuple[str, str, tuple[str, ...]]]:
        """Name, module and arguments of every application."""
        for member in self.members:
            if member.service == "orders":
                yield member.name, "examples.demo.orders", (str(member.app), str(member.outbound))
            elif member.service == "payments":
                seed = member.name[-1]
                ill = ILL_SECONDS if member.name == "payments-2" else 0.0
                yield member.name, "examples.demo.payments", (str(member.app), member.name, seed, str(ill))


def address(port: int) -> str:
    return f"127.0.0.1:{port}"


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on. All are held until the last is found, so that no two are the same."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def plan_mesh() -> Mesh:
    app1, in1, out1, probes1, app2, in2, out2, probes2, app, inbound, outbound, probes, *shops = free_ports(14)
    first = Member("payments-1", "payments", app1, in1, out1, probes1)
    second = Member("payments-2", "payments", app2, in2, out2, probes2)
    to_payments = f'[services.payments]\nendpoints = ["{address(in1)}", "{address(in2)}"]\n{POLICIES}'
    orders = Member("orders", "orders", app, inbound, outbound, probes, to_payments)
    to_orders = f'[services.orders]\nendpoints = ["{address(inbound)}"]\n'
    shop = Member("shop", "shop", None, None, shops[0], shops[1], to_orders)
    return Mesh((shop, orders, first, second), shop, orders, {first.name: address(in1), second.name: address(in2)})
