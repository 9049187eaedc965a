"""Agreement equals published examples and scikit-learn, and has the properties it must have."""

import math
from random import Random
from typing import get_args

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from sklearn.metrics import cohen_kappa_score, confusion_matrix

from treadle.kernel.errors import Invalid
from treadle.stats.agreement import (
    Level,
    Weights,
    agreement_by_class,
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    observed_agreement,
    pairwise_agreement,
)
from treadle.stats.metrics import Array
from treadle.stats.votes import Votes, votes_of

FLEISS_1971 = np.array(
    [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ]
)
FOUR_OBSERVERS = ("1233214 12...", "123322412 5.3", ".3332342 251.", "123324412 51.")
"""Krippendorff (2011), example C: a row is an observer, a column one of twelve units."""


def counts_of(*labellers: str) -> Array:
    """Counts by item of rows of labels in digits or letters, one text for each labeller."""
    columns = list(zip(*(row.replace(" ", "") for row in labellers), strict=True))
    classes = sorted({label for column in columns for label in column} - {"."})
    return np.array([[column.count(label) for label in classes] for column in columns])


def test_cohens_kappa_of_two_readers_is_as_published() -> None:
    assert cohen_kappa(np.array([[20, 5], [10, 15]])) == pytest.approx(0.4)


def test_fleiss_kappa_of_fourteen_raters_is_as_published() -> None:
    assert fleiss_kappa(FLEISS_1971) == pytest.approx(0.20993, abs=5e-6)


@pytest.mark.parametrize(
    ("labellers", "level", "published"),
    [
        (("0100000010", "1110010000"), "nominal", 0.095),
        (("aabbdcccedda", "babbbccceddd"), "nominal", 0.692),
        (FOUR_OBSERVERS, "nominal", 0.743),
        (FOUR_OBSERVERS, "ordinal", 0.815),
        (FOUR_OBSERVERS, "interval", 0.849),
        (FOUR_OBSERVERS, "ratio", 0.797),
    ],
)
def test_krippendorffs_alpha_is_as_published(
    labellers: tuple[str, ...], level: Level, published: float
) -> None:
    assert krippendorff_alpha(counts_of(*labellers), level) == pytest.approx(published, abs=6e-4)


@given(
    npst.arrays(np.int64, (30, 2), elements=st.integers(0, 3)),
    st.sampled_from([None, *get_args(Weights)]),
)
def test_cohens_kappa_equals_scikit_learn(labels: Array, weights: Weights | None) -> None:
    assume(len(np.unique(labels)) > 1)
    classes = list(range(4))
    table = confusion_matrix(labels[:, 0], labels[:, 1], labels=classes)
    theirs = cohen_kappa_score(labels[:, 0], labels[:, 1], labels=classes, weights=weights)
    assert cohen_kappa(table, weights) == pytest.approx(theirs)


tables = npst.arrays(
    np.int64, st.tuples(st.integers(2, 12), st.integers(2, 5)), elements=st.integers(-1, 3)
)


@given(tables, st.sampled_from(get_args(Level)))
def test_perfect_agreement_is_one(table: Array, level: Level) -> None:
    same = np.repeat(np.maximum(table[:, :1], 0), 3, axis=1)
    assume(len(np.unique(same)) > 1)
    votes = votes_of(same, 4)
    counts = votes.by_item()
    assert krippendorff_alpha(counts, level) == pytest.approx(1)
    assert fleiss_kappa(counts) == pytest.approx(1)
    assert observed_agreement(counts) == 1
    assert {pair.kappa for pair in pairwise_agreement(votes)} == {1.0}
    assert set(agreement_by_class(counts)[np.unique(same)]) == {1.0}


@given(tables, st.randoms(use_true_random=False))
def test_order_of_items_and_labellers_changes_nothing(table: Array, random: Random) -> None:
    items, labellers = list(range(table.shape[0])), list(range(table.shape[1]))
    random.shuffle(items)
    random.shuffle(labellers)
    before, after = (votes_of(one, 4).by_item() for one in (table, table[items][:, labellers]))
    for level in get_args(Level):
        same(krippendorff_alpha(before, level), krippendorff_alpha(after, level))
    same(observed_agreement(before), observed_agreement(after))


@given(tables, st.permutations(range(4)))
def test_names_of_classes_change_nothing(table: Array, renamed: list[int]) -> None:
    other = np.where(table >= 0, np.array([*renamed, -1])[table], -1)
    before, after = votes_of(table, 4), votes_of(other, 4)
    same(krippendorff_alpha(before.by_item()), krippendorff_alpha(after.by_item()))
    for one, two in zip(pairwise_agreement(before), pairwise_agreement(after), strict=True):
        assert one[:4] == two[:4]
        same(one.kappa, two.kappa)
    classes = agreement_by_class(before.by_item())
    np.testing.assert_allclose(classes, agreement_by_class(after.by_item())[renamed])


@given(npst.arrays(np.int64, (12, 2), elements=st.integers(0, 2)))
def test_alpha_of_many_is_near_kappa_of_two(labels: Array) -> None:
    """For two labellers Fleiss' kappa is Scott's pi, which alpha corrects for few labels."""
    counts = votes_of(labels, 3).by_item()
    assume(len(np.unique(labels)) > 1)
    pi, labels_in_all = fleiss_kappa(counts), counts.sum()
    assert krippendorff_alpha(counts) == pytest.approx(pi + (1 - pi) / labels_in_all)


def test_intervals_are_those_of_the_values() -> None:
    counts = np.array([[2, 0, 0], [0, 1, 1], [0, 0, 2]])
    shifted = krippendorff_alpha(counts, "interval", np.array([10.0, 20.0, 30.0]))
    assert shifted == pytest.approx(krippendorff_alpha(counts, "interval"))
    assert shifted > krippendorff_alpha(counts, "interval", np.array([10.0, 20.0, 100.0]))


def test_agreement_of_a_class_counts_those_who_chose_it() -> None:
    counts = np.array([[2, 1, 0], [0, 3, 0], [1, 0, 0]])
    np.testing.assert_allclose(agreement_by_class(counts), [0.5, 0.75, math.nan])


def test_pairs_without_a_common_item_are_left_out() -> None:
    votes = votes_of(np.array([[0, 0, -1], [1, 0, -1], [-1, -1, 1]]), 2)
    (pair,) = pairwise_agreement(votes)
    assert pair[:4] == (0, 1, 2, 0.5)
    assert pair.kappa == pytest.approx(0)


def test_what_cannot_be_measured_is_no_number() -> None:
    one_class, no_pair = np.array([[2, 0], [2, 0]]), np.array([[1, 0], [0, 1]])
    nothing = votes_of(np.empty((0, 2), np.int64), 2)
    assert math.isnan(krippendorff_alpha(one_class))
    assert math.isnan(fleiss_kappa(one_class))
    assert math.isnan(krippendorff_alpha(no_pair))
    assert math.isnan(observed_agreement(no_pair))
    assert math.isnan(cohen_kappa(np.zeros((2, 2))))
    assert math.isnan(fleiss_kappa(nothing.by_item()))
    assert list(pairwise_agreement(nothing)) == []


def test_what_is_no_question_is_refused_with_the_way_on() -> None:
    with pytest.raises(Invalid, match=r"from 1 to 2\. Use Krippendorff's alpha\."):
        fleiss_kappa(np.array([[1, 0], [1, 1]]))
    with pytest.raises(Invalid, match="square table"):
        cohen_kappa(np.zeros((2, 3)))
    with pytest.raises(Invalid, match=r"no weights 'linar'\. Did you mean 'linear'\?"):
        cohen_kappa(np.eye(2), "linar")  # type: ignore[arg-type]
    with pytest.raises(Invalid, match=r"measurement 'ordinl'\. Did you mean 'ordinal'\?"):
        krippendorff_alpha(np.array([[2, 0], [0, 2]]), "ordinl")  # type: ignore[arg-type]
    with pytest.raises(Invalid, match=r"such as -1\. Use 'interval'"):
        krippendorff_alpha(np.array([[2, 0], [0, 2]]), "ratio", np.array([-1.0, 2.0]))


def same(one: float, two: float) -> None:
    assert one == pytest.approx(two, nan_ok=True)


def test_votes_and_tables_are_the_same() -> None:
    table = np.array([[0, -1, 1], [1, 1, -1]])
    votes = votes_of(table, 2)
    assert votes.by_item().tolist() == [[1, 1], [0, 2]]
    again = np.full(table.shape, -1)
    again[votes.item, votes.labeller] = votes.label
    assert again.tolist() == table.tolist()
    assert isinstance(votes, Votes)
