"""What a connection from a peer is about, and how the end of its response is told."""

from __future__ import annotations

from typing import Final

FRESH: Final = 0  # Nothing has come at all: the first bytes tell which version of HTTP is spoken.
IDLE: Final = 1  # Nothing of a next request has come.
HEAD: Final = 2  # Part of a head has come.
BEGINNING: Final = 3  # A request is being handed over: it may be answered before that returns.
ACTIVE: Final = 4  # A request is being answered.
DISCARDING: Final = 5  # It was answered before all of it had come; the rest is thrown away, then the next one is read.
LINGERING: Final = 6  # We have closed our side; the peer's bytes are thrown away so that no reset destroys our answer.
CLOSED: Final = 7

# How a response's end is told.
LENGTH: Final = 0
CHUNKED: Final = 1
CLOSE: Final = 2
