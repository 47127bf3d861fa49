"""One request and its response: the machine that owns the order in which everything happens.

It reads from top to bottom in time. Each step asks a small policy for a decision and acts on it; nothing here touches a
socket, and nothing waits: where an answer is not there yet (a filter thinks, a connection is being made, a back-off
runs), the machine stops in a state and is entered again at that state by whoever has the answer.

| step    | asks                          | why here                                                                  |
|---------|-------------------------------|---------------------------------------------------------------------------|
| begin   | clock, labels                 | all is measured from here                                                 |
| route   | table                         | no plan, no policy                                                        |
| bound   | deadline                      | covers filters, attempts and back-offs; dead on arrival costs nothing     |
| admit   | limits, request filters       | a refusal before an endpoint is chosen is free                            |
| pick    | balancer, breaker             | per attempt, and it must see what earlier attempts found                  |
| connect | pool                          | waiting counts against the deadline                                       |
| send    | upstream                      | the body is streamed, and kept for replay while that is small             |
| judge   | outcome, retry, budget        | at the response head or a failure: the last moment to try again           |
| respond | downstream                    | from here a failure can only break off                                    |
| finish  | record, limits                | exactly once, on every path                                               |

Failures are values: ``fail`` answers them, ``finish`` records them.
"""

from __future__ import annotations

from math import inf

from sidecar.errors import Failure
from sidecar.exchange import again, blame, calls, filtering, looking, recording, waiting
from sidecar.exchange.again import REPLAY_BYTES
from sidecar.exchange.labels import Labels, read_labels
from sidecar.exchange.replies import failed, refuse
from sidecar.exchange.scope import Scope
from sidecar.exchange.seams import ANY, SURE, Downstream, Freshness, Upstream, Written
from sidecar.exchange.states import BACKING_OFF, CONNECTING, FINISHED, LOOKING, NEW, RESPONDING, SENDING
from sidecar.http.head import NOTHING, Field, Request, Response
from sidecar.model import Endpoint
from sidecar.resilience.breaker import NO_TICKET, Breaker
from sidecar.resilience.deadline import earliest
from sidecar.resilience.outcome import Outcome, is_failure_status
from sidecar.resilience.retry import IDEMPOTENT
from sidecar.routing.plan import INBOUND, PASSTHROUGH, RoutePlan


class Exchange:
    """One request and its response, from ``start`` to ``finish``."""

    __slots__ = (
        "attempt", "began", "blamed", "complete", "deadline", "downstream", "endpoint", "grpc_status", "head", "held", "kept",
        "labels", "moved", "plan", "resent", "retries", "scope", "sized", "started", "state", "status", "step", "ticket",
        "timer", "trailers", "tried", "unsent", "upstream",
    )  # fmt: skip

    plan: RoutePlan
    labels: Labels
    endpoint: Endpoint
    """Whom the current attempt asks; held while CONNECTING, SENDING and RESPONDING."""
    began: float
    """Since when the endpoint is waited for: its pick, or the request's end if that came later."""
    moved: float
    """While RESPONDING: when something last came or was taken."""
    step: int
    """While PAUSED: which filter thinks."""

    def __init__(self, scope: Scope, head: Request, downstream: Downstream) -> None:
        self.state = NEW
        self.scope = scope
        self.head = head
        self.downstream = downstream
        self.timer = downstream.timer
        self.upstream: Upstream | None = None
        self.tried: tuple[Endpoint, ...] = ()
        """Endpoints whose attempt ended without an answer that was passed on."""
        self.blamed: tuple[Endpoint, ...] = ()
        """Endpoints whose breaker has counted a failure of this exchange: it counts at most one."""
        self.attempt = 0
        self.retries = 0
        self.resent = False
        self.trailers: list[Field] = []
        self.unsent = 0
        """What a slow peer had not taken when it was last looked at."""
        self.grpc_status: int | None = None
        """Of a gRPC call, once it is known."""
        self.held: again.Answer | None = None
        """While BACKING_OFF: the answer, should no other be had."""

    # begin, route, bound, admit

    def start(self, body: bytes, end: bool) -> None:
        """``body``: what came of it with the head; ``end``: whether that is all of the request."""
        scope = self.scope
        head = self.head
        now = self.started = scope.clock.now()
        self.labels = read_labels(head, scope.tracer)
        self.kept: bytes | None = body
        self.complete = end
        plan = scope.route(head)
        if isinstance(plan, RoutePlan):
            self.go_by(plan, now)
        else:
            looking.unplanned(self, plan)

    def go_by(self, plan: RoutePlan, now: float) -> None:
        self.plan = plan
        limits = plan.service.limits
        limits.in_flight += 1
        if self.labels.timeout_ms is None and plan.timeout is not None:
            deadline = self.started + plan.timeout
        else:
            deadline = earliest(self.started, plan.timeout, self.labels.timeout_ms)
        self.deadline = deadline
        if deadline <= now:
            self.fail(Failure.DEADLINE_EXCEEDED, "the caller's deadline had passed when the request came")
            return
        self.timer.set(deadline)
        if limits.in_flight > limits.settings.max_requests:
            detail = f"{limits.settings.max_requests} requests to {plan.service.name} are in flight already"
            self.fail(Failure.OVERLOADED, detail)
        elif plan.filters:
            filtering.ask(self, 0)
        else:
            self.begin_attempt(now)

    # pick, connect, send

    def begin_attempt(self, now: float) -> None:
        plan = self.plan
        service = plan.service
        key = None if service.key is None else service.key(self.head, self.downstream.peer)
        endpoint = service.balancer.pick(service.endpoints, now, self.tried, key)
        if endpoint is None:
            again.answer_held(self, now)
            return
        if self.held is not None:
            if endpoint.not_before > now:
                again.wait_for(self, endpoint, now)
                return
            self.held = None
            if self.upstream is not None:
                self.upstream.cancel()
        self.endpoint = endpoint
        breaker = endpoint.breaker
        if breaker is not None:
            self.ticket = breaker.begin(now)
        elif service.breaker_settings is not None:
            endpoint.breaker = Breaker(service.breaker_settings)
            self.ticket = endpoint.breaker.begin(now)
        else:
            self.ticket = NO_TICKET
        if self.attempt == 0 and service.budget is not None:
            service.budget.deposit(now)
        self.attempt += 1
        endpoint.in_flight += 1
        self.began = now
        freshness = ANY if self.head.method in IDEMPOTENT or again.repeatable(self) else SURE
        self.state = CONNECTING
        upstream = self.scope.pool.check_out(endpoint, self, freshness, service.dial)
        if upstream is not None:
            self._send(upstream, now)
        else:
            waiting.in_line(self, now)

    def connected(self, upstream: Upstream) -> None:
        self.plan.service.limits.pending -= 1
        self._send(upstream, self.scope.clock.now())

    def connect_failed(self, failure: Failure, detail: str) -> None:
        plan = self.plan
        plan.service.limits.pending -= 1
        if failure is Failure.CONNECT_FAILED:
            failure = plan.connect_failure
        self.attempt_failed(failure, detail, self.scope.clock.now())

    def _send(self, upstream: Upstream, now: float) -> None:
        plan = self.plan
        labels = self.labels
        head = self.head
        kept, complete = self.kept, self.complete
        assert kept is not None
        self.upstream = upstream
        self.state = SENDING
        dropped = plan.dropped
        if labels.misleading is not None and plan.direction is not PASSTHROUGH:
            dropped = dropped | labels.misleading
        if plan.attempt_timeout != inf or not complete:
            self.timer.set(waiting.due(self, now))
        span = self.scope.tracer.span()
        if upstream.http2:
            added = labels.fields(plan, span, self.deadline, now, self.attempt, self.started)
            written: Written = (head.fields(dropped, self.downstream.peer_trusted), *added)
        else:
            lines = labels.lines(plan, span, self.deadline, now, self.attempt)
            written = head.render(dropped, lines, self.downstream.peer_trusted)
        if not complete:
            self.downstream.resume_reading()  # Before it is sent: the endpoint may be full at once, and say so.
        upstream.send(written, head.length is None, kept, complete, self.trailers)
        if kept and len(kept) > REPLAY_BYTES:
            self.kept = None

    def request_body(self, data: bytes) -> None:
        if self.upstream is not None:
            self.upstream.send_body(data)  # Also to one whose answer is held: that may yet be the answer.
            waiting.moved(self)
        again.keep(self, data)

    def request_end(self, data: bytes, trailers: list[Field]) -> None:
        self.complete = True
        self.trailers = trailers
        if self.upstream is not None:
            self.upstream.end_body(data, trailers)
            self.began = self.scope.clock.now()
            waiting.moved(self)
        again.keep(self, data)

    def request_broken(self, failure: Failure, detail: str) -> None:
        """The rest of the request cannot be read: no endpoint may take what it has for the whole."""
        self.give_up(Outcome.IGNORED, self.scope.clock.now())
        self.fail(failure, detail)

    def caller_left(self) -> None:
        """Downstream ended before its response was complete: nobody is there to be answered."""
        if self.state == LOOKING:
            self.state = FINISHED
            recording.refused(self, Failure.CLIENT_GONE)
            return
        now, gone = self.scope.clock.now(), Failure.CLIENT_GONE
        self.give_up(blame.outcome(self, gone, now), now)
        self.finish(calls.status_of(self, gone), gone.reason, now)

    def upstream_full(self) -> None:
        """The endpoint does not take what we hold: read no more of the request."""
        if self.upstream is not None:
            self.unsent = self.upstream.unsent()
        if not self.complete:
            self.downstream.pause_reading()

    def upstream_drained(self) -> None:
        if not self.complete:
            self.downstream.resume_reading()
        waiting.moved(self)

    # judge

    def interim(self, head: Response) -> None:
        self.downstream.inform(head)

    def response(self, head: Response, body: bytes, end: bool, now: float, trailers: list[Field] = NOTHING) -> None:
        """The final response's head, and the body bytes that are in hand; ``end``: they and ``trailers`` are all of it."""
        if end:
            self.upstream = None
        if self.head.grpc and calls.response(self, head, body, end, trailers, now):
            return
        if head.status >= 500 and is_failure_status(head.status):
            blame.report(self, Outcome.FAILURE, now)
            at = again.after_response(self, head, now)
            if at is not None:
                self.back_off(at, (head, body, end, trailers))
                return
        else:
            endpoint = self.endpoint
            if endpoint.breaker is not None:
                endpoint.breaker.success(now, self.ticket)
            if endpoint.load is not None:
                endpoint.load.responded(now, now - self.began, head.status)
        self.respond(head, body, end, trailers, now)

    def upstream_failed(self, failure: Failure, detail: str, unprocessed: bool = False) -> None:
        """The connection is gone, or what came on it cannot be believed."""
        now = self.scope.clock.now()
        upstream = self.upstream
        self.upstream = None
        if self.state == BACKING_OFF:
            self.held = (failure, detail)
        elif self.state == RESPONDING:
            self.give_up(Outcome.FAILURE, now)
            self.fail(failure, detail)
        elif upstream is not None and again.lost_the_race(self, upstream, unprocessed):
            self.resent = True
            self.state = CONNECTING
            fresh = self.scope.pool.check_out(self.endpoint, self, Freshness.NEW, self.plan.service.dial)
            if fresh is not None:
                self._send(fresh, now)
            else:
                waiting.in_line(self, now)
        else:
            self.attempt_failed(failure, detail, now, unprocessed)

    def attempt_failed(self, failure: Failure, detail: str, now: float, unprocessed: bool = False) -> None:
        blame.report(self, blame.outcome(self, failure, now), now)
        at = again.after_failure(self, failure, unprocessed, now)
        if at is not None:
            self.back_off(at, (failure, detail))
        else:
            self.fail(failure, detail)

    def back_off(self, at: float, held: again.Answer) -> None:
        self.endpoint.in_flight -= 1
        self.retries += 1
        self.held = held
        self.state = BACKING_OFF
        self.timer.set(at)
        if self.upstream is not None:
            self.upstream.pause_reading()

    # respond

    def respond(self, head: Response, body: bytes, end: bool, trailers: list[Field], now: float) -> None:
        request_id = b"" if b"x-request-id" in head.specials else self.labels.request_id
        own_reasons = self.plan.direction is not INBOUND
        self.kept = None
        self.state = RESPONDING
        if end:
            # Finished first: once it is written, the connection's next request may begin at once.
            self.finish(head.status, "", now)
        else:
            self.status = head.status
            self.sized = head.length is not None
            waiting.moved(self)
        self.downstream.respond(head, own_reasons, request_id, body, end, trailers)

    def response_body(self, data: bytes) -> None:
        held = self.held
        if self.state == RESPONDING:
            self.downstream.send_body(data)
            waiting.moved(self)
        elif held is not None and len(held) == 4:
            self.held = (held[0], held[1] + data, False, NOTHING)

    def response_end(self, data: bytes, trailers: list[Field]) -> None:
        held = self.held
        self.upstream = None
        if self.state == RESPONDING:
            now = self.scope.clock.now()
            if self.head.grpc and self.grpc_status is None:
                trailers = calls.ended(self, trailers, now)
            self.finish(self.status, "", now)
            self.downstream.end_body(data, trailers)
        elif held is not None and len(held) == 4:
            self.held = (held[0], held[1] + data, True, trailers)

    def downstream_full(self) -> None:
        """The caller does not take what we hold: read no more of the response."""
        self.unsent = self.downstream.unsent()
        if self.upstream is not None:
            self.upstream.pause_reading()

    def downstream_drained(self) -> None:
        if self.upstream is not None and self.state != BACKING_OFF:
            self.upstream.resume_reading()
        waiting.moved(self)

    def on_timer(self, now: float) -> None:
        waiting.on_timer(self, now)

    # ends

    def let_go(self) -> None:
        """Cancels what runs: the use of a connection, or the wait for one."""
        if self.state == CONNECTING:
            self.plan.service.limits.pending -= 1
            self.scope.pool.leave(self.endpoint, self)
        elif self.upstream is not None:
            self.upstream.cancel()
            self.upstream = None

    def give_up(self, outcome: Outcome, now: float) -> None:
        """Cancels what runs. ``outcome``: what that says of the endpoint, which has been told already if it responded."""
        self.let_go()
        state = self.state
        if state == CONNECTING or state == SENDING or (state == RESPONDING and blame.open(self, outcome)):
            blame.report(self, outcome, now)

    def fail(self, failure: Failure, detail: str, retry_after: float | None = None) -> None:
        """Answers with a reason, or breaks the response off if it has begun."""
        if self.state == LOOKING:
            refuse(self, failure, detail)
            return
        responding = self.state == RESPONDING
        status = calls.status_of(self, failure)
        self.finish(self.status if responding else status, failure.reason, self.scope.clock.now())
        if responding:
            calls.break_off(self, failure, detail)
        else:
            self.downstream.reply(failed(self, failure, detail, retry_after))

    def finish(self, status: int, reason: str, now: float) -> None:
        """Records the exchange and gives back what it holds; the one end of every path."""
        state = self.state
        if state == FINISHED:
            return
        self.state = FINISHED
        if state == RESPONDING or state == SENDING or state == CONNECTING:
            self.endpoint.in_flight -= 1
        plan = self.plan
        plan.service.limits.in_flight -= 1
        plan.stats.record(self.head.method, status, reason, now - self.started)
        if self.grpc_status is not None:
            plan.stats.record_grpc(self.grpc_status, reason, status)
        if self.scope.access_log is not None:
            recording.logged(self, self.scope.access_log, plan.stats, status, reason, now)
