"""How the server is watched: ``/ready`` for load balancers, ``/metrics`` for Prometheus.

``/ready`` tells everybody which parts are missing, and nothing else. ``/metrics`` shows each caller
the series of the projects that they may see, and those of the whole home to who may see all of it.
"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from treadle.access.model import Caller
from treadle.http.auth import caller_of
from treadle.http.latency import Latencies
from treadle.http.rights import demand_somewhere, sight
from treadle.http.searching import run_apart
from treadle.kernel.entity import to_json
from treadle.kernel.exposition import OPENMETRICS, TEXT, Family, exposed, process_families
from treadle.platform.metrics import HomeMetrics, part_families, project_families
from treadle.platform.readiness import Part, Readiness
from treadle.platform.wiring import Embedded


def watching_routes(platform: Embedded, latencies: Latencies) -> list[Route]:
    """The routes by which the server is watched.

    Args:
        platform: What is watched.
        latencies: How long the server's answers take.
    """
    readiness, home = Readiness(platform), HomeMetrics(platform)

    async def ready(_: Request) -> Response:
        parts = await run_apart("readiness", readiness.parts)
        missing = [part.name for part in parts if not part.ready]
        headers = {"Retry-After": "1"} if missing else {}
        body = to_json({"ready": not missing, "missing": missing})
        status = 503 if missing else 200
        return Response(body, status, media_type="application/json", headers=headers)

    async def metrics(request: Request) -> Response:
        parts = await run_apart("readiness", readiness.parts)
        families = part_families(parts)
        if _is_there("database", parts):  # else nobody can be told from anybody
            caller = await run_apart("metrics", caller_of, platform, request)
            demand_somewhere(caller, "viewer")
            families += await run_apart("metrics", _seen, platform, home, latencies, caller)
        openmetrics = "application/openmetrics-text" in request.headers.get("accept", "")
        content = exposed(families, openmetrics=openmetrics)
        return Response(content, headers={"Content-Type": OPENMETRICS if openmetrics else TEXT})

    return [
        Route("/ready", ready, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
    ]


def _is_there(name: str, parts: list[Part]) -> bool:
    return all(part.ready for part in parts if part.name == name)


def _seen(
    platform: Embedded, home: HomeMetrics, latencies: Latencies, caller: Caller
) -> list[Family]:
    """The metrics that a caller may see."""
    with sight(caller):
        families = project_families(platform, lambda project: caller.may("viewer", project))
    if caller.may("viewer"):
        families += [*home.families(), *latencies.families(), *process_families()]
    return families
