"""Bounds of a service."""

from __future__ import annotations

from sidecar.resilience.limits import Settings


def test_defaults_are_1024_of_each() -> None:
    """What Envoy's users expect."""
    settings = Settings()
    assert (settings.max_connections, settings.max_requests, settings.max_pending) == (1024, 1024, 1024)
