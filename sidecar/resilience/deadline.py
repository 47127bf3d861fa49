"""The deadline as it travels: a number of milliseconds in ``x-request-timeout-ms``, an instant inside.

A duration crosses machines, an instant does not, because clocks differ; so each sidecar turns what it receives into an
instant at once and sends on what is left. Every layer gets less than its caller has, so that the innermost gives up
first and there is time to say so.
"""

from __future__ import annotations

from math import inf

_MAX_DIGITS = 10
_MARGIN_MS = 1


def parse_timeout_ms(value: bytes) -> float | None:
    """Milliseconds that the caller gives: one to ten digits, anything else is None. 0: its deadline has passed."""
    return float(value) if len(value) <= _MAX_DIGITS and value.isdigit() else None


def earliest(now: float, route_timeout: float | None, header_ms: float | None) -> float:
    """The deadline of a request that came at ``now``; inf if neither route nor caller bounds it.

    ``route_timeout`` in seconds, ``header_ms`` in milliseconds: a caller can shorten the route's timeout only.
    """
    deadline = inf if route_timeout is None else now + route_timeout
    if header_ms is None:
        return deadline
    return min(deadline, now + header_ms / 1000.0)


def remaining_ms(deadline: float, now: float) -> int:
    """What to send on of a finite ``deadline``: whole milliseconds less a margin, 0 only once it has passed.

    Smaller than the caller's own, save that one whose last millisecond is running is passed on as 1.
    """
    if deadline <= now:
        return 0
    return max(1, int((deadline - now) * 1000.0) - _MARGIN_MS)
