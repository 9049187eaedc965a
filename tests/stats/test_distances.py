"""Distances agree with scipy's."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import rel_entr
from scipy.stats import ks_2samp, wasserstein_distance

from treadle.stats.distances import (
    hellinger,
    jensen_shannon,
    kolmogorov_smirnov,
    l_infinity,
    population_stability_index,
    wasserstein_between,
)

counts = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=20)


@given(counts)
def test_the_stability_index_is_the_sum_of_both_relative_entropies(
    pairs: list[tuple[int, int]],
) -> None:
    first, second = np.array(pairs, dtype=float).T
    p, q = ((side + 0.5) / (side + 0.5).sum() for side in (first, second))
    expected = float(np.sum(rel_entr(p, q) + rel_entr(q, p)))
    assert population_stability_index(first, second) == pytest.approx(expected, abs=1e-12)
    assert population_stability_index(second, first) == pytest.approx(expected, abs=1e-12)
    assert population_stability_index(first, first) == 0.0


@given(counts.filter(lambda pairs: all(sum(side) for side in zip(*pairs, strict=True))))
def test_the_distance_of_distribution_functions_is_scipys(pairs: list[tuple[int, int]]) -> None:
    first, second = np.array(pairs).T
    bins = np.arange(len(first))
    theirs = ks_2samp(np.repeat(bins, first), np.repeat(bins, second), method="asymp").statistic
    assert kolmogorov_smirnov(first, second) == pytest.approx(theirs, abs=1e-12)


def test_a_sample_without_rows_has_a_distance_of_1() -> None:
    assert kolmogorov_smirnov(np.array([0, 0]), np.array([1, 3])) == 1.0


def test_the_jensen_shannon_distance_is_that_of_scipy() -> None:
    from scipy.spatial.distance import jensenshannon

    first, second = np.array([1.0, 5.0, 0.0, 4.0]), np.array([3.0, 0.0, 2.0, 5.0])
    expected = jensenshannon(first, second, base=2)
    assert jensen_shannon(first, second) == pytest.approx(expected)
    assert jensen_shannon(first, first * 7) == pytest.approx(0.0, abs=1e-7)
    assert jensen_shannon(np.array([1, 0]), np.array([0, 1])) == 1.0
    assert jensen_shannon(np.zeros(2), np.array([0, 1])) == 1.0
    assert jensen_shannon(np.zeros(2), np.zeros(2)) == 0.0


def test_hellingers_distance_is_that_of_evidentlys_own_fixture() -> None:
    first, second = np.array([16, 18, 16, 14, 12, 12]), np.array([16, 16, 16, 16, 16, 8])
    assert hellinger(first, second) == pytest.approx(0.06812, abs=1e-5)
    assert l_infinity(first, second) == pytest.approx(4 / 88)


def test_the_work_between_edges_is_that_of_numbers_spread_evenly_in_their_bins() -> None:
    random = np.random.default_rng(1)
    edges = np.sort(random.normal(size=6))
    first, second = random.integers(1, 40, (2, 7))
    first[[0, -1]] = second[[0, -1]] = 0  # nothing beyond the edges

    def numbers(counts: Any) -> tuple[Any, Any]:
        steps = (np.arange(2000) + 0.5) / 2000
        values = np.concatenate([low + (high - low) * steps for low, high in pairs])
        return values, np.repeat(counts[1:-1] / 2000, 2000)

    pairs = list(pairwise(edges))
    (u, u_weights), (v, v_weights) = numbers(first), numbers(second)
    theirs = wasserstein_distance(u, v, u_weights, v_weights)
    assert wasserstein_between(edges, first, second) == pytest.approx(theirs, rel=1e-3)
