"""Whether the event loop turns, and if it does not, who holds it.

Everything that this process does, it does in turns of one loop. Code that blocks (a filter that reads a file over the
network, a library that sleeps) stops all requests at once, and nothing in the loop can say so while it lasts. There are
two who look:

*Pulse*, in the loop, is due four times a second and measures how late it is. Where one stall hides several of its
beats, each of them counts: else a loop that stands still for a minute would look better than one that is slow.

*Watch*, in a thread of its own that sleeps between two looks, sees that the pulse is missing and writes down where the
loop's thread is at that very moment.
"""

from __future__ import annotations

import logging
import sys
import threading
from traceback import walk_stack
from types import FrameType
from typing import Final

from sidecar.clock import Clock
from sidecar.telemetry.lag import Lag
from sidecar.timing.wheel import Wheel

BEAT_SECONDS: Final = 0.25
LATE_SECONDS: Final = 0.1
"""A lag from which on the log speaks of it."""
QUIET_SECONDS: Final = 10.0
"""How long it then says no more of lags."""
LOOK_SECONDS: Final = 0.5
MISSING_SECONDS: Final = 0.5
"""Without a beat for so long, the loop is taken to stand still."""
FRAMES: Final = 8
"""How much of a stack is told, from the innermost frame on."""

log = logging.getLogger("sidecar.overload")


class Pulse:
    """Beats in the loop from ``start`` on; ``beaten`` is the instant of the last beat."""

    __slots__ = ("_due", "_quiet_until", "_timer", "_unsaid", "beaten", "lag")

    def __init__(self, wheel: Wheel) -> None:
        self._timer = wheel.timer(self)
        self._due = 0.0
        self._quiet_until = 0.0
        self._unsaid = 0
        self.beaten = 0.0
        self.lag = Lag()

    def start(self, now: float) -> None:
        self.beaten = now
        self._beat_after(now)

    def stop(self) -> None:
        self._timer.cancel()

    def on_timer(self, now: float) -> None:
        self.beaten = now
        late = max(0.0, now - self._due)
        missed = late
        while missed >= 0.0:
            self.lag.record(missed)
            missed -= BEAT_SECONDS
        if late > LATE_SECONDS:
            self._tell(now, late)
        self._beat_after(now)

    def _beat_after(self, now: float) -> None:
        # On a tick of the wheel, so that its coarseness is no lag.
        self._due = (now // BEAT_SECONDS + 1) * BEAT_SECONDS
        self._timer.set(self._due)

    def _tell(self, now: float, late: float) -> None:
        if now < self._quiet_until:
            self._unsaid += 1
            return
        before = f" ({self._unsaid} more since this was last said)" if self._unsaid else ""
        log.warning(
            "the event loop was late by %.0f ms: something held it, or the machine is busy%s", late * 1000, before
        )
        self._unsaid = 0
        self._quiet_until = now + QUIET_SECONDS


class Watch:
    """Looks at ``pulse`` from outside. ``thread``: the identity of the loop's thread."""

    __slots__ = ("_clock", "_ended", "_looked", "_pulse", "_thread", "_told", "_watcher")

    def __init__(self, pulse: Pulse, clock: Clock, thread: int) -> None:
        self._pulse = pulse
        self._clock = clock
        self._thread = thread
        self._told = 0.0
        """The last beat before the stall that was told last."""
        self._looked = clock.now()
        self._ended = threading.Event()
        self._watcher: threading.Thread | None = None

    def start(self) -> None:
        self._watcher = threading.Thread(target=self._run, name="sidecar-watch", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """Returns when it looks no more."""
        self._ended.set()
        if self._watcher is not None:
            self._watcher.join()

    def _run(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            self.look(self._clock.now())

    def look(self, now: float) -> None:
        """Tells of a stall, once. Whoever looks much later than it wanted to was not running, and nor was the loop: the
        process was stopped or the machine starves it, and where the loop is says nothing."""
        beaten = self._pulse.beaten
        rested = now - self._looked > LOOK_SECONDS + BEAT_SECONDS
        self._looked = now
        if rested or now - beaten <= MISSING_SECONDS or beaten == self._told:
            return
        self._told = beaten
        frame = sys._current_frames().get(self._thread)
        log.warning("the event loop has stood still for %.1f s; it is in %s", now - beaten, _stack(frame))


def _stack(frame: FrameType | None) -> str:
    """The innermost frames on one line, without reading a source file."""
    if frame is None:
        return "no Python code"
    calls = [f"{one.f_code.co_qualname} ({one.f_code.co_filename}:{line})" for one, line in walk_stack(frame)]
    return ", called by ".join(calls[:FRAMES])
