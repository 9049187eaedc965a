"""Serves MLflow's calls for what runs have used and made: datasets and logged models."""

from typing import Any

from treadle.http.mlflow.states import active_run
from treadle.http.mlflow.wire import Ask, Call, KeyValue, pairs, present, saying
from treadle.kernel.errors import NotFound
from treadle.platform.wiring import Embedded
from treadle.tracking.model import Dataset, ModelUse


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


def log_inputs(platform: Embedded, ask: LogInputs) -> None:
    """Record the datasets and the logged models that a run has used.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such run.
    """
    datasets = []
    for used in ask.datasets:
        tags = {tag.key: tag.value for tag in used.tags}
        context = tags.pop("mlflow.data.context", "")
        facts = {name: getattr(used.dataset, name) for name in used.dataset.__struct_fields__}
        datasets.append(Dataset(**facts, context=context, tags=tags))
    active_run(platform, ask.run_id)
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

    Raises:
        NotFound: There is no such run.
    """
    active_run(platform, ask.run_id)
    with saying(NotFound, f"Run with id={ask.run_id} not found"):
        uses = [
            ModelUse(model=model.model_id, direction="output", step=model.step)
            for model in ask.models
        ]
        platform.tracking.use_models(run=ask.run_id, models=uses)


def shown_dataset(dataset: Dataset) -> dict[str, Any]:
    """Return a dataset as clients read it.

    Args:
        dataset: The dataset.
    """
    tags = {"mlflow.data.context": dataset.context} if dataset.context else {}
    names = ("name", "digest", "source_type", "source", "schema", "profile")
    return {
        "tags": pairs(tags | dataset.tags),
        "dataset": present(**{name: getattr(dataset, name) for name in names}),
    }


CALLS = [
    Call(("POST",), "runs/log-inputs", LogInputs, "editor", log_inputs),
    Call(("POST",), "runs/outputs", LogInputs, "editor", log_outputs),
]
