"""The OpenAPI document, held against what is really served."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from sidecar.admin.operations import OPERATIONS, Operation
from tests.support.admin import BROKEN, JSON, Admin, Asked
from tests.support.world import TWO_ENDPOINTS

READ = [operation for operation in OPERATIONS if operation.method == "GET"]
ACTIONS = [operation for operation in OPERATIONS if operation.method == "POST"]
OF_OPENAPI = {"openapi", "info", "servers", "paths", "components"}


def document() -> dict[str, Any]:
    whole: dict[str, Any] = Admin().document("/api/v1/openapi.json")
    return whole


def lived_in(actions: Asked | None = None) -> Admin:
    """A sidecar that has something to tell in every document: calls, failures, a configuration, and a host that passes."""
    admin = Admin(TWO_ENDPOINTS + '[dependencies.database]\naddress = "10.0.0.7:5432"\n', actions)
    admin.call()
    admin.call(BROKEN, "POST")
    admin.world.client().send(b"GET http://example.org/ HTTP/1.1\r\nHost: example.org\r\n\r\n")
    admin.world.sidecar.entries = lambda told: told([("service.name", '"shop"', "sidecar.toml:2")])
    return admin


def check(operation: Operation, status: int, body: bytes) -> None:
    """``body`` is what the document says of this operation's answer with this status; no attribute more or less."""
    whole = document()
    described = whole["paths"][operation.path][operation.method.lower()]["responses"][str(status)]
    schema = described["content"]["application/json"]["schema"] | {"components": whole["components"]}
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(msgspec.json.decode(body))


def test_the_document_is_of_openapi_3_1() -> None:
    """Each operation has an id of its own, and every reference leads somewhere."""
    whole = document()
    assert whole["openapi"].startswith("3.1.") and set(whole) == OF_OPENAPI
    operations = [one for path in whole["paths"].values() for one in path.values()]
    assert len({one["operationId"] for one in operations}) == len(operations) == len(OPERATIONS)
    for path, methods in whole["paths"].items():
        for one in methods.values():
            named = {parameter["name"] for parameter in one.get("parameters", ()) if parameter["in"] == "path"}
            assert named == ({"name"} if "{name}" in path else set())
    references = set(find_references(whole))
    assert references == {f"#/components/schemas/{name}" for name in whole["components"]["schemas"]}


def find_references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if "$ref" in node else []
        return own + [one for value in node.values() for one in find_references(value)]
    return [one for value in node for one in find_references(value)] if isinstance(node, list) else []


@pytest.mark.parametrize("operation", READ, ids=lambda operation: operation.id)
def test_what_is_read_is_as_described(operation: Operation) -> None:
    """Every path exists, and its answer has the shape that the document gives, to the last attribute."""
    admin = lived_in()
    response = admin.ask(operation.path.replace("{name}", "orders"))
    assert response.status == operation.status
    check(operation, response.status, response.body)
    if operation.listing:
        assert msgspec.json.decode(response.body)["data"], "an empty page proves nothing"


@pytest.mark.parametrize("operation", ACTIONS, ids=lambda operation: operation.id)
def test_what_is_done_is_as_described(operation: Operation) -> None:
    """Each action is accepted with the status of the document."""
    asked = Asked()
    admin = Admin(actions=asked)
    admin.send(operation.path, "POST", JSON)
    if asked.reloaded is not None:
        asked.reloaded([])
    response = admin.response()
    assert response.status == operation.status
    check(operation, response.status, response.body)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_every_refusal_is_as_described(operation: Operation) -> None:
    """For each operation those that the document lists are provoked, all of them."""
    asked = Asked()
    admin = Admin(actions=asked)
    method = operation.method
    path = operation.path.replace("{name}", "orders")
    answers = [
        admin.ask(f"{path}?nonsense=1", method, JSON),
        admin.ask(path, method, JSON, host="evil.example"),
    ]
    if "{name}" in operation.path:
        answers.append(admin.ask(operation.path.replace("{name}", "nope")))
    if method == "POST":
        answers.append(Admin().ask(path, method, JSON))
    if operation.id == "reload":
        admin.send(path, method, JSON)
        assert asked.reloaded is not None
        asked.reloaded(["sidecar.toml:1: is not TOML"])
        answers.append(admin.response())
    for response in answers:
        check(operation, response.status, response.body)
    described = document()["paths"][operation.path][method.lower()]["responses"]
    assert {str(response.status) for response in answers} == set(described) - {str(operation.status)}


@pytest.mark.parametrize("operation", [one for one in READ if one.listing], ids=lambda operation: operation.id)
@pytest.mark.parametrize("wrong", ["name:up", "nonsense", "--address"])
def test_sort_is_as_described(operation: Operation, wrong: str) -> None:
    """What the pattern takes the API takes, and what it refuses is refused."""
    described = document()["paths"][operation.path]["get"]["parameters"]
    schema = next(one["schema"] for one in described if one["name"] == "sort")
    path = operation.path.replace("{name}", "orders")
    fields = re.match(r"\^\(-\?\((.+?)\)\|", schema["pattern"])
    assert fields is not None
    admin = lived_in()
    for field in fields[1].split("|"):
        for written in (field, f"-{field}", f"{field}:desc", f"{field}:asc"):
            Draft202012Validator(schema).validate(written)
            assert admin.ask(f"{path}?sort={written}").status == 200
    assert not Draft202012Validator(schema).is_valid(wrong)
    assert admin.ask(f"{path}?sort={wrong}").status == 400


PAGE = (Path(__file__).resolve().parent.parent / "docs" / "admin.md").read_text()


def test_the_page_of_the_documentation_lists_every_operation() -> None:
    """No more and no less than what is served."""
    rows = re.findall(r"^\| (GET|POST) \| `([^`]+)` \|", PAGE, re.MULTILINE)
    assert rows == [(operation.method, operation.path) for operation in OPERATIONS]


def test_the_example_of_the_documentation_is_as_described() -> None:
    """It is a page of breakers."""
    example = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert example is not None
    check(next(one for one in OPERATIONS if one.id == "breakers"), 200, example[1].encode())
