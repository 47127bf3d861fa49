"""Answers of a registry that are too bad to be believed at once."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.discovery.doubt import Doubt
from sidecar.discovery.source import Instance


def instances(hosts: str) -> list[Instance]:
    return [Instance(service="orders", host=host, port=80) for host in hosts]


def heard(doubt: Doubt, hosts: str, now: float = 0.0) -> tuple[str, str]:
    """Who is well after that answer, and who is kept."""
    return sorted_by_trouble(doubt.hear(instances(hosts), now))


def sorted_by_trouble(found: object) -> tuple[str, str]:
    assert isinstance(found, list)
    well = "".join(one.host for one in found if not one.trouble)
    return well, "".join(sorted(one.host for one in found if one.trouble))


def test_good_news_and_small_losses_are_believed() -> None:
    """One of two, two of four: that is how instances are deployed and how they crash."""
    doubt = Doubt(60.0)
    assert heard(doubt, "ab") == ("ab", "")
    assert heard(doubt, "a") == ("a", "")
    assert heard(doubt, "abcd") == ("abcd", "")
    assert heard(doubt, "cd") == ("cd", "")
    assert doubt.due() == inf


@pytest.mark.parametrize(("before", "after"), [("a", ""), ("abc", "c"), ("abc", "")])
def test_who_vanishes_too_suddenly_is_kept_and_marked(before: str, after: str) -> None:
    """More than half of them, or the last one."""
    doubt = Doubt(60.0)
    heard(doubt, before)
    kept = "".join(host for host in before if host not in after)
    assert heard(doubt, after, 100.0) == (after, kept)
    assert doubt.due() == 160.0
    assert sorted_by_trouble(doubt.settle(159.9, believed=True)) == (after, kept)
    assert sorted_by_trouble(doubt.settle(160.0, believed=True)) == (after, "")
    assert doubt.due() == inf


def test_whoever_comes_back_is_as_well_as_ever() -> None:
    """The others of them stay kept for as long as they were."""
    doubt = Doubt(60.0)
    heard(doubt, "abc")
    heard(doubt, "", 100.0)
    assert heard(doubt, "b", 130.0) == ("b", "ac")
    assert sorted_by_trouble(doubt.settle(160.0, believed=True)) == ("b", "")


def test_a_registry_in_trouble_is_not_believed() -> None:
    """That it repeats itself because it is down is no confirmation."""
    doubt = Doubt(60.0)
    heard(doubt, "ab")
    heard(doubt, "", 100.0)
    assert sorted_by_trouble(doubt.settle(160.0, believed=False)) == ("", "ab")
    assert doubt.due() == 220.0
    assert sorted_by_trouble(doubt.settle(220.0, believed=True)) == ("", "")


def test_a_whole_set_that_is_replaced_is_there_at_once() -> None:
    """The old ones are kept beside the new, of whom enough are well for the old not to be used."""
    doubt = Doubt(60.0)
    heard(doubt, "abc")
    assert heard(doubt, "def", 100.0) == ("def", "abc")


def test_without_grace_everything_is_believed() -> None:
    """Whoever trusts the registry gets its word."""
    doubt = Doubt(0.0)
    heard(doubt, "abc")
    assert heard(doubt, "") == ("", "")
    assert doubt.due() == inf


@given(st.lists(st.tuples(st.floats(0, 50), st.frozensets(st.sampled_from("abcde")))))
def test_what_is_listed_is_always_gone_by_and_nobody_is_listed_twice(
    answers: list[tuple[float, frozenset[str]]],
) -> None:
    """Whatever the order of answers: the listed ones are well, and after a quiet minute there is nobody else."""
    doubt = Doubt(60.0)
    now = 0.0
    listed: frozenset[str] = frozenset()
    for passed, listed in answers:
        now += passed
        found = list(doubt.hear(instances("".join(sorted(listed))), now))
        assert len({one.host for one in found}) == len(found)
        assert {one.host for one in found if not one.trouble} == listed
    assert {one.host for one in doubt.settle(now + 60.0, believed=True)} == listed
