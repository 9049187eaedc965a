"""Histograms count as numpy does, to the width of their bins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.stats import ks_2samp

from treadle.stats.histograms import LatencyHistogram, PredictionHistogram, count_between
from treadle.stats.metrics import Array

edges = st.lists(st.floats(-100, 100), min_size=1, max_size=10, unique=True).map(sorted)


@given(npst.arrays(np.float64, st.integers(0, 50), elements=st.floats(-150, 150)), edges)
def test_counts_between_edges_are_numpys_histogram(values: Array, between: list[float]) -> None:
    expected = np.histogram(values, [-np.inf, *between, np.inf])[0].tolist()
    with_gaps = np.r_[values, np.nan, np.nan]
    assert count_between(with_gaps, between) == [*expected, 2]


@given(st.lists(st.integers(1, 10**7), min_size=1, max_size=60), st.floats(0.01, 0.99))
def test_latencies_are_counted_to_two_percent(micros: list[int], part: float) -> None:
    seen = LatencyHistogram()
    seen.add(micros)
    exact = float(np.quantile(micros, part, method="inverted_cdf")) / 1000
    assert seen.quantile(part) == pytest.approx(exact, rel=0.021)
    assert len(seen) == len(micros)
    limit = 50.0
    assert sum(m > 51_000 for m in micros) <= seen.above(limit) <= sum(m > 49_000 for m in micros)


def test_no_latency_has_a_quantile_of_0() -> None:
    assert LatencyHistogram().quantile(0.99) == 0.0


def test_the_distance_of_predictions_is_scipys_to_the_width_of_the_bins() -> None:
    random = np.random.default_rng(2)
    first, second = random.normal(0, 1, 3000), random.normal(0.3, 1.2, 2000)
    counted = PredictionHistogram(), PredictionHistogram()
    for histogram, sample in zip(counted, (first, second), strict=True):
        histogram.add(sample.astype(np.float32))
    assert [len(histogram) for histogram in counted] == [3000, 2000]
    exact = ks_2samp(first, second).statistic
    assert counted[0].distance(counted[1]) == pytest.approx(exact, abs=0.01)


def test_classes_are_spread_by_the_likeliest() -> None:
    first, second = PredictionHistogram(), PredictionHistogram()
    first.add(np.array([[0.9, 0.1, 0.0]] * 10, dtype=np.float32))
    second.add(np.array([[0.1, 0.9, 0.0]] * 10, dtype=np.float32))
    assert first.distance(second) == 1.0
    assert first.distance(first) == 0.0
