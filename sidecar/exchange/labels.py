"""The fields that an exchange reads from its request and writes on every attempt: trace, request id, deadline, attempt.

DESIGN.md 5.5 is the contract. Labels that can only name or shorten are believed from anyone; malformed ones are replaced.
"""

from __future__ import annotations

from math import inf

from sidecar.http.h1.request import RequestHead
from sidecar.resilience.deadline import parse_timeout_ms, remaining_ms
from sidecar.routing.plan import Direction, RoutePlan
from sidecar.telemetry.trace import REQUEST_ID, TRACEPARENT, Tracer, read_b3, read_traceparent

# What goes if it cannot be believed: the vendors' part of a trace that is not continued, and malformed ids.
MISLEADING_STATE = frozenset((b"tracestate",))
MISLEADING_TRACE = frozenset((b"b3", b"tracestate"))
MISLEADING_ID = frozenset((b"x-request-id",))


class Labels:
    """One request's names. ``made_id``: the request id is ours, the request does not carry it."""

    __slots__ = ("flags", "made_id", "misleading", "request_id", "timeout_ms", "trace_id")

    def __init__(self, head: RequestHead, tracer: Tracer) -> None:
        specials = head.specials
        # hot: a request that carries no labels (its only special field is Host) is spared all questions.
        if len(specials) == 1 and b"host" in specials:
            self.trace_id, self.flags = tracer.new_trace()
            self.request_id = self.trace_id
            self.made_id = True
            self.timeout_ms: float | None = None
            self.misleading: frozenset[bytes] | None = None
        else:
            self._read(head, tracer)

    def _read(self, head: RequestHead, tracer: Tracer) -> None:
        specials = head.specials
        traceparent = specials.get(b"traceparent")
        # hot: a well-formed traceparent and request id, as a request within a mesh has them.
        known = TRACEPARENT.fullmatch(traceparent) if traceparent is not None else None
        self.misleading = None
        if known is not None and known[1] in head.raw:  # What was in capitals is not well-formed.
            self.trace_id, self.flags = known.groups()
        else:
            self.trace_id, self.flags = self._other_trace(head, tracer)
        given = head.get(b"x-request-id") if b"x-request-id" in specials else None
        self.made_id = given is None or REQUEST_ID.fullmatch(given) is None
        if given is None or self.made_id:
            self.request_id = self.trace_id
            if given is not None:
                self.misleading = MISLEADING_ID.union(self.misleading or ())
        else:
            self.request_id = given
        timeout = specials.get(b"x-request-timeout-ms")
        self.timeout_ms = parse_timeout_ms(timeout.strip(b" \t")) if timeout is not None else None

    def _other_trace(self, head: RequestHead, tracer: Tracer) -> tuple[bytes, bytes]:
        """Trace id and flags where no ``traceparent`` of today's version says them."""
        specials = head.specials
        traceparent = head.get(b"traceparent") if b"traceparent" in specials else None
        trace = read_traceparent(traceparent) if traceparent is not None else None
        if trace is None and b"b3" in specials:
            trace = read_b3(specials[b"b3"])
            self.misleading = MISLEADING_STATE if trace is not None else MISLEADING_TRACE
        elif trace is None and b"tracestate" in specials:
            self.misleading = MISLEADING_STATE
        return trace if trace is not None else tracer.new_trace()

    def lines(self, plan: RoutePlan, span: bytes, deadline: float, now: float, attempt: int) -> bytes:
        """What an attempt adds to the request's head."""
        if plan.direction is Direction.PASSTHROUGH:
            return b""
        # hot: joining pieces is twice as fast as formatting them, and one join as fast as it gets.
        request_id = b"\r\nx-request-id: " + self.request_id if self.made_id else b""
        left = b"\r\nx-request-timeout-ms: %d" % remaining_ms(deadline, now) if deadline != inf else b""
        number = b"\r\nx-sidecar-attempt: %d" % attempt if plan.direction is Direction.OUTBOUND else b""
        return b"".join(
            (b"traceparent: 00-", self.trace_id, b"-", span, b"-", self.flags, request_id, left, number, plan.mark)
        )
