"""How somebody is asked whether it is well: ``[service.health]``, ``health`` of a service, ``[dependencies.NAME]``."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from sidecar.model import Duration
from sidecar.resilience.breaker import Settings as BreakerSettings

Kind = Literal["http", "tcp", "grpc", "command"]
Statuses = Annotated[str, Meta(title="statuses")]
"""``"200"`` or ``"200-399"``."""
Place = Annotated[str, Meta(title="place")]
"""``host:port``."""
UrlPath = Annotated[str, Meta(title="health path")]
Count = Annotated[int, Meta(ge=1, le=1000)]
Port = Annotated[int, Meta(ge=1, le=65535)]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all of them have in common. Durations in seconds."""

    kind: Annotated[
        Kind,
        Meta(description="http asks for `path`, tcp connects, grpc asks grpc.health.v1, command runs `command`."),
    ] = "http"
    path: Annotated[UrlPath, Meta(description="What is asked for by http.")] = "/"
    statuses: Annotated[
        tuple[Statuses, ...], Meta(description="Which of its answers mean that it is well, single or from-to.")
    ] = ("200-399",)
    command: Annotated[
        tuple[str, ...], Meta(description="Program and arguments, run without a shell; exit code 0 means well.")
    ] = ()
    interval: Annotated[Duration, Meta(description="From one time to the next.")] = 10.0
    timeout: Annotated[Duration, Meta(description="No answer for so long is a bad one.")] = 1.0
    unhealthy_after: Annotated[Count, Meta(description="Bad answers in a row until it counts as ill.")] = 3
    healthy_after: Annotated[Count, Meta(description="Good answers in a row until it counts as well again.")] = 1


class Application(Settings, frozen=True, kw_only=True):
    """``[service.health]``."""

    kind: Annotated[
        Literal["http", "tcp", "grpc", "command", "none"],
        Meta(
            description="http asks for `path`, tcp connects, grpc asks grpc.health.v1, command runs `command`; none: never ill."
        ),
    ] = "http"  # type: ignore[assignment]
    interval: Annotated[Duration, Meta(description="From one time to the next.")] = 5.0
    timeout: Annotated[Duration, Meta(description="No answer for so long is a bad one.")] = 0.5


class Peers(Settings, frozen=True, kw_only=True):
    """``health`` of a service: of each of its endpoints."""

    port: Annotated[Port | None, Meta(description="Where it is asked; not set: where it is called.")] = None
    healthy_after: Annotated[Count, Meta(description="Good answers in a row until it counts as well again.")] = 2
    jitter: Annotated[
        float, Meta(ge=0, le=1, description="Share of the interval by which one time is later or earlier.")
    ] = 0.1


class DependencyBreaker(BreakerSettings, frozen=True):
    """It is asked seldom: failures add up over minutes."""

    failures: Annotated[
        int, Meta(ge=1, description="Failures within `window` that trip it, together with `failure_rate`.")
    ] = 3
    failure_rate: Annotated[
        float, Meta(ge=0, le=1, description="Share of the window's outcomes that must have failed, too.")
    ] = 0.5
    window: Annotated[Duration, Meta(description="What is counted lies at most this far back.")] = 60.0
    successes: Annotated[int, Meta(ge=1, description="In a row, half-open, to close again.")] = 1


class Dependency(Settings, frozen=True, kw_only=True):
    """``[dependencies.NAME]``."""

    kind: Annotated[
        Kind,
        Meta(description="http asks for `path`, tcp connects, grpc asks grpc.health.v1, command runs `command`."),
    ] = "tcp"
    address: Annotated[Place | None, Meta(description="Where it is; needed but for command.")] = None
    gates: Annotated[bool, Meta(description="Whether we are not ready while it is ill.")] = False
    breaker: Annotated[
        DependencyBreaker | None, Meta(description="Leaves it alone for a while when it keeps failing.")
    ] = DependencyBreaker()
