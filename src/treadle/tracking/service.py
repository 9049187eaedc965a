"""Experiments and runs, with parameters, metrics, data and artifacts."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection, Select, Table, and_, bindparam, delete, select

from treadle.events.service import Events
from treadle.kernel.clock import Clock, from_micros, to_micros
from treadle.kernel.entity import from_json, to_json, to_text
from treadle.kernel.errors import Conflict, Invalid, NotFound, did_you_mean
from treadle.kernel.event import current_act
from treadle.kernel.ids import new_id
from treadle.kernel.operation import command, query
from treadle.ports.blobs import Blobs
from treadle.ports.database import Database, load
from treadle.ports.tree import read_files, read_tree
from treadle.tracking import history, ingest
from treadle.tracking.compare import Side, compared
from treadle.tracking.environment import CODE, ENVIRONMENT, Environment
from treadle.tracking.ingest import Incoming, incoming, put_texts
from treadle.tracking.language import Field, found_in, parse, parse_order
from treadle.tracking.model import (
    Artifact,
    Batch,
    Comparison,
    Dataset,
    Downsampled,
    Experiment,
    ExperimentCreated,
    ExperimentDeleted,
    ExperimentRestored,
    HistoryAdded,
    Metric,
    ModelUse,
    PastRun,
    Point,
    Run,
    RunDeleted,
    RunFinished,
    RunPage,
    RunRestored,
    RunStarted,
    RunUsedData,
    Series,
    Status,
    check_text,
)
from treadle.tracking.search import Search, View
from treadle.tracking.segments import Points, Step
from treadle.tracking.tables import (
    artifacts,
    experiments,
    logged_models,
    run_datasets,
    run_metrics,
    run_models,
    run_params,
    run_segments,
    run_tags,
    runs,
)

_runs = runs  # where a parameter has the table's name
DEFAULT = "Default"
"""The experiment of those who name none; its id is 0, as MLflow clients expect."""
ENDED: tuple[Status, ...] = ("finished", "failed", "killed")


class Tracking:
    """What was tried, and what came out."""

    def __init__(self, database: Database, events: Events, clock: Clock, blobs: Blobs) -> None:
        self._database, self._events, self._clock, self._blobs = database, events, clock, blobs

    @command()
    def create_experiment(
        self,
        *,
        name: str,
        project: str = "",
        tags: dict[str, str] | None = None,
        artifacts_at: str = "",
    ) -> Experiment:
        """Make an experiment, in a project of the same name if none is given. A name is used once at a time."""
        with self._database.write() as transaction:
            if (
                transaction.scalar(select(experiments.c.id).where(experiments.c.live_name == name))
                is not None
            ):
                raise Conflict(f"Experiment '{name}' already exists.")
            number = self._make_experiment(transaction, name, project, tags or {}, artifacts_at)
        return self.experiment(id=number)

    def ensure_default(self) -> None:
        """Make the experiment of those who name none, unless it is there, alive or put away."""
        with self._database.read() as connection:
            if connection.scalar(select(experiments.c.id).where(experiments.c.id == 0)) is not None:
                return
        with self._database.write() as transaction:
            self._experiment_named(transaction, DEFAULT, "")

    @query()
    def experiment(self, *, id: int | None = None, name: str | None = None) -> Experiment:
        """One experiment by its number, or a live one by its name."""
        if (id is None) == (name is None):
            raise Invalid("Name the experiment by its id or by its name.")
        wanted = experiments.c.live_name == name if id is None else experiments.c.id == _fitting(id)
        with self._database.read() as connection:
            row = connection.execute(select(experiments).where(wanted)).mappings().one_or_none()
            if row is None:
                known = (
                    connection.scalars(select(experiments.c.live_name).limit(2_000)).all()
                    if name
                    else ()
                )
                near = did_you_mean(name or "", [one for one in known if one])
                raise NotFound(
                    f"There is no experiment '{name if name is not None else id}'.{near}"
                )
        return _experiment(row)

    @query()
    def experiments(
        self,
        *,
        filter: str = "",
        order: list[str] | None = None,
        view: View = "active",
        project: str | None = None,
    ) -> list[Experiment]:
        """Experiments that satisfy a filter, the last changed first if no order is given."""
        shown = {
            "active": experiments.c.deleted_at.is_(None),
            "deleted": experiments.c.deleted_at.is_not(None),
        }
        wanted = select(experiments).order_by(
            experiments.c.updated_at.desc(), experiments.c.id.desc()
        )
        if view in shown:
            wanted = wanted.where(shown[view])
        if project is not None:
            wanted = wanted.where(experiments.c.project == project)
        with self._database.read() as connection:
            found = [_experiment(row) for row in connection.execute(wanted).mappings()]
        return found_in(found, filter, order or [], _looked)

    @command()
    def change_experiment(
        self, *, id: int, name: str | None = None, tags: dict[str, str | None] | None = None
    ) -> Experiment:
        """Give an experiment another name, set tags, and remove those given as none."""
        found = self.experiment(id=id)
        for key, value in (tags or {}).items():
            check_text("Tag", key, value or "")
        with self._database.write() as transaction:
            kept = {**found.tags, **(tags or {})}
            values: dict[str, Any] = {
                "tags": to_text({k: v for k, v in kept.items() if v is not None})
            }
            if name is not None and name != found.name:
                if (
                    transaction.scalar(
                        select(experiments.c.id).where(experiments.c.live_name == name)
                    )
                    is not None
                ):
                    raise Conflict(f"Experiment '{name}' already exists.")
                values |= {"name": name, "live_name": name}
            values["updated_at"] = self._clock.now()
            transaction.execute(experiments.update().where(experiments.c.id == id).values(values))
        return self.experiment(id=id)

    @command()
    def delete_experiment(self, *, id: int, erase: bool = False) -> None:
        """Put an experiment and its runs away; they can be restored, and its name be used again. ``erase`` leaves nothing."""
        found = self.experiment(id=id)
        with self._database.write() as transaction:
            inside = runs.c.experiment == id
            if erase:
                for run in transaction.execute(
                    select(runs.c.id, runs.c.number).where(inside)
                ).all():
                    self._erase_run(transaction, run.id, run.number, id)
                transaction.execute(delete(logged_models).where(logged_models.c.experiment == id))
                transaction.execute(delete(artifacts).where(artifacts.c.root.like(f"{id}/%")))
                transaction.execute(delete(experiments).where(experiments.c.id == id))
            else:
                now = self._clock.now()
                gone = {"deleted_at": now, "updated_at": now, "live_name": None}
                transaction.execute(experiments.update().where(experiments.c.id == id).values(gone))
                transaction.execute(
                    runs.update().where(inside, runs.c.deleted_at.is_(None)).values(deleted_at=now)
                )
            self._events.append(
                transaction,
                ExperimentDeleted(
                    experiment=id, project=found.project, name=found.name, erased=erase
                ),
            )

    @command()
    def restore_experiment(self, *, id: int) -> Experiment:
        """Bring an experiment back, with the runs that were put away with it."""
        found = self.experiment(id=id)
        if found.deleted_at is None:
            return found
        with self._database.write() as transaction:
            if (
                transaction.scalar(
                    select(experiments.c.id).where(experiments.c.live_name == found.name)
                )
                is not None
            ):
                raise Conflict(f"Experiment '{found.name}' already exists. Rename that one first.")
            back = {"deleted_at": None, "live_name": found.name, "updated_at": self._clock.now()}
            transaction.execute(experiments.update().where(experiments.c.id == id).values(back))
            together = (runs.c.experiment == id) & (runs.c.deleted_at == found.deleted_at)
            transaction.execute(runs.update().where(together).values(deleted_at=None))
            self._events.append(
                transaction,
                ExperimentRestored(experiment=id, project=found.project, name=found.name),
            )
        return self.experiment(id=id)

    @command()
    def start_run(
        self,
        *,
        experiment: str = "",
        project: str = "",
        name: str = "",
        params: dict[str, str] | None = None,
        tags: dict[str, str] | None = None,
        id: str = "",
        user: str = "",
        started_at: datetime | None = None,
    ) -> Run:
        """Begin a run in an experiment, which is made if need be. A sender that may repeat this gives the run's id."""
        with self._database.write() as transaction:
            if not id or transaction.scalar(select(runs.c.id).where(runs.c.id == id)) is None:
                where = self._experiment_named(
                    transaction, experiment or project or DEFAULT, project
                )
                id = self._insert_run(transaction, where, id, name, user, started_at)
                self._texts(transaction, run_params, id, params or {})
                self._texts(transaction, run_tags, id, tags or {})
        return self.get(run=id)

    def begin_in(
        self,
        *,
        experiment: int,
        name: str,
        tags: Mapping[str, str],
        user: str,
        started_at: datetime | None,
    ) -> Run:
        """Begin a run in an experiment that is known by its number."""
        with self._database.write() as transaction:
            here = select(experiments.c.id, experiments.c.project, experiments.c.deleted_at)
            found = transaction.execute(
                here.where(experiments.c.id == _fitting(experiment))
            ).one_or_none()
            if found is None:
                raise NotFound(f"No Experiment with id={experiment} exists")
            if found.deleted_at is not None:
                raise Invalid(
                    f"The experiment {experiment} must be in the 'active' state. Current state is deleted."
                )
            run = self._insert_run(
                transaction, (found.id, found.project), "", name, user, started_at
            )
            self._texts(transaction, run_tags, run, tags)
        return self.get(run=run)

    def begin(
        self, transaction: Connection, project: str, name: str, params: Mapping[str, str]
    ) -> str:
        """Begin a run in the transaction of whoever needs it, in the experiment named like the project. Returns its id."""
        where = self._experiment_named(transaction, project, project)
        run = self._insert_run(transaction, where, "", name, "", None)
        self._texts(transaction, run_params, run, params)
        return run

    def measured(self, transaction: Connection, run: str, metrics: Mapping[str, float]) -> None:
        """Add what was found out about a run in the transaction of whoever found it."""
        now = to_micros(self._clock.now())
        columns = {key: ingest.Column([0], [now], [value]) for key, value in metrics.items()}
        ingest.write_in(transaction, [Incoming(run=run, columns=columns)])

    @command()
    def log(
        self,
        *,
        run: str,
        metrics: list[Metric] | None = None,
        params: dict[str, str] | None = None,
        tags: dict[str, str] | None = None,
    ) -> None:
        """Add metrics, parameters and tags to a run. A parameter is set once; setting it to the same value again is fine."""
        columns: dict[str, ingest.Column] = {}
        now = to_micros(self._clock.now())
        for metric in metrics or []:
            column = columns.setdefault(metric.key, ingest.Column([], [], []))
            column.steps.append(metric.step)
            column.at.append(now if metric.at is None else to_micros(metric.at))
            column.values.append(metric.value)
        self.write_together(
            [Incoming(run=run, columns=columns, params=params or {}, tags=tags or {})]
        )

    @command()
    def write(self, *, batches: list[Batch]) -> None:
        """Add what senders collected, in one transaction. Raises what the first refused batch was refused for; others count."""
        self.write_together([incoming(batch) for batch in batches])

    def write_together(self, batches: Sequence[Incoming]) -> None:
        for failed in self.outcomes(batches):
            if failed is not None:
                raise failed

    def outcomes(self, batches: Sequence[Incoming]) -> list[Exception | None]:
        """Make many senders' batches durable at once; gives what each one failed with, or None."""
        return ingest.write(self._database, batches)

    @command()
    def add_history(self, *, source: str, runs: list[PastRun]) -> int:
        """Take in runs that happened elsewhere, all or none; those that are here already are left alone. Returns how many came."""
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

    def known(self, ids: Sequence[str]) -> set[str]:
        """Those of these runs that are here."""
        with self._database.read() as connection:
            return set(connection.scalars(select(_runs.c.id).where(_runs.c.id.in_(list(ids)))))

    def _projects(self, transaction: Connection, numbers: set[int]) -> dict[int, str]:
        wanted = select(experiments.c.id, experiments.c.project).where(
            experiments.c.id.in_(list(numbers))
        )
        found = dict(transaction.execute(wanted).all())
        missing = sorted(numbers - set(found))
        if missing:
            raise NotFound(f"There is no experiment {missing[0]}.")
        return found

    def _insert_past(self, transaction: Connection, run: PastRun, project: str) -> None:
        names = ("id", "experiment", "name", "user", "status", "started_at", "ended_at")
        row = {name: getattr(run, name) for name in names} | {"project": project}
        transaction.execute(_runs.insert().values(row))
        if run.datasets:
            number = self._number(transaction, run.id)
            for one in run.datasets:
                facts = {name: getattr(one, name) for name in one.__struct_fields__} | {
                    "tags": to_text(one.tags)
                }
                transaction.execute(run_datasets.insert().values(run=number, **facts))

    @command()
    def change_run(
        self,
        *,
        run: str,
        name: str | None = None,
        status: Status | None = None,
        ended_at: datetime | None = None,
    ) -> Run:
        """Change a run's name or status. A status that ends it sets when, now if not given."""
        found = self.get(run=run)
        values: dict[str, Any] = {} if name is None else {"name": name}
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
    def finish_run(self, *, run: str, status: Status = "finished") -> Run:
        """End a run. Ending it again the same way changes nothing."""
        found = self.get(run=run)
        return found if found.status == status else self.change_run(run=run, status=status)

    @command()
    def delete_tag(self, *, run: str, key: str) -> None:
        """Remove a tag from a run."""
        with self._database.write() as transaction:
            number = self._number(transaction, run)
            here = (run_tags.c.run == number) & (run_tags.c.key == key)
            if not transaction.execute(delete(run_tags).where(here)).rowcount:
                raise NotFound(f"No tag with name: {key} in run with id {run}")

    @command()
    def delete_run(self, *, run: str, erase: bool = False) -> None:
        """Put a run away; it can be restored. ``erase`` leaves nothing of it but the events that tell of it."""
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
    def restore_run(self, *, run: str) -> Run:
        """Bring a run back that was put away."""
        found = self.get(run=run)
        if found.deleted_at is not None:
            with self._database.write() as transaction:
                transaction.execute(runs.update().where(runs.c.id == run).values(deleted_at=None))
                self._events.append(transaction, RunRestored(run=run, project=found.project))
        return self.get(run=run)

    @command()
    def use_data(self, *, run: str, datasets: list[Dataset]) -> None:
        """Note the data that a run read. Noting it again changes nothing."""
        with self._database.write() as transaction:
            number = self._number(transaction, run)
            known = select(run_datasets.c.name, run_datasets.c.digest).where(
                run_datasets.c.run == number
            )
            there = {tuple(row) for row in transaction.execute(known)}
            new = {
                (one.name, one.digest): one
                for one in datasets
                if (one.name, one.digest) not in there
            }
            for one in new.values():
                row = {name: getattr(one, name) for name in one.__struct_fields__} | {
                    "tags": to_text(one.tags)
                }
                transaction.execute(run_datasets.insert().values(run=number, **row))
            if new:
                digests = {name: digest for name, digest in new}  # noqa: C416
                project = transaction.scalar(select(runs.c.project).where(runs.c.id == run))
                event = RunUsedData(run=run, project=str(project), datasets=digests)
                self._events.append(transaction, event)

    def use_models(self, *, run: str, models: Sequence[ModelUse]) -> None:
        """Note models that a run read or wrote. Noting one again changes its step."""
        with self._database.write() as transaction:
            number = self._number(transaction, run)
            for one in models:
                row = {"run": number, "model": one.model, "direction": one.direction}
                here = and_(*(run_models.c[name] == value for name, value in row.items()))
                transaction.execute(delete(run_models).where(here))
                transaction.execute(run_models.insert().values(**row, step=one.step))

    def inputs(self, numbers: Sequence[int]) -> dict[int, tuple[list[Dataset], list[ModelUse]]]:
        """The data and the models of runs, by their numbers; of those that named any."""
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
                    found.setdefault(row["run"], ([], []))[0].append(_dataset(row))
                wanted = (
                    select(run_models).where(run_models.c.run.in_(some)).order_by(run_models.c.step)
                )
                for row in connection.execute(wanted).mappings():
                    found.setdefault(row["run"], ([], []))[1].append(load(ModelUse, row))
        return found

    @query()
    def datasets(self, *, run: str) -> list[Dataset]:
        """The data that a run read, by name."""
        with self._database.read() as connection:
            mine = run_datasets.c.run == self._number(connection, run)
            rows = connection.execute(
                select(run_datasets).where(mine).order_by(run_datasets.c.name)
            ).mappings()
            return [_dataset(row) for row in rows]

    @command()
    def add_artifact(self, *, run: str, path: str, digest: str, bytes: int) -> Artifact:
        """Attach a stored blob or tree to a run, under a path of its own."""
        self.put_artifact(
            root=self.get(run=run).artifact_root, path=path, digest=digest, bytes=bytes
        )
        return Artifact(path=path, digest=digest, bytes=bytes)

    def put_artifact(self, *, root: str, path: str, digest: str, bytes: int) -> None:
        """Put a stored blob under a path of an artifact root; what was there before is replaced."""
        with self._database.write() as transaction:
            here = (artifacts.c.root == root) & (artifacts.c.path == path)
            transaction.execute(delete(artifacts).where(here))
            transaction.execute(
                artifacts.insert().values(root=root, path=path, digest=digest, bytes=bytes)
            )

    def delete_artifacts(self, *, root: str, path: str) -> int:
        """Remove a file, or all below a folder; the blobs stay. Returns how many files were removed."""
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

    def artifacts_at(self, root: str) -> list[Artifact]:
        """All files of an artifact root, by path."""
        wanted = select(artifacts).where(artifacts.c.root == root).order_by(artifacts.c.path)
        with self._database.read() as connection:
            return [load(Artifact, row) for row in connection.execute(wanted).mappings()]

    @query()
    def artifacts(self, *, run: str) -> list[Artifact]:
        """What is attached to a run, by path."""
        return self.artifacts_at(self.get(run=run).artifact_root)

    @query()
    def get(self, *, run: str) -> Run:
        """One run, with its parameters, its tags and the last value of each metric."""
        return self.record(run).run()

    @query()
    def find(self, *, project: str | None = None, limit: int = 50) -> list[Run]:
        """Runs, newest first, of one project if given."""
        wanted = (
            select(runs)
            .where(runs.c.deleted_at.is_(None))
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
        experiments: list[int],
        filter: str = "",
        order: list[str] | None = None,
        view: View = "active",
        limit: int = 100,
        page: str = "",
    ) -> RunPage:
        """Runs of experiments that satisfy a filter such as ``metrics.loss < 0.3 AND NOT tags.team LIKE 'v%'``, newest first.

        ``order`` takes fields such as ``metrics.loss DESC``. ``page`` is what the page before gave as ``next``.
        """
        found, token = self.page(experiments, filter, order or [], view, limit, page)
        return RunPage(runs=[one.run() for one in found], next=token)

    def page(
        self,
        experiments: Sequence[int],
        filter: str,
        order: Sequence[str],
        view: View,
        limit: int,
        token: str,
    ) -> tuple[list["Record"], str]:
        """What a search finds, as it is stored, and the token of the next page."""
        if not 1 <= limit <= 50_000:
            raise Invalid(f"Field 'limit': a page has 1 to 50,000 runs, not {limit}.")
        node, orders = parse(filter), [parse_order(text) for text in order]
        if not experiments:
            return [], ""
        with self._database.read() as connection:
            rows, following = Search(connection, experiments, view).page(node, orders, limit, token)
            return records(connection, rows), following

    def record(self, run: str) -> "Record":
        """One run as it is stored."""
        with self._database.read() as connection:
            row = connection.execute(select(runs).where(runs.c.id == run)).one_or_none()
            if row is None:
                raise NotFound(f"There is no run '{run}'. List them with: treadle tracking find")
            return records(connection, [row])[0]

    @query()
    def compare(self, *, a: str, b: str) -> Comparison:
        """What differs between two runs: lines of code, parameters, the content of their data, environment, last metrics, tags."""
        return compared(self._side(a), self._side(b))

    @query()
    def environment(self, *, run: str) -> Environment | None:
        """What was noted of a run's command, Python and packages; none where nothing was."""
        kept = {file.path: file.digest for file in self.artifacts(run=run)}
        return (
            from_json(self._blobs.get(kept[ENVIRONMENT]), Environment)
            if ENVIRONMENT in kept
            else None
        )

    def keep_source(self, *, run: str, environment: Environment, code: str) -> None:
        """Note what repeating a run needs: its environment, and its code as a stored tree."""
        content = to_json(environment)
        self.add_artifact(
            run=run, path=ENVIRONMENT, digest=self._blobs.put(content), bytes=len(content)
        )
        self.add_artifact(run=run, path=CODE, digest=code, bytes=read_tree(self._blobs, code).bytes)

    def _side(self, run: str) -> Side:
        kept = {file.path: file.digest for file in self.artifacts(run=run)}
        code = read_files(self._blobs, kept[CODE]) if CODE in kept else None
        return Side(self.get(run=run), self.datasets(run=run), code, self.environment(run=run))

    @query()
    def history(self, *, run: str, key: str) -> list[Point]:
        """All values of one metric, in order of step and of writing."""
        points = self.points(run=run, key=key).in_order()
        return [
            Point(step=step, value=value, at=from_micros(at)) for step, at, value in points.rows()
        ]

    def points(self, *, run: str, key: str) -> Points:
        """All points of one metric as columns, in the order they came."""
        with self._database.read() as connection:
            return history.read(connection, self._number(connection, run), key)

    @query()
    def series(self, *, run: str) -> list[Series]:
        """What is known of each metric of a run: how many points, the last, the extremes."""
        with self._database.read() as connection:
            mine = run_metrics.c.run == self._number(connection, run)
            return [
                _series(row)
                for row in connection.execute(
                    select(run_metrics).where(mine).order_by(run_metrics.c.key)
                )
            ]

    @query()
    def chart(self, *, runs: list[str], key: str, points: int = 1_000) -> list[Downsampled]:
        """One metric of many runs, thinned out for a chart: each stretch keeps its extremes."""
        with self._database.read() as connection:
            return [
                self._thinned(connection, run, key, min(max(points, 4), 100_000))
                for run in runs[:1_000]
            ]

    def _thinned(self, connection: Connection, run: str, key: str, wanted: int) -> Downsampled:
        found = history.read(connection, self._number(connection, run), key).in_order()
        thin = found.at_places(history.thinned(found, wanted))
        steps = thin.steps.astype(float).tolist()
        return Downsampled(
            run=run, key=key, points=len(found), steps=steps, values=thin.value.tolist()
        )

    def sampled(
        self, *, run: str, key: str, start: int | None, end: int | None, wanted: int
    ) -> list[tuple[Step, int, float]]:
        """A series between two steps (both included), thinned out to about ``wanted`` points."""
        found = self.points(run=run, key=key).in_order()
        if start is not None and end is not None:
            found = found.at_places(np.flatnonzero((found.steps >= start) & (found.steps <= end)))
        return list(found.at_places(history.thinned(found, wanted)).rows())

    def reconcile(self) -> int:
        """Compact series that came in many pieces."""
        return history.tidy(self._database)

    def _experiment_named(
        self, transaction: Connection, name: str, project: str
    ) -> tuple[int, str]:
        """The number and project of a live experiment; made if need be."""
        here = select(experiments.c.id, experiments.c.project).where(
            experiments.c.live_name == name
        )
        row = transaction.execute(here).one_or_none()
        if row is not None:
            return row.id, row.project
        number = self._make_experiment(transaction, name, project, {}, "")
        return number, project or name

    def _make_experiment(
        self,
        transaction: Connection,
        name: str,
        project: str,
        tags: Mapping[str, str],
        artifacts_at: str,
    ) -> int:
        if not name.strip() or len(name) > 500 or "\0" in name:
            raise Invalid(f"Invalid experiment name: '{name[:80]}'. It has 1 to 500 characters.")
        now, project = self._clock.now(), (project or name)[:63]
        row: dict[str, Any] = {
            "project": project,
            "name": name,
            "live_name": name,
            "artifacts_at": artifacts_at,
        }
        row |= {"tags": to_text(dict(tags)), "created_at": now, "updated_at": now}
        if (
            name == DEFAULT
            and transaction.scalar(select(experiments.c.id).where(experiments.c.id == 0)) is None
        ):
            row["id"] = 0
        transaction.execute(experiments.insert().values(row))
        number = int(
            transaction.execute(
                select(experiments.c.id).where(experiments.c.live_name == name)
            ).scalar_one()
        )
        if not artifacts_at:
            uri = {"artifacts_at": f"mlflow-artifacts:/{number}"}
            transaction.execute(experiments.update().where(experiments.c.id == number).values(uri))
        self._events.append(
            transaction, ExperimentCreated(experiment=number, project=project, name=name)
        )
        return number

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

    def _texts(
        self, transaction: Connection, table: Table, run: str, given: Mapping[str, str]
    ) -> None:
        for key, value in given.items():
            check_text("Parameter" if table is run_params else "Tag", key, value)
        if given:
            row = transaction.execute(
                select(runs.c.number, runs.c.experiment).where(runs.c.id == run)
            ).one()
            put_texts(
                transaction,
                table,
                [(row.number, row.experiment, key, value) for key, value in given.items()],
            )

    def _number(self, connection: Connection, run: str) -> int:
        number = connection.scalar(select(runs.c.number).where(runs.c.id == run))
        if number is None:
            raise NotFound(f"There is no run '{run}'. List them with: treadle tracking find")
        return int(number)

    def _erase_run(self, transaction: Connection, run: str, number: int, experiment: int) -> None:
        for table in (run_params, run_tags, run_metrics, run_segments, run_datasets, run_models):
            transaction.execute(delete(table).where(table.c.run == number))
        transaction.execute(
            delete(artifacts).where(artifacts.c.root == f"{experiment}/{run}/artifacts")
        )
        transaction.execute(delete(runs).where(runs.c.number == number))


class Record(NamedTuple):
    """A row of ``runs`` with what belongs to it, as it is stored."""

    row: Any
    params: dict[str, str]
    tags: dict[str, str]
    metrics: list[Any]
    artifacts_at: str

    def run(self) -> Run:
        row = self.row
        return Run(
            id=row.id,
            experiment=row.experiment,
            project=row.project,
            name=row.name,
            user=row.user,
            status=row.status,
            started_at=row.started_at,
            ended_at=row.ended_at,
            deleted_at=row.deleted_at,
            params=self.params,
            tags=self.tags,
            metrics={
                metric.key: math.nan if metric.last is None else metric.last
                for metric in self.metrics
            },
        )


def records(connection: Connection, rows: Sequence[Any]) -> list[Record]:
    """Rows of ``runs`` with what belongs to them."""
    wanted = select(experiments.c.id, experiments.c.artifacts_at)
    places = dict(
        connection.execute(
            wanted.where(experiments.c.id.in_({row.experiment for row in rows}))
        ).all()
    )
    found = {
        row.number: Record(row, {}, {}, [], f"{places[row.experiment]}/{row.id}/artifacts")
        for row in rows
    }
    numbers = list(found)
    for at in range(0, len(numbers), ingest.MANY):
        some = numbers[at : at + ingest.MANY]
        for run, key, value in connection.execute(_texts_of(run_params, some)):
            found[run].params[key] = value
        for run, key, value in connection.execute(_texts_of(run_tags, some)):
            found[run].tags[key] = value
        for metric in connection.execute(select(run_metrics).where(run_metrics.c.run.in_(some))):
            found[metric.run].metrics.append(metric)
    return list(found.values())


def _texts_of(table: Table, numbers: Sequence[int]) -> Select[Any]:
    return select(table.c.run, table.c.key, table.c.value).where(table.c.run.in_(numbers))


def _dataset(row: Mapping[Any, Any]) -> Dataset:
    return load(Dataset, row, tags=from_json(row["tags"], dict[str, str]))


def _series(row: Any) -> Series:
    return Series(
        key=row.key,
        points=row.points,
        last=math.nan if row.last is None else row.last,
        step=row.step + row.rest if row.rest else row.step,
        at=from_micros(row.at),
        low=row.low,
        high=row.high,
    )


def _experiment(row: Mapping[Any, Any]) -> Experiment:
    return load(Experiment, row, tags=from_json(row["tags"], dict[str, str]))


def _looked(experiment: Experiment, field: Field) -> Any:
    """A field of an experiment, for filters."""
    if field.kind == "tag":
        return experiment.tags.get(field.key)
    times = {"creation_time": experiment.created_at, "last_update_time": experiment.updated_at}
    if field.kind == "attribute" and field.key in times:
        return to_micros(times[field.key]) // 1000
    facts = {
        "name": experiment.name,
        "experiment_id": str(experiment.id),
        "project": experiment.project,
    }
    if field.kind != "attribute" or field.key not in facts:
        known = [*facts, *times]
        raise Invalid(
            f"An experiment has no '{field.key}' to search.{did_you_mean(field.key, known)}"
        )
    return facts[field.key]


def _fitting(id: int) -> int:
    """No number of an experiment is beyond 31 bits; one that is asked for is not there."""
    return id if -1 <= id < 2**31 else -1
