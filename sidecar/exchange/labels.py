"""The fields that an exchange reads from its request and writes on every attempt: trace, request id, deadline, attempt.

DESIGN.md 5.5 is the contract. Labels that can only name or shorten are believed from anyone; malformed ones are replaced.
"""

from __future__ import annotations

from math import inf

import msgspec

from sidecar.http.head import Field, Request
from sidecar.resilience.deadline import parse_timeout_ms
from sidecar.resilience.grpc import parse_timeout, render_timeout
from sidecar.routing.plan import PASSTHROUGH, RoutePlan, attempt_fields, attempt_lines
from sidecar.telemetry.trace import REQUEST_ID, TRACEPARENT, Tracer, read_b3, read_traceparent

# What goes if it cannot be believed: the vendors' part of a trace that is not continued, and malformed ids.
MISLEADING_STATE = frozenset((b"tracestate",))
MISLEADING_TRACE = frozenset((b"b3", b"tracestate"))
MISLEADING_ID = frozenset((b"x-request-id",))


class Labels(msgspec.Struct, eq=False):
    """One request's names. ``made_id``: the request id is ours, the request does not carry it."""

    # hot: a Struct, because it is made in half the time of an object with an ``__init__``.
    trace_id: bytes
    flags: bytes
    request_id: bytes
    made_id: bool
    timeout_ms: float | None = None
    misleading: frozenset[bytes] | None = None
    """Fields of the request that must not go on."""
    call_ms: float | None = None
    """What a gRPC call's own ``grpc-timeout`` gives it; it is in ``timeout_ms`` as well."""

    def lines(self, plan: RoutePlan, span: bytes, deadline: float, now: float, attempt: int) -> bytes:
        """What an attempt adds to the request's head."""
        if plan.direction is PASSTHROUGH:
            return b""
        timeout = plan.timeout
        if attempt == 1 and timeout is not None and deadline == now + timeout:
            rest = plan.first  # hot: what most requests say was known when the configuration was loaded.
        else:
            rest = attempt_lines(plan.direction, deadline, now, attempt, plan.mark)
        # hot: joining pieces is twice as fast as formatting them, and one join as fast as it gets.
        if self.made_id:
            return b"".join(
                (
                    b"traceparent: 00-", self.trace_id, b"-", span, b"-", self.flags,
                    b"\r\nx-request-id: ", self.request_id, rest,
                )
            )  # fmt: skip
        return b"".join((b"traceparent: 00-", self.trace_id, b"-", span, b"-", self.flags, rest))

    def fields(
        self, plan: RoutePlan, span: bytes, deadline: float, now: float, attempt: int, started: float
    ) -> tuple[list[Field], ...]:
        """The same as fields of HTTP/2. ``started``: when the request came, from which its ``grpc-timeout`` counts.

        That one bounds a gRPC call to its end, ``deadline`` any request until its response begins: a plan's timeout is
        never made into the former, which would end streams.
        """
        if plan.direction is PASSTHROUGH:
            return ()
        names: list[Field] = [(b"traceparent", b"".join((b"00-", self.trace_id, b"-", span, b"-", self.flags)), True)]
        if self.made_id:
            names.append((b"x-request-id", self.request_id, True))
        timeout = plan.timeout
        if self.call_ms is not None:
            ends = started + self.call_ms / 1000.0
            names.append((b"grpc-timeout", render_timeout(ends - now), True))
            if deadline >= ends and attempt == 1:
                return names, plan.unbounded_fields
            deadline = inf if deadline >= ends else deadline
        elif attempt == 1 and timeout is not None and deadline == now + timeout:
            return names, plan.first_fields  # hot: what most requests say was known when the configuration was loaded.
        return names, attempt_fields(plan.direction, deadline, now, attempt, plan.identity)


def read_labels(head: Request, tracer: Tracer) -> Labels:
    """The names that ``head`` brings, and new ones in place of those that are missing or malformed."""
    if head.plain:
        # hot: a request that carries no labels is spared all questions.
        trace_id, flags = tracer.new_trace()
        return Labels(trace_id, flags, trace_id, True)
    specials = head.specials
    traceparent = specials.get(b"traceparent")
    # hot: a well-formed traceparent and request id, as a request within a mesh has them.
    known = TRACEPARENT.fullmatch(traceparent) if traceparent is not None else None
    if known is not None and (head.http2 or known[1] in head.raw):  # What was in capitals is not well-formed.
        trace_id, flags = known.groups()
        misleading = None
    else:
        (trace_id, flags), misleading = _other_trace(head, tracer)
    given = head.get(b"x-request-id") if b"x-request-id" in specials else None
    timeout = specials.get(b"x-request-timeout-ms")
    timeout_ms = parse_timeout_ms(timeout.strip(b" \t")) if timeout is not None else None
    call_ms = None
    if head.grpc and b"grpc-timeout" in specials:
        call_ms = parse_timeout(specials[b"grpc-timeout"])
        if call_ms is not None:
            timeout_ms = call_ms if timeout_ms is None else min(timeout_ms, call_ms)
    if given is not None and REQUEST_ID.fullmatch(given) is not None:
        return Labels(trace_id, flags, given, False, timeout_ms, misleading, call_ms)
    if given is not None:
        misleading = MISLEADING_ID.union(misleading or ())
    return Labels(trace_id, flags, trace_id, True, timeout_ms, misleading, call_ms)


def _other_trace(head: Request, tracer: Tracer) -> tuple[tuple[bytes, bytes], frozenset[bytes] | None]:
    """Trace id and flags where no ``traceparent`` of today's version says them, and what must not go on with them."""
    specials = head.specials
    traceparent = head.get(b"traceparent") if b"traceparent" in specials else None
    trace = read_traceparent(traceparent) if traceparent is not None else None
    misleading = None
    if trace is None and b"b3" in specials:
        trace = read_b3(specials[b"b3"].lower())  # Of HTTP/2, values are as they came.
        misleading = MISLEADING_STATE if trace is not None else MISLEADING_TRACE
    elif trace is None and b"tracestate" in specials:
        misleading = MISLEADING_STATE
    return trace if trace is not None else tracer.new_trace(), misleading
