"""The consensus of labellers: majority, Dawid and Skene, and each labeller beside the others."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from treadle.stats import consensus
from treadle.stats.consensus import against_others, dawid_skene, entropy, majority
from treadle.stats.metrics import Array
from treadle.stats.votes import Votes, votes_of

tables = npst.arrays(
    np.int64, st.tuples(st.integers(1, 10), st.integers(1, 5)), elements=st.integers(-1, 2)
)


def crowd(seed: int, items: int = 600) -> tuple[Votes, Array, Array]:
    """Votes of two careful labellers and three who mix up 1 and 2; the truth; the accuracies."""
    random = np.random.default_rng(seed)
    truth = random.choice(3, items, p=[0.5, 0.3, 0.2])
    careful = np.array([[0.94, 0.03, 0.03], [0.03, 0.94, 0.03], [0.03, 0.03, 0.94]])
    careless = np.array([[0.9, 0.05, 0.05], [0.1, 0.3, 0.6], [0.1, 0.6, 0.3]])
    confusion = np.array([careful, careful, careless, careless, careless])
    table = np.array(
        [[random.choice(3, p=confusion[labeller, true]) for labeller in range(5)] for true in truth]
    )
    table[random.random(table.shape) < 0.1] = -1
    return votes_of(table, 3), truth, confusion


def test_most_labels_win_and_a_tie_goes_to_the_first_class_and_is_told() -> None:
    found = majority(np.array([[1, 2, 0], [1, 0, 1], [0, 0, 0], [0, 3, 0]]))
    assert found.label.tolist() == [1, 0, -1, 1]
    np.testing.assert_allclose(found.share, [2 / 3, 0.5, math.nan, 1])
    assert found.tied.tolist() == [False, True, True, False]


@pytest.mark.parametrize("seed", range(3))
def test_dawid_and_skene_beat_the_majority_and_find_each_labellers_errors(seed: int) -> None:
    votes, truth, confusion = crowd(seed)
    found = dawid_skene(votes)
    by_majority = np.mean(majority(votes.by_item()).label == truth)
    by_model = np.mean(found.posterior.argmax(axis=1) == truth)
    assert found.converged
    assert by_model > by_majority + 0.05
    assert np.abs(found.confusion - confusion).max() < 0.15
    np.testing.assert_allclose(found.prior, [0.5, 0.3, 0.2], atol=0.06)


@given(tables)
def test_each_iteration_explains_the_labels_better(table: Array) -> None:
    found = dawid_skene(votes_of(table, 3), max_iterations=30)
    assert (np.diff(found.log_likelihood) > -1e-7).all()
    np.testing.assert_allclose(found.posterior.sum(axis=1), 1)
    np.testing.assert_allclose(found.confusion.sum(axis=2), 1)
    assert found.prior.sum() == pytest.approx(1)


@given(tables)
def test_the_same_votes_give_the_same_consensus(table: Array) -> None:
    votes = votes_of(table, 3)
    first, second = dawid_skene(votes), dawid_skene(votes)
    assert first.posterior.tobytes() == second.posterior.tobytes()
    assert first.log_likelihood == second.log_likelihood


def test_one_step_of_em_is_that_of_the_paper() -> None:
    """Written out with loops for a table without gaps."""
    table = np.array([[0, 0, 1], [1, 1, 1], [0, 1, 0], [1, 0, 1]])
    votes, pseudo = votes_of(table, 2), 0.01
    start = votes.by_item() / 3
    prior = (start.sum(axis=0) + pseudo) / (start.sum() + 2 * pseudo)
    confusion = np.full((3, 2, 2), pseudo)
    for item, row in enumerate(table):
        for labeller, label in enumerate(row):
            confusion[labeller, :, label] += start[item]
    confusion /= confusion.sum(axis=2, keepdims=True)
    expected = np.array(
        [prior * np.prod([confusion[j, :, k] for j, k in enumerate(row)], axis=0) for row in table]
    )
    found = dawid_skene(votes, max_iterations=1)
    np.testing.assert_allclose(found.posterior, expected / expected.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(found.confusion, confusion)
    assert not found.converged


def test_an_item_without_labels_gets_the_prior() -> None:
    votes = Votes(np.array([0, 0]), np.array([0, 1]), np.array([1, 1]), 2, 2, 2)
    found = dawid_skene(votes)
    np.testing.assert_allclose(found.posterior[1], found.prior, atol=1e-4)


def test_nothing_at_all_is_a_consensus_of_nothing() -> None:
    found = dawid_skene(votes_of(np.empty((0, 2), np.int64), 2))
    assert found.posterior.shape == (0, 2)
    assert found.converged


def test_entropy_is_in_bits() -> None:
    found = entropy(np.array([[1.0, 0.0], [0.5, 0.5], [0.25, 0.75]]))
    np.testing.assert_allclose(found, [0, 1, 0.811278], atol=1e-6)


def test_a_labeller_is_measured_by_the_others_and_their_ties_are_left_out() -> None:
    table = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, -1, -1]])
    first, second, third = against_others(votes_of(table, 2))
    assert (first.items, first.ties, first.agreement.value) == (2, 1, 0.5)
    assert (second.items, second.ties) == (2, 1)
    assert (third.items, third.ties, third.agreement.value) == (1, 2, 1.0)
    assert first.agreement.low < 0.5 < first.agreement.high
    assert third.agreement.low == pytest.approx(0.2065, abs=1e-4)  # Wilson: one of one


def test_a_labeller_without_company_has_no_number() -> None:
    (alone,) = against_others(votes_of(np.array([[0], [1]]), 2))
    assert alone.items == 0
    assert math.isnan(alone.agreement.value)


def test_people_are_measured_the_same_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    votes, _, _ = crowd(1)
    whole = list(against_others(votes))
    monkeypatch.setattr(consensus, "_BATCH", 7)
    assert list(against_others(votes)) == whole
