"""Imports experiments and runs from an MLflow database."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import select

from treadle.interop.import_session import ImportSession
from treadle.interop.mlflow_tables import EPOCH, MLflowTables, moment, unclipped
from treadle.tracking.model import Dataset, Experiment, PastRun, Status
from treadle.tracking.segments import pack

STATUS: dict[str, Status] = {
    "RUNNING": "running",
    "SCHEDULED": "scheduled",
    "FINISHED": "finished",
    "FAILED": "failed",
    "KILLED": "killed",
}


class PastRuns:
    """The experiments and runs of an MLflow database.

    Args:
        tables: The database's tables.
        session: The import that they are part of.
    """

    def __init__(self, tables: MLflowTables, session: ImportSession) -> None:
        self._tables, self._session = tables, session

    def experiments(self) -> dict[int, Experiment]:
        """Import the experiments. Returns those of the home, by their numbers in the database."""
        table = self._tables["experiments"]
        tags = self._tables.texts("experiment_tags", "experiment_id", self._session.fits)
        by_number = select(table).order_by(table.c.experiment_id)
        experiments = {}
        for row in self._tables.execute(by_number).mappings():
            experiments[row["experiment_id"]] = self._session.experiment(
                row["name"],
                tags=tags.get(row["experiment_id"], {}),
                place=row["artifact_location"] or "",
                deleted=row["lifecycle_stage"] != "active",
            )
        return experiments

    def runs(self, experiments: dict[int, Experiment]) -> None:
        """Import the runs that the home does not hold yet.

        Args:
            experiments: The home's experiments, by their numbers in the database.
        """
        table = self._tables["runs"]
        by_start = select(table.c.run_uuid).order_by(table.c.start_time, table.c.run_uuid)
        ids = self._tables.execute(by_start).scalars().all()
        self._session.runs(ids, lambda new: self._past(new, experiments))

    def _past(self, ids: Sequence[str], experiments: dict[int, Experiment]) -> Iterator[PastRun]:
        table = self._tables["runs"]
        params = self._tables.texts("params", "run_uuid", self._session.fits, ids=ids)
        tags = self._tables.texts("tags", "run_uuid", self._session.fits, ids=ids)
        points = self._points(ids)
        datasets = self._datasets(ids)
        new_runs = select(table).where(table.c.run_uuid.in_(ids))
        for row in self._tables.execute(new_runs).mappings():
            run = row["run_uuid"]
            experiment = experiments[row["experiment_id"]]
            self._session.folder(f"{experiment.id}/{run}/artifacts", row["artifact_uri"] or "")
            deleted = row["lifecycle_stage"] != "active"
            yield PastRun(
                id=run,
                experiment=experiment.id,
                name=row["name"] or tags.get(run, {}).get("mlflow.runName", "") or run,
                user=row["user_id"] or "",
                status=STATUS.get(row["status"], "finished"),
                started_at=moment(row["start_time"]) or EPOCH,
                ended_at=moment(row["end_time"]),
                deleted_at=(moment(row.get("deleted_time")) or EPOCH) if deleted else None,
                params=params.get(run, {}),
                tags=tags.get(run, {}),
                points=points.get(run, {}),
                datasets=datasets.get(run, []),
            )

    def _points(self, ids: Sequence[str]) -> dict[str, dict[str, bytes]]:
        """Every point as packed series by run and key, in the order of steps and times."""
        metrics = self._tables["metrics"].c
        columns = (
            metrics.run_uuid,
            metrics.key,
            metrics.step,
            metrics.timestamp,
            metrics.value,
            metrics.is_nan,
        )
        in_order = (
            select(*columns)
            .where(metrics.run_uuid.in_(ids))
            .order_by(metrics.run_uuid, metrics.key, metrics.step, metrics.timestamp)
        )
        series: dict[tuple[str, str], tuple[list[Any], list[int], list[float]]] = defaultdict(
            lambda: ([], [], [])
        )
        for run, key, step, millis, value, is_nan in self._tables.execute(in_order):
            if self._session.fits(key):
                steps, times, values = series[run, key]
                steps.append(int(step))
                times.append(int(millis) * 1000)
                values.append(math.nan if is_nan else unclipped(value))
                self._session.tally.counts["points"] += 1
        packed: dict[str, dict[str, bytes]] = defaultdict(dict)
        for (run, key), (steps, times, values) in series.items():
            packed[run][key] = pack(steps, times, values)
        return packed

    def _datasets(self, ids: Sequence[str]) -> dict[str, list[Dataset]]:
        """The datasets that runs have used, by run."""
        if "inputs" not in self._tables or "datasets" not in self._tables:
            return {}
        inputs, datasets = self._tables["inputs"], self._tables["datasets"]
        uses = (
            select(
                inputs.c.input_uuid,
                inputs.c.destination_id,
                datasets.c.name,
                datasets.c.digest,
                datasets.c.dataset_source_type,
                datasets.c.dataset_source,
                datasets.c.dataset_schema,
                datasets.c.dataset_profile,
            )
            .select_from(inputs.join(datasets, inputs.c.source_id == datasets.c.dataset_uuid))
            .where(inputs.c.destination_id.in_(ids))
        )
        tags_of_uses = self._input_tags()
        used: dict[str, list[Dataset]] = defaultdict(list)
        for row in self._tables.execute(uses).mappings():
            tags = dict(tags_of_uses.get(row["input_uuid"], {}))
            context = tags.pop("mlflow.data.context", "")
            used[row["destination_id"]].append(
                Dataset(
                    name=row["name"],
                    digest=row["digest"],
                    source_type=row["dataset_source_type"] or "",
                    source=row["dataset_source"] or "",
                    schema=row["dataset_schema"],
                    profile=row["dataset_profile"],
                    context=context,
                    tags=tags,
                )
            )
        return used

    def _input_tags(self) -> dict[str, dict[str, str]]:
        """Tags of uses of datasets, by the use's id."""
        table = self._tables.get("input_tags")
        tags: dict[str, dict[str, str]] = defaultdict(dict)
        if table is not None:
            rows = select(table.c.input_uuid, table.c.name, table.c.value)
            for input_uuid, name, value in self._tables.execute(rows):
                tags[input_uuid][name] = value
        return tags
