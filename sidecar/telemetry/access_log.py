"""The access log: a line an exchange."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[access_log]``: which exchanges; ``sample`` is the share (0 to 1) of those that did not fail."""

    mode: Annotated[
        Literal["off", "failed", "sampled", "all"],
        Meta(description="Which exchanges; sampled: the failed ones, and a share of the others."),
    ] = "off"
    sample: Annotated[
        float, Meta(ge=0, le=1, description="Share of the exchanges without a failure, where `mode` is sampled.")
    ] = 0.01
    format: Annotated[Literal["json", "text"], Meta(description="Form of a line.")] = "json"
