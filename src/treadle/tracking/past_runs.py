"""Takes in runs that happened elsewhere."""

from collections import Counter

from sqlalchemy import Connection, bindparam, select

from treadle.kernel.entity import to_text
from treadle.kernel.operation import command
from treadle.kernel.sight import is_limited
from treadle.tracking import ingest
from treadle.tracking.events import HistoryAdded
from treadle.tracking.ingest import Incoming
from treadle.tracking.model import Dataset, PastRun
from treadle.tracking.runs import Runs
from treadle.tracking.tables import run_datasets
from treadle.tracking.tables import runs as _runs


class PastRuns(Runs):
    """Runs, and those that happened elsewhere."""

    @command()
    def add_history(self, *, source: str, runs: list[PastRun]) -> int:
        """Take in runs that happened elsewhere, all or none.

        Those that are here already are left alone.

        Args:
            source: Where they come from, for the event that tells of them.
            runs: The runs, with all their points.

        Returns:
            How many runs came in.
        """
        with self._database.write() as transaction:
            ids = [run.id for run in runs]
            known = set(transaction.scalars(select(_runs.c.id).where(_runs.c.id.in_(ids))))
            new = [run for run in runs if run.id not in known]
            projects = self._projects(transaction, {run.experiment for run in new})
            for run in new:
                self._insert_past(transaction, run, projects[run.experiment])
            batches = [
                Incoming(run=r.id, packed=r.points, params=r.params, tags=r.tags) for r in new
            ]
            ingest.write_in(transaction, batches)
            put_away = [
                {"b_id": run.id, "b_at": run.deleted_at}
                for run in new
                if run.deleted_at is not None
            ]
            if put_away:
                gone = (
                    _runs.update()
                    .where(_runs.c.id == bindparam("b_id"))
                    .values(deleted_at=bindparam("b_at"))
                )
                transaction.execute(gone, put_away)
            for project, count in Counter(projects[run.experiment] for run in new).items():
                self._events.append(
                    transaction, HistoryAdded(source=source, project=project, runs=count)
                )
        return len(new)

    def _insert_past(self, transaction: Connection, run: PastRun, project: str) -> None:
        names = ("id", "experiment", "name", "user", "status", "started_at", "ended_at")
        row = {name: getattr(run, name) for name in names} | {"project": project}
        transaction.execute(_runs.insert().values(row))
        if run.datasets:
            number = self._number(transaction, run.id)
            for one in run.datasets:
                transaction.execute(run_datasets.insert().values(run=number, **dataset_row(one)))


def dataset_row(dataset: Dataset) -> dict[str, object]:
    """The columns of ``run_datasets`` but the run, for data that a run read.

    Args:
        dataset: The data, as whoever this is done for describes it.
    """
    facts = {name: getattr(dataset, name) for name in dataset.__struct_fields__}
    return facts | {"tags": to_text(dataset.tags), "granted": not is_limited()}
