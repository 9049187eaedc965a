"""Serves MLflow's REST protocol, as clients of 2.x and 3.x use it, from Treadle's services."""

from starlette.routing import BaseRoute

from treadle.http.mlflow import (
    artifacts,
    assessments,
    downloads,
    experiments,
    inputs,
    metrics,
    model_versions,
    models,
    registered_models,
    runs,
    traces,
    traces_v2,
    webhooks,
)
from treadle.http.mlflow.graphql import PATH as GRAPHQL
from treadle.http.mlflow.graphql import graphql_route
from treadle.http.mlflow.server import ROUTES, server_routes
from treadle.http.mlflow.spans import span_route
from treadle.http.mlflow.wire import other_routes, paths, routes
from treadle.http.mlflow.writes import PATHS as WRITES
from treadle.platform.wiring import Embedded

_RESOURCES = (
    experiments,
    runs,
    inputs,
    metrics,
    artifacts,
    models,
    registered_models,
    model_versions,
    webhooks,
    traces,
    traces_v2,
    assessments,
)
CALLS = [call for resource in _RESOURCES for call in resource.CALLS]
"""Every call of the protocol that has fields and an answer in JSON."""


def answered() -> set[str]:
    """Return every route of MLflow's that is answered, by method and path."""
    calls = {
        f"{method} {path}" for call in CALLS for method in call.methods for path in paths(call)
    }
    files = artifacts.ROUTES | downloads.ROUTES
    return calls | {f"POST {path}" for path in WRITES} | files | ROUTES | {f"POST {GRAPHQL}"}


def mlflow_routes(platform: Embedded) -> list[BaseRoute]:
    """Return every route of the protocol but the hot writes.

    Args:
        platform: The services that answer.
    """
    return [
        *server_routes(),
        span_route(platform),
        *artifacts.artifact_routes(platform),
        *downloads.download_routes(platform),
        *routes(platform, CALLS),
        graphql_route(platform, CALLS),
        *other_routes(platform),
    ]
