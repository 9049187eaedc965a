"""Models that runs wrote and nobody has registered yet, as MLflow's clients of 3.x log them."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import select, update

from treadle.kernel.clock import Clock, to_micros
from treadle.kernel.entity import from_json, to_text
from treadle.kernel.errors import Invalid, NotFound, did_you_mean
from treadle.kernel.names import ExperimentId, LoggedModelId
from treadle.kernel.operation import command, query
from treadle.ports.database import Database, load
from treadle.tracking.language import MOST_CONDITIONS, Field, parse, parse_orders
from treadle.tracking.matching import equalities, in_order, matches
from treadle.tracking.model import Artifact, LoggedModel, ModelMetric
from treadle.tracking.tables import artifacts, logged_models

_TEXTS = {
    "name": logged_models.c.name,
    "model_id": logged_models.c.id,
    "source_run_id": logged_models.c.run,
}
"""Attributes that filters compare as the database has them."""


class On(NamedTuple):
    """A dataset that metrics were measured on. No name is any dataset, no digest any content."""

    name: str = ""
    digest: str = ""

    def has(self, metric: ModelMetric) -> bool:
        """Whether a metric was measured on this dataset.

        Args:
            metric: A metric of a logged model.
        """
        return self.name in ("", metric.dataset_name) and self.digest in ("", metric.dataset_digest)


class LoggedModels:
    """Logged models of all experiments."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    @query()
    def get(self, id: LoggedModelId) -> LoggedModel:
        """One logged model.

        Args:
            id: Id of the logged model.

        Raises:
            NotFound: There is no such model, or it was deleted.
        """
        with self._database.read() as connection:
            row = (
                connection.execute(select(logged_models).where(logged_models.c.id == id))
                .mappings()
                .one_or_none()
            )
        if row is None or row["deleted_at"] is not None:
            raise NotFound(f"There is no logged model '{id}'.")
        return _loaded(row)

    @query()
    def artifacts(self, *, id: LoggedModelId) -> list[Artifact]:
        """The files of a logged model, by path.

        Args:
            id: Id of the logged model.

        Raises:
            NotFound: There is no such model, or it was deleted.
        """
        root = self.get(id).artifact_root
        own = select(artifacts).where(artifacts.c.root == root).order_by(artifacts.c.path)
        with self._database.read() as connection:
            return [load(Artifact, row) for row in connection.execute(own).mappings()]

    @command()
    def set_tags(self, id: LoggedModelId, tags: dict[str, str | None]) -> LoggedModel:
        """Set tags of a logged model, and remove those given as null.

        Args:
            id: Id of the logged model.
            tags: Tags to set by key; null removes one.

        Raises:
            NotFound: There is no such model, or it was deleted.
        """

        def change(model: LoggedModel) -> dict[str, Any]:
            kept = {
                key: value for key, value in {**model.tags, **tags}.items() if value is not None
            }
            return {"tags": to_text(kept)}

        return self._changed(id, change)

    @command()
    def delete(self, id: LoggedModelId) -> None:
        """Mark a logged model as deleted. Its files stay.

        Args:
            id: Id of the logged model.

        Raises:
            NotFound: There is no such model, or it was deleted.
        """
        self._changed(id, lambda model: {"deleted_at": self._clock.now()})  # noqa: ARG005

    @query(searches=True)
    def find(self, *, experiments: list[ExperimentId], filter: str = "") -> list[LoggedModel]:
        """Logged models of experiments, newest first.

        Args:
            experiments: Numbers of the experiments.
            filter: Condition such as `metrics.accuracy > 0.9`; empty for all.

        Raises:
            Invalid: The filter cannot be read.
        """
        return self._search(experiments=experiments, filter=filter)

    def _search(
        self,
        *,
        experiments: Sequence[int],
        filter: str = "",
        orders: Sequence[tuple[str, On]] = (),
        datasets: Sequence[On] = (),
    ) -> list[LoggedModel]:
        wanted = select(logged_models).where(logged_models.c.experiment.in_(list(experiments)))
        wanted = wanted.where(logged_models.c.deleted_at.is_(None))
        wanted = wanted.order_by(logged_models.c.created_at.desc(), logged_models.c.id)
        if len(datasets) > MOST_CONDITIONS:
            raise Invalid(f"A search names {MOST_CONDITIONS} datasets at most.")
        node, wanted_orders = parse(filter), parse_orders([order for order, _ in orders])
        for attribute, text in equalities(node).items():
            if attribute in _TEXTS:
                wanted = wanted.where(_TEXTS[attribute] == text)
        with self._database.read() as connection:
            every = [_loaded(row) for row in connection.execute(wanted).mappings()]
        found = [
            model for model in every if matches(node, partial(_filtered, model, datasets or [On()]))
        ]
        for order, (_, on) in reversed(list(zip(wanted_orders, orders, strict=True))):
            found = in_order(found, [order], partial(_ordered, on))
        return found

    def _changed(self, id: str, change: Callable[[LoggedModel], dict[str, Any]]) -> LoggedModel:
        with self._database.write() as transaction:
            here = logged_models.c.id == id
            row = transaction.execute(select(logged_models).where(here)).mappings().one_or_none()
            if row is None or row["deleted_at"] is not None:
                raise NotFound(f"There is no logged model '{id}'.")
            values = {**change(_loaded(row)), "updated_at": self._clock.now()}
            transaction.execute(update(logged_models).where(here).values(values))
            row = transaction.execute(select(logged_models).where(here)).mappings().one()
        return _loaded(row)


def _loaded(row: Mapping[Any, Any]) -> LoggedModel:
    decoded = {name: from_json(row[name], dict[str, str]) for name in ("params", "tags")}
    return load(LoggedModel, row, metrics=from_json(row["metrics"], list[ModelMetric]), **decoded)


def _filtered(model: LoggedModel, datasets: Sequence[On], field: Field) -> Any:
    """A field of a model, for filters: of a metric all values on some datasets."""
    if field.kind == "metric":
        mine = [
            m.value
            for m in model.metrics
            if m.key == field.key and any(on.has(m) for on in datasets)
        ]
        return mine or None
    return _looked(model, field)


def _ordered(on: On, model: LoggedModel, field: Field) -> Any:
    """A field of a model, for orders: of a metric the last value on a dataset."""
    if field.kind == "metric":
        mine = [m for m in model.metrics if m.key == field.key and on.has(m)]
        return max(mine, key=lambda m: (m.step, m.at)).value if mine else None
    return _looked(model, field)


def _looked(model: LoggedModel, field: Field) -> Any:
    """A field of a model that has one value."""
    if field.kind == "tag":
        return model.tags.get(field.key)
    if field.kind == "param":
        return model.params.get(field.key)
    facts: dict[str, Any] = {
        "name": model.name,
        "model_id": model.id,
        "model_type": model.type,
        "status": model.status.removeprefix("LOGGED_MODEL_"),
        "source_run_id": model.run,
        "experiment_id": str(model.experiment),
        "creation_timestamp": to_micros(model.created_at) // 1000,
        "creation_time": to_micros(model.created_at) // 1000,
        "last_updated_timestamp": to_micros(model.updated_at) // 1000,
    }
    if field.kind != "attribute" or field.key not in facts:
        raise Invalid(
            f"A logged model has no '{field.key}' to search.{did_you_mean(field.key, facts)}"
        )
    return facts[field.key]
