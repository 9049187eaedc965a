"""An estimator is packaged in the first way that answers as it does, and no way is a dead end."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression, Perceptron
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC

from treadle.kernel.errors import Invalid, Unavailable
from treadle.platform.runtimes import Exporters, Runtimes
from treadle.ports.runtime import SIGNATURE, Way, open_model
from treadle.training.package import Model, Package
from treadle.training.parity import ALLOWED_SHARE, compare
from treadle.training.ways import package_first

DICE = np.random.default_rng(5)
INPUTS = pd.DataFrame(DICE.normal(size=(1500, 4)) * [1, 1e3, 1e-3, 7], columns=[*"abcd"])
TRUTH = (INPUTS["a"] + INPUTS["b"] / 1e3 + DICE.normal(size=1500) * 0.2 > 0).astype(int)
TRUSTED = Runtimes(trusted=True)


def packaged(folder: Path, estimator: Any, inputs: Any = INPUTS, **options: Any) -> Package:
    folder.mkdir(exist_ok=True)
    Model(estimator, inputs, **options).save(folder, Exporters(), TRUSTED)
    return Package(folder, TRUSTED)


def scores(package: Package, inputs: Any = INPUTS) -> Any:
    return package.predict_table({str(name): inputs[name].to_numpy() for name in inputs})


@pytest.mark.parametrize(
    "trees",
    [
        RandomForestClassifier(20, random_state=0),
        RandomForestRegressor(20, random_state=0),
        HistGradientBoostingClassifier(),
        HistGradientBoostingRegressor(),
        GradientBoostingClassifier(n_estimators=20),
        LGBMClassifier(n_estimators=20, verbose=-1),
        LGBMRegressor(n_estimators=20, verbose=-1),
    ],
    ids=lambda kind: type(kind).__name__,
)
def test_a_scaler_before_trees_answers_exactly_in_double_precision(
    tmp_path: Path, trees: Any
) -> None:
    estimator = make_pipeline(StandardScaler(), trees).fit(INPUTS, TRUTH)
    signature = Exporters().describe(estimator, INPUTS)
    export = Exporters().ways(estimator, signature)[1].export
    chosen = package_first(
        tmp_path,
        [Way("double", export)],
        TRUSTED,
        lambda described: described.columns({name: INPUTS[name].to_numpy() for name in INPUTS}),
        Exporters().answer(estimator, signature, INPUTS),
        1e-5,
    )
    assert chosen.parity.differing == 0
    assert (chosen.signature.runtime, chosen.signature.precision) == ("onnx", "float64")
    package = packaged(tmp_path / "m", estimator)
    assert package.signature.runtime == "onnx"


@pytest.mark.parametrize("labels", ["numbers", "words", "booleans"])
@pytest.mark.parametrize("several", [False, True], ids=["two", "three"])
def test_a_classifier_without_probabilities_gives_votes(
    tmp_path: Path, labels: str, several: bool
) -> None:
    truth = TRUTH + (INPUTS["a"] > 1) if several else TRUTH
    if labels == "words":
        truth = np.array(["no", "yes", "more"])[truth]
    elif labels == "booleans":
        truth = truth.astype(bool)
    estimator = make_pipeline(StandardScaler(), LinearSVC(random_state=0)).fit(INPUTS, truth)
    package = packaged(tmp_path / "m", estimator)
    classes = np.array(package.signature.classes)
    named = estimator.predict(INPUTS).astype(str)
    votes = scores(package)
    if len(classes) == 2:
        assert package.signature.output == "probability"
        assert (votes == (named == classes[1])).mean() > 1 - ALLOWED_SHARE
    else:
        assert (classes[votes.argmax(axis=1)] == named).mean() > 1 - ALLOWED_SHARE
        assert set(np.unique(votes)) == {0.0, 1.0}
    assert package.signature.runtime == "onnx", package.signature.note


@pytest.mark.parametrize(
    "estimator",
    [
        Perceptron(random_state=0),
        NearestCentroid(),
        VotingClassifier([("a", LogisticRegression()), ("b", Perceptron())], voting="hard"),
        VotingClassifier([("a", LogisticRegression())], voting="soft"),
    ],
    ids=["Perceptron", "NearestCentroid", "hard", "soft"],
)
def test_what_votes_is_packaged_in_some_way(tmp_path: Path, estimator: Any) -> None:
    estimator = make_pipeline(StandardScaler(), estimator).fit(INPUTS, TRUTH)
    package = packaged(tmp_path / "m", estimator)
    assert package.signature.runtime in ("onnx", "skops")


def test_code_of_ones_own_is_run_in_its_own_process_and_only_where_trusted(tmp_path: Path) -> None:
    def squared(frame: Any) -> Any:
        return frame.assign(a=frame["a"] ** 2)

    steps = FunctionTransformer(squared), LogisticRegression(max_iter=1000)
    estimator = make_pipeline(*steps).fit(INPUTS, TRUTH)
    package = packaged(tmp_path / "m", estimator)
    assert package.signature.runtime == "library"
    assert package.signature.note.startswith("ONNX: Pipeline has no graph")
    np.testing.assert_allclose(scores(package), estimator.predict_proba(INPUTS)[:, 1], rtol=1e-5)
    with pytest.raises(Invalid, match="treadle deploy VERSION --trust"):
        open_model(tmp_path / "m", Runtimes())


def test_the_process_of_a_library_knows_no_secret_and_is_not_the_one_that_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TREADLE_TOKEN", "secret")

    def told(frame: Any) -> Any:
        import os

        return [[os.getpid(), "TREADLE_TOKEN" in os.environ]] * len(frame)

    (way,) = Exporters().ways(told, Exporters().describe(told, INPUTS))
    content, signature = way.export()
    (tmp_path / signature.file).write_bytes(content)
    model = TRUSTED.load(tmp_path / signature.file, signature)
    table = {name: INPUTS[name].to_numpy() for name in INPUTS}
    (pid, knows), *_ = model.predict(signature.columns(table)).tolist()
    assert not knows
    assert int(pid) != os.getpid()


def test_a_process_that_ends_is_started_again_and_threads_take_turns(tmp_path: Path) -> None:
    def fragile(frame: Any) -> Any:
        import os

        if (frame["a"] > 1e6).any():
            os._exit(7)
        return frame["a"] * 2

    package = packaged(tmp_path / "m", fragile)
    bad = INPUTS[:1].assign(a=1e9)
    signature, model = open_model(tmp_path / "m", TRUSTED)
    with pytest.raises(Unavailable, match="ends whenever it is asked"):
        model.predict(signature.columns({name: bad[name].to_numpy() for name in bad}))
    np.testing.assert_allclose(scores(package), INPUTS["a"] * 2, rtol=1e-6)
    columns = signature.columns({name: INPUTS[name].to_numpy() for name in INPUTS})
    given: list[Any] = []

    def ask(start: int) -> None:
        given.append((start, model.predict(columns.part(slice(start, start + 9)))))

    threads = [threading.Thread(target=ask, args=(start,)) for start in range(0, 90, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for start, answers in given:
        np.testing.assert_allclose(answers, INPUTS["a"][start : start + 9] * 2, rtol=1e-6)
    assert len(given) == len(threads)


def test_a_function_is_packaged_as_it_is_and_one_that_fails_is_refused(tmp_path: Path) -> None:
    def rule(frame: Any) -> Any:
        return (frame["word"].fillna("") == "good") * 1.0 + frame["a"]

    rows = pd.DataFrame({"word": ["good", "bad", None, "good"], "a": [1.0, 2.0, 3.0, 4.5]})
    package = packaged(tmp_path / "m", rule, rows)
    assert scores(package, rows).tolist() == [2.0, 2.0, 3.0, 5.5]
    with pytest.raises(Invalid, match="'rule' fails on the first rows: KeyError"):
        packaged(tmp_path / "n", rule, rows[["a"]])
    with pytest.raises(Invalid, match=r"gave an array of shape \[\] for 2 rows"):
        packaged(tmp_path / "o", len, rows)


def test_a_server_of_code_that_is_not_trusted_is_refused_at_once(tmp_path: Path) -> None:
    def rule(frame: Any) -> Any:
        return frame["a"]

    packaged(tmp_path / "rule", rule)
    command = [sys.executable, "-m", "treadle", "serve", str(tmp_path / "rule"), "--port", "0"]
    ended = subprocess.run(
        [*command, "--state", str(tmp_path / "state")], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 2
    assert "If you trust where it comes from, say --trust rule." in ended.stderr


def test_two_outputs_and_several_questions(tmp_path: Path) -> None:
    both = pd.DataFrame({"x": INPUTS["a"] * 2, "y": INPUTS["b"]})
    forest = RandomForestRegressor(5, random_state=0).fit(INPUTS, both)
    package = packaged(tmp_path / "m", forest)
    assert package.signature.output == "values"
    several = RandomForestClassifier(3).fit(INPUTS, np.stack([TRUTH, 1 - TRUTH], axis=1))
    with pytest.raises(Invalid, match="answers 2 questions at once"):
        packaged(tmp_path / "n", several)


def test_what_no_way_can_keep_is_refused_with_the_reason_of_each(tmp_path: Path) -> None:
    class Locked(LogisticRegression):  # type: ignore[misc]
        pass

    estimator = Locked().fit(INPUTS, TRUTH)
    estimator.lock_ = threading.Lock()
    with pytest.raises(
        Invalid,
        match=r"ONNX: .*double precision: .*skops: .*its own library: Locked cannot be pick",
    ):
        packaged(tmp_path / "m", estimator)
    assert not (tmp_path / "m" / SIGNATURE).exists()


numbers = st.floats(-1e6, 1e6, width=32)


@given(arrays(np.float64, (40, 3), elements=numbers))
def test_equal_answers_are_at_parity_and_one_that_is_no_number_is_not(answers: Any) -> None:
    same = compare(answers, answers.copy(), 1e-3)
    assert same.holds
    assert (same.differing, same.largest) == (0, 0.0)
    broken = answers.copy()
    broken[7, 1] = np.nan
    assert not compare(answers, broken, 1e-3).holds
    assert not compare(broken, answers, 1e-3).holds
    assert compare(broken, broken.copy(), 1e-3).holds


@given(st.integers(0, 30), st.integers(1, 3))
def test_one_row_of_a_thousand_may_differ(differing: int, thousands: int) -> None:
    original = np.zeros(1000 * thousands)
    packaged = original.copy()
    packaged[:differing] = 1.0
    assert compare(original, packaged, 1e-3).holds == (differing <= thousands)
