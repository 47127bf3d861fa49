"""What a connection from a peer is about, and how the end of its response is told."""

from __future__ import annotations

from typing import Final

IDLE: Final = 0  # Nothing of a next request has come.
HEAD: Final = 1  # Part of a head has come.
BEGINNING: Final = 2  # A request is being handed over: it may be answered before that returns.
ACTIVE: Final = 3  # A request is being answered.
DISCARDING: Final = 4  # It was answered before all of it had come; the rest is thrown away, then the next one is read.
LINGERING: Final = 5  # We have closed our side; the peer's bytes are thrown away so that no reset destroys our answer.
CLOSED: Final = 6

# How a response's end is told.
LENGTH: Final = 0
CHUNKED: Final = 1
CLOSE: Final = 2
