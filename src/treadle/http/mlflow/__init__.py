"""Serves MLflow's REST protocol, as clients of 2.x and 3.x use it, from Treadle's services."""

from starlette.routing import BaseRoute

from treadle.http.mlflow import artifacts, experiments, models, registry, runs, traces, webhooks
from treadle.http.mlflow.server import server_routes
from treadle.http.mlflow.wire import routes
from treadle.platform.wiring import Embedded


def mlflow_routes(platform: Embedded) -> list[BaseRoute]:
    """Return every route of the protocol but the hot writes.

    Args:
        platform: The services that answer.
    """
    resources = (experiments, runs, artifacts, models, registry, webhooks, traces)
    calls = [call for resource in resources for call in resource.CALLS]
    return [
        *server_routes(),
        traces.span_route(platform),
        *artifacts.artifact_routes(platform),
        *routes(platform, calls),
    ]
