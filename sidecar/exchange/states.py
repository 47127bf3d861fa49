"""The states of an exchange, and which may follow which: the machine drawn as data."""

from __future__ import annotations

from typing import Final

NEW: Final = 0
PAUSED: Final = 1
CONNECTING: Final = 2
SENDING: Final = 3
BACKING_OFF: Final = 4
RESPONDING: Final = 5
FINISHED: Final = 6
LOOKING: Final = 7

# LOOKING: the registry has not said yet whether there is such a service. PAUSED: a filter thinks. CONNECTING: a connection
# is being waited for. SENDING: no response head has come yet. BACKING_OFF: a retry is due, and the last answer is held in
# case there will be no other.
TRANSITIONS: Final = {
    NEW: {LOOKING, PAUSED, CONNECTING, FINISHED},
    LOOKING: {LOOKING, NEW, FINISHED},
    PAUSED: {PAUSED, CONNECTING, FINISHED},
    CONNECTING: {SENDING, BACKING_OFF, FINISHED},
    SENDING: {CONNECTING, BACKING_OFF, RESPONDING, FINISHED},
    BACKING_OFF: {CONNECTING, RESPONDING, FINISHED},
    RESPONDING: {FINISHED},
    FINISHED: set(),
}
"""Which state may follow which; the tests check every assignment against it."""
