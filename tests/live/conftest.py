"""What live tests share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(
    scope="module",
    params=["direct-threads", "direct-asyncio", "one-threads", "two-threads", "one-asyncio", "two-asyncio"],
)
def orders(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The ways to a gRPC application: which sidecars there are between, and how it is written."""
    from tests.support.grpc_mesh import App, mesh

    through, kind = request.param.split("-")
    # Tests of a module share it, and many of them ask for failures.
    with App(kind) as app, mesh(through, app, policies="breaker = false\n") as way:
        yield way
