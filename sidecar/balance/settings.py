"""What can be said of the algorithms that have something to set; those that a configuration does not name are not loaded."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from sidecar.model import Duration


class Weighted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[defaults.weighted]``."""

    dynamic: Annotated[bool, Meta(description="Whether weights follow latency, failures and load.")] = True
    decay: Annotated[Duration, Meta(description="How long what was measured counts.")] = 10.0
    floor: Annotated[
        float, Meta(gt=0, le=1, description="The least that an endpoint keeps of its weight, however it fares.")
    ] = 0.1


class PeakEwma(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[defaults.peak_ewma]``."""

    default_rtt: Annotated[
        Duration, Meta(description="What an endpoint is taken for until something was measured.")
    ] = 0.03
    decay: Annotated[Duration, Meta(description="How long what was measured counts.")] = 10.0
    penalty: Annotated[Duration, Meta(description="How slow a failure or a 429 is taken to be.")] = 5.0


class RingHash(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[defaults.ring_hash]``. ``load`` has no unit: a multiple of the average."""

    on: Annotated[
        Literal["header", "cookie", "path", "source"],
        Meta(description="What requests of one endpoint have in common; source: the caller's address."),
    ] = "path"
    name: Annotated[str, Meta(title="token", description="Of the header or the cookie.")] = ""
    load: Annotated[
        float, Meta(ge=1, description="What an endpoint may have in flight, as a multiple of the average.")
    ] = 1.25
