"""What HTTP/2 lets a peer ask for without end, and how often one was stopped at a limit.

HTTP/1 is bounded by its form: one request at a time, a head, a body. In HTTP/2 a peer has frames that cost it nothing
and us something (resets, settings, pings, empty data), and so each kind has a limit at which the stream or the
connection ends. These counts say which limit it was; docs/http2.md says what each is.
"""

from __future__ import annotations

from typing import Final

LIMITS: Final = (
    "streams",
    "resets",
    "continuation",
    "header_list",
    "control_frames",
    "empty_frames",
    "window_updates",
    "header_timeout",
    "stall",
)
"""A label of the metric, hence a closed list: any other word is a KeyError."""


class Http2Stats:
    """The counts of one direction; they outlive the listener, which a reload may replace."""

    __slots__ = ("ended",)

    def __init__(self) -> None:
        self.ended = dict.fromkeys(LIMITS, 0)
        """Streams and connections that ended at each limit."""

    def count(self, limit: str) -> None:
        self.ended[limit] += 1
