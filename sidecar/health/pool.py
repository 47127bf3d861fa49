"""What checks need of a pool beyond what exchanges need of one."""

from __future__ import annotations

from typing import Protocol

from sidecar.exchange import seams
from sidecar.model import Endpoint


class Pool(seams.Pool, Protocol):
    """Where their connections come from."""

    def forget(self, endpoint: Endpoint) -> None:
        """Keep nothing of ``endpoint``: peers come and go, and nobody says which will be asked again."""
        ...
