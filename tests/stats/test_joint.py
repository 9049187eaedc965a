"""Tests of samples as a whole: SciPy's figures, their level, and power where rows have moved."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from treadle.stats.joint import mean_discrepancy, principal_axes, rank_sum

samples = st.lists(st.integers(-5, 5), min_size=10, max_size=40)


@given(samples, samples)
def test_the_rank_sum_test_is_scipys(first: list[int], second: list[int]) -> None:
    a, b = np.array(first, dtype=float), np.array(second, dtype=float)
    found = rank_sum(a, b)
    if len({*first, *second}) == 1:
        assert found == (0.5, 1.0, 1.0)
        return
    theirs = mannwhitneyu(b, a, use_continuity=False, method="asymptotic")
    assert found.auc == pytest.approx(theirs.statistic / (len(a) * len(b)))
    assert found.p == pytest.approx(theirs.pvalue)
    above = mannwhitneyu(
        b, a, use_continuity=False, method="asymptotic", alternative="greater"
    ).pvalue
    assert found.p_above == pytest.approx(above)


@given(st.integers(0, 1_000))
@settings(max_examples=20)
def test_a_projection_keeps_the_share_of_variance(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = random.normal(size=(200, 6)) @ random.normal(size=(6, 6))
    whole = principal_axes(rows)
    assert whole.errors(rows) == pytest.approx(0, abs=1e-6)
    kept = principal_axes(rows, share=0.65)
    left = (kept.errors(rows) ** 2).sum() / (whole.coordinates(rows) ** 2).sum()
    assert left <= 0.35 + 1e-9
    fewer = principal_axes(rows, most=max(1, len(kept.axes) - 1))
    if len(kept.axes) > 1:
        assert (fewer.errors(rows) ** 2).sum() / (whole.coordinates(rows) ** 2).sum() > 0.35


def discrepancy(seed: int, correlation: float) -> float:
    random = np.random.default_rng(seed)
    before, now = random.normal(size=(2, 120, 2))
    now[:, 1] = correlation * now[:, 0] + np.sqrt(1 - correlation**2) * now[:, 1]
    return mean_discrepancy(before, now, permutations=99, random=random)[1]


def test_the_discrepancy_keeps_its_level_and_sees_a_dependence() -> None:
    level = [discrepancy(seed, 0.0) for seed in range(100)]
    assert sum(p <= 0.1 for p in level) <= 19  # 10 are expected; more than 19 has p 0.002
    assert min(level) >= 0.01
    assert 0.3 < float(np.mean(level)) < 0.7
    assert sum(discrepancy(seed, 0.9) <= 0.05 for seed in range(10)) >= 9
