"""``treadle monitor estimate`` on files."""

import json
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from typer.testing import CliRunner

from treadle.cli.main import app
from treadle.cli.output import console
from treadle.kernel.errors import Invalid, NotFound


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for seed, name in enumerate(("reference", "current")):
        random = np.random.default_rng(seed)
        score = random.random(2000)
        truth = np.where(random.random(2000) < score, "left", "stayed")
        lines = [f"{s:.6f},{t},2026-01-{1 + i // 100:02}" for i, (s, t) in
                 enumerate(zip(score, truth, strict=True))]  # fmt: skip
        (tmp_path / f"{name}.csv").write_text("\n".join(["p,y,day", *lines]))
    return tmp_path


def run(files: Path, *more: str) -> tuple[int, str]:
    given = ["monitor", "estimate", "--reference", str(files / "reference.csv")]
    given += ["--current", str(files / "current.csv"), "--target", "y", "--positive", "left"]
    with patch.object(console, "_width", 250):
        done = CliRunner().invoke(app, [*given, *more])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def test_each_chunk_is_a_line_with_what_it_assumes_below(files: Path) -> None:
    code, text = run(files, "--score", "p", "--chunks", "4", "--metric", "roc_auc",
                     "--timestamp", "day")  # fmt: skip
    assert code == 0
    assert [line.split()[0] for line in text.splitlines()[1:5]] == [
        "0-499", "500-999", "1000-1499", "1500-1999"]  # fmt: skip
    assert "corrected" in text.splitlines()[0]
    assert "CBPE, from 2000 rows of known truth" in text and "no concept drift" in text


def test_json_is_the_estimate(files: Path) -> None:
    code, text = run(files, "--score", "p", "--json", "--metric", "accuracy", "--chunk-size", "400")
    told = json.loads(text)
    assert (code, told["method"], len(told["chunks"])) == (0, "CBPE", 5)
    (accuracy,) = told["chunks"][0]["metrics"]
    assert accuracy["low"] < accuracy["realised"] < accuracy["high"]


def test_the_exit_code_says_that_an_estimate_is_outside_where_it_is_asked_for(files: Path) -> None:
    unsure = "\n".join(["p", *(f"{0.5 + i / 1e5}" for i in range(200))])
    (files / "current.csv").write_text(unsure)
    asked = ("--score", "p", "--chunks", "1", "--metric", "accuracy")
    assert run(files, *asked)[0] == 0
    assert run(files, *asked, "--fail-outside")[0] == 3


def test_what_is_not_there_is_named(files: Path) -> None:
    with pytest.raises(Invalid, match="CLASS=COLUMN, not 'p'"):
        run(files, "--score", "p", "--score", "q")
    (files / "current.csv").unlink()
    with pytest.raises(NotFound, match="There is no file"):
        run(files, "--score", "p")
