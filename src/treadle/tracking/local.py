"""Tracking as the process has it that holds the database."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np
from sqlalchemy import Connection, and_, delete, select

from treadle.kernel.clock import to_micros
from treadle.kernel.entity import to_json
from treadle.kernel.errors import Invalid, NotFound
from treadle.kernel.stage import RECONCILE
from treadle.ports.database import load
from treadle.ports.tree import read_tree
from treadle.tracking import history, ingest
from treadle.tracking.environment import CODE, ENVIRONMENT, Environment
from treadle.tracking.events import RunFinished
from treadle.tracking.experiments import DEFAULT
from treadle.tracking.files import dataset_of
from treadle.tracking.ingest import Incoming
from treadle.tracking.model import (
    Dataset,
    ModelUse,
    Run,
    Status,
)
from treadle.tracking.records import fitting
from treadle.tracking.segments import Step
from treadle.tracking.service import Tracking
from treadle.tracking.summaries import Column
from treadle.tracking.tables import (
    artifacts,
    experiments,
    run_datasets,
    run_models,
    run_params,
    run_tags,
    runs,
)

DIGEST_LENGTH = 64


class DatasetReader(NamedTuple):
    """A run that has read a dataset version, and what the run calls the dataset."""

    run: str
    name: str
    digest: str


class LocalTracking(Tracking):
    """What was tried, and what came out; with what only this process offers."""

    def ensure_default(self) -> None:
        """Make the experiment of those who name none, unless it is there, alive or put away."""
        with self._database.read() as connection:
            if connection.scalar(select(experiments.c.id).where(experiments.c.id == 0)) is not None:
                return
        with self._database.write() as transaction:
            self._experiment_named(transaction, DEFAULT, "")

    def begin(
        self,
        transaction: Connection,
        project: str,
        name: str,
        params: Mapping[str, str],
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Begin a run in the transaction of whoever needs it.

        Args:
            transaction: An open write transaction.
            project: Name of the project; its experiment of the same name is made if need be.
            name: Name of the run; its id if empty.
            params: Parameters by key.
            tags: Tags by key.

        Returns:
            The run's id.

        Raises:
            Invalid: A key or a value is too long or has a NUL.
        """
        where = self._experiment_named(transaction, project or DEFAULT, project)
        run = self._insert_run(transaction, where, "", name, "", None)
        self._texts(transaction, run_params, run, params)
        self._texts(transaction, run_tags, run, tags or {})
        return run

    def end(self, transaction: Connection, run: str, project: str, status: Status) -> None:
        """End a run in the transaction of whoever ends it; a run that has ended stays as it is.

        Args:
            transaction: An open write transaction.
            run: Id of the run.
            project: Project of the run.
            status: How it ended.
        """
        running = (runs.c.id == run) & (runs.c.status == "running")
        ending = {"status": status, "ended_at": self._clock.now()}
        if transaction.execute(runs.update().where(running).values(ending)).rowcount:
            self._events.append(transaction, RunFinished(run=run, project=project, status=status))

    def begin_in(
        self,
        *,
        experiment: int,
        name: str,
        tags: Mapping[str, str],
        user: str,
        started_at: datetime | None,
    ) -> Run:
        """Begin a run in an experiment that is known by its number.

        Args:
            experiment: Number of the experiment.
            name: Name of the run; its id if empty.
            tags: Tags by key.
            user: Who runs it.
            started_at: When it began; None for now.

        Raises:
            NotFound: There is no such experiment.
            Invalid: The experiment is deleted, or a tag's key or value is too long or has a NUL.
        """
        with self._database.write() as transaction:
            here = select(experiments.c.id, experiments.c.project, experiments.c.deleted_at)
            found = transaction.execute(
                here.where(experiments.c.id == fitting(experiment))
            ).one_or_none()
            if found is None:
                raise NotFound(f"There is no experiment {experiment}.")
            if found.deleted_at is not None:
                raise Invalid(
                    f"The experiment {experiment} must be in the 'active' state. Current state is "
                    "deleted."
                )
            run = self._insert_run(
                transaction, (found.id, found.project), "", name, user, started_at
            )
            self._texts(transaction, run_tags, run, tags)
        return self.get(run=run)

    def measured(self, transaction: Connection, run: str, metrics: Mapping[str, float]) -> None:
        """Add what was found out about a run in the transaction of whoever found it.

        Args:
            transaction: An open write transaction.
            run: Id of the run.
            metrics: Values by metric; each is a point at step 0, now.

        Raises:
            NotFound: There is no such run.
            Invalid: The run is deleted, or a metric's name is too long.
        """
        now = to_micros(self._clock.now())
        columns = {key: Column([0], [now], [value]) for key, value in metrics.items()}
        ingest.write_in(transaction, [Incoming(run=run, columns=columns)])

    def known(self, ids: Sequence[str]) -> set[str]:
        """Those of some runs that are here, deleted ones among them.

        Args:
            ids: Ids of the runs.
        """
        with self._database.read() as connection:
            return set(connection.scalars(select(runs.c.id).where(runs.c.id.in_(list(ids)))))

    def statuses(self, connection: Connection, ids: Sequence[str]) -> dict[str, Status]:
        """The states of runs by id; runs that are not there are absent.

        Args:
            connection: An open connection.
            ids: Ids of the runs.
        """
        wanted = select(runs.c.id, runs.c.status).where(runs.c.id.in_(list(ids)))
        return dict(connection.execute(wanted).all())

    def readers(self, *, digest: str) -> list[DatasetReader]:
        """List the runs that have read a dataset version.

        Args:
            digest: The digest of the dataset version, or the first characters of it.
        """
        column = run_datasets.c.digest
        whole = len(digest) == DIGEST_LENGTH
        within = column == digest if whole else column.startswith(digest, autoescape=True)
        statement = (
            select(runs.c.id.label("run"), run_datasets.c.name, column)
            .join(runs, runs.c.number == run_datasets.c.run)
            .where(within)
        )
        with self._database.read() as connection:
            return [DatasetReader(*row) for row in connection.execute(statement)]

    def use_models(self, *, run: str, models: Sequence[ModelUse]) -> None:
        """Note models that a run read or wrote. Noting one again changes its step.

        Args:
            run: Id of the run.
            models: The models, each with its direction and step.

        Raises:
            NotFound: There is no such run.
        """
        with self._database.write() as transaction:
            number = self._number(transaction, run)
            for one in models:
                row = {"run": number, "model": one.model, "direction": one.direction}
                here = and_(*(run_models.c[name] == value for name, value in row.items()))
                transaction.execute(delete(run_models).where(here))
                transaction.execute(run_models.insert().values(**row, step=one.step))

    def inputs(self, numbers: Sequence[int]) -> dict[int, tuple[list[Dataset], list[ModelUse]]]:
        """The data and the models that runs named.

        Args:
            numbers: Numbers of the runs' rows.

        Returns:
            (data by name, models by step) by the run's number; runs that named nothing are absent.
        """
        found: dict[int, tuple[list[Dataset], list[ModelUse]]] = {}
        with self._database.read() as connection:
            for at in range(0, len(numbers), ingest.MANY):
                some = numbers[at : at + ingest.MANY]
                used = (
                    select(run_datasets)
                    .where(run_datasets.c.run.in_(some))
                    .order_by(run_datasets.c.name)
                )
                for row in connection.execute(used).mappings():
                    found.setdefault(row["run"], ([], []))[0].append(dataset_of(row))
                wanted = (
                    select(run_models).where(run_models.c.run.in_(some)).order_by(run_models.c.step)
                )
                for row in connection.execute(wanted).mappings():
                    found.setdefault(row["run"], ([], []))[1].append(load(ModelUse, row))
        return found

    def datasets_in(self, numbers: Sequence[int]) -> list[tuple[int, str, str, str]]:
        """The datasets that live runs of experiments have used, each once, at most 1,000.

        Args:
            numbers: Numbers of the experiments.

        Returns:
            Experiment, name, digest and context of each.
        """
        used = (runs.c.experiment, run_datasets.c.name, run_datasets.c.digest)
        wanted = (
            select(*used, run_datasets.c.context)
            .join(runs, runs.c.number == run_datasets.c.run)
            .where(runs.c.experiment.in_(list(numbers)), runs.c.deleted_at.is_(None))
            .distinct()
            .order_by(*used)
            .limit(1000)
        )
        with self._database.read() as connection:
            return [tuple(row) for row in connection.execute(wanted)]

    def delete_artifacts(self, *, root: str, path: str) -> int:
        """Remove a file, or all below a folder; the blobs stay.

        Args:
            root: The artifact root, such as ``3/RUN/artifacts``.
            path: Path of the file or folder below the root; empty for all.

        Returns:
            How many files were removed.
        """
        here = artifacts.c.path == path
        below = (
            artifacts.c.path.startswith(f"{path}/", autoescape=True)
            if path
            else artifacts.c.path != ""
        )
        with self._database.write() as transaction:
            return transaction.execute(
                delete(artifacts).where(artifacts.c.root == root, here | below)
            ).rowcount

    def keep_source(self, *, run: str, environment: Environment, code: str) -> None:
        """Note what repeating a run needs: its environment and its code.

        Args:
            run: Id of the run.
            environment: How the run was started.
            code: Digest of its source files as a stored tree.

        Raises:
            NotFound: There is no such run, or no such tree.
        """
        content = to_json(environment)
        self.add_artifact(
            run=run, path=ENVIRONMENT, digest=self._blobs.put(content), bytes=len(content)
        )
        self.add_artifact(run=run, path=CODE, digest=code, bytes=read_tree(self._blobs, code).bytes)

    def sampled(
        self, *, run: str, key: str, start: int | None, end: int | None, wanted: int
    ) -> list[tuple[Step, int, float]]:
        """A series between two steps, thinned out for a chart.

        Args:
            run: Id of the run.
            key: Name of the metric.
            start: The first step; None here or in ``end`` for the whole series.
            end: The last step, included.
            wanted: About how many points to return at most.

        Returns:
            Each point as (step, microseconds since 1970, value), by step.

        Raises:
            NotFound: There is no such run.
        """
        found = self._points(run=run, key=key).in_order()
        if start is not None and end is not None:
            found = found.at_places(np.flatnonzero((found.steps >= start) & (found.steps <= end)))
        return list(found.at_places(history.thinned(found, wanted)).rows())

    @RECONCILE()
    def reconcile(self) -> int:
        """Compact series that came in many pieces."""
        return history.tidy(self._database)

    write_together = Tracking._write_together
    outcomes = Tracking._outcomes
    page = Tracking._page
    record = Tracking._record
    points = Tracking._points
    put_artifact = Tracking._put_artifact
    artifacts_at = Tracking._artifacts_at
