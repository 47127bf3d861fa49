"""The OpenAPI document, made from the table of operations and the types of the documents when somebody asks for it.

(OpenAPI Specification 3.1.1; its schemas are JSON Schema 2020-12.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from sidecar.admin.documents import Errors
from sidecar.admin.listing import DEFAULT_SIZE, MAX_SIZE
from sidecar.admin.operations import OPERATIONS, Operation

_ERRORS: Final = {
    400: "The query or the content type is wrong.",
    403: "A browser sent it for a page of elsewhere, or it asks for a host that is not this sidecar.",
    404: "There is no such service.",
    422: "The configuration is wrong; the one that ran goes on.",
    501: "This sidecar cannot be told so from here.",
}


def openapi(version: str, fields: Mapping[str, Iterable[str]]) -> dict[str, Any]:
    """``fields``: what a listing can be sorted by, by the operation's id."""
    types = [operation.document or dict[str, Any] for operation in OPERATIONS]
    schemas, components = msgspec.json.schema_components([*types, Errors], ref_template="#/components/schemas/{name}")
    paths: dict[str, dict[str, Any]] = {}
    for operation, schema in zip(OPERATIONS, schemas, strict=False):
        described = _operation(operation, fields, schema, schemas[-1])
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Admin API of the sidecar",
            "version": version,
            "description": "What can be read can be asked for by HEAD as well. Pages of other sites are refused.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": components},
    }


def _operation(
    operation: Operation, fields: Mapping[str, Iterable[str]], good: dict[str, Any], errors: dict[str, Any]
) -> dict[str, Any]:
    # 405 is not among them: it is what the method of another operation gets.
    statuses = [400, 403]
    parameters: list[dict[str, Any]] = []
    if "{name}" in operation.path:
        statuses.append(404)
        name = {"type": "string"}
        parameters.append({"name": "name", "in": "path", "required": True, "schema": name})
    if operation.listing:
        parameters += _paging(tuple(fields[operation.id]))
    if operation.method == "POST":
        statuses += [422, 501] if operation.id == "reload" else [501]
    responses = {str(operation.status): {"description": "Good.", "content": _json(good)}}
    for status in statuses:
        responses[str(status)] = {"description": _ERRORS[status], "content": _json(errors)}
    described: dict[str, Any] = {"operationId": operation.id, "summary": operation.summary}
    if parameters:
        described["parameters"] = parameters
    if operation.method == "POST":
        # What the body says is not read; that it is JSON keeps pages of other sites from sending it.
        described["requestBody"] = {"required": False, "content": _json({"type": "object"})}
    described["responses"] = responses
    return described


def _paging(fields: tuple[str, ...]) -> list[dict[str, Any]]:
    names = "|".join(map(re.escape, fields))
    page = {"type": "integer", "minimum": 1, "default": 1}
    size = {"type": "integer", "minimum": 1, "maximum": MAX_SIZE, "default": DEFAULT_SIZE}
    sort = {"type": "string", "pattern": f"^(-?({names})|({names}):(asc|desc))$"}
    return [{"name": n, "in": "query", "schema": s} for n, s in (("page", page), ("size", size), ("sort", sort))]


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
