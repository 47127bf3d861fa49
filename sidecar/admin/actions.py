"""What the admin API can make a sidecar do; whoever runs the process knows how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol


class Actions(Protocol):
    """All are called on the loop, and return at once."""

    def reload(self, done: Callable[[Sequence[str]], None]) -> None:
        """Reads the configuration again. ``done`` is called once, on the loop, with all problems, a line each; with
        none when the new configuration runs."""
        ...

    def drain(self) -> None:
        """Takes nothing new and finishes what runs, and stays. Twice is the same as once."""
        ...

    def shutdown(self) -> None:
        """Ends the process as SIGTERM does."""
        ...
