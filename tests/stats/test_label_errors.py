"""Confident learning finds labels that were flipped, and few that were not."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from treadle.kernel.errors import Invalid
from treadle.stats import label_errors
from treadle.stats.label_errors import find_label_errors
from treadle.stats.metrics import Array


def flipped_digits(seed: int) -> tuple[Array, Array, Array]:
    """Digits with 10 % random flips: labels, out-of-fold probabilities, what was flipped."""
    images, truth = load_digits(return_X_y=True)
    random = np.random.default_rng(seed)
    flipped = random.random(len(truth)) < 0.1
    given = np.where(flipped, (truth + random.integers(1, 10, len(truth))) % 10, truth)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        probabilities = cross_val_predict(
            KNeighborsClassifier(10), images, given, cv=folds, method="predict_proba"
        )
    return given, probabilities, flipped


@pytest.mark.parametrize("seed", range(5))
def test_flipped_digits_are_found(seed: int) -> None:
    given, probabilities, flipped = flipped_digits(seed)
    found = find_label_errors(given, probabilities)
    precision = flipped[found.row].mean()
    recall = flipped[found.row].sum() / flipped.sum()
    print(f"seed {seed}: precision {precision:.3f}, recall {recall:.3f}")
    assert precision >= 0.80
    assert recall >= 0.85
    assert (np.diff(found.margin) <= 0).all()
    assert len(set(found.row.tolist())) == len(found.row)
    assert (found.suggested != given[found.row]).all()
    np.testing.assert_allclose(found.joint.sum(axis=1), np.bincount(given))


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    given, probabilities, _ = flipped_digits(0)
    whole = find_label_errors(given, probabilities)
    monkeypatch.setattr(label_errors, "BATCH_ROWS", 100)
    in_batches = find_label_errors(given, probabilities)
    for one, two in zip(whole, in_batches, strict=True):
        np.testing.assert_allclose(one, two)


def test_a_contradicted_label_is_found_with_the_class_and_the_margin() -> None:
    probabilities = np.array([[0.9, 0.1]] * 5 + [[0.1, 0.9]] * 5)
    found = find_label_errors(np.array([0] * 4 + [1] * 6), probabilities)
    assert found.row.tolist() == [4]
    assert found.suggested.tolist() == [0]
    assert found.margin.tolist() == pytest.approx([0.8])
    assert found.joint.tolist() == [[4, 0], [1, 5]]


def test_labels_that_the_model_confirms_are_no_errors() -> None:
    found = find_label_errors(np.array([0, 1, 2]), np.eye(3))
    assert len(found.row) == 0


def test_a_class_that_nobody_has_is_suggested_to_nobody() -> None:
    probabilities = np.array([[0.2, 0.1, 0.7], [0.1, 0.2, 0.7]])
    assert len(find_label_errors(np.array([0, 1]), probabilities).row) == 0


def test_no_rows_have_no_errors() -> None:
    assert len(find_label_errors(np.empty(0, int), np.empty((0, 2))).row) == 0


def test_what_is_no_input_is_refused() -> None:
    with pytest.raises(Invalid, match="3 labels and 2 rows"):
        find_label_errors(np.zeros(3), np.zeros((2, 2)))
    with pytest.raises(Invalid, match="positions from 0 to 1"):
        find_label_errors(np.array([0, 2]), np.ones((2, 2)))
    with pytest.raises(Invalid, match="not finite"):
        find_label_errors(np.array([0, 1]), np.full((2, 2), np.nan))
