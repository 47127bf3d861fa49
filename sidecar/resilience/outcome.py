"""What counts as a failure: one definition, for the breaker that counts it and the retry that makes up for it.

A *status* of 5xx is a failure, save the three that are a true answer about the request and would be the same anywhere:
501, 505 and 508. A 4xx is the caller's mistake and the endpoint's success. An attempt that ended *without* a response
is a failure under one of three conditions, and these are the words by which ``retry.on`` names them.

Hardest is the attempt that was given up. If the caller hangs up or its own deadline passes after a moment, that says
nothing about the endpoint; counting it would let an impatient caller cut off a healthy endpoint. Never counting it
would be as wrong: an endpoint that hangs would look fine as long as its callers give up before we do. So
waiting has a measure, ``slow``: an attempt that waited so long is the endpoint's failure, whoever gave it up.
"""

from __future__ import annotations

import enum
from typing import Literal

from sidecar.errors import Failure

Condition = Literal["connect", "reset", "timeout", "5xx"]

CONDITIONS: dict[Failure, Condition] = {
    Failure.CONNECT_FAILED: "connect",
    Failure.CONNECT_TIMEOUT: "connect",
    Failure.APP_UNREACHABLE: "connect",
    Failure.UPSTREAM_RESET: "reset",
    Failure.UPSTREAM_PROTOCOL: "reset",
    Failure.DEADLINE_EXCEEDED: "timeout",
    Failure.STALLED: "timeout",
}
"""The reasons that are an endpoint's failure, and the condition under which each can be retried."""


class Outcome(enum.Enum):
    """How an attempt ended, as policies see it."""

    SUCCESS = "success"
    FAILURE = "failure"
    IGNORED = "ignored"


def is_failure_status(status: int) -> bool:
    """Whether a response with this status is a failure of the endpoint that sent it."""
    return 500 <= status < 600 and status != 501 and status != 505 and status != 508


def classify(failure: Failure, waited: float, slow: float, callers_deadline: bool) -> Outcome:
    """The outcome of an attempt that ended without a response.

    ``waited``: seconds that the attempt waited for the endpoint; ``slow``: seconds after which giving up counts;
    ``callers_deadline``: whether the deadline was the caller's, shorter than the route's own.
    """
    if failure is Failure.CLIENT_GONE or (callers_deadline and failure is Failure.DEADLINE_EXCEEDED):
        return Outcome.FAILURE if waited >= slow else Outcome.IGNORED
    # What we or the caller broke (a filter, a body too large) tells nothing of the endpoint.
    return Outcome.FAILURE if failure in CONDITIONS else Outcome.IGNORED
