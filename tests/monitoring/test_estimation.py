"""Performance without labels, on tables of every kind."""

import warnings
from typing import Any

import numpy as np
import pandas
import pyarrow
import pytest

import treadle
from treadle import estimate_performance
from treadle.kernel.entity import from_json, to_json
from treadle.kernel.errors import Invalid
from treadle.monitoring.estimates import PerformanceEstimate


def classified(seed: int, rows: int, shift: float = 0.0) -> dict[str, Any]:
    """Rows of a classifier that is too sure of itself: the truth is as the square root says."""
    random = np.random.default_rng(seed)
    score = random.beta(1 + shift, 1, rows)
    return {"score": score, "y": (random.random(rows) < np.sqrt(score)).astype(float)}


def regressed(seed: int, rows: int, noisy: float = 0.3) -> dict[str, Any]:
    """Rows of a regressor whose error grows with x, and whose rows are noisy now and then."""
    random = np.random.default_rng(seed)
    x, noise = random.random(rows), np.where(random.random(rows) < noisy, "loud", "calm")
    error = random.normal(size=rows) * (0.1 + x) * np.where(noise == "loud", 3, 1)
    return {"x": x, "noise": noise.astype(object), "said": 10 + x, "y": 10 + x + error}


REFERENCE = classified(0, 5000)


def test_a_frame_of_any_library_gives_the_same() -> None:
    current = classified(1, 2000)
    given: dict[str, Any] = {"target": "y", "score": "score", "chunks": 4}
    plain = estimate_performance(REFERENCE, current, **given)
    assert [chunk.rows for chunk in plain.chunks] == [500] * 4
    for make in (pandas.DataFrame, pyarrow.table):
        assert estimate_performance(make(REFERENCE), make(current), **given) == plain
    assert from_json(to_json(plain), PerformanceEstimate) == plain


def test_an_estimate_comes_near_what_labels_say_later_where_the_score_does_not() -> None:
    current = classified(1, 4000, shift=0.5)
    estimate = estimate_performance(
        REFERENCE, current, target="y", score="score", chunks=1, metrics=["accuracy", "roc_auc"]
    )
    for each in estimate.chunks[0].metrics:
        assert each.realised is not None and each.low is not None and each.high is not None
        assert each.low < each.realised < each.high
    said = np.maximum(current["score"], 1 - current["score"]).mean()
    realised = estimate.of("accuracy")[0].realised
    assert realised is not None and abs(said - realised) > 0.02
    assert "no concept drift" in estimate.assumes


def test_what_falls_below_the_chunks_of_the_reference_is_outside() -> None:
    steady = estimate_performance(
        REFERENCE, classified(2, 2000), target="y", score="score", chunk_size=500
    )
    assert steady.outside == []
    unsure = {"score": np.full(500, 0.25) + np.linspace(-0.01, 0.01, 500)}
    moved = estimate_performance(
        REFERENCE, unsure, target="y", score="score", chunk_size=500, metrics=["accuracy"]
    )
    assert moved.outside == [(0, "accuracy")]
    assert len(moved.reference["accuracy"]) == 10


def test_a_reference_of_two_chunks_has_no_limits() -> None:
    estimate = estimate_performance(
        REFERENCE, classified(2, 2500), target="y", score="score", chunk_size=2500
    )
    (first, *_) = estimate.of("roc_auc")
    assert (first.limit_low, first.outside) == (None, False)


def test_labels_that_have_come_in_part_are_used_and_counted() -> None:
    current = classified(3, 4000)
    current["y"] = 1 - current["y"]  # what the score meant has turned around
    current["y"][200:] = np.nan
    (each,) = estimate_performance(
        REFERENCE, current, target="y", score="score", chunks=1, metrics=["accuracy"]
    ).of("accuracy")
    assert each.labels == 200
    assert each.value is not None and each.value > 0.65
    assert each.corrected is not None and each.corrected < 0.4


def test_words_are_classes_once_it_is_said_which_is_one() -> None:
    def worded(table: dict[str, Any]) -> dict[str, Any]:
        return {**table, "y": np.where(table["y"] == 1, "left", "stayed").astype(object)}

    current = classified(4, 1000)
    given: dict[str, Any] = {"target": "y", "score": "score"}
    numbered = estimate_performance(REFERENCE, current, **given)
    words = estimate_performance(worded(REFERENCE), worded(current), positive="left", **given)
    assert words == numbered
    with pytest.raises(Invalid, match=r"'y' holds '\w+', which is none of 0, 1. Say which"):
        estimate_performance(worded(REFERENCE), current, **given)
    with pytest.raises(Invalid, match="'gone' is given as positive, and 'y' has no such value"):
        estimate_performance(worded(REFERENCE), current, positive="gone", **given)


def test_several_classes_are_named_by_their_scores() -> None:
    random = np.random.default_rng(5)
    scores = random.dirichlet(np.ones(3), 3000)
    truth = np.array([random.choice(list("abc"), p=row) for row in scores], dtype=object)
    table = {**{f"p_{k}": scores[:, i] for i, k in enumerate("abc")}, "y": truth}
    metrics = ["accuracy", "roc_auc", "macro_f1", "log_loss"]
    estimate = estimate_performance(
        table, table, target="y", score={k: f"p_{k}" for k in "abc"}, chunks=1, metrics=metrics
    )
    for each in estimate.chunks[0].metrics:
        assert each.value == pytest.approx(each.realised, abs=0.02)


def test_rows_are_taken_in_order_of_time_and_those_without_score_are_left_out() -> None:
    current = classified(6, 1000)
    current["score"][:100] = np.nan
    current["at"] = np.arange(1000)[::-1].astype("datetime64[m]")
    reference = {**REFERENCE, "at": np.arange(5000).astype("datetime64[m]")}
    estimate = estimate_performance(
        reference, current, target="y", score="score", timestamp="at", chunks=2
    )
    assert [chunk.usable for chunk in estimate.chunks] == [500, 400]
    assert estimate.chunks[0].start is not None and estimate.chunks[1].end is not None
    assert estimate.chunks[0].start < estimate.chunks[1].end


def test_a_chunk_without_any_score_has_no_estimate_and_no_warning() -> None:
    current = {"score": np.r_[np.full(50, np.nan), np.full(50, 0.7)]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimate = estimate_performance(REFERENCE, current, target="y", score="score", chunks=2)
    assert [each.value for each in estimate.chunks[0].metrics] == [None] * 5
    assert estimate.of("accuracy")[1].value is not None


def test_a_regressors_loss_is_estimated_from_its_inputs() -> None:
    current = regressed(1, 4000, noisy=0.9)
    truth = current.pop("y")
    estimate = estimate_performance(
        regressed(0, 4000), current, target="y", prediction="said", chunks=1,
        metrics=["mae", "rmse", "mape", "rmsle"],
    )  # fmt: skip
    assert (estimate.method, estimate.reference_rows) == ("DLE", 4000)
    error = truth - current["said"]
    mae, rmse, *_ = estimate.chunks[0].metrics
    assert mae.value == pytest.approx(np.abs(error).mean(), rel=0.06)
    assert rmse.value == pytest.approx((error**2).mean() ** 0.5, rel=0.06)
    assert mae.low is not None and mae.high is not None and mae.value is not None
    assert mae.low < mae.value < mae.high


def test_a_regressors_labels_correct_its_estimate() -> None:
    current = regressed(2, 3000)
    current["y"] = current["said"] + 2 * (current["y"] - current["said"])  # twice as wrong
    realised = float(np.abs(current["y"] - current["said"]).mean())
    current["y"] = np.where(np.arange(3000) % 5 == 0, current["y"], np.nan)
    estimate = estimate_performance(
        regressed(0, 3000), current, target="y", prediction="said", chunks=1, metrics=["mae"]
    )
    (mae,) = estimate.of("mae")
    assert mae.labels == 600
    assert mae.high is not None and mae.high < realised
    assert mae.corrected_low is not None and mae.corrected_high is not None
    assert mae.corrected_low < realised < mae.corrected_high


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"target": "z", "score": "score"}, "The reference has 0 rows"),
        ({"target": "y", "score": "sore"}, "no column 'sore', which is given as score. Did you"),
        ({"target": "y"}, "Name the column with the classifier's probability"),
        ({"target": "y", "score": "score", "metrics": ["rmse"]}, "'rmse' cannot be estimated"),
        ({"target": "y", "prediction": "score", "metrics": ["f1"]}, "'f1' cannot be estimated of"),
        ({"target": "y", "score": "score", "chunks": 2, "chunk_size": 5}, "chunk_size or chunks"),
        ({"target": "y", "score": "score", "chunks": 0}, "one row at least"),
        ({"target": "y", "score": {"a": "score", "b": "y"}}, "the one column"),
        ({"target": "score", "score": "y"}, "The column 'score' holds"),
        ({"target": "y", "score": "big"}, "holds 7, which is no probability"),
        ({"target": "y", "score": "word"}, "holds 'a', which is no number"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(given: dict[str, Any], message: str) -> None:
    table = classified(7, 100)
    table |= {"big": np.full(100, 7.0), "word": np.full(100, "a", dtype=object)}
    with pytest.raises(Invalid, match=message):
        estimate_performance(table, table, **given)


def test_what_is_no_table_is_refused() -> None:
    with pytest.raises(Invalid, match="A list is no table"):
        estimate_performance([1], [2], target="y", score="p")
    with pytest.raises(Invalid, match="has no rows"):
        estimate_performance(REFERENCE, {"score": []}, target="y", score="score")


def test_mape_of_a_truth_of_zero_says_so() -> None:
    table = {"said": np.ones(50), "y": np.zeros(50), "x": np.arange(50.0)}
    with pytest.raises(Invalid, match="'mape' is not defined: a truth is 0"):
        estimate_performance(table, table, target="y", prediction="said", metrics=["mape"])
    assert "estimate_performance" in treadle.__all__
