import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.routing import Route

from treadle.http.app import application
from treadle.http.openapi import document
from treadle.kernel.operation import Operation, operations
from treadle.kernel.stage import kinds_of
from treadle.platform.stages import stages
from treadle.platform.wiring import Embedded

STAGES = kinds_of(stages())

OPERATIONS = [
    (stage, operation) for stage, kind in STAGES.items() for operation in operations(kind).values()
]
each_operation = pytest.mark.parametrize(
    ("stage", "operation"),
    OPERATIONS,
    ids=[f"{stage}.{operation.name}" for stage, operation in OPERATIONS],
)


@pytest.fixture(scope="module")
def openapi() -> dict[str, Any]:
    return document()


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from [inner] if key == "$ref" else references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_the_document_is_valid_openapi(openapi: dict[str, Any]) -> None:
    from openapi_spec_validator import validate  # takes seconds to import

    validate(openapi)
    assert openapi["openapi"].startswith("3.1")


def test_every_reference_leads_somewhere_and_every_schema_is_used(openapi: dict[str, Any]) -> None:
    found = {reference.removeprefix("#/components/schemas/") for reference in references(openapi)}
    assert found == set(openapi["components"]["schemas"])


def test_there_is_one_entry_per_operation_and_no_other(openapi: dict[str, Any]) -> None:
    ids = [entry["operationId"] for path in openapi["paths"].values() for entry in path.values()]
    assert ids == [f"{stage}.{operation.name}" for stage, operation in OPERATIONS]


@each_operation
def test_an_entry_tells_all_about_its_operation(
    openapi: dict[str, Any], stage: str, operation: Operation
) -> None:
    path = openapi["paths"][f"/api/v1/{stage}/{operation.name}"]
    assert list(path) == [operation.method.lower()]
    entry = path[operation.method.lower()]
    assert entry["summary"].endswith((".", "?"))
    assert f"Needs the role {operation.role}." in entry["description"]
    names = set(operation.parameters)
    if operation.kind == "query":
        assert {parameter["name"] for parameter in entry["parameters"]} == names
        assert "requestBody" not in entry
    else:
        schema = entry["requestBody"]["content"]["application/json"]["schema"]
        assert set(schema.get("properties", {})) == names
        assert "parameters" not in entry


def test_every_operation_has_a_route_of_its_method(home: Embedded) -> None:
    routes = {
        route.path: route.methods for route in application(home).routes if isinstance(route, Route)
    }
    for stage, operation in OPERATIONS:
        methods = routes[f"/api/v1/{stage}/{operation.name}"]
        assert methods is not None
        assert methods - {"HEAD"} == {operation.method}


def test_the_server_hands_out_the_document(client: httpx.Client, openapi: dict[str, Any]) -> None:
    answer = client.get("/api/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == openapi
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", answer.json()["info"]["version"])
