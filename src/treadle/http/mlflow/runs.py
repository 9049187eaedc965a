"""Serves MLflow's calls for runs: what is logged to them, and the search for them."""

from typing import Any

from treadle.http.mlflow.experiments import VIEWS, found, numbered
from treadle.http.mlflow.incoming import LogText
from treadle.http.mlflow.inputs import shown_dataset
from treadle.http.mlflow.states import active_run
from treadle.http.mlflow.wire import (
    Ask,
    Call,
    KeyValue,
    millis,
    moment,
    number,
    page_length,
    pairs,
    place_of,
    present,
    saying,
)
from treadle.kernel.entity import to_text
from treadle.kernel.errors import Invalid, NotFound
from treadle.platform.wiring import Embedded
from treadle.tracking.model import Dataset, ModelUse, Status
from treadle.tracking.records import Record

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
        "inputs": {"dataset_inputs": [shown_dataset(dataset) for dataset in datasets]},
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


def create(platform: Embedded, ask: Create) -> dict[str, Any]:
    """Create a run.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such experiment.
        Invalid: The experiment is deleted, or a field cannot be stored.
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

    Raises:
        NotFound: There is no such run.
    """
    with saying(NotFound, f"Run with id={ask.run_id} not found"):
        return {"run": shown(platform, [platform.tracking.record(ask.run_id)])[0]}


def update(platform: Embedded, ask: Update) -> dict[str, Any]:
    """Change a run's name, status or end.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        Invalid: There is no such status, or the end is beyond what a time can be.
        NotFound: There is no such run.
    """
    numbered = isinstance(ask.status, int) and 1 <= ask.status <= len(STATUSES)
    status = list(STATUSES)[int(ask.status or 0) - 1] if numbered else ask.status
    status = status or None
    if status is not None and status not in STATUSES:
        raise Invalid(
            f"Invalid value '{status}' for parameter 'status' supplied. "
            f"Known: {', '.join(STATUSES)}."
        )
    active_run(platform, ask.run_id)
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

    Raises:
        NotFound: There is no such run.
    """
    with saying(NotFound, f"Run with id={ask.run_id} not found"):
        known = platform.tracking.record(ask.run_id)
    if known.row.deleted_at is None:
        platform.tracking.delete_run(run=ask.run_id)


def restore(platform: Embedded, ask: Get) -> None:
    """Restore a deleted run.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such run.
    """
    with saying(NotFound, f"Run with id={ask.run_id} not found"):
        platform.tracking.restore_run(run=ask.run_id)


def delete_tag(platform: Embedded, ask: LogText) -> None:
    """Delete a tag of a run.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such run, or it has no such tag.
    """
    run = ask.run_id or ask.run_uuid
    active_run(platform, run)
    with saying(NotFound, f"No tag with name: {ask.key} in run with id {run}"):
        platform.tracking.delete_tag(run=run, key=ask.key)


def log_model(platform: Embedded, ask: LogModel) -> None:
    """Keep what 2.x clients describe of a model they wrote in a tag, as MLflow does.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        Invalid: The description is no JSON object.
        NotFound: There is no such run.
    """
    from treadle.kernel.entity import from_json

    tag = "mlflow.log-model.history"
    try:
        model = from_json(ask.model_json, dict[str, Any])
    except Invalid as error:
        raise Invalid(f"Malformed model info. \n {ask.model_json} \n is not valid JSON.") from error
    if missing := {"run_id", "artifact_path", "flavors", "utc_time_created"} - set(model):
        raise Invalid("Model json is missing mandatory fields: " + ", ".join(sorted(missing)))
    before = active_run(platform, ask.run_id).tags.get(tag, "[]")
    platform.tracking.log(
        run=ask.run_id, tags={tag: to_text([*from_json(before, list[Any]), model])}
    )


def search(platform: Embedded, ask: Search) -> dict[str, Any]:
    """Search runs.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        Invalid: The filter or the order cannot be read, the token is not of this search, or the
            page has an impossible length.
    """
    limit = page_length(ask.max_results, 50_000)
    experiments = [numbered(id) for id in ask.experiment_ids if id.isdecimal()]
    if not experiments:
        place_of(ask.page_token)
    view = VIEWS.get(ask.run_view_type, "active")
    records, token = platform.tracking.page(
        experiments, ask.filter, ask.order_by, view, limit, ask.page_token
    )
    return present(runs=shown(platform, records), next_page_token=token or None)


CALLS = [
    Call(("POST",), "runs/create", Create, "editor", create),
    Call(("POST",), "runs/update", Update, "editor", update),
    Call(("GET",), "runs/get", Get, "viewer", get),
    Call(("POST",), "runs/delete", Get, "editor", delete),
    Call(("POST",), "runs/restore", Get, "editor", restore),
    Call(("POST",), "runs/delete-tag", LogText, "editor", delete_tag),
    Call(("POST",), "runs/log-model", LogModel, "editor", log_model),
    Call(("POST",), "runs/search", Search, "viewer", search),
]
