"""The process log: what the sidecar says of itself."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[log]``: from which level on, and in which form."""

    level: Annotated[Literal["debug", "info", "warning", "error"], msgspec.Meta(description="From which level on.")] = (
        "info"
    )
    format: Annotated[Literal["text", "json"], msgspec.Meta(description="Form of a line.")] = "text"
