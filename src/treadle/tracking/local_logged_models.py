"""Logged models as the process has it that holds the database."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select

from treadle.kernel.entity import fields, to_text
from treadle.kernel.ids import new_id
from treadle.tracking.logged_models import LoggedModels, On
from treadle.tracking.model import LoggedModel, ModelMetric
from treadle.tracking.tables import logged_models


class LocalLoggedModels(LoggedModels):
    """Logged models; with what only this process does."""

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

    def set_status(self, id: str, status: str) -> LoggedModel:
        """Set how far a logged model is.

        Args:
            id: Id of the logged model.
            status: MLflow's name of it, such as ``LOGGED_MODEL_READY``.

        Raises:
            NotFound: There is no such model, or it was deleted.
        """
        return self._changed(id, lambda model: {"status": status})  # noqa: ARG005

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
                if none are named.

        Raises:
            Invalid: The filter or an order cannot be read.
        """
        return self._search(
            experiments=experiments, filter=filter, orders=orders, datasets=datasets
        )
