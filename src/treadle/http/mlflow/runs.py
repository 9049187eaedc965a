"""Serves MLflow's calls for runs: what is logged to them, and the search for them."""

from datetime import datetime
from typing import Any

from treadle.http.mlflow.experiments import VIEWS, found, numbered
from treadle.http.mlflow.wire import Ask, Call, KeyValue, number, pairs, present, saying
from treadle.kernel.clock import from_micros, to_micros
from treadle.kernel.entity import to_text
from treadle.kernel.errors import Conflict, Invalid, NotFound, TreadleError
from treadle.platform.wiring import Embedded
from treadle.tracking.ingest import Incoming
from treadle.tracking.model import Dataset, ModelUse, Status
from treadle.tracking.records import Record
from treadle.tracking.summaries import Column

STATUSES: dict[str, Status] = {
    "RUNNING": "running",
    "SCHEDULED": "scheduled",
    "FINISHED": "finished",
    "FAILED": "failed",
    "KILLED": "killed",
}
NAME_TAG, USER_TAG = "mlflow.runName", "mlflow.user"


class Create(Ask):
    """Fields of `runs/create`."""

    experiment_id: str = "0"
    user_id: str = ""
    run_name: str = ""
    start_time: int | None = None
    tags: list[KeyValue] = []


class Update(Ask):
    """Fields of `runs/update`."""

    run_id: str = ""
    status: str | int | None = None
    end_time: int | None = None
    run_name: str | None = None


class Get(Ask):
    """Fields of calls that name a run."""

    run_id: str = ""


class Metric(Ask):
    """A point of a metric, as clients log it."""

    key: str = ""
    value: float | str = 0.0
    timestamp: int = 0
    step: int = 0
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


class LogMetric(Metric):
    """Fields of `runs/log-metric`."""

    run_id: str = ""
    run_uuid: str = ""


class LogBatch(Ask):
    """Fields of `runs/log-batch`."""

    run_id: str = ""
    metrics: list[Metric] = []
    params: list[KeyValue] = []
    tags: list[KeyValue] = []


class LogText(Ask):
    """Fields of calls that log a parameter or a tag."""

    run_id: str = ""
    run_uuid: str = ""
    key: str = ""
    value: str = ""


class DatasetAsk(Ask):
    """A dataset that a run has used."""

    name: str = ""
    digest: str = ""
    source_type: str = ""
    source: str = ""
    schema: str | None = None
    profile: str | None = None


class DatasetInput(Ask):
    """A use of a dataset, with its tags."""

    dataset: DatasetAsk
    tags: list[KeyValue] = []


class ModelInput(Ask):
    """A use of a logged model at a step."""

    model_id: str = ""
    step: int = 0


class LogInputs(Ask):
    """Fields of calls that log a run's inputs or outputs."""

    run_id: str = ""
    datasets: list[DatasetInput] = []
    models: list[ModelInput] = []


class LogModel(Ask):
    """Fields of `runs/log-model`."""

    run_id: str = ""
    model_json: str = ""


class Search(Ask):
    """Fields of `runs/search`."""

    experiment_ids: list[str] = []
    filter: str = ""
    run_view_type: str = "ACTIVE_ONLY"
    max_results: int = 1000
    order_by: list[str] = []
    page_token: str = ""


class History(Ask):
    """Fields of `metrics/get-history`."""

    run_id: str = ""
    metric_key: str = ""
    max_results: int | None = None
    page_token: str = ""


class Interval(Ask):
    """Fields of `metrics/get-history-bulk-interval`."""

    run_ids: list[str] = []
    metric_key: str = ""
    start_step: int | None = None
    end_step: int | None = None
    max_results: int = 2500


def moment(millis: int | None) -> datetime | None:
    """Return the moment of a timestamp; None for None and for 0.

    Args:
        millis: Milliseconds since 1970 in UTC.
    """
    try:
        return None if not millis else from_micros(millis * 1000)
    except OverflowError as error:
        raise Invalid(f"{millis} is beyond what a time can be.") from error


def millis(at: datetime | None) -> int | None:
    """Return a moment as milliseconds since 1970; None for None.

    Args:
        at: The moment.
    """
    return None if at is None else to_micros(at) // 1000


def shown(platform: Embedded, records: list[Record]) -> list[dict[str, Any]]:
    """Return runs as clients read them.

    Args:
        platform: The services that answer.
        records: The runs.
    """
    data = platform.tracking.inputs([record.row.number for record in records])
    return [_shown(record, *data.get(record.row.number, ([], []))) for record in records]


def _shown(record: Record, datasets: list[Dataset], models: list[ModelUse]) -> dict[str, Any]:
    row = record.row
    info = present(
        run_id=row.id,
        run_uuid=row.id,
        run_name=row.name,
        experiment_id=str(row.experiment),
        user_id=row.user,
        status=row.status.upper(),
        start_time=millis(row.started_at),
        end_time=millis(row.ended_at),
        artifact_uri=record.artifacts_at,
        lifecycle_stage="active" if row.deleted_at is None else "deleted",
    )
    metrics = [
        {
            "key": metric.key,
            "value": number(metric.last),
            "timestamp": metric.at // 1000,
            "step": metric.step,
        }
        for metric in record.metrics
    ]
    fields: dict[str, Any] = {
        "info": info,
        "data": {"metrics": metrics, "params": pairs(record.params), "tags": pairs(record.tags)},
        "inputs": {"dataset_inputs": [_dataset(dataset) for dataset in datasets]},
    }
    inputs = [{"model_id": use.model} for use in models if use.direction == "input"]
    outputs = [
        {"model_id": use.model, "step": use.step} for use in models if use.direction == "output"
    ]
    if inputs:
        fields["inputs"]["model_inputs"] = inputs
    if outputs:
        fields["outputs"] = {"model_outputs": outputs}
    return fields


def _dataset(dataset: Dataset) -> dict[str, Any]:
    tags = {"mlflow.data.context": dataset.context} if dataset.context else {}
    names = ("name", "digest", "source_type", "source", "schema", "profile")
    return {
        "tags": pairs(tags | dataset.tags),
        "dataset": present(**{name: getattr(dataset, name) for name in names}),
    }


def create(platform: Embedded, ask: Create) -> dict[str, Any]:
    """Create a run.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    tags = {tag.key: tag.value for tag in ask.tags}
    name = ask.run_name or tags.get(NAME_TAG, "")
    experiment = found(platform, ask.experiment_id).id
    with saying(NotFound, f"No Experiment with id={ask.experiment_id} exists"):
        run = platform.tracking.begin_in(
            experiment=experiment,
            name=name,
            tags=tags,
            user=ask.user_id,
            started_at=moment(ask.start_time),
        )
    if NAME_TAG not in tags:
        platform.tracking.log(run=run.id, tags={NAME_TAG: run.name})
    return get(platform, Get(run_id=run.id))


def get(platform: Embedded, ask: Get) -> dict[str, Any]:
    """Return a run.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    with saying(NotFound, f"Run with id={ask.run_id} not found"):
        return {"run": shown(platform, [platform.tracking.record(ask.run_id)])[0]}


def update(platform: Embedded, ask: Update) -> dict[str, Any]:
    """Change a run's name, status or end.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    numbered = isinstance(ask.status, int) and 1 <= ask.status <= len(STATUSES)
    status = list(STATUSES)[int(ask.status or 0) - 1] if numbered else ask.status
    if status is not None and status not in STATUSES:
        raise Invalid(
            f"Invalid value '{status}' for parameter 'status' supplied. "
            f"Known: {', '.join(STATUSES)}."
        )
    with saying(NotFound, f"Run with id={ask.run_id} not found"):
        platform.tracking.change_run(
            run=ask.run_id,
            name=ask.run_name or None,
            status=None if status is None else STATUSES[str(status)],
            ended_at=moment(ask.end_time),
        )
    if ask.run_name:
        platform.tracking.log(run=ask.run_id, tags={NAME_TAG: ask.run_name})
    return {"run_info": get(platform, Get(run_id=ask.run_id))["run"]["info"]}


def delete(platform: Embedded, ask: Get) -> None:
    """Delete a run; it can be restored.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    with saying(NotFound, f"Run with id={ask.run_id} not found"):
        platform.tracking.delete_run(run=ask.run_id)


def restore(platform: Embedded, ask: Get) -> None:
    """Restore a deleted run.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    with saying(NotFound, f"Run with id={ask.run_id} not found"):
        platform.tracking.restore_run(run=ask.run_id)


def delete_tag(platform: Embedded, ask: LogText) -> None:
    """Delete a tag of a run.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    platform.tracking.delete_tag(run=ask.run_id or ask.run_uuid, key=ask.key)


def log_inputs(platform: Embedded, ask: LogInputs) -> None:
    """Record the datasets and the logged models that a run has used.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    datasets = []
    for used in ask.datasets:
        tags = {tag.key: tag.value for tag in used.tags}
        context = tags.pop("mlflow.data.context", "")
        facts = {name: getattr(used.dataset, name) for name in used.dataset.__struct_fields__}
        datasets.append(Dataset(**facts, context=context, tags=tags))
    with saying(NotFound, f"Run with id={ask.run_id} not found"):
        platform.tracking.use_data(run=ask.run_id, datasets=datasets)
        uses = [
            ModelUse(model=model.model_id, direction="input", step=model.step)
            for model in ask.models
        ]
        platform.tracking.use_models(run=ask.run_id, models=uses)


def log_outputs(platform: Embedded, ask: LogInputs) -> None:
    """Record the logged models that a run has made.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    with saying(NotFound, f"Run with id={ask.run_id} not found"):
        uses = [
            ModelUse(model=model.model_id, direction="output", step=model.step)
            for model in ask.models
        ]
        platform.tracking.use_models(run=ask.run_id, models=uses)


def log_model(platform: Embedded, ask: LogModel) -> None:
    """Keep what 2.x clients describe of a model they wrote in a tag, as MLflow does.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    from treadle.kernel.entity import from_json

    tag = "mlflow.log-model.history"
    model = from_json(ask.model_json, dict[str, Any])
    with saying(NotFound, f"Run with id={ask.run_id} not found"):
        before = platform.tracking.get(run=ask.run_id).tags.get(tag, "[]")
    platform.tracking.log(
        run=ask.run_id, tags={tag: to_text([*from_json(before, list[Any]), model])}
    )


def search(platform: Embedded, ask: Search) -> dict[str, Any]:
    """Search runs.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    if not 1 <= ask.max_results <= 50_000:
        raise Invalid(
            f"Invalid value {ask.max_results} for parameter 'max_results' supplied: "
            "it must be 1 to 50000."
        )
    experiments = [numbered(id) for id in ask.experiment_ids if id.isdecimal()]
    view = VIEWS.get(ask.run_view_type, "active")
    records, token = platform.tracking.page(
        experiments, ask.filter, ask.order_by, view, ask.max_results, ask.page_token
    )
    return present(runs=shown(platform, records), next_page_token=token or None)


def history(platform: Embedded, ask: History) -> dict[str, Any]:
    """Return the points of a metric; a point that a client has sent twice is returned once.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    with saying(NotFound, f"Run with id={ask.run_id} not found"):
        points = platform.tracking.points(run=ask.run_id, key=ask.metric_key)
    rows = {
        (at // 1000, step, value if value == value else None): None
        for step, at, value in points.rows()
    }
    ordered = sorted(rows, key=lambda row: (row[0], row[1], row[2] is None, row[2] or 0.0))
    limit = len(ordered) if ask.max_results is None else max(1, min(ask.max_results, 25_000))
    start = int(ask.page_token) if ask.page_token.isdecimal() else 0
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
    limit = max(1, min(ask.max_results, 2500))
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


def metric_in(ask: LogMetric) -> Incoming:
    """Return the write that a request for one point of a metric asks for.

    Args:
        ask: The request's fields.
    """
    column = Column([ask.step], [ask.timestamp * 1000], [_value(ask.key, ask.value)])
    return Incoming(run=ask.run_id or ask.run_uuid, columns={_named(ask.key): column})


def batch_in(ask: LogBatch) -> Incoming:
    """Return the write that a request for many points, parameters and tags asks for.

    Args:
        ask: The request's fields.
    """
    if len(ask.metrics) > 1000 or len(ask.params) > 100 or len(ask.tags) > 100:
        raise Invalid(
            "A batch logging request can contain at most 1000 metrics, 100 params and 100 tags."
        )
    columns: dict[str, Column] = {}
    for metric in ask.metrics:
        column = columns.get(metric.key) or columns.setdefault(
            _named(metric.key), Column([], [], [])
        )
        column.steps.append(metric.step)
        column.at.append(metric.timestamp * 1000)
        column.values.append(
            metric.value if type(metric.value) is float else _value(metric.key, metric.value)
        )
    params: dict[str, str] = {}
    for param in ask.params:
        if params.setdefault(param.key, param.value) != param.value:
            raise Invalid(
                f"Duplicate parameter keys have been submitted: {param.key}. "
                "Please ensure the request contains only one param value per param key."
            )
    return Incoming(
        run=ask.run_id,
        columns=columns,
        params=params,
        tags={tag.key: tag.value for tag in ask.tags},
    )


def param_in(ask: LogText) -> Incoming:
    """Return the write that a request for a parameter asks for.

    Args:
        ask: The request's fields.
    """
    return Incoming(run=ask.run_id or ask.run_uuid, params={ask.key: ask.value})


def tag_in(ask: LogText) -> Incoming:
    """Return the write that a request for a tag asks for.

    Args:
        ask: The request's fields.
    """
    return Incoming(run=ask.run_id or ask.run_uuid, tags={ask.key: ask.value})


def refused(incoming: Incoming, error: TreadleError) -> TreadleError:
    """Return the error that refuses a write, in the protocol's words.

    Args:
        incoming: The write.
        error: Why it was refused.
    """
    if isinstance(error, NotFound):
        return NotFound(f"Run with id={incoming.run} not found")
    if isinstance(error, Conflict):
        return Invalid(f"Changing param values is not allowed. {error.message}")
    return error


def for_models(ask: LogMetric | LogBatch) -> list[tuple[str, Metric]]:
    """Return the metrics of a request that measure a logged model, with the model's id.

    Args:
        ask: The request's fields.
    """
    metrics = [ask] if isinstance(ask, LogMetric) else ask.metrics
    return [(metric.model_id, metric) for metric in metrics if metric.model_id]


def _named(key: str) -> str:
    if not key:
        raise Invalid("Missing value for required parameter 'key'.")
    return key


def _value(key: str, value: float | str) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise Invalid(
            f"Got invalid value {value!r} for metric '{key}'. "
            "Please specify value as a valid double."
        ) from error


CALLS = [
    Call(("POST",), "runs/create", Create, "editor", create),
    Call(("POST",), "runs/update", Update, "editor", update),
    Call(("GET",), "runs/get", Get, "viewer", get),
    Call(("POST",), "runs/delete", Get, "editor", delete),
    Call(("POST",), "runs/restore", Get, "editor", restore),
    Call(("POST",), "runs/delete-tag", LogText, "editor", delete_tag),
    Call(("POST",), "runs/log-inputs", LogInputs, "editor", log_inputs),
    Call(("POST",), "runs/outputs", LogInputs, "editor", log_outputs),
    Call(("POST",), "runs/log-model", LogModel, "editor", log_model),
    Call(("POST",), "runs/search", Search, "viewer", search),
    Call(("GET",), "metrics/get-history", History, "viewer", history),
    Call(("GET",), "metrics/get-history-bulk-interval", Interval, "viewer", interval),
]
