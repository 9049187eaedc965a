"""Serves MLflow's calls for the points of runs' metrics."""

from typing import Any

from treadle.http.mlflow.wire import Ask, Call, number, page_length, place_of, present, saying
from treadle.kernel.errors import Invalid, NotFound
from treadle.platform.wiring import Embedded

MOST_OF_A_RUN = 2500
"""Points of one run that a thinned history has at most."""


MOST_RUNS, MOST_POINTS = 100, 25_000


class History(Ask):
    """Fields of `metrics/get-history`."""

    run_id: str = ""
    metric_key: str = ""
    max_results: int | None = None
    page_token: str = ""


class Bulk(Ask):
    """Fields of `metrics/get-history-bulk`."""

    run_id: list[str] = []
    metric_key: str = ""
    max_results: int = MOST_POINTS


class Interval(Ask):
    """Fields of `metrics/get-history-bulk-interval`."""

    run_ids: list[str] = []
    metric_key: str = ""
    start_step: int | None = None
    end_step: int | None = None
    max_results: int = MOST_OF_A_RUN


def history(platform: Embedded, ask: History) -> dict[str, Any]:
    """Return the points of a metric; a point that a client has sent twice is returned once.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such run.
    """
    with saying(NotFound, f"Run with id={ask.run_id} not found"):
        points = platform.tracking.points(run=ask.run_id, key=ask.metric_key)
    rows = {
        (at // 1000, step, value if value == value else None): None
        for step, at, value in points.rows()
    }
    ordered = sorted(rows, key=lambda row: (row[0], row[1], row[2] is None, row[2] or 0.0))
    whole = ask.max_results is None
    limit = len(ordered) if whole else min(page_length(ask.max_results or 0, 2**63), 25_000)
    start = place_of(ask.page_token)
    page = ordered[start : start + limit]
    following = str(start + limit) if start + limit < len(ordered) else None
    metrics = [
        {"key": ask.metric_key, "value": number(value), "timestamp": at, "step": step}
        for at, step, value in page
    ]
    return present(metrics=metrics, next_page_token=following)


def interval(platform: Embedded, ask: Interval) -> dict[str, Any]:
    """Return points of many runs at evenly spread steps, the extremes of each run included.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        Invalid: The request names no run or more than 100, or an impossible range of steps.
        NotFound: There is no such run.
    """
    if not ask.run_ids or len(ask.run_ids) > 100:
        raise Invalid("GetMetricHistoryBulkInterval request must specify 1 to 100 run_ids.")
    if (ask.start_step is None) != (ask.end_step is None):
        raise Invalid("If either start step or end step are specified, both must be specified.")
    if ask.start_step is not None and ask.end_step is not None and ask.start_step > ask.end_step:
        raise Invalid(
            "end_step must be greater than start_step. "
            f"Found start_step={ask.start_step} and end_step={ask.end_step}."
        )
    if not 1 <= ask.max_results <= MOST_OF_A_RUN:
        raise Invalid(f"max_results must be between 1 and {MOST_OF_A_RUN}.")
    limit = ask.max_results
    metrics: list[dict[str, Any]] = []
    for run in ask.run_ids:
        for step, at, value in platform.tracking.sampled(
            run=run, key=ask.metric_key, start=ask.start_step, end=ask.end_step, wanted=limit
        ):
            point = {
                "key": ask.metric_key,
                "value": number(value),
                "timestamp": at // 1000,
                "step": step,
            }
            metrics.append(point | {"run_id": run})
    return {"metrics": metrics}


def bulk(platform: Embedded, ask: Bulk) -> dict[str, Any]:
    """Return all points of a metric of many runs, as MLflow's older pages and scripts ask.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        Invalid: The request names no run or more than 100, or no metric.
        NotFound: There is no such run.
    """
    if not 1 <= len(ask.run_id) <= MOST_RUNS:
        raise Invalid(f"GetMetricHistoryBulk request must specify 1 to {MOST_RUNS} run_ids.")
    if not ask.metric_key:
        raise Invalid("GetMetricHistoryBulk request must specify a metric_key.")
    left = min(page_length(ask.max_results, 2**63), MOST_POINTS)
    metrics: list[dict[str, Any]] = []
    for run in ask.run_id:
        wanted = History(run_id=run, metric_key=ask.metric_key, max_results=left)
        of_run = history(platform, wanted).get("metrics", [])
        metrics += [point | {"run_id": run} for point in of_run]
        left -= len(of_run)
        if not left:
            break
    return {"metrics": metrics}


CALLS = [
    Call(("GET",), "metrics/get-history", History, "viewer", history),
    Call(("GET",), "metrics/get-history-bulk", Bulk, "viewer", bulk),
    Call(("GET",), "metrics/get-history-bulk-interval", Interval, "viewer", interval),
]
