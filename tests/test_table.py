"""The routing table: which plan a request head leads to, without anything around it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from sidecar.clock import Random
from sidecar.errors import Failure
from sidecar.http.h1.request import RequestHead, parse
from sidecar.http.head import Settings
from sidecar.routing.match import Match
from sidecar.routing.table import Route, Table, service_name

ME = b"0123456789abcdef"


def head(target: str = "/", host: str = "orders", method: str = "GET", **fields: str) -> RequestHead:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return parse(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n".encode(), Settings())


def table(*routes: tuple[str | None, Match, str], passthrough: str | None = None, **services: str) -> Any:
    """Words stand for plans: the table does not look into them."""
    made: Any = [Route(host, match, [(plan, 1)], Random(1)) for host, match, plan in routes]  # type: ignore[list-item]
    known: Any = services
    other: Any = lambda head: passthrough  # noqa: E731
    return Table(made, known, other, ME, lambda name: None)


@pytest.mark.parametrize("host", ["orders", "ORDERS", "orders.", "orders.mesh", "Orders.Mesh.", "orders.mesh:8080"])
def test_a_host_names_its_service(host: str) -> None:
    """Case, trailing dot, port and the mesh's own domain make no difference."""
    plain = table(orders="the plan")
    routed = table(("elsewhere", Match(), "other"), orders="the plan")
    assert plain.find(head(host=host)) == routed.find(head(host=host)) == "the plan"


@pytest.mark.parametrize("host", ["order", "orders.example", "orders.mesh.mesh", "mesh", ".mesh"])
def test_a_host_that_names_nothing_has_no_route(host: str) -> None:
    """Names are whole names."""
    try:
        found = table(orders="the plan").find(head(host=host))
    except Exception as error:  # A host that is none is refused before anybody asks the table.
        assert getattr(error, "failure", None) is Failure.BAD_REQUEST
    else:
        assert found is Failure.NO_ROUTE


def test_routes_come_before_services_and_in_their_order() -> None:
    """Those without a host too: the file's order is the only one."""
    routes = table(
        ("payments", Match(), "not this host"),
        (None, Match(path="/all"), "anywhere"),
        ("orders.mesh", Match(path_prefix="/all"), "too late for /all"),
        (None, Match(methods=["DELETE"]), "deletions"),
        orders="by name",
    )
    assert routes.find(head("/all")) == "anywhere"
    assert routes.find(head("/all/x")) == "too late for /all"
    assert routes.find(head("/x", method="DELETE")) == "deletions"
    assert routes.find(head("/x")) == "by name"
    assert routes.find(head("/x", host="nobody")) is Failure.NO_ROUTE
    assert routes.find(head("/x", host="payments")) == "not this host"


def test_what_is_nobodys_passes_through_if_it_may() -> None:
    """A service is asked first."""
    mine = table(orders="by name", passthrough="out")
    assert (mine.find(head()), mine.find(head(host="example.org"))) == ("by name", "out")


def test_a_request_that_was_here_is_a_loop_whatever_its_route() -> None:
    """Others' marks are none."""
    mine = table((None, Match(), "anything"))
    assert mine.find(head(x_sidecar_passed="ffffffffffffffff")) == "anything"
    assert mine.find(head(x_sidecar_passed=f"ffffffffffffffff, {ME.decode()}")) is Failure.LOOP_DETECTED


def test_a_split_follows_its_weights_and_the_seed_alone() -> None:
    """A weight of 0 gets nothing."""

    def choices(seed: int) -> list[Any]:
        split: Any = [("a", 95), ("never", 0), ("b", 5)]
        route = Route(None, Match(), split, Random(seed))
        return [route.choose() for _ in range(4000)]

    counts = Counter(choices(7))
    assert counts["never"] == 0 and 140 < counts["b"] < 260
    assert choices(7) == choices(7) != choices(8)


@pytest.mark.parametrize(
    ("match", "asked", "accepts"),
    [
        (Match(), head("/anything"), True),
        (Match(path="/a"), head("/a?q=/b"), True),
        (Match(path="/a"), head("/a/"), False),
        (Match(path="/a", path_prefix="/b"), head("/a"), False),
        (Match(path_prefix="/a/"), head("/a"), True),
        (Match(path_prefix="/a"), head("/ab"), False),
        (Match(path_prefix="/a"), head("/a?x"), True),
        (Match(path_prefix="/a"), head("/A"), False),
        (Match(methods=["GET"]), head(method="HEAD"), False),
        (Match(methods=["get"]), head(), False),
        (Match(headers={"X-Tenant": "acme"}), head(x_tenant="acme"), True),
        (Match(headers={"x-tenant": "acme", "x-b": ""}), head(x_tenant="acme", x_b=""), True),
        (Match(headers={"x-tenant": "acme"}), head(x_tenant="acme2"), False),
        (Match(headers={"x-tenant": "a, b"}), head(x_tenant="a", X_Tenant="b"), True),
    ],
)
def test_a_match_asks_for_all_that_it_names(match: Match, asked: RequestHead, accepts: bool) -> None:
    """Paths by whole segments and without the query, methods and values to the letter, names in any case."""
    assert match.accepts(asked) == accepts


def test_the_meshs_domain_is_taken_off_once() -> None:
    """A service cannot be called so, by the configuration's own rule."""
    assert [service_name(name) for name in ("orders", "orders.mesh", "mesh")] == ["orders", "orders", "mesh"]
