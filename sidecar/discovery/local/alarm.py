"""Word of a change at once, where the system gives it and ``watchfiles`` is installed to take it.

It only rings: what has changed is found out by the look that follows. That comes twice a second anyhow, since of a death
there is no word; so whatever goes wrong here costs half a second and nothing else. Heartbeats do not ring, or hundreds of
sidecars would keep each other awake.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Final

_STEP_MS: Final = 200
_GATHER_MS: Final = 400
"""Changes that follow each other are told together, after as long as this at most."""

log = logging.getLogger("sidecar.discovery")


def _library() -> ModuleType | None:
    """It is optional, and costs three megabytes once imported."""
    try:
        library = import_module("watchfiles")
    except ImportError:
        return None
    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # It tells of every change.
    return library


class Alarm:
    """Calls ``ring``, in a thread of its own, when names have come to a directory or gone."""

    __slots__ = ("_ring", "_stop", "_thread")

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def follow(self, path: str) -> None:
        """Listens to the directory that is at ``path`` now, and to no other."""
        self.close()
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._listen, args=(path, self._stop), name="registry-watch", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Takes a step's time at most."""
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._thread = None

    def _listen(self, path: str, stop: threading.Event) -> None:
        library = _library()
        if library is None:
            return
        try:
            for changes in library.watch(
                path,
                stop_event=stop,
                step=_STEP_MS,
                debounce=_GATHER_MS,
                recursive=False,
                watch_filter=None,
                raise_interrupt=False,
            ):
                if any(kind != library.Change.modified for kind, _ in changes):
                    self._ring()
        except Exception as error:  # Its own kinds, too: out of watches, gone before it began.
            log.info("%s cannot be watched (%s); looking twice a second all the same", path, error)
