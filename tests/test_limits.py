"""Bounds of a service."""

from __future__ import annotations

from sidecar.resilience.limits import Limits, Settings


def test_defaults_are_1024_of_each() -> None:
    """What Envoy's users expect."""
    settings = Settings()
    assert (settings.max_connections, settings.max_requests, settings.max_pending) == (1024, 1024, 1024)


def test_no_more_exchanges_than_allowed_and_one_more_for_each_that_ends() -> None:
    """The bound is reached exactly, and leaving makes room."""
    limits = Limits(Settings(max_requests=2))
    assert limits.admits()
    limits.enter()
    assert limits.admits()
    limits.enter()
    assert not limits.admits()
    limits.leave()
    assert limits.admits()
    assert limits.in_flight == 1


def test_no_more_wait_for_a_connection_than_allowed() -> None:
    """With a bound of one, the second must not wait; with none, nobody."""
    limits = Limits(Settings(max_pending=1))
    assert limits.may_wait()
    limits.pending += 1
    assert not limits.may_wait()
    assert not Limits(Settings(max_pending=0)).may_wait()
