"""Refuses to change runs that are deleted, in MLflow's words."""

from treadle.http.mlflow.wire import saying
from treadle.kernel.errors import Invalid, NotFound
from treadle.platform.wiring import Embedded
from treadle.tracking.records import Record


def active_run(platform: Embedded, id: str, *, state: str = "active") -> Record:
    """Return a run that may be changed.

    Args:
        platform: The services that answer.
        id: The run's id.
        state: The state that it must be in, active or deleted.

    Raises:
        NotFound: There is no such run.
        Invalid: It is in the other state.
    """
    with saying(NotFound, f"Run with id={id} not found"):
        record = platform.tracking.record(id)
    now = "active" if record.row.deleted_at is None else "deleted"
    if now != state:
        raise Invalid(f"The run {id} must be in the '{state}' state. Current state is {now}.")
    return record
