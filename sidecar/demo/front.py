"""What the demo needs of whoever shows it: the seam between the mesh and a terminal, a pipe or a file."""

from __future__ import annotations

from typing import Protocol

from sidecar.demo.interval import Interval
from sidecar.demo.mesh import Mesh
from sidecar.demo.readings import Snapshot


class Front(Protocol):
    """Entered before the mesh is started and left when it has ended. Raises ``OSError`` if nobody looks any more."""

    every: float
    """Seconds between two looks."""
    span: float
    """Seconds that the figures are of."""

    def say(self, sentence: str) -> None:
        """Something that is told once."""

    def introduce(self, mesh: Mesh) -> None:
        """All answer."""

    def show(self, seconds: float, mesh: Mesh, snapshot: Snapshot, interval: Interval) -> None:
        """One look, so many seconds after all answered; ``interval`` has what happened in the last ``span``."""

    def read(self) -> list[str]:
        """The wishes that have been uttered, when ``source`` could be read."""

    @property
    def source(self) -> int | None:
        """The file descriptor that wishes come from."""
