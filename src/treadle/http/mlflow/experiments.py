"""Serves MLflow's calls for experiments."""

from typing import Any

from treadle.http.mlflow.wire import (
    Ask,
    Call,
    KeyValue,
    page_length,
    paged,
    pairs,
    present,
    saying,
)
from treadle.kernel.clock import to_micros
from treadle.kernel.errors import Conflict, Invalid, NotFound
from treadle.platform.wiring import Embedded
from treadle.tracking.model import Experiment
from treadle.tracking.search import View

NEWEST = ["creation_time DESC"]
"""The order of experiments where none is asked for; those of one moment are the newest first."""
VIEWS: dict[str, View] = {"ACTIVE_ONLY": "active", "DELETED_ONLY": "deleted", "ALL": "all"}


class Create(Ask):
    """Fields of `experiments/create`."""

    name: str = ""
    artifact_location: str = ""
    tags: list[KeyValue] = []


class Get(Ask):
    """Fields of calls that name an experiment by its id."""

    experiment_id: str = ""


class GetByName(Ask):
    """Fields of `experiments/get-by-name`."""

    experiment_name: str = ""


class Search(Ask):
    """Fields of `experiments/search`."""

    filter: str = ""
    order_by: list[str] = []
    view_type: str = "ACTIVE_ONLY"
    max_results: int = 1000
    page_token: str = ""


class SearchDatasets(Ask):
    """Fields of `experiments/search-datasets`."""

    experiment_ids: list[str] = []


class Update(Ask):
    """Fields of `experiments/update`."""

    experiment_id: str = ""
    new_name: str | None = None


class Tag(Ask):
    """Fields of calls that set or delete an experiment's tag."""

    experiment_id: str = ""
    key: str = ""
    value: str = ""


def numbered(text: str) -> int:
    """Return the number of an experiment's id.

    Args:
        text: The id, as the protocol writes it.

    Raises:
        Invalid: The text is no number.
        NotFound: There can be no experiment of that number.
    """
    if not text.isascii() or not text.isdecimal():
        raise Invalid(f"Invalid experiment ID '{text}'. Experiment ID must be a valid integer.")
    if len(text) > 10:
        raise NotFound(f"No Experiment with id={text} exists")
    return int(text)


def found(platform: Embedded, id: str) -> Experiment:
    """Return an experiment; the default one is created when it is first asked for.

    Args:
        platform: The services that answer.
        id: The experiment's id, as the protocol writes it.

    Raises:
        NotFound: There is no such experiment.
    """
    number = numbered(id)
    with saying(NotFound, f"No Experiment with id={id} exists"):
        if number == 0:
            platform.tracking.ensure_default()
        return platform.tracking.experiment(id=number)


def active(platform: Embedded, id: str) -> Experiment:
    """Return an experiment that may be changed.

    Args:
        platform: The services that answer.
        id: The experiment's id, as the protocol writes it.

    Raises:
        NotFound: There is no such experiment.
        Invalid: It is deleted.
    """
    experiment = found(platform, id)
    if experiment.deleted_at is not None:
        raise Invalid(
            f"The experiment {id} must be in the 'active' state.\nCurrent state is deleted."
        )
    return experiment


def shown(experiment: Experiment) -> dict[str, Any]:
    """Return an experiment as clients read it.

    Args:
        experiment: The experiment.
    """
    return {
        "experiment_id": str(experiment.id),
        "name": experiment.name,
        "artifact_location": experiment.artifacts_at,
        "lifecycle_stage": "active" if experiment.deleted_at is None else "deleted",
        "last_update_time": to_micros(experiment.updated_at) // 1000,
        "creation_time": to_micros(experiment.created_at) // 1000,
        "tags": pairs(experiment.tags),
    }


def create(platform: Embedded, ask: Create) -> dict[str, Any]:
    """Create an experiment.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    tags = {tag.key: tag.value for tag in ask.tags}
    with saying(Conflict, f"Experiment(name={ask.name}) already exists."):
        made = platform.tracking.create_experiment(
            name=ask.name, tags=tags, artifacts_at=ask.artifact_location
        )
    return {"experiment_id": str(made.id)}


def get(platform: Embedded, ask: Get) -> dict[str, Any]:
    """Return an experiment by its id.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    return {"experiment": shown(found(platform, ask.experiment_id))}


def get_by_name(platform: Embedded, ask: GetByName) -> dict[str, Any]:
    """Return an experiment by its name.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    name = ask.experiment_name
    if name == "Default":
        platform.tracking.ensure_default()
    with saying(NotFound, f"Could not find experiment with name '{name}'"):
        return {"experiment": shown(platform.tracking.experiment(name=name))}


def search(platform: Embedded, ask: Search) -> dict[str, Any]:
    """Search experiments.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    limit = page_length(ask.max_results, 50_000)
    platform.tracking.ensure_default()
    view = VIEWS.get(ask.view_type, "active")
    every = platform.tracking.experiments(
        filter=ask.filter, order=ask.order_by or NEWEST, view=view
    )
    page, token = paged(every, limit, ask.page_token)
    experiments = [shown(experiment) for experiment in page]
    return present(experiments=experiments, next_page_token=token)


def delete(platform: Embedded, ask: Get) -> None:
    """Delete an experiment; it can be restored.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    experiment = found(platform, ask.experiment_id)
    if experiment.deleted_at is not None:
        raise NotFound(f"No Experiment with id={ask.experiment_id} exists")
    platform.tracking.delete_experiment(id=experiment.id)


def restore(platform: Embedded, ask: Get) -> None:
    """Restore a deleted experiment.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    experiment = found(platform, ask.experiment_id)
    if experiment.deleted_at is None:
        raise NotFound(f"No Experiment with id={ask.experiment_id} exists")
    platform.tracking.restore_experiment(id=experiment.id)


def update(platform: Embedded, ask: Update) -> None:
    """Rename an experiment.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    experiment = found(platform, ask.experiment_id)
    if experiment.deleted_at is not None:
        raise Invalid("Cannot rename a non-active experiment.")
    platform.tracking.change_experiment(id=experiment.id, name=ask.new_name)


def set_tag(platform: Embedded, ask: Tag) -> None:
    """Set a tag of an experiment.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    platform.tracking.change_experiment(
        id=active(platform, ask.experiment_id).id, tags={ask.key: ask.value}
    )


def delete_tag(platform: Embedded, ask: Tag) -> None:
    """Delete a tag of an experiment.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    experiment = active(platform, ask.experiment_id)
    if ask.key not in experiment.tags:
        raise NotFound(f"No tag with name: {ask.key} in experiment with id {ask.experiment_id}")
    platform.tracking.change_experiment(id=experiment.id, tags={ask.key: None})


def datasets(platform: Embedded, ask: SearchDatasets) -> dict[str, Any]:
    """List the datasets that the runs of experiments have used, each once.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        Invalid: An id of an experiment is no number.
    """
    found = platform.tracking.datasets_in([numbered(id) for id in ask.experiment_ids])
    summaries = [
        {"experiment_id": str(experiment), "name": name, "digest": digest}
        | present(context=context or None)
        for experiment, name, digest, context in found
    ]
    return {"dataset_summaries": summaries}


CALLS = [
    Call(("POST",), "experiments/create", Create, "editor", create),
    Call(("GET",), "experiments/get", Get, "viewer", get),
    Call(("GET",), "experiments/get-by-name", GetByName, "viewer", get_by_name),
    Call(("GET", "POST"), "experiments/search", Search, "viewer", search),
    Call(("POST",), "experiments/delete", Get, "editor", delete),
    Call(("POST",), "experiments/restore", Get, "editor", restore),
    Call(("POST",), "experiments/update", Update, "editor", update),
    Call(("POST",), "experiments/search-datasets", SearchDatasets, "viewer", datasets),
    Call(("POST",), "experiments/set-experiment-tag", Tag, "editor", set_tag),
    Call(("POST",), "experiments/delete-experiment-tag", Tag, "editor", delete_tag),
]
