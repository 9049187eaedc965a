"""Metrics of an order agree with scikit-learn, and with what they mean where rows tie."""

import math
from itertools import permutations

import numpy as np
import pytest
import sklearn.metrics as oracle
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from treadle.kernel.errors import Invalid
from treadle.stats.families import family
from treadle.stats.metrics import is_metric, metric
from treadle.stats.ranking import average_precision, rows_within

truths = st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=30)


@settings(max_examples=60, deadline=None)
@given(truth=truths, seed=st.integers(0, 1000), part=st.floats(0.01, 1))
def test_precision_and_recall_at_a_capacity_are_those_of_the_rows_within(
    truth: list[float], seed: int, part: float
) -> None:
    labels, score = np.array(truth), np.random.default_rng(seed).permutation(len(truth)) * 1.0
    assume(labels.any())
    capacity = f"{100 * part:.4f}%"
    alerts = score >= len(truth) - rows_within(capacity, len(truth))
    assert metric(f"precision_at_{capacity}")(labels, score) == pytest.approx(
        oracle.precision_score(labels, alerts)
    )
    assert metric(f"recall_at_{capacity}")(labels, score) == pytest.approx(
        oracle.recall_score(labels, alerts)
    )


@settings(max_examples=40, deadline=None)
@given(
    truth=st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=5),
    coarse=st.lists(st.sampled_from([0.0, 1.0]), min_size=5, max_size=5),
    rows=st.integers(1, 5),
)
def test_of_rows_with_one_score_the_mean_over_all_their_orders_counts(
    truth: list[float], coarse: list[float], rows: int
) -> None:
    labels, score = np.array(truth), np.array(coarse[: len(truth)])
    rows = min(rows, len(truth))
    hits = []
    for order in permutations(range(len(truth))):
        first = sorted(order, key=lambda row: -score[row])[:rows]
        hits.append(labels[first].mean())
    assert metric(f"precision_at_{rows}")(labels, score) == pytest.approx(np.mean(hits))


def test_a_capacity_is_a_number_of_rows_or_a_share_and_one_row_at_least() -> None:
    assert [rows_within(capacity, 250) for capacity in ("2%", "0.1%", "50", "900")] == [
        5,
        1,
        50,
        250,
    ]
    assert rows_within("2%", 0) == 0


def test_without_an_anomaly_nothing_can_be_found() -> None:
    none, score = np.zeros(20), np.linspace(0, 1, 20)
    assert math.isnan(average_precision(none, score))
    assert math.isnan(metric("recall_at_10%")(none, score))
    assert metric("precision_at_10%")(none, score) == 0
    assert math.isnan(metric("precision_at_10%")(np.empty(0), np.empty(0)))


@pytest.mark.parametrize("name", ["precision_at_0", "recall_at_101%", "f1_at_3", "precision_at_K"])
def test_what_is_no_capacity_names_no_metric(name: str) -> None:
    assert not is_metric(name)
    assert family(name) == name
    with pytest.raises(Invalid, match=f"There is no metric '{name}'"):
        metric(name)


def test_a_metric_at_a_capacity_is_listed_by_its_family() -> None:
    assert family("recall_at_0.5%") == "recall_at_K"
    assert family("roc_auc") == "roc_auc"
    with pytest.raises(Invalid, match=r"Did you mean 'precision_at_2%'\?"):
        metric("precision_at_K")
