"""Models that runs wrote and nobody has registered yet, as MLflow's clients of 3.x log them."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import select, update

from treadle.kernel.clock import Clock, to_micros
from treadle.kernel.entity import fields, from_json, to_text
from treadle.kernel.errors import Invalid, NotFound, did_you_mean
from treadle.kernel.ids import new_id
from treadle.kernel.names import ExperimentId, LoggedModelId
from treadle.kernel.operation import command, query
from treadle.ports.database import Database, load
from treadle.tracking.language import Field, in_order, matches, parse, parse_order
from treadle.tracking.model import LoggedModel, ModelMetric
from treadle.tracking.tables import logged_models


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

    def create(
        self,
        *,
        experiment: int,
        name: str,
        run: str,
        type: str,
        params: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> LoggedModel:
        """Begin a model; it is ready when its files are there and somebody says so.

        Args:
            experiment: Number of the experiment.
            name: Name of the model; its id if empty.
            run: Id of the run that writes it; empty if none does.
            type: Kind of the model, as its client says it.
            params: Parameters by key.
            tags: Tags by key.
        """
        now, id = self._clock.now(), new_id("m").replace("_", "-")
        row = {
            "id": id,
            "experiment": experiment,
            "name": name or id,
            "run": run,
            "type": type,
            "metrics": "[]",
        }
        row |= {
            "status": "LOGGED_MODEL_PENDING",
            "params": to_text(dict(params)),
            "tags": to_text(dict(tags)),
        }
        with self._database.write() as transaction:
            transaction.execute(
                logged_models.insert().values(**row, created_at=now, updated_at=now)
            )
        return self.get(id)

    def add_history(self, models: Sequence[LoggedModel]) -> set[str]:
        """Take in models that were logged elsewhere; those that are here already are left alone.

        Args:
            models: The models, with their ids.

        Returns:
            The ids of those that came in.
        """
        with self._database.write() as transaction:
            ids = [model.id for model in models]
            known = set(
                transaction.scalars(select(logged_models.c.id).where(logged_models.c.id.in_(ids)))
            )
            for model in models:
                if model.id not in known:
                    lists = {
                        name: to_text(getattr(model, name))
                        for name in ("params", "tags", "metrics")
                    }
                    transaction.execute(logged_models.insert().values(**{**fields(model), **lists}))
        return set(ids) - known

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
            raise NotFound(f"Logged model with ID '{id}' not found.")
        return _loaded(row)

    def set_status(self, id: str, status: str) -> LoggedModel:
        """Set how far a logged model is.

        Args:
            id: Id of the logged model.
            status: MLflow's name of it, such as ``LOGGED_MODEL_READY``.

        Raises:
            NotFound: There is no such model, or it was deleted.
        """
        return self._changed(id, lambda model: {"status": status})  # noqa: ARG005

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

    def add_params(self, id: str, params: Mapping[str, str]) -> LoggedModel:
        """Set parameters of a logged model; those that are there under a key are replaced.

        Args:
            id: Id of the logged model.
            params: Parameters by key.

        Raises:
            NotFound: There is no such model, or it was deleted.
        """
        return self._changed(id, lambda model: {"params": to_text({**model.params, **params})})

    def add_metrics(self, id: str, metrics: Sequence[ModelMetric]) -> None:
        """Keep the last value of each metric on each dataset.

        Args:
            id: Id of the logged model.
            metrics: Measured values; the last is the one of the highest step, then of the latest
                time.

        Raises:
            NotFound: There is no such model, or it was deleted.
        """

        def change(model: LoggedModel) -> dict[str, Any]:
            kept = {(m.key, m.dataset_name, m.dataset_digest, m.run): m for m in model.metrics}
            for m in metrics:
                before = kept.get((m.key, m.dataset_name, m.dataset_digest, m.run))
                if before is None or (m.step, m.at) >= (before.step, before.at):
                    kept[m.key, m.dataset_name, m.dataset_digest, m.run] = m
            return {"metrics": to_text(list(kept.values()))}

        self._changed(id, change)

    @command()
    def delete(self, id: LoggedModelId) -> None:
        """Mark a logged model as deleted. Its files stay.

        Args:
            id: Id of the logged model.

        Raises:
            NotFound: There is no such model, or it was deleted.
        """
        self._changed(id, lambda model: {"deleted_at": self._clock.now()})  # noqa: ARG005

    @query()
    def find(self, *, experiments: list[ExperimentId], filter: str = "") -> list[LoggedModel]:
        """Logged models of experiments, newest first.

        Args:
            experiments: Numbers of the experiments.
            filter: Condition such as `metrics.accuracy > 0.9`; empty for all.

        Raises:
            Invalid: The filter cannot be read.
        """
        return self.search(experiments=experiments, filter=filter)

    def search(
        self,
        *,
        experiments: Sequence[int],
        filter: str = "",
        orders: Sequence[tuple[str, On]] = (),
        datasets: Sequence[On] = (),
    ) -> list[LoggedModel]:
        """Models of experiments that satisfy a filter, newest first if no order is given.

        Args:
            experiments: Numbers of the experiments.
            filter: Condition such as ``metrics.accuracy > 0.9``; empty for all.
            orders: Fields to sort by, such as ``metrics.accuracy DESC``, each with the dataset on
                which the metric's last value counts.
            datasets: Datasets of the filter's metrics: a value on one of them is enough; any
                dataset if none are named.

        Raises:
            Invalid: The filter or an order cannot be read.
        """
        wanted = select(logged_models).where(logged_models.c.experiment.in_(list(experiments)))
        wanted = wanted.where(logged_models.c.deleted_at.is_(None))
        wanted = wanted.order_by(logged_models.c.created_at.desc(), logged_models.c.id)
        with self._database.read() as connection:
            every = [_loaded(row) for row in connection.execute(wanted).mappings()]
        node = parse(filter)
        found = [
            model for model in every if matches(node, partial(_filtered, model, datasets or [On()]))
        ]
        for order, on in reversed(orders):
            found = in_order(found, [parse_order(order)], partial(_ordered, on))
        return found

    def _changed(self, id: str, change: Callable[[LoggedModel], dict[str, Any]]) -> LoggedModel:
        with self._database.write() as transaction:
            here = logged_models.c.id == id
            row = transaction.execute(select(logged_models).where(here)).mappings().one_or_none()
            if row is None or row["deleted_at"] is not None:
                raise NotFound(f"Logged model with ID '{id}' not found.")
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
