"""Counts how long answers take, by route, kind of work and class of status."""

from collections import defaultdict
from typing import Any

from starlette.types import Scope

from treadle.http.mlflow.writes import PATHS
from treadle.http.searching import Turn
from treadle.kernel.exposition import Family, Histogram

OTHER = "none"
"""The route of what no route answers: how many paths callers make up must not count."""
INGEST = {*PATHS, "/api/v1/tracking/log", "/api/v1/tracking/write"}
"""Routes that take what runs log."""
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class Latencies:
    """Histograms of the time until answers begin.

    There are as many as the application has routes, times the classes of status; the paths that
    callers ask for make none.
    """

    def __init__(self) -> None:
        self._seen: defaultdict[tuple[str, str, str, str], Histogram] = defaultdict(Histogram)

    def observe(self, scope: Scope, status: int, seconds: float) -> None:
        """Count one answer.

        Args:
            scope: The request's scope.
            status: The answer's status.
            seconds: How long it took to begin.
        """
        method = scope["method"] if scope["method"] in _METHODS else OTHER
        series = _path(scope), method, f"{status // 100}xx", _work(scope)
        self._seen[series].observe(seconds)

    def families(self) -> list[Family]:
        """The histograms as metrics."""
        family = Family(
            "treadle_http_request_duration_seconds",
            "histogram",
            "Time from a request to the begin of its answer, by route; work is ingest, "
            "search, rows or other.",
        )
        for (route, method, status, work), histogram in sorted(self._seen.items()):
            labels = {"route": route, "method": method, "status": status, "work": work}
            family.add_histogram(histogram, **labels)
        return [family]


def _work(scope: Scope) -> str:
    """What a request is: ``ingest`` of what runs log, ``search``, ``rows``, or ``other``."""
    if _path(scope) in INGEST:
        return "ingest"
    turn: Turn = getattr(scope.get("route"), "turn", "quick")
    return "other" if turn == "quick" else turn


def _path(scope: Scope) -> str:
    """The pattern of the route that answers a request."""
    route: Any = scope.get("route")
    path = getattr(route, "path", None)
    if isinstance(path, str):
        return path
    return scope["path"] if scope["path"] in PATHS else OTHER
