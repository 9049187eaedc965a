"""The OpenAPI document, drawn from the operations themselves."""

from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from typing import Any

import msgspec

from treadle.kernel.operation import Operation, operations
from treadle.kernel.stage import Stage, services_of
from treadle.platform.stages import stages

_ERROR = {
    "type": "object",
    "required": ["error", "message", "retry"],
    "properties": {
        "error": {"type": "string"},
        "message": {"type": "string"},
        "retry": {"type": "boolean"},
    },
}


@cache
def document(of: tuple[Stage, ...] | None = None) -> dict[str, Any]:
    """OpenAPI 3.1 of every operation.

    Args:
        of: The stages whose operations are described; all that are installed where none are given.
    """
    services = services_of(of if of is not None else stages())
    found = [
        (name, operation)
        for name, service in services.items()
        for operation in operations(service.load()).values()
    ]
    schemas, components = _schemas([operation for _, operation in found])
    paths = {
        f"/api/v1/{name}/{operation.name}": {
            operation.method.lower(): _entry(
                name, operation, _resolved(given, components, operation), result
            )
        }
        for (name, operation), (given, result) in zip(found, schemas, strict=True)
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Treadle",
            "version": version("treadle"),
            "license": {"name": "Apache-2.0"},
        },
        "tags": [{"name": name, "description": one.about} for name, one in services.items()],
        "paths": paths,
        "components": {
            "schemas": components | {"Error": _ERROR},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _schemas(
    found: Iterable[Operation],
) -> tuple[list[tuple[dict[str, Any], dict[str, Any]]], dict[str, Any]]:
    """The schemas of each operation's arguments and result, and the components that they share."""
    found = list(found)
    types = [operation.arguments for operation in found] + [operation.result for operation in found]
    schemas, components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    pairs = zip(schemas[: len(found)], schemas[len(found) :], strict=True)
    return list(pairs), components


def _entry(
    service: str, operation: Operation, given: dict[str, Any], result: dict[str, Any]
) -> dict[str, Any]:
    where = " It must be held in every project." if operation.everywhere else ""
    if operation.brings_code:
        where = " Where code is not confined by namespaces: admin, in every project."
    entry: dict[str, Any] = {
        "operationId": f"{service}.{operation.name}",
        "tags": [service],
        "summary": operation.summary,
        "description": f"{operation.doc}\n\nNeeds the role {operation.role}.{where}",
        "responses": {
            "200": {
                "description": operation.documentation.returns or "The result.",
                "content": {"application/json": {"schema": result}},
            },
            "default": {
                "description": "What went wrong, to which thing, and what to do next.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
        },
    }
    if operation.kind == "command":
        entry["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": given}},
        }
        return entry
    needed = given.get("required", [])
    entry["parameters"] = [
        {
            "name": name,
            "in": "query",
            "required": name in needed,
            "description": schema.get("description", ""),
            "schema": schema,
        }
        for name, schema in given.get("properties", {}).items()
    ]
    return entry


def _resolved(
    schema: dict[str, Any], components: dict[str, Any], operation: Operation
) -> dict[str, Any]:
    """An operation's arguments in place, with their descriptions.

    They are taken out of the components, which they would fill.
    """
    name = schema.get("$ref", "").rpartition("/")[2]
    resolved: dict[str, Any] = components.pop(name) if name in components else schema
    properties = {
        argument: {**kind, "description": operation.parameters[argument].description}
        for argument, kind in resolved.get("properties", {}).items()
    }
    return {**resolved, "properties": properties} if properties else resolved
