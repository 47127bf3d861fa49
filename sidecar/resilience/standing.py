"""Which endpoints of a service may be picked: the verdicts on them, and the one place that combines them.

| who says it | what it says | what follows |
|---|---|---|
| the registry | the endpoint is not well, or has vanished too suddenly to be believed | not used, but in panic |
| an active check of ours | it does not answer as it should | not used, but in panic |
| a connection | it was refused: nobody is there | not used until one succeeds, unless nobody else is left |
| its breaker | calls to it fail | not picked while it is open, panic or not |
| its weight | 0: it shall get nothing | never used |

*Panic*: a registry that has lost sight of its services, or a check that asks the wrong question, makes everybody look
ill at once. When less than a share of the endpoints is well by these two, they are believed no more and all endpoints
are used, which is told in metrics and API. What real calls have found counts all the same: a refused connection and an
open breaker are no opinions.

The breaker is asked when an endpoint is picked, since its answer changes with time. All else changes seldom, and so the
set of those that may be picked is made then and not for each request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from sidecar.model import WELL, Endpoint

STATES: Final = ("available", "barred", "unhealthy", "refused", "off")
"""Nothing speaks against it; its breaker is not closed; registry or check hold it ill; nobody listens there; no weight."""


def usable(listed: Sequence[Endpoint], threshold: float) -> tuple[Sequence[Endpoint], bool]:
    """The endpoints that may be picked, in their order, and whether that is panic: a smaller share than ``threshold`` of
    them is well. ``listed`` itself if nothing speaks against any."""
    if all(endpoint.standing is WELL and endpoint.weight > 0 for endpoint in listed):
        return listed, False
    weighted = [endpoint for endpoint in listed if endpoint.weight > 0]
    well = [endpoint for endpoint in weighted if not (endpoint.standing.registry or endpoint.standing.check)]
    panic = len(well) < threshold * len(weighted)
    used = weighted if panic else well
    there = [endpoint for endpoint in used if not endpoint.standing.refused]
    return tuple(there or used), panic


def judge(endpoint: Endpoint, **verdicts: str) -> bool:
    """Takes down what the fields of ``Standing`` that are named say now; whether that is news."""
    if endpoint.standing is WELL and not any(verdicts.values()):
        return False
    amended = msgspec.structs.replace(endpoint.standing, **verdicts)
    if amended == endpoint.standing:
        return False
    endpoint.standing = amended if amended != WELL else WELL
    return True


def state(endpoint: Endpoint) -> str:
    """One of ``STATES``: what keeps it from being picked, the surest reason first."""
    if endpoint.weight == 0:
        return "off"
    if endpoint.standing.refused:
        return "refused"
    if endpoint.standing is not WELL:
        return "unhealthy"
    return "barred" if endpoint.breaker is not None and endpoint.breaker.state else "available"


def why(endpoint: Endpoint) -> str:
    """What speaks against the endpoint, in words; empty if nothing does."""
    standing = endpoint.standing
    parts = (
        "its weight is 0" if endpoint.weight == 0 else "",
        f"the registry: {standing.registry}" if standing.registry else "",
        f"our check: {standing.check}" if standing.check else "",
        standing.refused,
    )
    return "; ".join(filter(None, parts))
