"""Which endpoints may be picked: verdicts, panic, and what is no opinion."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model import WELL, Endpoint
from sidecar.resilience.standing import judge, usable, why

ILL = {"registry": "critical"}


def endpoints(*verdicts: dict[str, str]) -> list[Endpoint]:
    made = [Endpoint(chr(ord("a") + number), 80) for number in range(len(verdicts))]
    for endpoint, said in zip(made, verdicts, strict=True):
        judge(endpoint, **said)
    return made


def used(listed: list[Endpoint], threshold: float = 0.5) -> tuple[str, bool]:
    found, panic = usable(listed, threshold)
    return "".join(endpoint.host for endpoint in found), panic


def test_where_nothing_speaks_against_any_it_is_the_list_itself() -> None:
    """Balancers know a set by its identity: nothing is made anew for nothing."""
    listed = endpoints({}, {})
    assert usable(listed, 0.5)[0] is listed


@pytest.mark.parametrize("verdict", ["registry", "check", "refused"])
def test_one_of_whom_anything_is_said_is_not_used(verdict: str) -> None:
    """Whoever says it, as long as there are others."""
    assert used(endpoints({}, {verdict: "bad"}, {})) == ("ac", False)


def test_half_of_them_is_enough_and_less_is_panic() -> None:
    """Then all are used: so many cannot be ill at once, it is rather that nobody sees them."""
    assert used(endpoints({}, {}, ILL, ILL)) == ("ab", False)
    assert used(endpoints({}, ILL, ILL, ILL)) == ("abcd", True)


def test_a_threshold_of_nothing_knows_no_panic() -> None:
    """Whoever would rather refuse than call the ill ones gets that."""
    assert used(endpoints(ILL, ILL), threshold=0.0) == ("", False)


def test_a_refused_connection_is_no_opinion() -> None:
    """In panic it counts all the same, and it never causes one."""
    assert used(endpoints({}, ILL, ILL, {"registry": "critical", "refused": "refused"})) == ("abc", True)
    assert used(endpoints({}, {"refused": "no"}, {"refused": "no"}, {"refused": "no"})) == ("a", False)


def test_the_last_one_is_not_left_out_for_a_refused_connection() -> None:
    """If nobody is left, all of them are tried again: one may be back before we know."""
    assert used(endpoints({"refused": "no"}, {"refused": "no"}, ILL)) == ("ab", False)


def test_no_weight_is_no_use_and_no_voter() -> None:
    """What shall get nothing neither causes panic nor averts it."""
    listed = endpoints({}, {}, ILL)
    listed[0].weight = 0
    assert used(listed) == ("b", False)


def test_verdicts_come_and_go_by_themselves() -> None:
    """Each belongs to who said it, and an endpoint without any is as good as new."""
    (endpoint,) = endpoints({"registry": "critical", "check": "503"})
    assert why(endpoint) == "the registry: critical; our check: 503"
    assert not judge(endpoint, check="503")
    assert judge(endpoint, check="")
    assert why(endpoint) == "the registry: critical"
    assert judge(endpoint, registry="")
    assert endpoint.standing is WELL


@given(
    st.lists(st.fixed_dictionaries({kind: st.sampled_from(["", "bad"]) for kind in ("registry", "check", "refused")})),
    st.floats(0, 1),
)
def test_somebody_is_used_whenever_that_is_allowed(verdicts: list[dict[str, str]], threshold: float) -> None:
    """Nobody is used only where everybody is ill and panic is switched off; the order stays."""
    listed = endpoints(*verdicts)
    found, _ = usable(listed, threshold)
    well = [one for one in listed if not (one.standing.registry or one.standing.check)]
    assert bool(found) == bool(listed and (well or threshold > 0))
    assert list(found) == [one for one in listed if one in found]
