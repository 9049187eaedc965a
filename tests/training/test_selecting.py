"""Model selection: nested folds, honest intervals, groups and time, and the simplest wins."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from treadle.cli.main import app
from treadle.data.task import InDoubt
from treadle.kernel.errors import Invalid, NotFound
from treadle.platform.recording import services_at
from treadle.platform.selecting import Selection, own_candidate, select
from treadle.training.selection.candidates import Columns, built_in
from treadle.training.selection.nested import Plan, Rows, Score, nested_score, proposed, splits
from treadle.training.selection.rows import Roles, prepared, sampled


def chosen(table: Any, label: str, home: Path, **more: Any) -> Selection:
    return select(table, label, home=home, jobs=1, **more)


def test_scores_are_those_of_scikit_learns_nested_search() -> None:
    inputs, truth = load_breast_cancer(return_X_y=True, as_frame=True)
    rows = Rows(inputs, Columns(list(inputs), []), truth.to_numpy(), ["0", "1"])
    linear = built_in(False)[1]
    found = nested_score(linear, rows, Plan("roc_auc", seed=3))
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    inner, outer = (StratifiedKFold(k, shuffle=True, random_state=3) for k in (3, 5))
    search = GridSearchCV(model, dict(linear.values), cv=inner, scoring="roc_auc")
    theirs = cross_val_score(search, inputs, truth, cv=outer, scoring="roc_auc")
    assert np.allclose(found.folds, theirs, atol=1e-9)
    assert math.isclose(found.mean, theirs.mean(), abs_tol=1e-9)
    expected = math.sqrt(theirs.var(ddof=1) * (1 / 5 + 1 / 4))
    assert math.isclose(found.standard_error, expected, rel_tol=0.01)
    assert found.low < found.mean < found.high


def test_the_simplest_within_one_standard_error_is_proposed() -> None:
    def score(name: str, mean: float, error: float) -> Score:
        return Score(name, mean, mean, mean, error, [mean], {}, 0, 0, 0)

    scores = [score("a", 0.80, 0.01), score("b", 0.895, 0.03), score("c", 0.90, 0.01)]
    assert proposed(scores, "roc_auc").candidate == "b"
    assert proposed([score._replace(standard_error=0.0) for score in scores], "r2").candidate == "c"
    assert proposed(scores, "rmse").candidate == "a"


def test_a_rule_is_found_where_there_is_one_and_none_where_there_is_none(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    frame = pd.DataFrame(noise.normal(size=(600, 4)), columns=list("abcd"))
    frame["kind"] = noise.choice(["x", "y"], 600)
    frame["y"] = (frame.a * frame.b > 0).astype(int)  # no line tells it
    names = "baseline,linear,tree"
    found = chosen(frame, "y", tmp_path, candidates=names)
    assert (found.proposed, found.best, found.metric) == ("tree", "tree", "roc_auc")
    frame["y"] = noise.integers(0, 2, 600)
    assert chosen(frame, "y", tmp_path, candidates=names).proposed == "baseline"


def test_groups_stay_together_and_time_goes_on() -> None:
    frame = pd.DataFrame({"a": range(200), "who": [n % 20 for n in range(200)], "y": [0, 1] * 100})
    rows = prepared(frame, Roles("y", group="who"), None).rows
    assert rows.groups is not None
    for learnt, judged in splits(rows, 5, 0):
        assert not set(rows.groups[learnt]) & set(rows.groups[judged])
    assert "who" not in rows.table
    frame["day"] = pd.date_range("2026-01-01", periods=200)[::-1]
    rows = prepared(frame, Roles("y", time="day"), None).rows
    assert rows.table["a"].tolist() == list(range(199, -1, -1))
    for learnt, judged in splits(rows, 5, 0):
        assert learnt.max() < judged.min()
    assert sampled(rows, 50, 0).table["a"].tolist() == list(range(49, -1, -1))  # the newest


def test_every_kind_of_column_is_an_input_or_left_out_with_a_word() -> None:
    count = 40
    frame = pd.DataFrame(
        {
            "n": [1.5, None] * 20,
            "flag": [True, False] * 20,
            "word": ["a", None] * 20,
            "when": pd.date_range("2026-01-01", periods=count, tz="Europe/Berlin"),
            "name": [f"row {number}" for number in range(count)],
            "list": [[1]] * count,
            "empty": [math.nan] * count,
            "id": range(count),
            "y": ["no", "yes"] * 20,
        }
    )
    frame.loc[3, "y"] = None
    found = prepared(frame, Roles("y", id="id", positive="no"), None)
    assert found.rows.columns == Columns(["n", "flag", "when"], ["word"])
    assert found.left_out.keys() == {"name", "list", "empty"}
    assert (found.without_label, found.rows.classes, found.task) == (1, ["yes", "no"], "binary")
    assert found.rows.truth[:2].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("load", "task", "metric"),
    [(load_wine, "multi-class", "balanced_accuracy"), (load_diabetes, "regression", "r2")],
)
def test_a_comparison_is_recorded(tmp_path: Path, load: Any, task: Any, metric: str) -> None:
    found = chosen(
        load(as_frame=True).frame, "target", tmp_path, task=task, candidates="linear,baseline"
    )
    assert (found.metric, found.proposed) == (metric, "linear")
    tracking = services_at(tmp_path, None, None).tracking
    run = tracking.get(run=found.run)
    assert run.tags["proposed"] == "linear"
    runs = tracking.search(experiments=[run.experiment]).runs
    assert {one.name for one in runs} == {run.name, "linear", "baseline"}
    (linear,) = [one for one in runs if one.name == "linear"]
    points = tracking.history(run=linear.id, key=metric)
    assert [point.value for point in points] == found.scores[1].folds


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"label": "tagret"}, "no column 'tagret'. Did you mean 'target'?"),
        ({"candidates": "foerst"}, "no candidate 'foerst'. Did you mean 'forest'?"),
        ({"metric": "r2"}, "'binary' has no metric 'r2'"),
        ({"folds": 300}, "fewer than the 300 folds"),
        ({"group": "kind", "folds": 3}, "fewer groups than the 3 folds"),
    ],
)
def test_what_cannot_be_compared_is_said(tmp_path: Path, more: Any, says: str) -> None:
    frame = load_breast_cancer(as_frame=True).frame.assign(kind="one")
    given = {"label": "target", "candidates": "linear", **more}
    with pytest.raises(Invalid) as error:
        chosen(frame, given.pop("label"), tmp_path, **given)
    assert says in str(error.value)


def test_a_label_in_doubt_is_asked_about(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": range(60), "y": [number % 10 for number in range(60)]})
    with pytest.raises(InDoubt):
        chosen(frame, "y", tmp_path)
    with pytest.raises(NotFound):
        chosen("gone.csv", "y", tmp_path)


def test_the_command_takes_a_file_or_the_project_and_estimators_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    load_breast_cancer(as_frame=True).frame.to_csv("cancer.csv", index=False)
    Path("mine.py").write_text(
        "from sklearn.naive_bayes import GaussianNB\n\n\ndef bayes():\n    return GaussianNB()\n"
    )
    few = ["--candidates", "baseline,tree", "--folds", "3", "--json"]
    told = _printed(
        capsys, "select", "cancer.csv", "--label", "target", "--own", "mine.py:bayes", *few
    )
    assert [score["candidate"] for score in told["scores"]] == ["baseline", "tree", "bayes"]
    assert told["proposed"] == "bayes"
    app(["init", "shop"], standalone_mode=False)
    monkeypatch.chdir(tmp_path / "shop")
    capsys.readouterr()
    told = _printed(capsys, "select", *few)
    assert 2900 < told["rows"] < 3100  # a quarter is held out
    assert told["task"] == "binary"


def _printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    app([*arguments], standalone_mode=False)
    return json.loads(capsys.readouterr().out)


def test_what_cannot_be_measured_or_fitted_is_left_out_with_a_word(tmp_path: Path) -> None:
    noise = np.random.default_rng(1)
    frame = pd.DataFrame({"a": noise.normal(size=200), "b": noise.normal(size=200)})
    frame["y"] = (frame.a > 1).astype(int)  # no baseline predicts a positive: no precision
    frame.loc[3, "b"] = math.inf
    own = {"broken": LogisticRegression(solver="none such")}
    found = chosen(frame, "y", tmp_path, metric="precision", candidates="baseline,tree", own=own)
    assert (found.proposed, found.best) == ("tree", "tree")
    assert math.isnan(found.scores[0].mean)
    assert found.unfit.keys() == {"broken"}
    assert "solver" in found.unfit["broken"]
    with pytest.raises(Invalid, match="No candidate could be measured by 'precision'"):
        chosen(frame, "y", tmp_path, metric="precision", candidates="baseline")
    with pytest.raises(Invalid, match="'tree' is a built-in candidate"):
        chosen(frame, "y", tmp_path, own={"tree": LogisticRegression()})


def test_rare_positives_in_time_are_compared(tmp_path: Path) -> None:
    noise = np.random.default_rng(2)
    frame = pd.DataFrame({"a": noise.normal(size=300), "day": range(300)})
    frame["y"] = (frame.a > 1.3).astype(int)
    frame.loc[:40, "y"] = 0  # the first inner fold has one class
    found = chosen(frame, "y", tmp_path, time="day", candidates="baseline,linear")
    assert found.proposed == "linear"


def test_groups_that_are_judged_teach_nothing_in_time_either() -> None:
    frame = pd.DataFrame({"a": range(200), "who": [n % 50 for n in range(200)], "y": [0, 1] * 100})
    frame["day"] = range(200)
    rows = prepared(frame, Roles("y", group="who", time="day"), None).rows
    assert rows.groups is not None
    for learnt, judged in splits(rows, 5, 0):
        assert not set(rows.groups[learnt]) & set(rows.groups[judged])


def test_what_ones_own_function_raises_is_said(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def broken():\n    raise KeyError('rate')\n\n\ndef number():\n    return 1\n")
    with pytest.raises(Invalid, match="raises KeyError: 'rate'"):
        own_candidate(f"{file}:broken")
    with pytest.raises(Invalid, match="returns int, which is no estimator"):
        own_candidate(f"{file}:number")
