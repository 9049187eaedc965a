"""A truth finds its class however it is written."""

import math

import numpy as np
import pytest

from treadle.stats.classes import joined, positions, spread, truths, unknown


@pytest.mark.parametrize(
    ("classes", "values", "places"),
    [
        (["a", "b"], ["b", "a", None, "c", math.nan, ""], [1, 0, None, None, None, None]),
        (["0", "1", "2"], [2.0, "2", "2.0", 1, True], [2, 2, 2, 1, 1]),
        (["False", "True"], [True, "true", 0.0, "FALSE", False], [1, 1, 0, 0, 0]),
        (["01", "1"], ["01", "1"], [0, 1]),
        (["1.5", "inf"], [1.5, "inf"], [0, 1]),
    ],
)
def test_a_truth_is_the_position_of_its_class(
    classes: list[str], values: list[object], places: list[int | None]
) -> None:
    expected = [math.nan if place is None else float(place) for place in places]
    np.testing.assert_array_equal(positions(values, classes), expected)


def test_classes_of_two_models_are_joined_and_scores_spread_over_them() -> None:
    classes = joined(["b", "a"], ["a", "c"], ["1", "1.0"])
    assert classes == ["b", "a", "c", "1"]
    scores = np.array([[0.9, 0.1], [math.nan, math.nan]])
    over_all = spread(scores, ["c", "b"], classes)
    np.testing.assert_array_equal(over_all[0], [0.1, 0, 0.9, 0])
    assert np.isnan(over_all[1]).any()


def test_what_is_none_of_the_classes_is_named_once() -> None:
    assert unknown(["x", 7.0, "a", None, "x", "7"], ["a"]) == ["x", "7"]


@pytest.mark.parametrize(
    ("output", "classes", "positive", "values", "expected"),
    [
        ("value", [], None, [3.5, "2", None, "many"], [3.5, 2, None, None]),
        ("probability", ["0", "1"], None, [0.0, 1.0, True, 0.25], [0, 1, 1, 0.25]),
        ("probability", ["no", "yes"], None, ["yes", "no", "maybe", 1.0], [1, 0, None, 1]),
        ("probability", ["1", "2"], None, [1.0, 2.0, 7.0], [0, 1, None]),
        ("probability", ["0", "1"], "yes", ["yes", "no", 1.0], [1, 0, 1]),
        ("probability", ["0", "1"], "True", [True, False, "true"], [1, 0, 1]),
        ("probability", [], None, [1.0, "yes"], [1, None]),
        ("probabilities", ["a", "b", "c"], None, ["c", 1.0], [2, None]),
    ],
)
def test_truths_are_what_metrics_take(
    output: str,
    classes: list[str],
    positive: str | None,
    values: list[object],
    expected: list[float | None],
) -> None:
    wanted = [math.nan if value is None else float(value) for value in expected]
    np.testing.assert_array_equal(truths(values, output, classes, positive), wanted)
