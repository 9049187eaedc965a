"""Pages of runs: one with all that is known of it, several side by side."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import quote

from markdown_it import MarkdownIt
from markupsafe import Markup
from starlette.responses import RedirectResponse, Response

from treadle.kernel.errors import Invalid
from treadle.kernel.escaping import visible
from treadle.tracking.language import literal
from treadle.tracking.model import NOTE, PARENT, Artifact, Comparison, Run
from treadle.ui.experiments import AREA
from treadle.ui.site import Page, Visit

STORE = "/api/2.0/mlflow-artifacts/artifacts"
MOST_COMPARED = 20
MOST_CHILDREN = 100
MOST_EVENTS = 30
OVERVIEW = "overview"
"""The tab that is shown first."""
KINDS = {
    "image": ("png", "jpg", "jpeg", "gif", "webp", "svg"),
    "audio": ("wav", "mp3", "ogg", "flac"),
    "video": ("mp4", "webm"),
    "csv": ("csv", "tsv"),
    "markdown": ("md",),
    "text": (
        *("txt", "log", "json", "jsonl", "yaml", "yml", "toml", "ini", "cfg", "py", "r", "sql"),
        *("sh", "xml", "html", "css", "js", "diff", "patch", "tex", "mlmodel", "ipynb", "env"),
    ),
}
"""How files are shown, by the ends of their names."""


def kind_of(path: str) -> str:
    """Say how a file is shown: as an image, audio, video, csv, markdown, text; or not: file.

    Args:
        path: Path of the file.
    """
    end = path.rpartition("/")[2].rpartition(".")[2].lower()
    return next((kind for kind, ends in KINDS.items() if end in ends), "file")


@cache
def _reader() -> MarkdownIt:
    """Reads Markdown; HTML in it is text, and a link leads to no script."""
    return MarkdownIt("js-default", {"html": False, "linkify": False})


def note(text: str) -> Markup:
    """Draw a note that is Markdown.

    Args:
        text: The note.
    """
    return Markup(_reader().render(visible(text)))


class File(NamedTuple):
    """A file of a run.

    Attributes:
        artifact: The file as it is attached.
        kind: How it is shown.
        folder: Its folder; empty for the top.
        name: Its name there.
        address: Where its content is.
    """

    artifact: Artifact
    kind: str
    folder: str
    name: str
    address: str


def files_of(root: str, artifacts: Iterable[Artifact]) -> list[File]:
    """Say of files how they are shown.

    Args:
        root: Where they are in the artifact store.
        artifacts: The files as they are attached.
    """
    found = []
    for one in artifacts:
        folder, _, name = one.path.rpartition("/")
        address = f"{STORE}/{quote(f'{root}/{one.path}', errors='replace')}"
        found.append(File(one, kind_of(one.path), folder, name, address))
    return found


def _run(visit: Visit) -> Mapping[str, Any]:
    ask = visit.ask
    run = ask.tracking.get(run=visit.path["run"])
    files = files_of(run.artifact_root, ask.tracking.artifacts(run=run.id))
    tab = visit.query.get("tab", OVERVIEW)
    return {
        "run": run,
        "tab": tab,
        "experiment": ask.tracking.experiment(id=run.experiment),
        "files": files,
        "parent": run.tags.get(PARENT, ""),
        **_TABS.get(tab, _overview)(visit, run, files),
    }


def _overview(visit: Visit, run: Run, _: Sequence[File]) -> Mapping[str, Any]:
    """Its numbers, its data, and what came of it: versions, models, verdicts, runs inside."""
    ask = visit.ask
    inside = f"tags.`{PARENT}` = {literal(run.id)}"
    children = ask.tracking.search(experiments=[run.experiment], filter=inside, limit=MOST_CHILDREN)
    return {
        "series": ask.tracking.series(run=run.id),
        "datasets": ask.tracking.datasets(run=run.id),
        "tags": _own_tags(run),
        "note": note(run.tags[NOTE]) if run.tags.get(NOTE) else "",
        "verdicts": ask.evaluation.find(run=run.id),
        "versions": ask.registry.search(filter=f"run_id = {literal(run.id)}"),
        "models": ask.logged_models.find(
            experiments=[run.experiment], filter=f"source_run_id = {literal(run.id)}"
        ),
        "children": children.runs,
    }


def _charts(visit: Visit, run: Run, _: Sequence[File]) -> Mapping[str, Any]:
    series = visit.ask.tracking.series(run=run.id)
    return {"curves": [one.key for one in series if one.points > 1]}


def _files(visit: Visit, _: Run, files: Sequence[File]) -> Mapping[str, Any]:
    chosen = visit.query.get("file", "")
    return {"chosen": next((file for file in files if file.artifact.path == chosen), None)}


def _code(visit: Visit, run: Run, _: Sequence[File]) -> Mapping[str, Any]:
    own = _own_tags(run)
    return {
        "environment": visit.ask.tracking.environment(run=run.id),
        "about": {key: value for key, value in run.tags.items() if key not in own},
    }


def _why(visit: Visit, run: Run, _: Sequence[File]) -> Mapping[str, Any]:
    events = visit.ask.events.history(
        subject=f"run:{run.id}", project=run.project, newest_first=True, limit=MOST_EVENTS
    )
    return {"events": events}


_TABS: Mapping[str, Callable[[Visit, Run, Sequence[File]], Mapping[str, Any]]] = {
    OVERVIEW: _overview,
    "charts": _charts,
    "files": _files,
    "code": _code,
    "why": _why,
}
"""What each tab of a run's page shows beside its head."""


def _own_tags(run: Run) -> dict[str, str]:
    return {key: value for key, value in run.tags.items() if not key.startswith("mlflow.")}


class Row(NamedTuple):
    """A line of a comparison.

    Attributes:
        key: What is compared.
        values: What each run has; None where it is missing.
        differs: Whether they are not all the same.
    """

    key: str
    values: list[Any]
    differs: bool


def rows_of(sides: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Lay mappings side by side, what differs first.

    Args:
        sides: Each run's values by key.
    """
    keys = sorted({key for side in sides for key in side})
    rows = [Row(key, [side.get(key) for side in sides], False) for key in keys]
    told = [row._replace(differs=len({repr(one) for one in row.values}) > 1) for row in rows]
    return sorted(told, key=lambda row: (not row.differs, row.key))


class Changes(NamedTuple):
    """What differs between the first run and another one, beside its numbers.

    Attributes:
        run: The other run.
        comparison: All differences.
    """

    run: Run
    comparison: Comparison

    def of(self, kind: str) -> list[Any]:
        """The differences of one kind.

        Args:
            kind: Such as ``code``.
        """
        return [one for one in self.comparison.differences if one.of == kind]


def _compare(visit: Visit) -> Mapping[str, Any] | Response:
    ids = list(dict.fromkeys(one for one in visit.query.get("runs", "").split(",") if one))
    if len(ids) > MOST_COMPARED:
        raise Invalid(f"At most {MOST_COMPARED} runs are compared side by side, not {len(ids)}.")
    if not ids:
        return RedirectResponse("/experiments", status_code=303)
    ask = visit.ask
    runs = [ask.tracking.get(run=id) for id in ids]
    tables = {
        "Metrics": rows_of([run.metrics for run in runs]),
        "Parameters": rows_of([run.params for run in runs]),
        "Tags": rows_of([_own_tags(run) for run in runs]),
        "Data": rows_of(
            [{one.name: one.digest for one in ask.tracking.datasets(run=id)} for id in ids]
        ),
    }
    return {
        "runs": runs,
        "tables": tables,
        "only": visit.query.get("only") == "differences",
        "changes": [Changes(run, ask.tracking.compare(a=ids[0], b=run.id)) for run in runs[1:]],
        "metrics": sorted({key for run in runs for key in run.metrics}),
    }


def _meant(visit: Visit) -> Response:
    """Lead from what people type for a run to its page."""
    ref = visit.query.get("ref", "")
    if not ref:
        return RedirectResponse("/experiments", status_code=303)
    run = visit.ask.tracking.resolve(ref=ref)
    return RedirectResponse(f"/runs/{run.id}", status_code=303)


PAGES = (
    Page("/runs", AREA.name, "run.html", _meant),
    Page("/runs/{run}", AREA.name, "run.html", _run, turn="search"),
    Page("/compare", AREA.name, "compare.html", _compare),
)
