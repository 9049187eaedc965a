"""Imports an MLflow file store: the folder ``mlruns``, which newer MLflow versions do not open.

Its layout: ``EXPERIMENT/RUN/{meta.yaml, params/, tags/, metrics/, artifacts/, inputs/}``,
``EXPERIMENT/datasets/``, ``.trash/`` for deleted experiments, and
``models/NAME/{meta.yaml, tags/, version-N/}``.
"""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from treadle.interop.import_session import ImportSession, local_folder
from treadle.interop.mlflow_tables import EPOCH, STAGES, moment
from treadle.interop.report import Imported, Progress
from treadle.kernel.errors import Invalid, missing_extra
from treadle.ports.blobs import Blobs
from treadle.registry.model import PastVersion
from treadle.registry.service import Registry
from treadle.tracking.local import LocalTracking
from treadle.tracking.model import Dataset, Experiment, PastRun, Status
from treadle.tracking.segments import pack

META = "meta.yaml"
_STATUS: dict[int, Status] = {1: "running", 2: "scheduled", 3: "finished", 4: "failed", 5: "killed"}


def import_mlruns(
    folder: Path,
    tracking: LocalTracking,
    registry: Registry,
    blobs: Blobs,
    progress: Progress = lambda *_: None,
) -> Imported:
    """Import what a file store holds.

    Args:
        folder: The folder `mlruns`.
        tracking: Where experiments and runs go.
        registry: Where registered models and their versions go.
        blobs: Where files go.
        progress: Called with what is imported, how many are done and how many there are.

    Returns:
        What was imported, and what was left behind.

    Raises:
        Invalid: The folder is no file store, or PyYAML is not installed.
    """
    metas = [
        file
        for file in [*folder.glob(f"*/{META}"), *folder.glob(f".trash/*/{META}")]
        if file.parent.name != "models"
    ]
    if not metas:
        raise Invalid(f"'{folder}' is no MLflow file store: no folder in it has a {META}.")
    session = ImportSession(str(folder), tracking, blobs, progress)
    for file in sorted(metas):
        _experiment(session, file.parent)
    for file in sorted(folder.glob(f"models/*/{META}")):
        _model(session, registry, file.parent)
    return session.report()


def _experiment(session: ImportSession, folder: Path) -> None:
    meta = _yaml(folder / META)
    if meta is None or "name" not in meta:
        session.tally.left[f"experiments whose {META} cannot be read"] += 1
        return
    experiment = session.experiment(
        str(meta["name"]),
        tags=session.texts(_texts(folder / "tags")),
        place=str(meta.get("artifact_location") or ""),
        deleted=meta.get("lifecycle_stage") == "deleted",
    )
    runs = {
        file.parent.name: file.parent
        for file in sorted(folder.glob(f"*/{META}"))
        if file.parent.name != "datasets"
    }
    session.runs(list(runs), partial(_runs, session, experiment, runs))


def _runs(
    session: ImportSession, experiment: Experiment, folders: dict[str, Path], new: list[str]
) -> Iterable[PastRun]:
    for run in new:
        meta = _yaml(folders[run] / META)
        if meta is None or "start_time" not in meta:
            session.tally.left[f"runs whose {META} cannot be read"] += 1
            continue
        yield _run(session, experiment, folders[run], meta)


def _run(
    session: ImportSession, experiment: Experiment, folder: Path, meta: dict[str, Any]
) -> PastRun:
    tags = session.texts(_texts(folder / "tags"))
    uri = str(meta.get("artifact_uri") or "")
    recorded = local_folder(uri)
    # A store that was copied here from elsewhere has its artifacts beside the run.
    moved = not uri or (recorded is not None and not recorded.is_dir())
    artifacts = str(folder / "artifacts") if moved else uri
    session.folder(f"{experiment.id}/{folder.name}/artifacts", artifacts)
    deleted = meta.get("lifecycle_stage") == "deleted"
    return PastRun(
        id=folder.name,
        experiment=experiment.id,
        name=str(meta.get("run_name") or "") or tags.get("mlflow.runName", "") or folder.name,
        user=str(meta.get("user_id") or ""),
        status=_STATUS.get(meta.get("status", 3), "finished"),
        started_at=moment(meta["start_time"]) or EPOCH,
        ended_at=moment(meta.get("end_time")),
        deleted_at=(moment(meta.get("deleted_time")) or EPOCH) if deleted else None,
        params=session.texts(_texts(folder / "params")),
        tags=tags,
        points=_points(session, folder / "metrics"),
        datasets=_datasets(folder),
    )


def _points(session: ImportSession, folder: Path) -> dict[str, bytes]:
    """Every point as packed series by key, in the order of steps and times.

    A line is a time in milliseconds, a value and, since MLflow 1.0, a step.
    """
    series: dict[str, bytes] = {}
    for key, text in _texts(folder).items():
        if not session.fits(key):
            continue
        rows: list[tuple[int, int, float]] = []
        for line in text.splitlines():
            try:
                millis, value, *step = line.split()
                rows.append((int(step[0]) if step else 0, int(millis) * 1000, float(value)))
            except ValueError:
                session.tally.left["lines of metrics that cannot be read"] += 1
        if rows:
            rows.sort(key=lambda row: row[:2])
            steps, times, values = zip(*rows, strict=True)
            series[key] = pack(list(steps), list(times), list(values))
            session.tally.counts["points"] += len(rows)
    return series


def _datasets(run: Path) -> list[Dataset]:
    """The datasets that a run has used."""
    datasets = []
    for file in sorted(run.glob(f"inputs/*/{META}")):
        used = _yaml(file) or {}
        meta = _yaml(run.parent / "datasets" / str(used.get("source_id")) / META)
        if meta is None:
            continue
        tags = {str(key): str(value) for key, value in (used.get("tags") or {}).items()}
        context = tags.pop("mlflow.data.context", "")
        facts: dict[str, Any] = {field: meta.get(field) for field in ("schema", "profile")}
        words = {
            field: str(meta.get(field) or "")
            for field in ("name", "digest", "source_type", "source")
        }
        datasets.append(Dataset(context=context, tags=tags, **words, **facts))
    return datasets


def _model(session: ImportSession, registry: Registry, folder: Path) -> None:
    """Import a registered model with its versions and aliases."""
    meta = _yaml(folder / META) or {}
    name = str(meta.get("name") or folder.name)
    versions = []
    for file in sorted(folder.glob(f"version-*/{META}")):
        version_meta = _yaml(file)
        if version_meta is not None and version_meta.get("current_stage") != "Deleted_Internal":
            versions.append(_version(version_meta, session.texts(_texts(file.parent / "tags"))))
    numbers = {version.number for version in versions}
    added = registry.add_history(
        name=name,
        description=str(meta.get("description") or ""),
        tags=session.texts(_texts(folder / "tags")),
        pointing={
            alias: int(number)
            for alias, number in _texts(folder / "aliases").items()
            if number.strip().isdecimal() and int(number) in numbers
        },
        versions=sorted(versions, key=lambda version: version.number),
    )
    session.tally.counts["models"] += 1
    session.tally.counts["versions"] += added


def _version(meta: dict[str, Any], tags: dict[str, str]) -> PastVersion:
    created = moment(meta.get("creation_timestamp")) or EPOCH
    return PastVersion(
        number=int(meta["version"]),
        source=str(meta.get("source") or ""),
        run=str(meta.get("run_id") or ""),
        created_at=created,
        updated_at=moment(meta.get("last_updated_timestamp")) or created,
        created_by=str(meta.get("user_id") or ""),
        description=str(meta.get("description") or ""),
        stage=STAGES.get(str(meta.get("current_stage")), "None"),
        tags=tags,
    )


def _texts(folder: Path) -> dict[str, str]:
    """The texts of a folder's files by relative path, which is how names with slashes are kept."""
    files = sorted(file for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else []
    return {
        file.relative_to(folder).as_posix(): file.read_text(encoding="utf-8", errors="replace")
        for file in files
    }


def _yaml(file: Path) -> dict[str, Any] | None:
    """A YAML mapping, or None where there is none. No code in it is run."""
    try:
        import yaml
    except ImportError as error:
        raise missing_extra("import", "Reading an MLflow file store") from error
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), loader)
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return content if isinstance(content, dict) else None
