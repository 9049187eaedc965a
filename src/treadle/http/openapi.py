"""The OpenAPI document, drawn from the operations themselves."""

from functools import cache
from importlib.metadata import version
from typing import Any

import msgspec

from treadle.kernel.operation import Operation, operations
from treadle.platform.wiring import STAGES


@cache
def document() -> dict[str, Any]:
    """OpenAPI 3.1 of every operation."""
    found = [(stage, op) for stage, kind in STAGES.items() for op in operations(kind).values()]
    types = [op.parameters for _, op in found] + [op.result for _, op in found]
    schemas, components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    parameters, results = schemas[: len(found)], schemas[len(found) :]
    paths = {
        f"/api/v1/{stage}/{op.name}": {
            op.method.lower(): _entry(stage, op, _resolved(given, components), result)
        }
        for (stage, op), given, result in zip(found, parameters, results, strict=True)
    }
    tags = [
        {"name": stage, "description": (kind.__doc__ or "").strip()}
        for stage, kind in STAGES.items()
    ]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Treadle",
            "version": version("treadle"),
            "license": {"name": "Apache-2.0"},
        },
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": components | {"Error": _ERROR},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


_ERROR = {
    "type": "object",
    "required": ["error", "message", "retry"],
    "properties": {
        "error": {"type": "string"},
        "message": {"type": "string"},
        "retry": {"type": "boolean"},
    },
}


def _entry(
    stage: str, operation: Operation, given: dict[str, Any], result: dict[str, Any]
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "operationId": f"{stage}.{operation.name}",
        "tags": [stage],
        "summary": operation.doc.partition("\n")[0],
        "description": f"{operation.doc}\n\nNeeds the role {operation.role}{' in every project' if operation.everywhere else ''}.",
        "responses": {
            "200": {
                "description": "The result.",
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
        {"name": name, "in": "query", "required": name in needed, "schema": schema}
        for name, schema in given.get("properties", {}).items()
    ]
    return entry


def _resolved(schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    """An operation's parameters in place, so that they do not fill the components."""
    name = schema.get("$ref", "").rpartition("/")[2]
    return components.pop(name) if name in components else schema
