"""May this exchange try again, and when: safe, useful and affordable (``resilience/retry.py`` has the rules)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sidecar.errors import Failure
from sidecar.exchange.replies import nobody
from sidecar.exchange.seams import Upstream
from sidecar.exchange.states import BACKING_OFF
from sidecar.http.head import Field, Response
from sidecar.model import Endpoint
from sidecar.resilience.grpc import name_of, parse_pushback
from sidecar.resilience.retry import IDEMPOTENT, UNPROCESSED, parse_retry_after

if TYPE_CHECKING:
    from sidecar.exchange.machine import Exchange

Answer = tuple[Response, bytes, bool, list[Field]] | tuple[Failure, str]
"""What the last attempt brought: a response (head, body so far, whether that is all, trailers) or a failure with its detail."""

REPLAY_BYTES: Final = 65536
"""How much of a request body is kept so that another attempt can send it, and so that a connection can be waited for."""

# What a peer's sidecar says when it has handed nothing on: then any method may be tried elsewhere.
UNPROCESSED_REASONS = frozenset((b"draining", b"overloaded"))


def keep(exchange: Exchange, data: bytes) -> None:
    """Keeps more of the request's body for another attempt, while that is not too much; what no attempt was given yet is
    kept in any case."""
    kept = exchange.kept
    if kept is None:
        return
    small = len(kept) + len(data) <= REPLAY_BYTES
    if exchange.upstream is not None and exchange.state != BACKING_OFF:
        exchange.kept = kept + data if small else None
    else:
        exchange.kept = kept + data
        if not small and not exchange.complete:
            exchange.downstream.pause_reading()


def repeatable(exchange: Exchange) -> bool:
    """Whether doing it twice is the same as doing it once, by its method or by its caller's word."""
    head = exchange.head
    return head.method in IDEMPOTENT or b"idempotency-key" in head.specials


def lost_the_race(exchange: Exchange, upstream: Upstream, unprocessed: bool) -> bool:
    """Whether the endpoint closed an idle connection just as we used it, or refuses a stream as it leaves: nobody's
    failure, and sent again once."""
    if exchange.resent or exchange.kept is None or not upstream.silent:
        return False
    return unprocessed or (upstream.reused and repeatable(exchange))


def after_failure(exchange: Exchange, failure: Failure, unprocessed: bool, now: float) -> float | None:
    """When to try again after an attempt without a response; ``None`` if the failure is the answer."""
    retry = exchange.plan.retry
    if retry is None or not retry.allows_failure(failure):
        return None
    if exchange.head.grpc and retry.allows_grpc(failure.grpc, exchange.head.path()):
        unprocessed = True
    return _affordable(exchange, unprocessed or failure in UNPROCESSED, failure.reason, now)


def after_response(exchange: Exchange, head: Response, now: float) -> float | None:
    """When to try again after a response that is a failure; ``None`` if it is the answer."""
    value = head.get(b"retry-after")
    if value is not None:
        seconds = parse_retry_after(value, exchange.scope.clock.wall())
        if seconds is not None:
            exchange.endpoint.not_before = now + seconds
    retry = exchange.plan.retry
    if retry is None or not retry.allows_status(head.status):
        return None
    unprocessed = head.status == 503 and head.get(b"x-sidecar-reason") in UNPROCESSED_REASONS
    return _affordable(exchange, unprocessed, "5xx", now)


def after_call(exchange: Exchange, head: Response, trailers: list[Field], status: int, now: float) -> float | None:
    """When to try again after a gRPC call that has failed before anything of an answer came (gRFC A6)."""
    retry = exchange.plan.retry
    if retry is None:
        return None
    said = dict(head.specials)
    said.update((name, value) for name, value, _ in trailers)
    pushback = said.get(b"grpc-retry-pushback-ms")
    wait = None
    if pushback is not None:
        wait = parse_pushback(pushback)
        if wait is None:
            return None
        exchange.endpoint.not_before = now + wait
    unprocessed = said.get(b"x-sidecar-reason") in UNPROCESSED_REASONS
    if not unprocessed and not retry.allows_grpc(status, exchange.head.path()):
        return None
    return _affordable(exchange, True, name_of(status), now, wait)


def _affordable(
    exchange: Exchange, unprocessed: bool, cause: str, now: float, wait: float | None = None
) -> float | None:
    plan = exchange.plan
    retry = plan.retry
    if retry is None or exchange.retries >= retry.max_retries or exchange.kept is None:
        return None
    if not unprocessed and not repeatable(exchange):
        return None
    endpoint = exchange.endpoint
    if endpoint not in exchange.tried:
        exchange.tried += (endpoint,)
    service = plan.service
    key = None if service.key is None else service.key(exchange.head, exchange.downstream.peer)
    other = service.balancer.pick(service.endpoints, now, exchange.tried, key)
    if other is None:
        return None
    at = max(now + (retry.delay(exchange.retries) if wait is None else wait), other.not_before)
    if at >= exchange.deadline or (service.budget is not None and not service.budget.withdraw(now)):
        return None
    plan.stats.retried(cause)
    return at


def answer_held(exchange: Exchange, now: float) -> None:
    """Nobody can be asked: the last attempt's answer is the answer, unchanged, if there was one."""
    held = exchange.held
    if held is None:
        exchange.fail(*nobody(exchange.plan.service, now))
    elif len(held) == 2:
        exchange.fail(*held)
    else:
        exchange.endpoint.in_flight += 1  # The response that was put off is being passed on after all.
        if exchange.upstream is not None:
            exchange.upstream.resume_reading()
            if not exchange.complete:
                exchange.downstream.resume_reading()
        exchange.respond(*held, now)


def wait_for(exchange: Exchange, endpoint: Endpoint, now: float) -> None:
    """Meanwhile nobody else is left but one who asked to be left alone: it is waited for, if there is time."""
    if endpoint.not_before < exchange.deadline:
        exchange.timer.set(endpoint.not_before)
    else:
        answer_held(exchange, now)
