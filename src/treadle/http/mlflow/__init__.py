"""MLflow's REST protocol, as its clients of 2.x and 3.x speak it, over Treadle's own services: one short file per resource."""

from starlette.routing import BaseRoute

from treadle.http.mlflow import artifacts, experiments, models, registry, runs
from treadle.http.mlflow.server import server_routes
from treadle.http.mlflow.wire import routes
from treadle.platform.wiring import Embedded


def mlflow_routes(platform: Embedded) -> list[BaseRoute]:
    """Every route of the protocol but the hot writes."""
    calls = [call for resource in (experiments, runs, artifacts, models, registry) for call in resource.CALLS]
    return [*server_routes(), *artifacts.artifact_routes(platform), *routes(platform, calls)]
