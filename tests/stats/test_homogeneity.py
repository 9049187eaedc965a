"""Tests of homogeneity keep their level far into the tail, and see shifts, moves and new cells."""

from itertools import product
from math import comb
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import hypergeom

from treadle.stats.homogeneity import _chi2_variance, fisher, homogeneity

Counts = NDArray[Any]
cells = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), min_size=1, max_size=12)


def p_of(first: list[float], second: list[float], *, ordered: bool = False) -> float:
    sides = np.array([first]), np.array([second])
    return float(homogeneity(*sides, np.full_like(sides[0], ordered)).p[0])


@given(*[st.integers(0, 60)] * 4)
def test_fishers_test_is_twice_the_tail_away_from_the_mean(a: int, b: int, c: int, d: int) -> None:
    if not (a + b and c + d and a + c and b + d):
        return
    law = hypergeom(a + b + c + d, a + b, b + d)
    tail = law.sf(b - 1) if b >= law.mean() else law.cdf(b)
    (p,) = fisher(*(np.array([float(one)]) for one in (a, b, c, d)))
    assert p == pytest.approx(min(1.0, 2 * tail), rel=1e-9)


def test_more_evidence_is_never_less(recwarn: pytest.WarningsRecorder) -> None:
    """Down to the smallest numbers there are, beyond which a p-value is 0."""
    found = [p_of([rows, 60, 60], [60, rows, 60]) for rows in range(300, 1500, 2)]
    assert found == sorted(found, reverse=True) and found[0] < 1e-20
    assert 0 < min(p for p in found if p) < 1e-250 and found[-1] == 0
    assert not recwarn.list


def test_the_variance_of_chi2_is_that_of_all_deals() -> None:
    both, drawn = np.array([3, 4, 6]), 5
    total, share = both.sum(), drawn / both.sum()
    values, weights = [], []
    for deal in product(*(range(one + 1) for one in both)):
        if sum(deal) == drawn:
            away = np.array(deal) - both * share
            values.append(float((away**2 / (both * share * (1 - share))).sum()))
            weights.append(np.prod([comb(m, k) for m, k in zip(both, deal, strict=True)]))
    mean = np.average(values, weights=weights)
    exact = np.average((np.array(values) - mean) ** 2, weights=weights)
    n, m, t, cells = (np.array([float(one)]) for one in (total - drawn, drawn, total, 3))
    (found,) = _chi2_variance(n, m, t, cells, np.array([(1 / both).sum()]))
    assert found == pytest.approx(exact)


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize(
    ("first", "second", "shares"),
    [
        (50, 50, [0.1] * 10),
        (10_000, 50, [0.7, 0.2, 0.1]),
        (10_000, 500, [0.5, 0.3, 0.1, 0.05, 0.03, 0.02]),
        (300, 2_000, [0.9, 0.05, 0.02, 0.02, 0.009, 0.001]),
        (10_000, 50, [0.9, 0.1]),
    ],
)
def test_the_level_is_kept_far_into_the_tail(
    first: int, second: int, shares: list[float], ordered: bool
) -> None:
    both = np.rint(np.array(shares) * (first + second)).astype(int)
    both[0] += first + second - both.sum()
    random = np.random.default_rng(1)
    trials = 20_000
    dealt = random.multivariate_hypergeometric(both, second, size=trials, method="marginals")
    p = homogeneity(both - dealt, dealt, np.full(dealt.shape, ordered)).p
    for level in (0.05, 0.005, 0.0005):
        most = level + 4 * np.sqrt(level * (1 - level) / trials)
        assert (p <= level).mean() <= most


@given(cells)
def test_p_is_symmetric_and_one_for_equals(pairs: list[tuple[int, int]]) -> None:
    first, second = ([float(pair[side]) for pair in pairs] for side in (0, 1))
    for ordered in (False, True):
        p = p_of(first, second, ordered=ordered)
        assert 0 <= p <= 1
        assert p == pytest.approx(p_of(second, first, ordered=ordered), rel=1e-6)
        assert p_of(first, first, ordered=ordered) == 1.0


def test_a_shift_is_seen_sooner_where_cells_have_an_order() -> None:
    first, second = [100.0] * 10, [85.0, 88, 92, 96, 98, 102, 105, 108, 112, 114]
    assert p_of(first, second, ordered=True) < p_of(first, second) / 5


def test_one_row_of_a_new_category_is_chance_and_five_are_not() -> None:
    assert p_of([5000, 5000, 0], [50, 49, 1]) > 0.009
    assert p_of([5000, 5000, 0], [50, 45, 5]) < 1e-8


def test_where_all_rows_share_a_cell_nothing_is_tested() -> None:
    evidence = homogeneity(np.array([[7, 0], [0, 0]]), np.array([[9, 0], [3, 4]]), np.ones((2, 2)))
    assert evidence.tests.tolist() == [0, 0]
    assert evidence.p.tolist() == [1.0, 1.0]
