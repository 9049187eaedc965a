"""Small projects on disk, and their jobs done inside the test's own process."""

from contextlib import suppress
from pathlib import Path
from textwrap import dedent
from typing import Any

from treadle.pipelines.model import PipelineRun
from treadle.pipelines.step import store_code
from treadle.platform.wiring import Embedded
from treadle.scope.model import About, DataSource, PipelineFile, ProjectSpec, Requirement


def write(folder: Path, pipeline: str, **files: str) -> Path:
    """A project folder: ``pipeline.py``, after ``import treadle``, and other files by name."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pipeline.py").write_text("import treadle\n" + dedent(pipeline), encoding="utf-8")
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(dedent(content), encoding="utf-8")
    return folder


def declare(platform: Embedded, folder: Path, *, name: str = "p", **parts: Any) -> None:
    """Declare a project without data (unless given), with one requirement."""
    parts.setdefault("requirement", [Requirement(id="R1", metric="roc_auc", at_least=0.6)])
    platform.scope.declare_in(
        spec=ProjectSpec(project=About(name=name), **parts), folder=str(folder)
    )


def labelled(source: str = "rows.csv", label: str = "y") -> dict[str, DataSource]:
    return {"rows": DataSource(source=source, label=label)}


def defaults(**parameters: str | int | float | bool) -> PipelineFile:
    return PipelineFile(parameters={**parameters})


def start(
    platform: Embedded, folder: Path, datasets: dict[str, str] | None = None, **parameters: Any
) -> PipelineRun:
    code = store_code(platform.blobs, folder, "pipeline.py")
    return platform.pipelines.start(
        project="p", code=code, file="pipeline.py", datasets=datasets or {}, parameters=parameters
    )


def do_one_job(platform: Embedded) -> bool:
    """Do the next due job here and now, as its own process would. False when none is due."""
    job = platform.jobs.lease("test")
    if job is None:
        return False
    with suppress(Exception):  # the job has kept the reason already
        platform.run_job(job)
    return True


def settle(platform: Embedded) -> None:
    """Let everything that can happen now happen, without any process."""
    while platform.reconcile() or do_one_job(platform):
        pass


def settled(platform: Embedded, pipeline: PipelineRun) -> PipelineRun:
    settle(platform)
    return platform.pipelines.get(pipeline=pipeline.id)


def drained(
    platform: Embedded, pipeline: PipelineRun, *, timeout_seconds: float = 60
) -> PipelineRun:
    """The pipeline run after real processes have done its jobs."""
    platform.worker("test").drain(timeout_seconds=timeout_seconds, reconcile=platform.reconcile)
    return platform.pipelines.get(pipeline=pipeline.id)


def value(platform: Embedded, pipeline: PipelineRun, step: str) -> object:
    """What a step that returns JSON has returned."""
    from treadle.pipelines import output

    found = pipeline.step(step)
    assert found is not None
    assert found.kind is not None, found.error
    return output.load(platform.pipelines.fetch_output(found), found.kind, None)
