"""Pages of data: datasets with their versions, what they hold, their checks, and features."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from treadle.data.model import QUARANTINE, DatasetVersion
from treadle.data.table_profile import TableColumn, TableProfile
from treadle.kernel.errors import Invalid, NotFound
from treadle.registry.lineage import Descendant
from treadle.scope.model import DataSource
from treadle.training.model import NewRows
from treadle.ui.addresses import dataset_page, page_of
from treadle.ui.site import Page, Visit

MOST_COLUMNS = 300
"""Columns of a profile that the page draws."""


class Dataset(NamedTuple):
    """A dataset of a project.

    Attributes:
        project: Name of the project.
        name: Name of the dataset.
        declared: What ``treadle.toml`` says of it; None where it says nothing.
        versions: Its versions, newest first.
    """

    project: str
    name: str
    declared: DataSource | None
    versions: list[DatasetVersion]


def _datasets(visit: Visit, project: str) -> list[Dataset]:
    """The datasets that a project declares or has recorded, by name."""
    try:
        declared = visit.ask.scope.project(name=project).spec.data
    except NotFound:  # datasets are recorded without a declaration, too
        declared = {}
    versions: dict[str, list[DatasetVersion]] = {name: [] for name in declared}
    for version in visit.ask.data.versions(project=project):
        versions.setdefault(version.name, []).append(version)
    return [
        Dataset(project, name, declared.get(name), versions[name])
        for name in sorted(versions, key=lambda one: (one.endswith(QUARANTINE), one))
    ]


def _overview(visit: Visit) -> Mapping[str, Any]:
    projects = [one.name for one in visit.ask.scope.projects()]
    failed = {
        (project, one.dataset): one
        for project in projects
        for one in visit.ask.quality.failures(project=project)
    }
    datasets = [one for project in projects for one in _datasets(visit, project)]
    return {"datasets": datasets, "failed": failed, "dataset_page": dataset_page}


class Chosen(NamedTuple):
    """The dataset and the version that a page of a project shows.

    Attributes:
        datasets: The project's datasets.
        dataset: The one that is shown; None where there is none.
        version: The version of it that is shown; None where there is none.
    """

    datasets: list[Dataset]
    dataset: Dataset | None
    version: DatasetVersion | None


def _chosen(visit: Visit) -> Chosen:
    """What a page shows: what its address asks for, else the first dataset's newest version.

    Raises:
        NotFound: The project has no such dataset, or the dataset no such version.
    """
    project, asked = visit.path["project"], visit.query
    datasets = _datasets(visit, project)
    name, digest = asked.get("dataset", ""), asked.get("version", "")
    named = [one for one in datasets if one.name == name or not name]
    if name and not named:
        raise NotFound(f"Project '{project}' has no dataset '{name[:80]}'.")
    dataset = named[0] if named else None
    versions = dataset.versions if dataset else []
    found = [one for one in versions if one.digest.startswith(digest)]
    if digest and not found:
        raise NotFound(f"Dataset '{name[:80]}' has no version '{digest[:80]}'.")
    return Chosen(datasets, dataset, found[0] if found else None)


def _around(visit: Visit, chosen: Chosen, tab: str) -> dict[str, Any]:
    return {
        **chosen._asdict(),
        "project": visit.path["project"],
        "tab": tab,
        "dataset_page": dataset_page,
        "page_of": page_of,
    }


def _project(visit: Visit) -> Mapping[str, Any]:
    chosen = _chosen(visit)
    before = _before(chosen)
    changes = None
    if chosen.dataset and chosen.version and before:
        changes = visit.ask.data.changes(
            project=chosen.dataset.project,
            name=chosen.dataset.name,
            old=before.digest,
            new=chosen.version.digest,
        )
    return _around(visit, chosen, "versions") | {
        "before": before,
        "changes": changes,
        "seen": _seen(visit, chosen.version),
        "labels": _labels(visit),
    }


def _before(chosen: Chosen) -> DatasetVersion | None:
    """The version that came before the one that is shown."""
    versions = chosen.dataset.versions if chosen.dataset else []
    place = versions.index(chosen.version) + 1 if chosen.version in versions else len(versions)
    return versions[place] if place < len(versions) else None


def _seen(visit: Visit, version: DatasetVersion | None) -> list[Descendant] | None:
    """The model versions that have learnt from a version; None where that is not the reader's."""
    if not visit.caller.may("viewer"):
        return None
    try:
        return visit.ask.lineage.seen(data=version.digest) if version else []
    except NotFound:
        return []


def _labels(visit: Visit) -> NewRows | None:
    """What has come since the newest training; None where the project is not declared."""
    try:
        return visit.ask.training.new_rows(project=visit.path["project"])
    except NotFound:
        return None


def _profile(visit: Visit) -> Mapping[str, Any]:
    chosen = _chosen(visit)
    profile, fault = None, ""
    if chosen.version:
        try:
            profile = visit.ask.quality.profile(
                project=chosen.version.project,
                name=chosen.version.name,
                digest=chosen.version.digest,
            )
        except Invalid as error:
            fault = error.message
    return _around(visit, chosen, "profile") | {
        "profile": profile,
        "fault": fault,
        "columns": _drawn(profile) if profile else [],
        "left_out": max(0, len(profile.columns) - MOST_COLUMNS) if profile else 0,
    }


def _drawn(profile: TableProfile) -> list[tuple[TableColumn, list[float]]]:
    """The columns with the heights of their bars, from 0 to 100."""
    return [(one, _heights(one)) for one in profile.columns[:MOST_COLUMNS]]


def _heights(column: TableColumn) -> list[float]:
    counts: Sequence[int] = column.histogram.counts if column.histogram else []
    most = max(counts, default=0)
    return [round(100 * count / most, 1) for count in counts] if most else []


def _checks(visit: Visit) -> Mapping[str, Any]:
    chosen = _chosen(visit)
    report, fault = None, ""
    declared = chosen.dataset.declared if chosen.dataset else None
    if chosen.version and declared and declared.checks:
        try:
            report = visit.ask.quality.check(
                project=chosen.version.project,
                name=chosen.version.name,
                digest=chosen.version.digest,
            )
        except (Invalid, NotFound) as error:
            fault = error.message
    return _around(visit, chosen, "checks") | {"report": report, "fault": fault}


def _rows(visit: Visit) -> Mapping[str, Any]:
    """How the rows of a version differ from those of another, by default of the one before."""
    chosen, diff, fault = _chosen(visit), None, ""
    by = [name.strip() for name in visit.query.get("by", "").split(",") if name.strip()]
    other, digest = _before(chosen), visit.query.get("against", "")
    if digest and chosen.dataset:
        other = next((one for one in chosen.dataset.versions if one.digest == digest), None)
    if chosen.version and other:
        try:
            diff = visit.ask.quality.diff(
                project=chosen.version.project,
                name=chosen.version.name,
                old=other.digest,
                new=chosen.version.digest,
                by=by or None,
            )
        except Invalid as error:
            fault = error.message
    found = {"diff": diff, "fault": fault, "other": other, "by": by}
    return _around(visit, chosen, "rows") | found


def _features(visit: Visit) -> Mapping[str, Any]:
    chosen, project = _chosen(visit), visit.path["project"]
    try:
        views = visit.ask.features.views(project=project)
        fresh = {one.view: one for one in visit.ask.features.freshness(project=project)}
    except NotFound:
        views, fresh = [], {}
    return _around(visit, chosen, "features") | {"views": views, "fresh": fresh}


PAGES = (
    Page("/data", "Data", "datasets.html", _overview),
    Page("/data/{project}", "Data", "dataset.html", _project, turn="rows"),
    Page("/data/{project}/profile", "Data", "dataset_profile.html", _profile, turn="rows"),
    Page("/data/{project}/checks", "Data", "dataset_checks.html", _checks, turn="rows"),
    Page("/data/{project}/rows", "Data", "dataset_rows.html", _rows, turn="rows"),
    Page("/data/{project}/features", "Data", "features.html", _features),
)
