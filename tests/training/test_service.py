"""A training ends with a packaged model, or says why not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipelines.project import declare, defaults, labelled, settle, write
from treadle.kernel.errors import NotFound, Unavailable
from treadle.kernel.event import acting
from treadle.platform.wiring import Embedded
from treadle.ports.sandbox import Allowance
from treadle.ports.tree import read_tree
from treadle.scope.model import PipelineFile
from treadle.tracking.environment import CODE, ENVIRONMENT
from treadle.tracking.local import LocalTracking
from treadle.tracking.model import Run, Status
from treadle.training.model import Training
from treadle.training.service import allowance_of

HOLDOUT = """
    import pandas as pd

    @treadle.step
    def holdout() -> pd.DataFrame:
        return pd.DataFrame({"size": [0.1, 0.2], "y": [0, 1]})
"""
MODEL = """
    import pandas as pd
    from sklearn.linear_model import LinearRegression

    @treadle.step
    def line(slope: float = 3.0) -> treadle.Model:
        inputs = pd.DataFrame({"size": [0.0, 1.0, 2.0]})
        return treadle.Model(LinearRegression().fit(inputs, inputs["size"] * slope), inputs)
"""


@pytest.fixture
def platform(open_home: Callable[..., Embedded]) -> Embedded:
    return open_home(target="memory:")


def trained(platform: Embedded, **options: object) -> Training:
    training = platform.training.start(project="p", parameters=dict(options))
    settle(platform)
    return platform.training.get(run=training.run)


def failure(platform: Embedded, folder: Path, pipeline: str) -> str:
    """A failed training says the same in its record and its event, and its run has failed."""
    declare(platform, write(folder, pipeline))
    found = trained(platform)
    assert found.state == "failed"
    assert platform.tracking.get(run=found.run).status == "failed"
    (event,) = platform.events.history(type="TrainingFailed")
    assert event.body["error"] == found.error
    assert platform.evaluation.find() == []
    return found.error or ""


def test_a_training_ends_with_a_package_and_the_table_it_is_judged_on(
    platform: Embedded, tmp_path: Path
) -> None:
    declare(platform, write(tmp_path / "p", HOLDOUT + MODEL))
    found = trained(platform)
    assert (found.state, found.error) == ("succeeded", None)
    assert "model.onnx" in read_tree(platform.blobs, found.package or "").files
    assert list(read_tree(platform.blobs, found.holdout or "").files) == ["table.parquet"]
    (event,) = platform.events.history(type="TrainingFinished")
    assert event.makes == [f"package:{found.package}"]


def test_the_run_of_a_training_keeps_its_times_and_what_it_made(
    platform: Embedded, tmp_path: Path
) -> None:
    declare(platform, write(tmp_path / "p", HOLDOUT + MODEL))
    found = trained(platform, slope=2.5)
    run = platform.tracking.get(run=found.run)
    assert (run.status, run.params) == ("finished", {"slope": "2.5"})
    assert set(run.metrics) == {"seconds.holdout", "seconds.line"}
    artifacts = {
        artifact.path: artifact.digest for artifact in platform.tracking.artifacts(run=found.run)
    }
    assert {path: artifacts[path] for path in ("holdout", "line")} == {
        "holdout": found.holdout,
        "line": found.package,
    }
    assert set(artifacts) == {"holdout", "line", CODE, ENVIRONMENT}


def test_what_is_given_goes_before_what_the_file_says(platform: Embedded, tmp_path: Path) -> None:
    declare(platform, write(tmp_path / "p", HOLDOUT + MODEL), pipeline=defaults(slope=1.0, seed=7))
    assert trained(platform, slope=9.0).parameters == {"slope": 9.0, "seed": 7}


def test_a_pipeline_without_a_model_says_so(platform: Embedded, tmp_path: Path) -> None:
    error = failure(platform, tmp_path / "p", HOLDOUT)
    assert error is not None
    assert error.startswith("No step returned a treadle.Model, so there is nothing to judge or")


def test_a_pipeline_without_a_holdout_says_so(platform: Embedded, tmp_path: Path) -> None:
    error = failure(platform, tmp_path / "p", MODEL)
    assert error.startswith(
        "There is no step 'holdout' that returns a table, so the model cannot be judged"
    )


def test_a_holdout_that_is_no_table_is_none(platform: Embedded, tmp_path: Path) -> None:
    error = failure(
        platform, tmp_path / "p", MODEL + "\n    @treadle.step\n    def holdout(): return [1, 2]\n"
    )
    assert error.startswith("There is no step 'holdout' that returns a table")


def test_a_failed_pipeline_fails_the_training_with_its_reason(
    platform: Embedded, tmp_path: Path
) -> None:
    error = failure(
        platform,
        tmp_path / "p",
        HOLDOUT + "\n    @treadle.step\n    def line(): raise ValueError('no')\n",
    )
    assert error.startswith("Step 'line' failed: ValueError: no (job job_")


def test_a_cancelled_pipeline_fails_the_training(platform: Embedded, tmp_path: Path) -> None:
    declare(platform, write(tmp_path / "p", HOLDOUT + MODEL))
    training = platform.training.start(project="p")
    platform.pipelines.cancel(pipeline=training.pipeline)
    settle(platform)
    found = platform.training.get(run=training.run)
    assert (found.state, found.error) == ("failed", "It was cancelled.")


@pytest.mark.parametrize(
    "pipeline, end", [(HOLDOUT, "TrainingFailed"), (HOLDOUT + MODEL, "TrainingFinished")]
)
def test_the_end_of_a_training_is_caused_by_its_start_and_by_whoever_started_it(
    platform: Embedded, tmp_path: Path, pipeline: str, end: str
) -> None:
    declare(platform, write(tmp_path / "p", pipeline))
    with acting("ann"):
        trained(platform)
    (began,), (ended,) = (platform.events.history(type=kind) for kind in ("TrainingStarted", end))
    assert (ended.cause, ended.actor) == (began.number, "ann")


def test_a_training_takes_the_data_as_it_is_now(platform: Embedded, tmp_path: Path) -> None:
    declare(platform, write(tmp_path / "p", HOLDOUT + MODEL, rows__csv="y\n1\n"), data=labelled())
    platform.training.start(project="p")
    (tmp_path / "p" / "rows.csv").write_text("y\n2\n")
    platform.training.start(project="p")
    first, second = platform.events.history(type="TrainingStarted")
    assert first.body["datasets"] != second.body["datasets"]
    assert len(platform.data.versions(project="p", name="rows")) == 2


def test_data_that_is_not_there_starts_nothing(platform: Embedded, tmp_path: Path) -> None:
    declare(platform, write(tmp_path / "p", HOLDOUT + MODEL), data=labelled("gone.csv"))
    with pytest.raises(NotFound, match=r"no file or folder at '.*gone\.csv'"):
        platform.training.start(project="p")
    assert platform.training.find() == []
    assert platform.pipelines.find() == []
    assert platform.tracking.find() == []


def test_what_is_no_training_is_named(platform: Embedded) -> None:
    run = platform.tracking.start_run(project="p")
    with pytest.raises(NotFound, match=rf"Run '{run.id}' is no training\. List trainings with"):
        platform.training.get(run=run.id)


def test_reconciling_again_settles_nothing_twice(platform: Embedded, tmp_path: Path) -> None:
    declare(platform, write(tmp_path / "p", HOLDOUT))
    trained(platform)
    before = platform.events.last_number()
    assert platform.training.reconcile() == 0
    assert platform.events.last_number() == before


class Interrupted(LocalTracking):
    """Fails the first time a run is ended, as when the process dies there."""

    failures = 1

    def finish_run(self, *, run: str, status: Status = "finished") -> Run:
        if self.failures:
            self.failures -= 1
            raise Unavailable("the process died here")
        return super().finish_run(run=run, status=status)


@pytest.mark.parametrize("pipeline, status", [(HOLDOUT, "failed"), (HOLDOUT + MODEL, "finished")])
def test_a_run_is_ended_even_when_the_first_try_is_interrupted(
    platform: Embedded, tmp_path: Path, pipeline: str, status: str
) -> None:
    declare(platform, write(tmp_path / "p", pipeline))
    tracking = Interrupted(platform.database, platform.events, platform.clock, platform.blobs)
    platform.training._tracking = tracking
    training = platform.training.start(project="p")
    with pytest.raises(Unavailable):
        settle(platform)
    settle(platform)
    assert platform.tracking.get(run=training.run).status == status


def test_what_steps_may_use_is_what_the_project_declares() -> None:
    declared = PipelineFile(network=True, memory_gb=2, disk_gb=0.5, cpu_time="90s")
    expected = Allowance(network=True, memory_bytes=2 * 10**9, disk_bytes=5 * 10**8, cpu_seconds=90)
    assert allowance_of(declared) == expected
    assert allowance_of(PipelineFile()) == Allowance()
