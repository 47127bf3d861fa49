"""Asking the request filters in their order, with a pause wherever one of them takes its time.

A filter is somebody else's code: it may resume before it has returned, twice, or long after the caller has left. So each
is given its own way back, which leads somewhere only while the exchange stands at that very filter.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from sidecar.errors import Failure
from sidecar.exchange.states import PAUSED
from sidecar.filters import PAUSE, Reply, RequestView

if TYPE_CHECKING:
    from sidecar.exchange.machine import Exchange

log = logging.getLogger("sidecar.filters")


def ask(exchange: Exchange, first: int) -> None:
    """Asks the filters from the ``first`` (counted from 0) on; an attempt begins when all of them are content."""
    filters = exchange.plan.filters
    for step in range(first, len(filters)):
        exchange.state = PAUSED
        exchange.step = step
        try:
            verdict = filters[step](RequestView(exchange.head, partial(_resume, exchange, step)))
        except Exception as error:
            log.exception("filter %d of %s raised", step + 1, exchange.plan.service.name)
            if _stands_at(exchange, step):
                exchange.fail(Failure.FILTER_FAILED, f"filter {step + 1} raised {type(error).__name__}")
            return
        if verdict is PAUSE or not _stands_at(exchange, step):
            return
        if verdict is not None:
            _answer(exchange, verdict)
            return
    exchange.begin_attempt(exchange.scope.clock.now())


def _resume(exchange: Exchange, step: int, reply: Reply | None) -> None:
    """The verdict of the filter at ``step``, which had paused; ``None``: go on."""
    if not _stands_at(exchange, step):
        return
    if reply is None:
        ask(exchange, step + 1)
    else:
        _answer(exchange, reply)


def _stands_at(exchange: Exchange, step: int) -> bool:
    return exchange.state == PAUSED and exchange.step == step


def _answer(exchange: Exchange, reply: Reply) -> None:
    """Answers with the filter's reply, labelled as every response of a sidecar's own is."""
    if not isinstance(reply, Reply):
        exchange.fail(Failure.FILTER_FAILED, f"filter {exchange.step + 1} answered with a {type(reply).__name__}")
        return
    fields = [*reply.fields, (b"x-sidecar-source", exchange.plan.source.encode("utf-8"))]
    if all(name.lower() != b"x-request-id" for name, _ in fields):
        fields.append((b"x-request-id", exchange.labels.request_id))
    exchange.finish(reply.status, "", exchange.scope.clock.now())
    exchange.downstream.reply(Reply(reply.status, fields, reply.body or b""))
