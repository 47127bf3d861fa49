"""Asking by a GET, with the sidecar's own HTTP: what passes for an answer here is what passes for one in traffic."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from sidecar.errors import Failure
from sidecar.exchange.seams import Freshness, Upstream
from sidecar.health.monitor import Probe
from sidecar.health.pool import Pool
from sidecar.http.h1.request import RequestHead, parse
from sidecar.http.head import NOTHING, Field, Response
from sidecar.http.head import Settings as HttpSettings
from sidecar.model import Dial, Endpoint


def http(pool: Pool, host: str, port: int, path: str, well: Callable[[int], bool], timeout: float) -> Probe:
    """Each question has a connection of its own: whether one can be had is part of the answer."""
    endpoint = Endpoint(host, port)
    request = (
        f"GET {path} HTTP/1.1\r\nhost: {endpoint.label}\r\nuser-agent: sidecar-health\r\nconnection: close\r\n\r\n"
    )
    head = parse(request.encode("ascii"), HttpSettings())
    dial = Dial(connect_timeout=timeout)

    async def probe() -> str:
        question = _Question(head, asyncio.get_running_loop().create_future())
        pool.check_out(endpoint, question, Freshness.NEW, dial)
        try:
            status = await question.answer
        except _NoAnswer as error:
            return str(error)
        finally:
            question.end()
            pool.forget(endpoint)
        return "" if well(status) else f"answers {status}"

    return probe


def among(statuses: Sequence[str]) -> Callable[[int], bool]:
    """Whether a status is one of these, each ``"200"`` or ``"200-399"``."""
    ranges = [(int(first), int(last or first)) for first, _, last in (one.partition("-") for one in statuses)]
    return lambda status: any(first <= status <= last for first, last in ranges)


class _NoAnswer(Exception):
    """The text says why."""


class _Question:
    """Stands in the place of an exchange (``exchange.seams.Waiter``), and wants no more than the status."""

    def __init__(self, head: RequestHead, answer: asyncio.Future[int]) -> None:
        self.head = head
        self.answer = answer
        self._upstream: Upstream | None = None

    def end(self) -> None:
        """Lets go of a response that nobody reads. A connection that is still being made is let go of when it stands:
        who leaves the line before leaves it to the pool, which keeps it for others, and there are none."""
        if self._upstream is not None:
            self._upstream.cancel()

    def connected(self, upstream: Upstream) -> None:
        if self.answer.done():
            upstream.cancel()
            return
        self._upstream = upstream
        upstream.send(self.head.raw, False, b"", True, [])

    def connect_failed(self, failure: Failure, detail: str) -> None:
        self._fail(detail)

    def response(self, head: Response, body: bytes, end: bool, now: float, trailers: list[Field] = NOTHING) -> None:
        if end:
            self._upstream = None
        if not self.answer.done():
            self.answer.set_result(head.status)

    def response_end(self, data: bytes, trailers: list[Field]) -> None:
        self._upstream = None

    def upstream_failed(self, failure: Failure, detail: str, unprocessed: bool = False) -> None:
        self._upstream = None
        self._fail(detail)

    def _fail(self, detail: str) -> None:
        if not self.answer.done():
            self.answer.set_exception(_NoAnswer(detail))

    def interim(self, head: Response) -> None: ...
    def response_body(self, data: bytes) -> None: ...
    def upstream_full(self) -> None: ...
    def upstream_drained(self) -> None: ...
