"""Runs with parameters, metrics and artifacts."""

import math
from collections.abc import Mapping
from typing import Any, Literal

from sqlalchemy import Connection, select

from treadle.events.service import Events
from treadle.kernel.clock import Clock
from treadle.kernel.errors import Conflict, Invalid, NotFound
from treadle.kernel.ids import new_id
from treadle.kernel.operation import command, query
from treadle.ports.database import Database, load
from treadle.tracking.model import Artifact, Metric, Point, Run, RunFinished, RunStarted
from treadle.tracking.tables import run_artifacts, run_params, run_points, runs


class Tracking:
    """What was tried, and what came out."""

    def __init__(self, database: Database, events: Events, clock: Clock) -> None:
        self._database, self._events, self._clock = database, events, clock

    @command()
    def start_run(self, *, project: str, name: str = "", params: dict[str, str] | None = None) -> Run:
        """Begin a run."""
        with self._database.write() as transaction:
            run = self.begin(transaction, project, name, params or {})
        return self.get(run=run)

    def begin(self, transaction: Connection, project: str, name: str, params: Mapping[str, str]) -> str:
        """Begin a run in the transaction of whoever needs it. Returns its id."""
        run = new_id("run")
        row = {"id": run, "project": project, "name": name or run, "status": "running"}
        transaction.execute(runs.insert().values(**row, started_at=self._clock.now()))
        self._set_params(transaction, run, params)
        self._events.append(transaction, RunStarted(run=run, project=project, name=row["name"]))
        return run

    @command()
    def log(self, *, run: str, metrics: list[Metric] | None = None, params: dict[str, str] | None = None) -> None:
        """Add metrics and parameters to a run. A parameter is set once; setting it to the same value again is fine."""
        for metric in metrics or []:
            if not math.isfinite(metric.value):
                raise Invalid(f"Metric '{metric.key}' is {metric.value}; a run stores finite numbers.")
        with self._database.write() as transaction:
            if transaction.scalar(select(runs.c.id).where(runs.c.id == run)) is None:
                raise NotFound(f"There is no run '{run}'. List them with: treadle tracking find")
            now = self._clock.now()
            points = [{"run": run, "key": m.key, "step": m.step, "value": m.value, "at": now} for m in metrics or []]
            if points:
                transaction.execute(run_points.insert(), points)
            self._set_params(transaction, run, params or {})

    @command()
    def add_artifact(self, *, run: str, path: str, digest: str, bytes: int) -> Artifact:
        """Attach a stored blob or tree to a run, under a path of its own."""
        with self._database.write() as transaction:
            here = (run_artifacts.c.run == run) & (run_artifacts.c.path == path)
            transaction.execute(run_artifacts.delete().where(here))
            transaction.execute(run_artifacts.insert().values(run=run, path=path, digest=digest, bytes=bytes))
        return Artifact(path=path, digest=digest, bytes=bytes)

    @command()
    def finish_run(self, *, run: str, status: Literal["finished", "failed"] = "finished") -> Run:
        """End a run. Ending it again the same way changes nothing."""
        found = self.get(run=run)
        if found.status != status:
            ended = {"status": status, "ended_at": self._clock.now()}
            with self._database.write() as transaction:
                transaction.execute(runs.update().where(runs.c.id == run).values(ended))
                self._events.append(transaction, RunFinished(run=run, project=found.project, status=status))
        return self.get(run=run)

    @query()
    def get(self, *, run: str) -> Run:
        """One run, with its parameters and the last value of each metric."""
        with self._database.read() as connection:
            row = connection.execute(select(runs).where(runs.c.id == run)).mappings().one_or_none()
            if row is None:
                raise NotFound(f"There is no run '{run}'. List them with: treadle tracking find")
            return _run(connection, row)

    @query()
    def find(self, *, project: str | None = None, limit: int = 50) -> list[Run]:
        """Runs, newest first, of one project if given."""
        wanted = select(runs).order_by(runs.c.id.desc()).limit(limit)
        if project:
            wanted = wanted.where(runs.c.project == project)
        with self._database.read() as connection:
            return [_run(connection, row) for row in connection.execute(wanted).mappings().all()]

    @query()
    def history(self, *, run: str, key: str) -> list[Point]:
        """All values of one metric, in order of step and of writing."""
        mine = (run_points.c.run == run) & (run_points.c.key == key)
        wanted = select(run_points).where(mine).order_by(run_points.c.step, run_points.c.number)
        with self._database.read() as connection:
            return [load(Point, row) for row in connection.execute(wanted).mappings()]

    @query()
    def artifacts(self, *, run: str) -> list[Artifact]:
        """What is attached to a run, by path."""
        wanted = select(run_artifacts).where(run_artifacts.c.run == run).order_by(run_artifacts.c.path)
        with self._database.read() as connection:
            return [load(Artifact, row) for row in connection.execute(wanted).mappings()]

    def _set_params(self, transaction: Connection, run: str, params: Mapping[str, str]) -> None:
        stored = _params(transaction, run)
        for key, value in params.items():
            if key not in stored:
                transaction.execute(run_params.insert().values(run=run, key=key, value=value))
            elif stored[key] != value:
                raise Conflict(f"Parameter '{key}' of run '{run}' is '{stored[key]}' already; a parameter is set once.")


def _run(connection: Connection, row: Mapping[Any, Any]) -> Run:
    points = select(run_points.c.key, run_points.c.value).where(run_points.c.run == row["id"])
    last = connection.execute(points.order_by(run_points.c.step, run_points.c.number)).all()
    return load(Run, row, params=_params(connection, row["id"]), metrics={key: value for key, value in last})  # noqa: C416


def _params(connection: Connection, run: str) -> dict[str, str]:
    rows = connection.execute(select(run_params.c.key, run_params.c.value).where(run_params.c.run == run))
    return {key: value for key, value in rows}  # noqa: C416
