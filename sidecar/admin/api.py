"""The admin API: what runs, as documents, and the few things that can be done to it.

Everything that is served stands in one table (``admin/operations.py``). A path is compared as the bytes that came:
nothing is decoded, joined or cut off, so that there is one way to write it and no way around it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from sidecar.admin import browser, documents, listing, resources
from sidecar.admin.actions import Actions
from sidecar.admin.health import ALLOWED, Answer, Probes, request_id_of
from sidecar.admin.operations import OPERATIONS, ROOT, Operation
from sidecar.admin.resources import Collection, Snapshots
from sidecar.admin.turn import Turn, encode
from sidecar.clock import Clock
from sidecar.errors import Failure
from sidecar.exchange.replies import rfc3339
from sidecar.http.head import Request

BY_PATH: Final = {operation.path.encode(): operation for operation in OPERATIONS if "{" not in operation.path}
ENDPOINTS: Final = next(operation for operation in OPERATIONS if "{name}" in operation.path)
ENDPOINTS_PATH: Final = re.compile(re.escape(ENDPOINTS.path).encode().replace(rb"\{name\}", rb"([a-z0-9._-]{1,253})"))


@dataclass(frozen=True, slots=True)
class About:
    """Who answers: our version; and, as of now, the service's name, whether it drains, what tells the configuration that runs
    from others, and how the registry fares, if there is one."""

    version: str
    service: Callable[[], str]
    draining: Callable[[], bool]
    fingerprint: Callable[[], str]
    registry: Callable[[], documents.RegistryAttributes | None]


class Api:
    """Answers everything on the admin listener: its own documents and actions, and the pages of ``probes``.

    ``bound``: the address at which we listen, while we do. Without ``actions`` nothing can be done, only looked at.
    """

    __slots__ = ("_about", "_actions", "_bound", "_clock", "_collections", "_new_request_id", "_openapi", "_probes", "_snapshots",
                 "_started_at")  # fmt: skip

    def __init__(
        self,
        about: About,
        snapshots: Snapshots,
        actions: Actions | None,
        probes: Probes,
        clock: Clock,
        bound: Callable[[], str | None],
        new_request_id: Callable[[], bytes],
    ) -> None:
        self._about = about
        self._snapshots = snapshots
        self._actions = actions
        self._probes = probes
        self._clock = clock
        self._bound = bound
        self._new_request_id = new_request_id
        self._started_at = clock.wall()
        self._openapi: bytes | None = None
        self._collections: dict[str, Collection[Any]] = {
            "services": resources.services(snapshots, clock),
            "all-endpoints": resources.endpoints(snapshots, clock),
            "breakers": resources.breakers(snapshots, clock),
            "routes": resources.routes(snapshots),
            "dependencies": resources.dependencies(snapshots),
            "config": resources.settings(()),
        }

    def handle(self, head: Request, answer: Callable[[Answer], None]) -> None:
        """Answers once, at once or (a reload) later."""
        request_id = request_id_of(head, self._new_request_id)
        turn = Turn(head, request_id, f"{self._about.service()}/admin", self._clock.wall(), answer)
        self._checked(turn, self._serve)

    @staticmethod
    def _checked(turn: Turn, serve: Callable[[Turn], None]) -> None:
        """Refuses what is wrong about the query, whenever that is found."""
        try:
            serve(turn)
        except listing.Wrong as wrong:
            turn.refuse(Failure.BAD_REQUEST, wrong.detail, wrong.parameter or None)

    def _serve(self, turn: Turn) -> None:
        head = turn.head
        objection = browser.objection(head, self._bound())
        if objection is not None:
            turn.refuse(Failure.FORBIDDEN, objection)
            return
        path = head.path()
        if self._probes.serves(path):
            turn.pass_on(self._probes.handle(head))
            return
        named = ENDPOINTS_PATH.fullmatch(path)
        operation = BY_PATH.get(path) if named is None else ENDPOINTS
        if operation is None:
            turn.refuse(Failure.NO_ROUTE, f"there is nothing at this path; GET {ROOT} lists what there is")
            return
        methods = ALLOWED if operation.method == "GET" else (operation.method.encode(),)
        if head.method not in methods:
            turn.allow(methods)
        elif operation.method == "POST":
            self._act(turn, operation)
        elif named is not None:
            self._show_endpoints(turn, named[1].decode())
        elif operation.id == "config":
            self._snapshots.entries(partial(self._show_config, turn))
        elif operation.listing:
            turn.page(self._collections[operation.id])
        else:
            listing.parsed(turn.query, ())
            if operation.id == "openapi":
                self._show_openapi(turn)
            else:
                self._describe(turn)

    # What can be looked at

    def _show_endpoints(self, turn: Turn, name: str) -> None:
        if any(service.name == name for _, service in resources.called(self._snapshots)):
            turn.page(resources.endpoints(self._snapshots, self._clock, name))
        else:
            turn.refuse(Failure.NO_ROUTE, f"there is no service {name!r}; GET {ROOT}/services lists them")

    def _show_config(self, turn: Turn, entries: Sequence[resources.Entry]) -> None:
        self._checked(turn, lambda turn: turn.page(resources.settings(entries)))

    def _show_openapi(self, turn: Turn) -> None:
        if self._openapi is None:
            # To load what makes it, and to make it, takes longer than anything else here; so it is done when somebody
            # asks, and once.
            from sidecar.admin.openapi import openapi

            fields = {name: one.fields for name, one in self._collections.items()}
            document = openapi(self._about.version, fields | {ENDPOINTS.id: resources.ENDPOINT_FIELDS})
            self._openapi = encode(document) + b"\n"
        turn.plain(self._openapi)

    def _describe(self, turn: Turn) -> None:
        about = self._about
        attributes = documents.SidecarAttributes(
            service=about.service(),
            version=about.version,
            process_id=os.getpid(),
            started_at=rfc3339(self._started_at),
            draining=about.draining(),
            configuration=about.fingerprint(),
            registry=about.registry(),
            resources=tuple(
                documents.Served(method=one.method, path=one.path, summary=one.summary) for one in OPERATIONS
            ),
        )
        turn.one(200, "sidecar", about.service(), attributes)

    # What can be done

    def _act(self, turn: Turn, operation: Operation) -> None:
        if not browser.is_json(turn.head):
            detail = "a change needs Content-Type: application/json, which pages of other sites cannot send"
            turn.refuse(Failure.BAD_REQUEST, detail)
            return
        listing.parsed(turn.query, ())
        actions = self._actions
        if actions is None:
            turn.refuse(Failure.NOT_IMPLEMENTED, "whoever runs this sidecar lets nothing be done to it from here")
        elif operation.id == "reload":
            actions.reload(partial(_reloaded, turn))
        elif operation.id == "drain":
            actions.drain()
            _done(turn, operation.status, "draining")
        else:
            # First the answer: afterwards there may be nobody to give it.
            _done(turn, operation.status, "shutting down")
            actions.shutdown()


def _reloaded(turn: Turn, problems: Sequence[str]) -> None:
    if problems:
        turn.problems(problems)
    else:
        _done(turn, 200, "reloaded")


def _done(turn: Turn, status: int, result: str) -> None:
    turn.one(status, "action", turn.path.rpartition("/")[2], documents.ActionAttributes(result=result))
