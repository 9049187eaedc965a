"""Imports the history of an MLflow tracking database: experiments, runs, models and versions.

It reads the tables that MLflow 2.x and 3.x have in common, and tables of newer versions where they
exist. It may be run again at any time: what is here already is skipped, so an import that was
stopped continues where it was.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, MetaData, Table, create_engine, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from treadle.interop.import_session import ImportSession
from treadle.interop.report import Imported, Progress
from treadle.kernel.clock import from_micros
from treadle.kernel.errors import Invalid, Unavailable
from treadle.ports.blobs import Blobs
from treadle.registry.model import PastVersion, Stage
from treadle.registry.service import Registry
from treadle.tracking.local import LocalTracking
from treadle.tracking.local_logged_models import LocalLoggedModels
from treadle.tracking.model import Dataset, Experiment, LoggedModel, ModelMetric, PastRun, Status
from treadle.tracking.segments import pack

NEEDED = ("experiments", "runs", "params", "tags", "metrics")
STATUS: dict[str, Status] = {
    "RUNNING": "running",
    "SCHEDULED": "scheduled",
    "FINISHED": "finished",
    "FAILED": "failed",
    "KILLED": "killed",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MODEL_STATUS = {
    1: "LOGGED_MODEL_PENDING",
    2: "LOGGED_MODEL_READY",
    3: "LOGGED_MODEL_UPLOAD_FAILED",
}
STAGES: dict[str, Stage] = {
    "Staging": "Staging",
    "Production": "Production",
    "Archived": "Archived",
}


def import_mlflow(
    source: str,
    tracking: LocalTracking,
    logged_models: LocalLoggedModels,
    registry: Registry,
    blobs: Blobs,
    progress: Progress = lambda *_: None,
) -> Imported:
    """Import what an MLflow database holds.

    Args:
        source: The database's SQLAlchemy URL, such as `sqlite:///mlflow.db`.
        tracking: Where experiments and runs go.
        logged_models: Where logged models go.
        registry: Where registered models and their versions go.
        blobs: Where files go.
        progress: Called with what is imported, how many are done and how many there are.

    Returns:
        What was imported, and what was left behind.

    Raises:
        Invalid: The URL is malformed, or names no MLflow database.
        Unavailable: The database cannot be read.
    """
    try:
        url = make_url(source)
    except ArgumentError as error:
        raise Invalid(
            f"'{source}' is no database's URL. Write sqlite:///mlflow.db or postgresql://…"
        ) from error
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        raise Invalid(f"There is no SQLite file at '{url.database}'.")
    if url.get_backend_name() == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            session = ImportSession(url.render_as_string(), tracking, blobs, progress)
            return _Import(connection, session, logged_models, registry).imported()
    except SQLAlchemyError as error:
        raise Unavailable(
            f"The database '{url.render_as_string()}' cannot be read: {str(error).splitlines()[0]}"
        ) from error
    finally:
        engine.dispose()


class _Import:
    def __init__(
        self,
        connection: Connection,
        session: ImportSession,
        logged_models: LocalLoggedModels,
        registry: Registry,
    ) -> None:
        self._connection = connection
        self._session = session
        self._logged_models = logged_models
        self._registry = registry
        self._tally = session.tally
        metadata = MetaData()
        metadata.reflect(connection)
        self._tables = metadata.tables
        missing = [table for table in NEEDED if table not in self._tables]
        if missing:
            raise Invalid(
                f"'{self._tally.source}' is no MLflow database: it has no table '{missing[0]}'."
            )

    def imported(self) -> Imported:
        numbers = self._experiments()
        self._runs(numbers)
        if "logged_models" in self._tables:
            self._logged(numbers)
        if "registered_models" in self._tables:
            self._models()
        for table in ("trace_info", "evaluation_datasets"):
            if table in self._tables:
                rows = select(func.count()).select_from(self._tables[table])
                count = self._connection.scalar(rows) or 0
                if count:
                    self._tally.left[f"{table}: not carried yet"] += count
        return self._session.report()

    def _experiments(self) -> dict[int, Experiment]:
        """The home's experiments, by their numbers in the database."""
        table = self._tables["experiments"]
        tags = self._texts("experiment_tags", "experiment_id", None)
        by_number = select(table).order_by(table.c.experiment_id)
        experiments = {}
        for row in self._connection.execute(by_number).mappings():
            experiments[row["experiment_id"]] = self._session.experiment(
                row["name"],
                tags=tags.get(row["experiment_id"], {}),
                place=row["artifact_location"] or "",
                deleted=row["lifecycle_stage"] != "active",
            )
        return experiments

    def _runs(self, experiments: dict[int, Experiment]) -> None:
        table = self._tables["runs"]
        by_start = select(table.c.run_uuid).order_by(table.c.start_time, table.c.run_uuid)
        ids = self._connection.scalars(by_start).all()
        self._session.runs(ids, lambda new: self._past(new, experiments))

    def _past(self, ids: Sequence[str], experiments: dict[int, Experiment]) -> Iterator[PastRun]:
        table = self._tables["runs"]
        params = self._texts("params", "run_uuid", ids)
        tags = self._texts("tags", "run_uuid", ids)
        points = self._points(ids)
        datasets = self._datasets(ids)
        new_runs = select(table).where(table.c.run_uuid.in_(ids))
        for row in self._connection.execute(new_runs).mappings():
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
                started_at=moment(row["start_time"]) or _EPOCH,
                ended_at=moment(row["end_time"]),
                deleted_at=(moment(row.get("deleted_time")) or _EPOCH) if deleted else None,
                params=params.get(run, {}),
                tags=tags.get(run, {}),
                points=points.get(run, {}),
                datasets=datasets.get(run, []),
            )

    def _texts(self, name: str, owner: str, ids: Sequence[Any] | None) -> dict[Any, dict[str, str]]:
        """Tags or parameters by owner; of the given owners, or of all."""
        table = self._tables.get(name)
        texts: dict[Any, dict[str, str]] = defaultdict(dict)
        if table is None:
            return texts
        rows = select(table.c[owner], table.c.key, table.c.value)
        if ids is not None:
            rows = rows.where(table.c[owner].in_(ids))
        for owner_id, key, value in self._connection.execute(rows):
            if self._session.fits(key):
                texts[owner_id][key] = value or ""
        return texts

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
        for run, key, step, millis, value, is_nan in self._connection.execute(in_order):
            if self._session.fits(key):
                steps, times, values = series[run, key]
                steps.append(int(step))
                times.append(int(millis) * 1000)
                values.append(math.nan if is_nan else _unclipped(value))
                self._tally.counts["points"] += 1
        packed: dict[str, dict[str, bytes]] = defaultdict(dict)
        for (run, key), (steps, times, values) in series.items():
            packed[run][key] = pack(steps, times, values)
        return packed

    def _datasets(self, ids: Sequence[str]) -> dict[str, list[Dataset]]:
        """The datasets that runs have used, by run."""
        if not {"inputs", "datasets"} <= set(self._tables):
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
        for row in self._connection.execute(uses).mappings():
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
            for input_uuid, name, value in self._connection.execute(rows):
                tags[input_uuid][name] = value
        return tags

    def _logged(self, experiments: dict[int, Experiment]) -> None:
        """Import logged models with their metrics, and their files where they are on this disk."""
        table = self._tables["logged_models"]
        params = self._model_texts("logged_model_params", "param")
        tags = self._model_texts("logged_model_tags", "tag")
        metrics = self._model_metrics()
        models = [
            LoggedModel(
                id=row["model_id"],
                experiment=experiments[row["experiment_id"]].id,
                name=row["name"],
                run=row["source_run_id"] or "",
                type=row["model_type"] or "",
                status=_MODEL_STATUS.get(row["status"], "LOGGED_MODEL_READY"),
                params=params.get(row["model_id"], {}),
                tags=tags.get(row["model_id"], {}),
                metrics=metrics.get(row["model_id"], []),
                created_at=moment(row["creation_timestamp_ms"]) or _EPOCH,
                updated_at=moment(row["last_updated_timestamp_ms"]) or _EPOCH,
                deleted_at=_EPOCH if row["lifecycle_stage"] == "deleted" else None,
            )
            for row in self._connection.execute(select(table)).mappings()
        ]
        locations = dict(
            self._connection.execute(select(table.c.model_id, table.c.artifact_location)).all()
        )
        added = self._logged_models.add_history(models)
        for model in models:
            self._session.folder(model.artifact_root, locations[model.id] or "")
        self._tally.counts["logged_models"] += len(added)

    def _model_texts(self, name: str, kind: str) -> dict[str, dict[str, str]]:
        """Parameters or tags of logged models, by model."""
        table = self._tables[name]
        texts: dict[str, dict[str, str]] = defaultdict(dict)
        rows = select(table.c.model_id, table.c[f"{kind}_key"], table.c[f"{kind}_value"])
        for model, key, value in self._connection.execute(rows):
            texts[model][key] = value or ""
        return texts

    def _model_metrics(self) -> dict[str, list[ModelMetric]]:
        """Metrics of logged models, by model."""
        metrics: dict[str, list[ModelMetric]] = defaultdict(list)
        rows = self._connection.execute(select(self._tables["logged_model_metrics"])).mappings()
        for row in rows:
            value = None if row["metric_value"] is None else _unclipped(row["metric_value"])
            metrics[row["model_id"]].append(
                ModelMetric(
                    key=row["metric_name"],
                    value=value,
                    step=int(row["metric_step"]),
                    at=int(row["metric_timestamp_ms"]),
                    run=row["run_id"] or "",
                    dataset_name=row["dataset_name"] or "",
                    dataset_digest=row["dataset_digest"] or "",
                )
            )
        return metrics

    def _models(self) -> None:
        """Import registered models with their versions and aliases."""
        models, versions = self._tables["registered_models"], self._tables["model_versions"]
        tags = self._texts("registered_model_tags", "name", None)
        aliases = self._aliases()
        version_tags = self._version_tags()
        for model in self._connection.execute(select(models).order_by(models.c.name)).mappings():
            name = model["name"]
            by_number = select(versions).where(versions.c.name == name).order_by(versions.c.version)
            rows = [
                row
                for row in self._connection.execute(by_number).mappings()
                if row["current_stage"] != "Deleted_Internal"
            ]
            numbers = {row["version"] for row in rows}
            added = self._registry.add_history(
                name=name,
                description=model["description"] or "",
                tags=tags.get(name, {}),
                pointing={
                    alias: number
                    for alias, number in aliases.get(name, {}).items()
                    if number in numbers
                },
                versions=[
                    _version(row, version_tags.get((name, row["version"]), {})) for row in rows
                ],
            )
            self._tally.counts["models"] += 1
            self._tally.counts["versions"] += added

    def _aliases(self) -> dict[str, dict[str, int]]:
        """The version that each alias points to, by model."""
        table: Table | None = self._tables.get("registered_model_aliases")
        aliases: dict[str, dict[str, int]] = defaultdict(dict)
        if table is not None:
            rows = select(table.c.name, table.c.alias, table.c.version)
            for name, alias, version in self._connection.execute(rows):
                aliases[name][alias] = int(version)
        return aliases

    def _version_tags(self) -> dict[tuple[str, int], dict[str, str]]:
        """Tags of versions, by model and number."""
        table = self._tables.get("model_version_tags")
        tags: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
        if table is not None:
            rows = select(table.c.name, table.c.version, table.c.key, table.c.value)
            for name, version, key, value in self._connection.execute(rows):
                tags[name, version][key] = value or ""
        return tags


def _version(row: Any, tags: dict[str, str]) -> PastVersion:
    created = moment(row["creation_time"]) or _EPOCH
    return PastVersion(
        number=row["version"],
        source=row["source"] or "",
        run=row["run_id"] or "",
        created_at=created,
        updated_at=moment(row["last_updated_time"]) or created,
        created_by=row["user_id"] or "",
        description=row["description"] or "",
        stage=STAGES.get(row["current_stage"], "None"),
        tags=tags,
    )


def moment(millis: int | None) -> datetime | None:
    """Return the moment of a timestamp.

    Args:
        millis: Milliseconds since 1970 in UTC; None or 0 where MLflow has no time.
    """
    return None if not millis else from_micros(int(millis) * 1000)


def _unclipped(value: float) -> float:
    """Turn the largest floats, as which MLflow stores infinities, into infinities again."""
    return math.copysign(math.inf, value) if abs(value) >= 1.7976931348623157e308 else float(value)
