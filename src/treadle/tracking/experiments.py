"""Experiments: made, found, changed, deleted and restored."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, delete, select

from treadle.kernel.clock import to_micros
from treadle.kernel.entity import from_json, to_text
from treadle.kernel.errors import Conflict, Invalid, NotFound, did_you_mean
from treadle.kernel.names import ExperimentId, ExperimentName, Location, ProjectName
from treadle.kernel.operation import command, query
from treadle.ports.database import in_sight, load
from treadle.tracking.events import ExperimentCreated, ExperimentDeleted, ExperimentRestored
from treadle.tracking.language import Field, parse_orders
from treadle.tracking.limits import check_text
from treadle.tracking.matching import found_in, in_order
from treadle.tracking.model import OWN_STORE, Experiment
from treadle.tracking.records import TrackingRecords, fitting
from treadle.tracking.search import View
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

DEFAULT = "Default"
"""The experiment of those who name none; its id is 0, as MLflow clients expect."""


class Experiments(TrackingRecords):
    """Experiments of projects."""

    @command()
    def create_experiment(
        self,
        *,
        name: ExperimentName,
        project: ProjectName = "",
        tags: dict[str, str] | None = None,
        artifacts_at: Location = "",
    ) -> Experiment:
        """Make an experiment, in a project of the same name if none is given.

        A name is used once at a time.

        Args:
            name: Name to give it.
            project: Project that it belongs to; the one of its own name if none is given.
            tags: Tags to set, by key.
            artifacts_at: Location of its runs' files; the server's own store if none is given.

        Raises:
            Conflict: A live experiment has that name.
            Invalid: The name is empty, or has more than 500 characters or a NUL.
        """
        with self._database.write() as transaction:
            if (
                transaction.scalar(select(experiments.c.id).where(experiments.c.live_name == name))
                is not None
            ):
                raise Conflict(f"Experiment '{name}' already exists.")
            number = self._make_experiment(transaction, name, project, tags or {}, artifacts_at)
        return self.experiment(id=number)

    @query()
    def experiment(
        self, *, id: ExperimentId | None = None, name: ExperimentName | None = None
    ) -> Experiment:
        """One experiment by its number, or a live one by its name.

        Args:
            id: Number of the experiment.
            name: Name of a live experiment.

        Raises:
            Invalid: Neither id nor name is given, or both are.
            NotFound: There is no such experiment.
        """
        if (id is None) == (name is None):
            raise Invalid("Name the experiment by its id or by its name.")
        wanted = experiments.c.live_name == name if id is None else experiments.c.id == fitting(id)
        with self._database.read() as connection:
            row = connection.execute(select(experiments).where(wanted)).mappings().one_or_none()
            if row is None:
                known = (
                    connection.scalars(
                        select(experiments.c.live_name)
                        .where(in_sight(experiments.c.project))
                        .limit(2_000)
                    ).all()
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
        project: ProjectName | None = None,
    ) -> list[Experiment]:
        """Experiments that satisfy a filter, the last changed first if no order is given.

        Args:
            filter: Condition such as `tags.team = 'search'`; empty for all.
            order: Fields to sort by, such as `name DESC`, the most important first.
            view: Whether to list active, deleted or all experiments.
            project: Only those of this project.

        Raises:
            Invalid: The filter or an order cannot be read.
        """
        shown = {
            "active": experiments.c.deleted_at.is_(None),
            "deleted": experiments.c.deleted_at.is_not(None),
        }
        wanted = select(experiments).where(in_sight(experiments.c.project))
        wanted = wanted.order_by(experiments.c.updated_at.desc(), experiments.c.id.desc())
        if view in shown:
            wanted = wanted.where(shown[view])
        if project is not None:
            wanted = wanted.where(experiments.c.project == project)
        with self._database.read() as connection:
            found = [_experiment(row) for row in connection.execute(wanted).mappings()]
        orders = parse_orders(order or [])
        return in_order(found_in(found, filter, [], _looked), orders, _ranked)

    @command()
    def change_experiment(
        self,
        *,
        id: ExperimentId,
        name: ExperimentName | None = None,
        tags: dict[str, str | None] | None = None,
    ) -> Experiment:
        """Give an experiment another name, set tags, and remove those given as none.

        Args:
            id: Number of the experiment.
            name: A new name.
            tags: Tags to set by key; null removes one.

        Raises:
            NotFound: There is no such experiment.
            Conflict: Another live experiment has the new name.
            Invalid: A tag's key or value is too long, or has a NUL in it.
        """
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
    def delete_experiment(self, *, id: ExperimentId, erase: bool = False) -> None:
        """Put an experiment and its runs away; they can be restored, and its name be used again.

        ``erase`` leaves nothing.

        Args:
            id: Number of the experiment.
            erase: Whether to remove it for good instead of marking it as deleted.

        Raises:
            NotFound: There is no such experiment.
        """
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
    def restore_experiment(self, *, id: ExperimentId) -> Experiment:
        """Bring an experiment back, with the runs that were put away with it.

        Args:
            id: Number of the experiment.

        Raises:
            NotFound: There is no such experiment.
            Conflict: A live experiment has its name by now.
        """
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
            uri = {"artifacts_at": f"{OWN_STORE}{number}"}
            transaction.execute(experiments.update().where(experiments.c.id == number).values(uri))
        self._events.append(
            transaction, ExperimentCreated(experiment=number, project=project, name=name)
        )
        return number

    def _erase_run(self, transaction: Connection, run: str, number: int, experiment: int) -> None:
        for table in (run_params, run_tags, run_metrics, run_segments, run_datasets, run_models):
            transaction.execute(delete(table).where(table.c.run == number))
        transaction.execute(
            delete(artifacts).where(artifacts.c.root == f"{experiment}/{run}/artifacts")
        )
        transaction.execute(delete(runs).where(runs.c.number == number))


def _experiment(row: Mapping[Any, Any]) -> Experiment:
    return load(Experiment, row, tags=from_json(row["tags"], dict[str, str]))


def _ranked(experiment: Experiment, field: Field) -> Any:
    """A field of an experiment, for orders: ids are numbers."""
    if field.kind == "attribute" and field.key == "experiment_id":
        return experiment.id
    return _looked(experiment, field)


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
