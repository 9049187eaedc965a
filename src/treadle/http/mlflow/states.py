"""Looks up runs that may be changed, and where runs and logged models keep their files."""

from treadle.http.mlflow.wire import saying
from treadle.kernel.errors import Invalid, NotFound
from treadle.platform.wiring import Embedded
from treadle.tracking.records import Record


def active_run(platform: Embedded, id: str) -> Record:
    """Return a run that may be changed.

    Args:
        platform: The services that answer.
        id: The run's id.

    Raises:
        NotFound: There is no such run.
        Invalid: It is deleted.
    """
    with saying(NotFound, f"Run with id={id} not found"):
        record = platform.tracking.record(id)
    if record.row.deleted_at is not None:
        raise Invalid(f"The run {id} must be in the 'active' state. Current state is deleted.")
    return record


def artifact_root(platform: Embedded, *, run: str = "", model: str = "") -> str:
    """Return the URI of what a run or a logged model keeps as files.

    Args:
        platform: The services that answer.
        run: The run's id.
        model: The logged model's id; where it is given, the run does not matter.

    Raises:
        NotFound: There is no such run or logged model.
    """
    if not model:
        with saying(NotFound, f"Run with id={run} not found"):
            return platform.tracking.record(run).artifacts_at
    with saying(NotFound, f"Logged model with ID '{model}' not found."):
        logged = platform.logged_models.get(model)
    root = platform.tracking.experiment(id=logged.experiment).artifacts_at
    return f"{root}/models/{logged.id}/artifacts"
