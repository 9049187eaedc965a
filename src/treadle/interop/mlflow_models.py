"""Imports logged and registered models from an MLflow database."""

from collections import defaultdict
from typing import Any

from sqlalchemy import Table, select

from treadle.interop.import_session import ImportSession
from treadle.interop.mlflow_tables import EPOCH, STAGES, MLflowTables, moment, unclipped
from treadle.registry.model import PastVersion
from treadle.registry.service import Registry
from treadle.tracking.local_logged_models import LocalLoggedModels
from treadle.tracking.model import Experiment, LoggedModel, ModelMetric

_MODEL_STATUS = {
    1: "LOGGED_MODEL_PENDING",
    2: "LOGGED_MODEL_READY",
    3: "LOGGED_MODEL_UPLOAD_FAILED",
}


class PastModels:
    """The models of an MLflow database.

    Args:
        tables: The database's tables.
        session: The import that they are part of.
    """

    def __init__(self, tables: MLflowTables, session: ImportSession) -> None:
        self._tables, self._session = tables, session

    def logged(self, logged_models: LocalLoggedModels, experiments: dict[int, Experiment]) -> None:
        """Import logged models with their metrics, and their files where they are on this disk.

        Args:
            logged_models: Where they go.
            experiments: The home's experiments, by their numbers in the database.
        """
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
                created_at=moment(row["creation_timestamp_ms"]) or EPOCH,
                updated_at=moment(row["last_updated_timestamp_ms"]) or EPOCH,
                deleted_at=EPOCH if row["lifecycle_stage"] == "deleted" else None,
            )
            for row in self._tables.execute(select(table)).mappings()
        ]
        locations = dict(
            self._tables.execute(select(table.c.model_id, table.c.artifact_location)).all()
        )
        added = logged_models.add_history(models)
        for model in models:
            self._session.folder(model.artifact_root, locations[model.id] or "")
        self._session.tally.counts["logged_models"] += len(added)

    def _model_texts(self, name: str, kind: str) -> dict[str, dict[str, str]]:
        """Parameters or tags of logged models, by model."""
        table = self._tables[name]
        texts: dict[str, dict[str, str]] = defaultdict(dict)
        rows = select(table.c.model_id, table.c[f"{kind}_key"], table.c[f"{kind}_value"])
        for model, key, value in self._tables.execute(rows):
            texts[model][key] = value or ""
        return texts

    def _model_metrics(self) -> dict[str, list[ModelMetric]]:
        """Metrics of logged models, by model."""
        metrics: dict[str, list[ModelMetric]] = defaultdict(list)
        rows = self._tables.execute(select(self._tables["logged_model_metrics"])).mappings()
        for row in rows:
            value = None if row["metric_value"] is None else unclipped(row["metric_value"])
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

    def registered(self, registry: Registry) -> None:
        """Import registered models with their versions and aliases.

        Args:
            registry: Where they go.
        """
        models, versions = self._tables["registered_models"], self._tables["model_versions"]
        tags = self._tables.texts("registered_model_tags", "name", self._session.fits)
        aliases = self._aliases()
        version_tags = self._version_tags()
        for model in self._tables.execute(select(models).order_by(models.c.name)).mappings():
            name = model["name"]
            by_number = select(versions).where(versions.c.name == name).order_by(versions.c.version)
            rows = [
                row
                for row in self._tables.execute(by_number).mappings()
                if row["current_stage"] != "Deleted_Internal"
            ]
            numbers = {row["version"] for row in rows}
            added = registry.add_history(
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
            self._session.tally.counts["models"] += 1
            self._session.tally.counts["versions"] += added

    def _aliases(self) -> dict[str, dict[str, int]]:
        """The version that each alias points to, by model."""
        table: Table | None = self._tables.get("registered_model_aliases")
        aliases: dict[str, dict[str, int]] = defaultdict(dict)
        if table is not None:
            rows = select(table.c.name, table.c.alias, table.c.version)
            for name, alias, version in self._tables.execute(rows):
                aliases[name][alias] = int(version)
        return aliases

    def _version_tags(self) -> dict[tuple[str, int], dict[str, str]]:
        """Tags of versions, by model and number."""
        table = self._tables.get("model_version_tags")
        tags: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
        if table is not None:
            rows = select(table.c.name, table.c.version, table.c.key, table.c.value)
            for name, version, key, value in self._tables.execute(rows):
                tags[name, version][key] = value or ""
        return tags


def _version(row: Any, tags: dict[str, str]) -> PastVersion:
    created = moment(row["creation_time"]) or EPOCH
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
