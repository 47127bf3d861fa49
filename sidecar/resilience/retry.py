"""May this be tried again, and when: the rules, of which whoever runs the exchange makes a decision.

Three questions have to be answered yes. Is it *safe*: the method is idempotent, or provably nothing was processed? Is
it *useful*: the failure is of a kind that another try may not meet? Is it *affordable*: retries, time and budget are
left? The first two are answered here; ``resilience.budget`` and the deadline answer the third.

Back-off grows exponentially to a ceiling. Jitter is *full*, uniform between nothing and the whole delay: callers that
failed together must not come back together (M. Brooker, "Exponential Backoff and Jitter", 2015, compares the kinds).
"""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Annotated, Literal

import msgspec

from sidecar.clock import Random
from sidecar.errors import Failure, GrpcError
from sidecar.model import Duration
from sidecar.resilience import budget as budgets
from sidecar.resilience.grpc import NUMBERS
from sidecar.resilience.outcome import CONDITIONS, Condition, is_failure_status

IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))
"""RFC 9110 section 9.2.2; methods are case-sensitive (9.1). PATCH is not among them (RFC 5789), whatever its body."""

UNPROCESSED = frozenset(
    (Failure.CONNECT_FAILED, Failure.CONNECT_TIMEOUT, Failure.APP_UNREACHABLE, Failure.DRAINING, Failure.OVERLOADED)
)
"""After these no application has seen the request, so that any method may be tried again. The last three are what a
peer's sidecar answers before it hands anything on."""

GrpcMethod = Annotated[str, msgspec.Meta(title="grpc method")]
"""``/package.Service/Method``, or ``/package.Service/*`` for all of a service."""

_MAX_DIGITS = 10
_MAX_DATE = 64


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often, how soon, and after what. ``max_retries`` comes on top of the first attempt."""

    max_retries: Annotated[int, msgspec.Meta(ge=0, description="After the first attempt.")] = 5
    initial: Annotated[Duration, msgspec.Meta(description="Back-off before the first retry.")] = 0.1
    multiplier: Annotated[float, msgspec.Meta(ge=1, description="Of the back-off, before each further retry.")] = 2.0
    max: Annotated[Duration, msgspec.Meta(description="The longest back-off.")] = 30.0
    jitter: Annotated[
        Literal["full", "none"], msgspec.Meta(description="full: anything from 0 to the back-off; none: the back-off.")
    ] = "full"
    on: Annotated[tuple[Condition, ...], msgspec.Meta(description="Failures after which another attempt may help.")] = (
        "connect",
        "reset",
        "timeout",
        "5xx",
    )
    grpc_statuses: Annotated[
        tuple[GrpcError, ...],
        msgspec.Meta(description="Statuses of gRPC after which a call of `grpc_methods` may be tried again."),
    ] = ()
    grpc_methods: Annotated[
        tuple[GrpcMethod, ...],
        msgspec.Meta(
            description="Methods of gRPC that may be tried again after `grpc_statuses`: "
            '`"/package.Service/Method"`, `"/package.Service/*"`.'
        ),
    ] = ()
    budget: Annotated[
        budgets.Settings,
        msgspec.Meta(
            description="What keeps retries from multiplying: `ratio` x first attempts + `min_per_second` x `ttl`."
        ),
    ] = budgets.Settings()


class Retry:
    """The retry rules of one route."""

    __slots__ = (
        "_allowed",
        "_grpc_methods",
        "_grpc_services",
        "_grpc_statuses",
        "_jitter",
        "_random",
        "_statuses",
        "max_retries",
        "settings",
    )

    def __init__(self, settings: Settings, random: Random) -> None:
        self.settings = settings
        self.max_retries = settings.max_retries
        self._random = random
        self._jitter = settings.jitter == "full"
        self._statuses = "5xx" in settings.on
        self._allowed = frozenset(failure for failure, condition in CONDITIONS.items() if condition in settings.on)
        self._grpc_statuses = frozenset(NUMBERS[name] for name in settings.grpc_statuses)
        methods = [method.encode() for method in settings.grpc_methods]
        self._grpc_methods = frozenset(methods)
        self._grpc_services = frozenset(method[:-1] for method in methods if method.endswith(b"*"))

    def delay(self, retries: int) -> float:
        """Seconds to wait before the next retry, after ``retries`` of them were made (0 before the first)."""
        settings = self.settings
        try:
            delay = min(settings.max, settings.initial * settings.multiplier**retries)
        except OverflowError:
            delay = settings.max
        return self._random.random() * delay if self._jitter else delay

    def allows_status(self, status: int) -> bool:
        """Whether a response with this status is worth another try. A 504 that was received is a 5xx like others."""
        return self._statuses and is_failure_status(status)

    def allows_failure(self, failure: Failure) -> bool:
        """Whether an attempt that ended so, without a response, is worth another try."""
        return failure in self._allowed

    def allows_grpc(self, status: int, path: bytes) -> bool:
        """Whether a gRPC response with this status is worth another try, and the method bears it: that it changes nothing
        when it is called twice only the configuration can say, since all calls are POST."""
        return status in self._grpc_statuses and (
            path in self._grpc_methods or path[: path.rfind(b"/") + 1] in self._grpc_services
        )


def parse_retry_after(value: bytes, wall_now: float) -> float | None:
    """Seconds from now that a ``Retry-After`` asks for: never negative, None if it says nothing (RFC 9110 10.2.3).

    ``wall_now`` is in Unix seconds, for the date form. A peer's value is not trusted: over-long ones say nothing.
    """
    if value.isdigit():
        return float(value) if len(value) <= _MAX_DIGITS else None
    if len(value) > _MAX_DATE:
        return None
    try:
        date = parsedate_to_datetime(value.decode("ascii"))
        # An HTTP-date is always in GMT, also in the obsolete form that does not say so.
        return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - wall_now)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
