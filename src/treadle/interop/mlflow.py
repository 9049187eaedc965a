"""Takes over the history of an MLflow tracking database: experiments, runs with every point, models and versions.

It reads the tables that MLflow 2.x and 3.x have in common, and those that only newer ones have where they are there. It may
be run again at any time: what is here already is skipped, so an import that was stopped goes on where it was.
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
from treadle.tracking.logged_models import LoggedModels
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
    logged_models: LoggedModels,
    registry: Registry,
    blobs: Blobs,
    progress: Progress = lambda *_: None,
) -> Imported:
    """Take over what an MLflow database holds. ``source`` is its SQLAlchemy URL, such as ``sqlite:///mlflow.db``."""
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
            return _Import(connection, session, logged_models, registry).done()
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
        logged_models: LoggedModels,
        registry: Registry,
    ) -> None:
        self._connection, self._taking, self._registry = connection, session, registry
        self._logged_models = logged_models
        self._tally, name = session.tally, session.tally.source
        metadata = MetaData()
        metadata.reflect(connection)
        self._tables = metadata.tables
        missing = [table for table in NEEDED if table not in self._tables]
        if missing:
            raise Invalid(f"'{name}' is no MLflow database: it has no table '{missing[0]}'.")

    def done(self) -> Imported:
        numbers = self._experiments()
        self._runs(numbers)
        if "logged_models" in self._tables:
            self._logged(numbers)
        if "registered_models" in self._tables:
            self._models()
        for table in ("trace_info", "evaluation_datasets"):
            if table in self._tables:
                count = (
                    self._connection.scalar(select(func.count()).select_from(self._tables[table]))
                    or 0
                )
                if count:
                    self._tally.left[f"{table}: not carried yet"] += count
        return self._taking.report()

    def _experiments(self) -> dict[int, Experiment]:
        """Ours, by their numbers there."""
        table, found = self._tables["experiments"], {}
        tags = self._texts("experiment_tags", "experiment_id", None)
        for row in self._connection.execute(
            select(table).order_by(table.c.experiment_id)
        ).mappings():
            found[row["experiment_id"]] = self._taking.experiment(
                row["name"],
                tags=tags.get(row["experiment_id"], {}),
                place=row["artifact_location"] or "",
                deleted=row["lifecycle_stage"] != "active",
            )
        return found

    def _runs(self, experiments: dict[int, Experiment]) -> None:
        table = self._tables["runs"]
        ids = self._connection.scalars(
            select(table.c.run_uuid).order_by(table.c.start_time, table.c.run_uuid)
        ).all()
        self._taking.runs(ids, lambda new: self._past(new, experiments))

    def _past(self, ids: Sequence[str], experiments: dict[int, Experiment]) -> Iterator[PastRun]:
        table = self._tables["runs"]
        params, tags = self._texts("params", "run_uuid", ids), self._texts("tags", "run_uuid", ids)
        points, datasets = self._points(ids), self._datasets(ids)
        for row in self._connection.execute(
            select(table).where(table.c.run_uuid.in_(ids))
        ).mappings():
            run = row["run_uuid"]
            experiment = experiments[row["experiment_id"]]
            self._taking.folder(f"{experiment.id}/{run}/artifacts", row["artifact_uri"] or "")
            gone = row["lifecycle_stage"] != "active"
            yield PastRun(
                id=run,
                experiment=experiment.id,
                name=row["name"] or tags.get(run, {}).get("mlflow.runName", "") or run,
                user=row["user_id"] or "",
                status=STATUS.get(row["status"], "finished"),
                started_at=moment(row["start_time"]) or _EPOCH,
                ended_at=moment(row["end_time"]),
                deleted_at=(moment(row.get("deleted_time")) or _EPOCH) if gone else None,
                params=params.get(run, {}),
                tags=tags.get(run, {}),
                points=points.get(run, {}),
                datasets=datasets.get(run, []),
            )

    def _texts(self, name: str, owner: str, ids: Sequence[Any] | None) -> dict[Any, dict[str, str]]:
        table = self._tables.get(name)
        found: dict[Any, dict[str, str]] = defaultdict(dict)
        if table is None:
            return found
        wanted = select(table.c[owner], table.c.key, table.c.value)
        for one, key, value in self._connection.execute(
            wanted if ids is None else wanted.where(table.c[owner].in_(ids))
        ):
            if self._taking.fits(key):
                found[one][key] = value or ""
        return found

    def _points(self, ids: Sequence[str]) -> dict[str, dict[str, bytes]]:
        """Every point, in the order of steps and times."""
        m = self._tables["metrics"]
        columns = (m.c.run_uuid, m.c.key, m.c.step, m.c.timestamp, m.c.value, m.c.is_nan)
        wanted = (
            select(*columns)
            .where(m.c.run_uuid.in_(ids))
            .order_by(m.c.run_uuid, m.c.key, m.c.step, m.c.timestamp)
        )
        series: dict[tuple[str, str], tuple[list[Any], list[int], list[float]]] = defaultdict(
            lambda: ([], [], [])
        )
        for run, key, step, at, value, is_nan in self._connection.execute(wanted):
            if self._taking.fits(key):
                steps, times, values = series[run, key]
                steps.append(int(step))
                times.append(int(at) * 1000)
                values.append(math.nan if is_nan else _unclipped(value))
                self._tally.counts["points"] += 1
        found: dict[str, dict[str, bytes]] = defaultdict(dict)
        for (run, key), columns_ in series.items():
            found[run][key] = pack(*columns_)
        return found

    def _datasets(self, ids: Sequence[str]) -> dict[str, list[Dataset]]:
        if not {"inputs", "datasets"} <= set(self._tables):
            return {}
        inputs, datasets = self._tables["inputs"], self._tables["datasets"]
        joined = inputs.join(datasets, inputs.c.source_id == datasets.c.dataset_uuid)
        names = (
            "name",
            "digest",
            "dataset_source_type",
            "dataset_source",
            "dataset_schema",
            "dataset_profile",
        )
        wanted = select(
            inputs.c.input_uuid, inputs.c.destination_id, *(datasets.c[name] for name in names)
        )
        wanted = wanted.select_from(joined).where(inputs.c.destination_id.in_(ids))
        tags = self._input_tags()
        found: dict[str, list[Dataset]] = defaultdict(list)
        for (
            input_,
            run,
            name,
            digest,
            source_type,
            source,
            schema,
            profile,
        ) in self._connection.execute(wanted):
            about = dict(tags.get(input_, {}))
            context = about.pop("mlflow.data.context", "")
            found[run].append(
                Dataset(
                    name=name,
                    digest=digest,
                    source_type=source_type or "",
                    source=source or "",
                    schema=schema,
                    profile=profile,
                    context=context,
                    tags=about,
                )
            )
        return found

    def _input_tags(self) -> dict[str, dict[str, str]]:
        table = self._tables.get("input_tags")
        found: dict[str, dict[str, str]] = defaultdict(dict)
        if table is not None:
            for input_, name, value in self._connection.execute(
                select(table.c.input_uuid, table.c.name, table.c.value)
            ):
                found[input_][name] = value
        return found

    def _logged(self, experiments: dict[int, Experiment]) -> None:
        """Logged models with what was measured of them, and their files where they are on this disk."""
        table = self._tables["logged_models"]
        params, tags = (
            self._model_texts(f"logged_model_{kind}s", kind) for kind in ("param", "tag")
        )
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
        places = dict(
            self._connection.execute(select(table.c.model_id, table.c.artifact_location)).all()
        )
        came = self._logged_models.add_history(models)
        for model in models:
            self._taking.folder(model.artifact_root, places[model.id] or "")
        self._tally.counts["logged_models"] += len(came)

    def _model_texts(self, name: str, kind: str) -> dict[str, dict[str, str]]:
        table = self._tables[name]
        found: dict[str, dict[str, str]] = defaultdict(dict)
        wanted = select(table.c.model_id, table.c[f"{kind}_key"], table.c[f"{kind}_value"])
        for model, key, value in self._connection.execute(wanted):
            found[model][key] = value or ""
        return found

    def _model_metrics(self) -> dict[str, list[ModelMetric]]:
        found: dict[str, list[ModelMetric]] = defaultdict(list)
        for row in self._connection.execute(
            select(self._tables["logged_model_metrics"])
        ).mappings():
            value = None if row["metric_value"] is None else _unclipped(row["metric_value"])
            found[row["model_id"]].append(
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
        return found

    def _models(self) -> None:
        models, versions = self._tables["registered_models"], self._tables["model_versions"]
        tags = self._texts("registered_model_tags", "name", None)
        pointing = self._aliases()
        about = self._version_tags()
        for model in self._connection.execute(select(models).order_by(models.c.name)).mappings():
            wanted = (
                select(versions)
                .where(versions.c.name == model["name"])
                .order_by(versions.c.version)
            )
            rows = [
                r
                for r in self._connection.execute(wanted).mappings()
                if r["current_stage"] != "Deleted_Internal"
            ]
            came = self._registry.add_history(
                name=model["name"],
                description=model["description"] or "",
                tags=tags.get(model["name"], {}),
                pointing={
                    a: n
                    for a, n in pointing.get(model["name"], {}).items()
                    if n in {r["version"] for r in rows}
                },
                versions=[
                    _version(row, about.get((row["name"], row["version"]), {})) for row in rows
                ],
            )
            self._tally.counts["models"] += 1
            self._tally.counts["versions"] += came

    def _aliases(self) -> dict[str, dict[str, int]]:
        table: Table | None = self._tables.get("registered_model_aliases")
        found: dict[str, dict[str, int]] = defaultdict(dict)
        if table is not None:
            for name, alias, version in self._connection.execute(
                select(table.c.name, table.c.alias, table.c.version)
            ):
                found[name][alias] = int(version)
        return found

    def _version_tags(self) -> dict[tuple[str, int], dict[str, str]]:
        table = self._tables.get("model_version_tags")
        found: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
        if table is not None:
            wanted = select(table.c.name, table.c.version, table.c.key, table.c.value)
            for name, version, key, value in self._connection.execute(wanted):
                found[name, version][key] = value or ""
        return found


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
    return None if not millis else from_micros(int(millis) * 1000)


def _unclipped(value: float) -> float:
    """MLflow stores infinities as the largest numbers there are, and reads those as infinities again."""
    return math.copysign(math.inf, value) if abs(value) >= 1.7976931348623157e308 else float(value)
