"""One request to the admin API, and the ways in which it can be answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from sidecar.admin import documents, listing
from sidecar.admin.browser import PROTECTION
from sidecar.admin.health import Answer
from sidecar.admin.resources import Collection
from sidecar.errors import Failure
from sidecar.exchange.replies import error_reply, rfc3339
from sidecar.http.head import Request
from sidecar.http.reply import Reply

JSON: Final = (b"content-type", b"application/json")

encode = msgspec.json.encode


@dataclass(frozen=True, slots=True)
class Turn:
    """``source`` is what error documents give as theirs; ``wall`` when the request came, in Unix seconds."""

    head: Request
    request_id: bytes
    source: str
    wall: float
    answer: Callable[[Answer], None]

    @property
    def path(self) -> str:
        return self.head.path().decode("ascii")

    @property
    def query(self) -> bytes:
        return self.head.target.partition(b"?")[2]

    def refuse(self, failure: Failure, detail: str, parameter: str | None = None) -> None:
        self.pass_on((self._error(failure, detail, parameter), None))

    def allow(self, methods: Sequence[bytes]) -> None:
        """Refuses the method, and names those that there are."""
        names = b", ".join(methods)
        reply = self._error(Failure.METHOD_NOT_ALLOWED, f"{self.path} takes {names.decode()}", None)
        reply.fields.append((b"allow", names))
        self.pass_on((reply, None))

    def _error(self, failure: Failure, detail: str, parameter: str | None) -> Reply:
        return error_reply(failure, detail, self.source, self.request_id, self.wall, parameter=parameter)

    def pass_on(self, answer: Answer) -> None:
        """Gives an answer that is made already."""
        reply, pieces = answer
        there = {name for name, _ in reply.fields}
        reply.fields += [field for field in PROTECTION if field[0] not in there]
        self.answer((reply, pieces))

    def _give(self, status: int, body: bytes | None, pieces: Iterator[bytes] | None = None) -> None:
        self.pass_on((Reply(status, [JSON, (b"x-request-id", self.request_id)], body), pieces))

    def plain(self, document: bytes) -> None:
        """Gives a document that is written already."""
        self._give(200, document)

    def one(self, status: int, type_: str, id_: str, attributes: documents.Document) -> None:
        """Gives a document about one thing."""
        document = documents.One(
            data=documents.Resource(id=id_, type=type_, attributes=attributes),
            meta=documents.Meta(timestamp=rfc3339(self.wall), request_id=self.request_id.decode()),
            links=documents.Links(self=self.path),
        )
        self._give(status, encode(document) + b"\n")

    def page(self, collection: Collection[Any]) -> None:
        """Gives the page of ``collection`` that the query asks for. Raises :class:`listing.Wrong`."""
        total, rows = collection.rows()
        query = listing.read(self.query, collection.fields, total)
        self._give(200, None, self._pieces(collection, rows, query, total))

    def _pieces(
        self, collection: Collection[Any], rows: Iterator[Any], query: listing.Query, total: int
    ) -> Iterator[bytes]:
        chosen = yield from listing.select(rows, collection.fields, query)
        separator = b'{"data":['
        for row in chosen:
            resource = documents.Resource(
                id=collection.id(row), type=collection.type, attributes=collection.attributes(row)
            )
            yield separator + encode(resource)
            separator = b","
        meta = documents.PageMeta(
            timestamp=rfc3339(self.wall),
            request_id=self.request_id.decode(),
            page=query.page,
            size=query.size,
            total=total,
        )
        begun = b"" if chosen else separator
        yield (
            begun + b'],"meta":' + encode(meta) + b',"links":' + encode(listing.links(self.path, query, total)) + b"}\n"
        )

    def problems(self, details: Sequence[str]) -> None:
        """Gives what is wrong with a configuration, an error each. It is the action's result and no refusal of ours."""
        meta = documents.ErrorMeta(timestamp=rfc3339(self.wall), request_id=self.request_id.decode())
        errors = [
            documents.Error(
                id=f"err_{self.request_id.decode()}_{number}",
                status="422",
                code="VALIDATION_ERROR",
                title="Configuration refused",
                detail=detail,
                source=documents.ErrorSource(sidecar=self.source),
                meta=meta,
            )
            for number, detail in enumerate(details, 1)
        ]
        self._give(422, encode(documents.Errors(errors=errors)) + b"\n")
