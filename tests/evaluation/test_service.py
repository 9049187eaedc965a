"""Verdicts come from jobs, are given once, and rest on rows whose truth is known."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests import models
from tests.pipelines.project import declare, do_one_job, labelled, settle, write
from treadle.backends.exporter.sklearn import SklearnExporter
from treadle.backends.runtime.onnx import OnnxRuntime
from treadle.evaluation.model import Judged
from treadle.kernel.errors import Conflict, NotFound
from treadle.pipelines import output
from treadle.platform.wiring import Embedded
from treadle.ports.tree import put_tree

TRAINING = """
    from tests import models

    @treadle.step
    def holdout():
        return models.rows(300, seed=1)

    @treadle.step
    def trees():
        return treadle.Model(models.trees(), models.rows()[models.INPUTS])
"""


@pytest.fixture
def platform(open_home: Callable[..., Embedded]) -> Embedded:
    return open_home(target="memory:")


def payload(
    platform: Embedded, folder: Path, table: pd.DataFrame, estimator: Any
) -> dict[str, Any]:
    package = models.package(platform.blobs, folder / "model", estimator)
    into = folder / "table"
    into.mkdir(exist_ok=True)
    output.save(into, table, SklearnExporter(), OnnxRuntime())
    holdout = put_tree(platform.blobs, into)
    return {"project": "p", "package": package, "champion": None, "holdout": holdout}


def judged(
    platform: Embedded,
    folder: Path,
    table: pd.DataFrame,
    *,
    estimator: Any = None,
    label: str = "y",
) -> Judged:
    declare(platform, folder, data=labelled(label=label))
    return platform.evaluation.execute(
        payload(platform, folder, table, estimator or models.trees())
    )


def test_a_finished_training_is_judged_once_by_the_loop(platform: Embedded, tmp_path: Path) -> None:
    declare(platform, write(tmp_path / "p", TRAINING, rows__csv="y\n1\n"), data=labelled())
    platform.training.start(project="p")
    settle(platform)
    (verdict,) = platform.evaluation.find(project="p")
    assert verdict.outcome == "passed"
    assert verdict.rows == 300
    assert platform.evaluation.get(verdict=verdict.id) == verdict
    calibration = platform.evaluation.calibration(verdict=verdict.id)
    assert calibration is not None
    assert (calibration.rows, len(calibration.curves)) == (300, 1)
    assert platform.evaluation.calibration(verdict="") is None
    (event,) = platform.events.history(type="VerdictGiven")
    assert event.makes == [f"verdict:{verdict.id}"]
    assert set(event.uses) == {f"package:{verdict.package}", f"table:{event.body['holdout']}"}


def test_a_verdict_is_not_there_before_it_is_given(platform: Embedded, tmp_path: Path) -> None:
    declare(platform, write(tmp_path / "p", TRAINING, rows__csv="y\n1\n"), data=labelled())
    training = platform.training.start(project="p")
    while platform.training.get(run=training.run).state == "running":
        platform.pipelines.reconcile()
        do_one_job(platform)
        platform.training.reconcile()
    verdict = platform.evaluation.request(run=training.run)
    with pytest.raises(NotFound, match=f"no verdict '{verdict}', or it is not given yet"):
        platform.evaluation.get(verdict=verdict)
    assert do_one_job(platform)
    assert [platform.evaluation.reconcile(), platform.evaluation.reconcile()] == [1, 0]
    assert platform.evaluation.get(verdict=verdict).run == training.run


def test_a_training_without_a_model_cannot_be_judged(platform: Embedded, tmp_path: Path) -> None:
    declare(platform, write(tmp_path / "p", TRAINING))
    training = platform.training.start(project="p")
    with pytest.raises(
        Conflict, match=f"Training '{training.run}' has no model to judge: it is running"
    ):
        platform.evaluation.request(run=training.run)


def test_what_could_not_be_judged_is_no_evidence_and_names_the_log(
    platform: Embedded, tmp_path: Path
) -> None:
    declare(platform, write(tmp_path / "p", TRAINING, rows__csv="y\n1\n"), data=labelled(label="z"))
    platform.training.start(project="p")
    settle(platform)
    (verdict,) = platform.evaluation.find()
    assert verdict.outcome == "not enough evidence"
    assert verdict.reason.startswith(
        "It could not be judged: The table has no column 'z'. It has: colour, "
    )
    assert "treadle logs job_" in verdict.reason


def test_a_project_without_a_label_says_what_is_missing(platform: Embedded, tmp_path: Path) -> None:
    declare(platform, write(tmp_path / "p", TRAINING))
    platform.training.start(project="p")
    settle(platform)
    (verdict,) = platform.evaluation.find()
    assert "treadle.toml names no label" in verdict.reason


def test_a_candidate_that_fails_on_rows_is_refused(platform: Embedded, tmp_path: Path) -> None:
    table = models.rows(300, seed=1).copy()
    table.loc[5, "colour"] = "violet"
    found = judged(platform, tmp_path, table, estimator=models.strict())
    assert found.outcome == "refused"
    assert "answers" in found.reason


def test_rows_whose_truth_is_unknown_do_not_count(platform: Embedded, tmp_path: Path) -> None:
    table = models.rows(300, seed=1).astype({"y": float})
    table.loc[:99, "y"] = None
    found = judged(platform, tmp_path, table)
    assert found.rows == 200
    assert found.findings == judged(platform, tmp_path, table[100:]).findings
