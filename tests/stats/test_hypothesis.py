"""Tests of hypotheses agree with scipy's."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, false_discovery_control

from treadle.stats.hypothesis import (
    MIN_EXPECTED,
    adjusted_p_values,
    benjamini_hochberg,
    homogeneity_statistic,
    homogeneity_test,
    pool_rare_bins,
)

counts = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=2, max_size=20)


@given(counts)
def test_homogeneity_agrees_with_scipys_test_of_a_contingency_table(
    pairs: list[tuple[int, int]],
) -> None:
    first, second = np.array([pair for pair in pairs if any(pair)], dtype=float).reshape(-1, 2).T
    assume(len(first) > 1 and first.sum() and second.sum())
    theirs = chi2_contingency([first, second], correction=False)
    assert homogeneity_statistic(first, second) == pytest.approx(theirs.statistic, abs=1e-9)
    assert homogeneity_test(first, second) == pytest.approx(theirs.pvalue, rel=1e-6, abs=1e-300)


@given(counts)
def test_pooling_keeps_every_row_and_leaves_one_rare_bin_at_most(
    pairs: list[tuple[int, int]],
) -> None:
    first, second = np.array(pairs, dtype=float).T
    assume(first.sum() and second.sum())
    pooled_first, pooled_second = pool_rare_bins(first, second)
    assert pooled_first.sum() == first.sum()
    assert pooled_second.sum() == second.sum()
    expected = (pooled_first + pooled_second) / (first.sum() + second.sum())
    assert (expected * min(first.sum(), second.sum()) < MIN_EXPECTED).sum() <= 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.sampled_from([0.01, 0.05, 0.1, 0.3]))
def test_rejections_agree_with_scipys_adjusted_p_values(p_values: list[float], rate: float) -> None:
    adjusted = false_discovery_control(p_values)
    assume(not np.isclose(adjusted, rate).any())
    limit = benjamini_hochberg(p_values, rate)
    assert [p <= limit for p in p_values] == (adjusted <= rate).tolist()


def test_nothing_is_rejected_of_no_tests() -> None:
    assert benjamini_hochberg([], 0.05) == -1.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.floats(0.001, 0.5))
def test_adjusted_p_values_reject_what_the_procedure_rejects(
    p_values: list[float], rate: float
) -> None:
    adjusted = adjusted_p_values(np.array(p_values))
    limit = benjamini_hochberg(p_values, rate)
    for p, of_all in zip(p_values, adjusted.tolist(), strict=True):
        if abs(of_all - rate) > 1e-9:  # else rounding decides
            assert (of_all <= rate) == (p <= limit)
