"""Whether this sidecar has started, lives, and may be sent requests: what probes ask, and who else is near.

Readiness is not a flag that somebody sets and forgets. It is a list of *gates*, each a question to the part that knows
the answer, asked at every probe; the body names them all, so that "not ready" always comes with what it waits for.
Startup asks the first of them only: a sidecar that drains has started long ago, and must not be killed for it.

Liveness asks nothing. If the process can answer at all it is alive, and a restart cures nothing that a gate waits for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from sidecar.admin.metrics import CONTENT_TYPE, Sources, exposition
from sidecar.clock import Clock
from sidecar.errors import Failure
from sidecar.exchange.replies import error_reply
from sidecar.http.head import Request
from sidecar.http.reply import Reply
from sidecar.model import Endpoint
from sidecar.resilience.breaker import CLOSED, NAMES
from sidecar.resilience.standing import state
from sidecar.routing.plan import Service
from sidecar.telemetry.trace import REQUEST_ID

if TYPE_CHECKING:
    from sidecar.admin.documents import DependencyAttributes

Gate = Callable[[], tuple[bool, str]]
"""Whether it is open, and in words what it waits for or what has opened it."""

Answer = tuple[Reply, Iterator[bytes] | None]

ALLOWED: Final = (b"GET", b"HEAD")

encode = msgspec.json.encode


class _Verdict(msgspec.Struct, frozen=True):
    """One gate in the body of an answer."""

    name: str
    ok: bool
    detail: str


class Probes:
    """Answers ``/health/*`` and ``/metrics``, and nothing else.

    ``startup``: gates that open once, while the sidecar starts; ``operation``: those that readiness asks beside them, and
    ``service``, our name, are those of today: a reload may change them. ``dependencies`` are what the application needs.
    """

    __slots__ = ("_clock", "_dependencies", "_new_request_id", "_operation", "_pages", "_service", "_sources", "_started_at",
                 "_startup", "_version")  # fmt: skip

    def __init__(
        self,
        sources: Sources,
        startup: Mapping[str, Gate],
        operation: Callable[[], Mapping[str, Gate]],
        clock: Clock,
        service: Callable[[], str],
        version: str,
        new_request_id: Callable[[], bytes],
        dependencies: Callable[[], Iterable[DependencyAttributes]] = tuple,
    ) -> None:
        self._dependencies = dependencies
        self._sources = sources
        self._startup = startup
        self._operation = operation
        self._clock = clock
        self._service = service
        self._version = version
        self._new_request_id = new_request_id
        self._started_at = clock.now()
        self._pages: dict[bytes, Callable[[], Answer]] = {
            b"/health/startup": self._startup_page,
            b"/health/live": self._live_page,
            b"/health/ready": self._ready_page,
            b"/health/detailed": self._detailed_page,
            b"/metrics": self._metrics_page,
        }

    def serves(self, path: bytes) -> bool:
        """Whether there is such a page."""
        return path in self._pages

    def handle(self, head: Request) -> Answer:
        """The reply, and the pieces of its body if that is streamed."""
        request_id = request_id_of(head, self._new_request_id)
        page = self._pages.get(head.path())
        if page is None:
            served = ", ".join(path.decode() for path in self._pages)
            return self._refusal(Failure.NO_ROUTE, f"what is served here is {served}", request_id), None
        if head.method not in ALLOWED:
            reply = self._refusal(Failure.METHOD_NOT_ALLOWED, "this can only be read, by GET or HEAD", request_id)
            reply.fields.append((b"allow", b", ".join(ALLOWED)))
            return reply, None
        reply, pieces = page()
        reply.fields.append((b"x-request-id", request_id))
        return reply, pieces

    def _refusal(self, failure: Failure, detail: str, request_id: bytes) -> Reply:
        return error_reply(failure, detail, f"{self._service()}/probes", request_id, self._clock.wall())

    # Pages

    def _startup_page(self) -> Answer:
        return _gated(_ask(self._startup), "started", "starting"), None

    def _live_page(self) -> Answer:
        return _json(200, encode({"status": "live"}) + b"\n"), None

    def _ready_page(self) -> Answer:
        return _gated(self._readiness(), "ready", "not ready"), None

    def _detailed_page(self) -> Answer:
        return _json(200, None), self._detailed()

    def _metrics_page(self) -> Answer:
        return Reply(200, [(b"content-type", CONTENT_TYPE)], None), exposition(self._sources)

    def _readiness(self) -> list[_Verdict]:
        return _ask(self._startup) + _ask(self._operation())

    def _detailed(self) -> Iterator[bytes]:
        """One JSON document, a service a piece: with many of them, making it would hold up requests."""
        gates = self._readiness()
        pressure, step = self._sources.memory()
        about = {
            "service": self._service(),
            "version": self._version,
            "uptimeSeconds": round(self._clock.now() - self._started_at, 3),
            "status": "ready" if _open(gates) else "not ready",
            "gates": gates,
            "memory": {"pressure": round(pressure, 3), "step": step},
            "loop": {"longestLagSeconds": round(self._sources.lag().longest, 3)},
            "dependencies": list(self._dependencies()),
        }
        yield encode(about)[:-1] + b',"services":['
        separator = b""
        for direction, service in dict.fromkeys(self._sources.services()):
            yield separator + encode(_service(direction, service))
            separator = b","
        yield b"]}\n"


def request_id_of(head: Request, new: Callable[[], bytes]) -> bytes:
    """The id that the request came with if it is well-formed, else a new one."""
    given = head.get(b"x-request-id")
    return given if given is not None and REQUEST_ID.fullmatch(given) else new()


def _ask(gates: Mapping[str, Gate]) -> list[_Verdict]:
    return [_Verdict(name, *gate()) for name, gate in gates.items()]


def _open(gates: list[_Verdict]) -> bool:
    return all(gate.ok for gate in gates)


def _gated(gates: list[_Verdict], yes: str, no: str) -> Reply:
    ok = _open(gates)
    return _json(200 if ok else 503, encode({"status": yes if ok else no, "gates": gates}) + b"\n")


def _json(status: int, body: bytes | None) -> Reply:
    return Reply(status, [(b"content-type", b"application/json"), (b"cache-control", b"no-store")], body)


def _service(direction: str, service: Service) -> dict[str, object]:
    return {
        "name": service.name,
        "direction": direction,
        "inFlight": service.limits.in_flight,
        "endpoints": [_endpoint(endpoint, service) for endpoint in service.listed],
    }


def _endpoint(endpoint: Endpoint, service: Service) -> dict[str, object]:
    """``breaker`` is its state by name, null where there is none to trip."""
    breaker: str | None = None
    if endpoint.breaker is not None:
        breaker = NAMES[endpoint.breaker.state]
    elif service.breaker_settings is not None:
        breaker = NAMES[CLOSED]  # It is made by the first call.
    return {
        "address": endpoint.label,
        "weight": endpoint.weight,
        "state": state(endpoint),
        "inFlight": endpoint.in_flight,
        "breaker": breaker,
    }
