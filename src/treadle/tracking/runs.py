"""Runs: begun, logged to, changed, found and searched."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, select

from treadle.kernel.clock import to_micros
from treadle.kernel.errors import NotFound
from treadle.kernel.event import current_act
from treadle.kernel.ids import new_id
from treadle.kernel.names import ExperimentId, ExperimentName, NewRunId, ProjectName, RunId
from treadle.kernel.operation import command, query
from treadle.ports.database import in_sight
from treadle.tracking import ingest
from treadle.tracking.events import RunDeleted, RunFinished, RunRestored, RunStarted
from treadle.tracking.experiments import DEFAULT, Experiments
from treadle.tracking.ingest import Incoming, incoming
from treadle.tracking.model import Batch, Metric, Run, RunPage, Status
from treadle.tracking.records import Record, records
from treadle.tracking.search import Search, View
from treadle.tracking.summaries import Column
from treadle.tracking.tables import (
    experiments,
    run_params,
    run_tags,
    runs,
)

_runs = runs  # where a parameter has the table's name
ENDED: tuple[Status, ...] = ("finished", "failed", "killed")


class Runs(Experiments):
    """Runs of experiments, with parameters, metrics and tags."""

    @command()
    def start_run(
        self,
        *,
        experiment: ExperimentName = "",
        project: ProjectName = "",
        name: str = "",
        params: dict[str, str] | None = None,
        tags: dict[str, str] | None = None,
        id: NewRunId = "",
        user: str = "",
        started_at: datetime | None = None,
    ) -> Run:
        """Begin a run in an experiment, which is made if need be.

        A sender that may repeat this gives the run's id.

        Args:
            experiment: Name of the experiment, which is made if it is not there.
            project: Project of an experiment that is made; the one of the experiment's name if
                empty.
            name: Name to show; its id if empty.
            params: Parameters by name.
            tags: Tags to set, by key.
            id: Id to give the run, by a sender that may repeat this; a new one if empty.
            user: Who runs it; the caller if none is given.
            started_at: When it began; now if not given.

        Raises:
            Invalid: A key or a value is too long, or has a NUL in it.
        """
        with self._database.write() as transaction:
            if not id or transaction.scalar(select(runs.c.id).where(runs.c.id == id)) is None:
                where = self._experiment_named(
                    transaction, experiment or project or DEFAULT, project
                )
                id = self._insert_run(transaction, where, id, name, user, started_at)
                self._texts(transaction, run_params, id, params or {})
                self._texts(transaction, run_tags, id, tags or {})
        return self.get(run=id)

    @command()
    def log(
        self,
        *,
        run: RunId,
        metrics: list[Metric] | None = None,
        params: dict[str, str] | None = None,
        tags: dict[str, str] | None = None,
    ) -> None:
        """Add metrics, parameters and tags to a run.

        A parameter is set once; setting it to the same value again is fine.

        Args:
            run: Id of the run.
            metrics: Points to add: key, value, step and time.
            params: Parameters by name.
            tags: Tags to set, by key.

        Raises:
            NotFound: There is no such run.
            Invalid: The run is deleted, or a key, a value or a step is out of bounds.
            Conflict: A parameter has another value already.
        """
        columns: dict[str, Column] = {}
        now = to_micros(self._clock.now())
        for metric in metrics or []:
            column = columns.setdefault(metric.key, Column([], [], []))
            column.steps.append(metric.step)
            column.at.append(now if metric.at is None else to_micros(metric.at))
            column.values.append(metric.value)
        self._write_together(
            [Incoming(run=run, columns=columns, params=params or {}, tags=tags or {})]
        )

    @command()
    def write(self, *, batches: list[Batch]) -> None:
        """Add what senders collected, in one transaction.

        A batch that is refused does not stop the others.

        Args:
            batches: What each run's sender has collected.

        Raises:
            TreadleError: What the first refused batch was refused for.
        """
        self._write_together([incoming(batch) for batch in batches])

    @command()
    def change_run(
        self,
        *,
        run: RunId,
        name: str | None = None,
        status: Status | None = None,
        ended_at: datetime | None = None,
    ) -> Run:
        """Change a run's name or status. A status that ends it sets when, now if not given.

        Args:
            run: Id of the run.
            name: A new name.
            status: The status to set.
            ended_at: When it ended; now if not given.

        Raises:
            NotFound: There is no such run.
        """
        found = self.get(run=run)
        values: dict[str, Any] = {} if name is None else {"name": name}
        if ended_at is not None:
            values["ended_at"] = ended_at
        if status is not None:
            ended = ended_at or found.ended_at or self._clock.now()
            values |= {"status": status, "ended_at": ended if status in ENDED else ended_at}
        if values:
            with self._database.write() as transaction:
                transaction.execute(runs.update().where(runs.c.id == run).values(values))
                if status in ENDED and status != found.status:
                    self._events.append(
                        transaction, RunFinished(run=run, project=found.project, status=status)
                    )
        return self.get(run=run)

    @command()
    def finish_run(self, *, run: RunId, status: Status = "finished") -> Run:
        """End a run. Ending it again the same way changes nothing.

        Args:
            run: Id of the run.
            status: The status to set.

        Raises:
            NotFound: There is no such run.
        """
        found = self.get(run=run)
        return found if found.status == status else self.change_run(run=run, status=status)

    @command()
    def delete_tag(self, *, run: RunId, key: str) -> None:
        """Remove a tag from a run.

        Args:
            run: Id of the run.
            key: Key of the tag.

        Raises:
            NotFound: There is no such run, or it has no such tag.
        """
        with self._database.write() as transaction:
            number = self._number(transaction, run)
            here = (run_tags.c.run == number) & (run_tags.c.key == key)
            if not transaction.execute(delete(run_tags).where(here)).rowcount:
                raise NotFound(f"Run '{run}' has no tag '{key}'.")

    @command()
    def delete_run(self, *, run: RunId, erase: bool = False) -> None:
        """Put a run away; it can be restored.

        ``erase`` leaves nothing of it but the events that tell of it.

        Args:
            run: Id of the run.
            erase: Whether to remove it for good instead of marking it as deleted.

        Raises:
            NotFound: There is no such run.
        """
        found = self.get(run=run)
        with self._database.write() as transaction:
            if erase:
                self._erase_run(transaction, run, self._number(transaction, run), found.experiment)
            else:
                transaction.execute(
                    runs.update().where(runs.c.id == run).values(deleted_at=self._clock.now())
                )
            self._events.append(
                transaction, RunDeleted(run=run, project=found.project, erased=erase)
            )

    @command()
    def restore_run(self, *, run: RunId) -> Run:
        """Bring a run back that was put away.

        Args:
            run: Id of the run.

        Raises:
            NotFound: There is no such run.
        """
        found = self.get(run=run)
        if found.deleted_at is not None:
            with self._database.write() as transaction:
                transaction.execute(runs.update().where(runs.c.id == run).values(deleted_at=None))
                self._events.append(transaction, RunRestored(run=run, project=found.project))
        return self.get(run=run)

    @query()
    def get(self, *, run: RunId) -> Run:
        """One run, with its parameters, its tags and the last value of each metric.

        Args:
            run: Id of the run.

        Raises:
            NotFound: There is no such run.
        """
        return self._record(run).run()

    @query()
    def find(self, *, project: ProjectName | None = None, limit: int = 50) -> list[Run]:
        """Runs, newest first, of one project if given.

        Args:
            project: Only those of this project.
            limit: The most runs to return.
        """
        wanted = (
            select(runs)
            .where(runs.c.deleted_at.is_(None), in_sight(runs.c.project))
            .order_by(runs.c.number.desc())
            .limit(max(0, limit))
        )
        if project:
            wanted = wanted.where(runs.c.project == project)
        with self._database.read() as connection:
            return [one.run() for one in records(connection, connection.execute(wanted).all())]

    @query()
    def search(
        self,
        *,
        experiments: list[ExperimentId],
        filter: str = "",
        order: list[str] | None = None,
        view: View = "active",
        limit: int = 100,
        page: str = "",
    ) -> RunPage:
        """Runs of experiments that satisfy a filter, newest first.

        ``order`` takes fields such as ``metrics.loss DESC``. ``page`` is what the page before
        gave as ``next``.

        Args:
            experiments: Numbers of the experiments to search.
            filter: Condition such as `metrics.loss < 0.3 AND NOT tags.team LIKE 'v%'`.
            order: Fields to sort by, such as `metrics.loss DESC`; the newest first if none is
                given.
            view: Whether to search active, deleted or all runs.
            limit: The most runs on a page, 1 to 50,000.
            page: Token that the page before gave as `next`; empty for the first.

        Raises:
            Invalid: The filter, an order or the page's token cannot be read.
        """
        found, token = self._page(experiments, filter, order or [], view, limit, page)
        return RunPage(runs=[one.run() for one in found], next=token)

    def _insert_run(
        self,
        transaction: Connection,
        where: tuple[int, str],
        id: str,
        name: str,
        user: str,
        started_at: datetime | None,
    ) -> str:
        run = id or new_id("run")
        row: dict[str, Any] = {
            "id": run,
            "experiment": where[0],
            "project": where[1],
            "name": name or run,
        }
        row |= {
            "status": "running",
            "user": user or current_act().actor,
            "started_at": started_at or self._clock.now(),
        }
        transaction.execute(runs.insert().values(row))
        event = RunStarted(run=run, project=where[1], name=row["name"], experiment=where[0])
        self._events.append(transaction, event)
        return run

    def _projects(self, transaction: Connection, numbers: set[int]) -> dict[int, str]:
        wanted = select(experiments.c.id, experiments.c.project).where(
            experiments.c.id.in_(list(numbers))
        )
        found = dict(transaction.execute(wanted).all())
        missing = sorted(numbers - set(found))
        if missing:
            raise NotFound(f"There is no experiment {missing[0]}.")
        return found

    def _write_together(self, batches: Sequence[Incoming]) -> None:
        for failed in self._outcomes(batches):
            if failed is not None:
                raise failed

    def _outcomes(self, batches: Sequence[Incoming]) -> list[Exception | None]:
        """Make many senders' batches durable at once; gives what each one failed with, or None."""
        return ingest.write(self._database, batches)

    def _page(
        self,
        experiments: Sequence[int],
        filter: str,
        order: Sequence[str],
        view: View,
        limit: int,
        token: str,
    ) -> tuple[list["Record"], str]:
        """What a search finds, as it is stored, and the token of the next page."""
        with self._database.read() as connection:
            rows, following = Search(connection, experiments, view).found(
                filter, order, limit, token
            )
            return records(connection, rows), following
