"""Serves MLflow's calls for logged models, which runs write before they are registered."""

from contextlib import AbstractContextManager
from typing import Any

from treadle.http.mlflow.experiments import active, numbered
from treadle.http.mlflow.files import children, split
from treadle.http.mlflow.incoming import Metric
from treadle.http.mlflow.wire import (
    Ask,
    Call,
    KeyValue,
    dashed_id,
    millis,
    number,
    page_length,
    paged,
    pairs,
    present,
    saying,
)
from treadle.kernel.errors import Invalid, NotFound
from treadle.platform.wiring import Embedded
from treadle.tracking.language import check_orders
from treadle.tracking.logged_models import On
from treadle.tracking.model import LoggedModel, ModelMetric

STATUSES = ("LOGGED_MODEL_PENDING", "LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED")


class Create(Ask):
    """Fields of the call that creates a logged model."""

    experiment_id: str = "0"
    name: str = ""
    model_type: str = ""
    source_run_id: str = ""
    params: list[KeyValue] = []
    tags: list[KeyValue] = []


class Get(Ask):
    """Fields of calls that name a logged model."""

    model_id: str = ""


class Finalize(Get):
    """Fields of the call that sets a logged model's status."""

    status: int | str = "LOGGED_MODEL_READY"


class Tags(Get):
    """Fields of the call that sets tags."""

    tags: list[KeyValue] = []


class Params(Get):
    """Fields of the call that adds parameters."""

    params: list[KeyValue] = []


class Untag(Get):
    """Fields of the call that deletes a tag."""

    tag_key: str = ""


class Directories(Get):
    """Fields of the call that lists a logged model's files."""

    artifact_directory_path: str = ""


class OrderBy(Ask):
    """One field that a search is ordered by."""

    field_name: str = ""
    ascending: bool = True
    dataset_name: str = ""
    dataset_digest: str = ""


class OnDataset(Ask):
    """A dataset that a search's metrics were measured on."""

    dataset_name: str = ""
    dataset_digest: str = ""


class Search(Ask):
    """Fields of `logged-models/search`."""

    experiment_ids: list[str] = []
    filter: str = ""
    datasets: list[OnDataset] = []
    max_results: int = 50
    order_by: list[OrderBy] = []
    page_token: str = ""


def model_of(platform: Embedded, id: str) -> LoggedModel:
    """Return a logged model.

    Args:
        platform: The services that answer.
        id: The logged model's id.

    Raises:
        NotFound: There is no such model, or it is deleted.
    """
    with _known(id):
        return platform.logged_models.get(id)


def _known(id: str) -> AbstractContextManager[None]:
    """Within the block a model that is not there is named in the protocol's words."""
    return saying(NotFound, f"Logged model with ID '{id}' not found.")


def shown(platform: Embedded, model: LoggedModel) -> dict[str, Any]:
    """Return a logged model as clients read it.

    Args:
        platform: The services that answer.
        model: The logged model.
    """
    root = platform.tracking.experiment(id=model.experiment).artifacts_at
    info = present(
        model_id=model.id,
        experiment_id=str(model.experiment),
        name=model.name,
        creation_timestamp_ms=millis(model.created_at),
        last_updated_timestamp_ms=millis(model.updated_at),
        artifact_uri=f"{root}/models/{model.id}/artifacts",
        status=model.status,
        model_type=model.type,
        source_run_id=model.run,
        tags=pairs(model.tags),
    )
    return {
        "info": info,
        "data": {
            "params": pairs(model.params),
            "metrics": [_metric(model, metric) for metric in model.metrics],
        },
    }


def _metric(model: LoggedModel, metric: ModelMetric) -> dict[str, Any]:
    return present(
        key=metric.key,
        value=number(metric.value),
        timestamp=metric.at,
        step=metric.step,
        model_id=model.id,
        run_id=metric.run,
        dataset_name=metric.dataset_name or None,
        dataset_digest=metric.dataset_digest or None,
    )


def create(platform: Embedded, ask: Create) -> dict[str, Any]:
    """Create a logged model.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    if any(sign in ask.name for sign in "/:.%\"'"):
        raise Invalid(f"Invalid model name: '{ask.name}'. It must not contain any of / : . % \" '.")
    made = platform.logged_models.create(
        id=dashed_id("m"),
        experiment=active(platform, ask.experiment_id).id,
        name=ask.name,
        run=ask.source_run_id,
        type=ask.model_type,
        params={param.key: param.value for param in ask.params},
        tags={tag.key: tag.value for tag in ask.tags},
    )
    return {"model": shown(platform, made)}


def get(platform: Embedded, ask: Get) -> dict[str, Any]:
    """Return a logged model.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    return {"model": shown(platform, model_of(platform, ask.model_id))}


def finalize(platform: Embedded, ask: Finalize) -> dict[str, Any]:
    """Set a logged model's status.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    model_of(platform, ask.model_id)
    status = ask.status
    if isinstance(status, int) and 1 <= status <= 3:
        status = STATUSES[status - 1]
    if status not in STATUSES:
        raise Invalid(f"Invalid model status: {ask.status}. Known: {', '.join(STATUSES)}.")
    with _known(ask.model_id):
        changed = platform.logged_models.set_status(ask.model_id, status)
    return {"model": shown(platform, changed)}


def delete(platform: Embedded, ask: Get) -> None:
    """Delete a logged model.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    with _known(ask.model_id):
        platform.logged_models.delete(ask.model_id)


def set_tags(platform: Embedded, ask: Tags) -> None:
    """Set tags of a logged model.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    tags: dict[str, str | None] = {tag.key: tag.value for tag in ask.tags}
    with _known(ask.model_id):
        platform.logged_models.set_tags(ask.model_id, tags)


def delete_tag(platform: Embedded, ask: Untag) -> None:
    """Delete a tag of a logged model.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    if ask.tag_key not in model_of(platform, ask.model_id).tags:
        raise NotFound(f"No tag with key '{ask.tag_key}' found for model with ID '{ask.model_id}'.")
    platform.logged_models.set_tags(ask.model_id, {ask.tag_key: None})


def add_params(platform: Embedded, ask: Params) -> None:
    """Add parameters to a logged model.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    params = {param.key: param.value for param in ask.params}
    with _known(ask.model_id):
        platform.logged_models.add_params(ask.model_id, params)


def directories(platform: Embedded, ask: Directories) -> dict[str, Any]:
    """List a logged model's files below a folder.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    uri = shown(platform, model_of(platform, ask.model_id))["info"]["artifact_uri"]
    root, _ = split(uri.partition(":/")[2])
    _, folder = split(f"artifacts/{ask.artifact_directory_path}")
    return {"root_uri": uri, "files": children(platform.tracking.artifacts_at(root), folder)}


def search(platform: Embedded, ask: Search) -> dict[str, Any]:
    """Search logged models.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    if not all(dataset.dataset_name for dataset in ask.datasets):
        raise Invalid("`dataset_name` in the `datasets` clause must be specified.")
    check_orders(len(ask.order_by))
    orders = [
        (
            f"{_field(order.field_name)} {'ASC' if order.ascending else 'DESC'}",
            On(order.dataset_name, order.dataset_digest),
        )
        for order in ask.order_by
    ]
    every = platform.logged_models.search(
        experiments=[numbered(id) for id in ask.experiment_ids],
        filter=ask.filter,
        orders=orders,
        datasets=[On(dataset.dataset_name, dataset.dataset_digest) for dataset in ask.datasets],
    )
    page, token = paged(every, page_length(ask.max_results, 50_000), ask.page_token)
    return present(models=[shown(platform, model) for model in page], next_page_token=token)


def _field(name: str) -> str:
    kind, dot, key = name.partition(".")
    return f"{kind}.`{key}`" if dot else name


def measured(platform: Embedded, run: str, metrics: list[tuple[str, Metric]]) -> None:
    """Record those of a run's metrics that measure logged models with these models too.

    Args:
        platform: The services that answer.
        run: The run that the metrics were logged to.
        metrics: The metrics, each with the id of the model it measures.
    """
    for model in {id for id, _ in metrics}:
        of_model = [
            ModelMetric(
                key=metric.key,
                value=float(metric.value or 0.0),
                step=metric.step,
                at=metric.timestamp or 0,
                run=run,
                dataset_name=metric.dataset_name,
                dataset_digest=metric.dataset_digest,
            )
            for id, metric in metrics
            if id == model
        ]
        with _known(model):
            platform.logged_models.add_metrics(model, of_model)


CALLS = [
    Call(("POST",), "logged-models", Create, "editor", create),
    Call(("POST",), "logged-models/search", Search, "viewer", search),
    Call(("GET",), "logged-models/{model_id}", Get, "viewer", get),
    Call(("PATCH",), "logged-models/{model_id}", Finalize, "editor", finalize),
    Call(("DELETE",), "logged-models/{model_id}", Get, "editor", delete),
    Call(("PATCH",), "logged-models/{model_id}/tags", Tags, "editor", set_tags),
    Call(("DELETE",), "logged-models/{model_id}/tags/{tag_key}", Untag, "editor", delete_tag),
    Call(("POST",), "logged-models/{model_id}/params", Params, "editor", add_params),
    Call(
        ("GET",),
        "logged-models/{model_id}/artifacts/directories",
        Directories,
        "viewer",
        directories,
    ),
]
