"""Bootstrap intervals agree with scipy's, and hold what they promise."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest, bootstrap, norm

from treadle.stats import metrics
from treadle.stats.intervals import Estimate, difference, estimate, one_sided_limits, share
from treadle.stats.metrics import METRICS, Array, lower_is_better, metric


@pytest.mark.parametrize("name", ["accuracy", "brier", "mae", "r2"])
def test_intervals_agree_with_scipys_percentile_bootstrap(name: str) -> None:
    truth, score = sample(np.random.default_rng(9), 400)
    ours = estimate(name, truth, score)
    theirs = bootstrap(
        (truth, score),
        METRICS[name],
        n_resamples=2000,
        paired=True,
        vectorized=False,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.2 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.2 * width)


@pytest.mark.parametrize("alpha", [0.3, 0.05, 0.025, 1e-3])
def test_limits_of_a_normal_interval_are_its_quantiles(alpha: float) -> None:
    interval = Estimate(2.0, *(2.0 + 0.5 * norm.ppf([0.025, 0.975])))
    assert one_sided_limits(interval, alpha) == pytest.approx(
        tuple(norm.ppf([alpha, 1 - alpha], loc=2.0, scale=0.5))
    )


def test_an_interval_is_the_same_each_time_and_holds_its_value() -> None:
    truth, score = sample(np.random.default_rng(1), 300)
    found = estimate("roc_auc", truth, score)
    assert found == estimate("roc_auc", truth, score)
    assert found.low < found.value < found.high
    assert found.value == metrics.roc_auc(truth, score)


def test_the_interval_of_what_cannot_be_computed_is_no_number() -> None:
    found = estimate("roc_auc", np.zeros(50), np.linspace(0, 1, 50))
    assert all(map(math.isnan, found))


def sample(random: np.random.Generator, rows: int) -> tuple[Array, Array]:
    """Probabilities that are right: the truth is drawn from them."""
    score = random.uniform(0, 1, rows)
    return (random.uniform(0, 1, rows) < score).astype(float), score


COVERED = {"roc_auc": 5 / 6, "accuracy": 0.75, "brier": 1 / 6, "mae": 1 / 3}
"""The truth of ``sample``, worked out by hand: for example E[p² + (1-p)²…] over uniform p."""


@pytest.mark.parametrize("name", COVERED)
def test_intervals_cover_the_truth_about_nineteen_times_in_twenty(name: str) -> None:
    random = np.random.default_rng(20)
    trials = [estimate(name, *sample(random, 250), seed=seed) for seed in range(150)]
    covered = np.mean([found.low <= COVERED[name] <= found.high for found in trials])
    assert 0.89 <= covered <= 0.99


@pytest.mark.parametrize(
    "name",
    ["roc_auc", "log_loss", "brier", "accuracy", "f1", "mae", "rmse", "r2", "cost_fp1_fn5"],
)
def test_a_positive_difference_means_better_whichever_way_the_metric_runs(name: str) -> None:
    random = np.random.default_rng(3)
    truth, good = sample(random, 2000)
    poor = np.clip(good + random.normal(0, 0.4, 2000), 0.01, 0.99)
    better, worse = difference(name, truth, good, poor), difference(name, truth, poor, good)
    assert 0 < better.low < better.value < better.high
    assert worse.high < 0
    assert worse.value == pytest.approx(-better.value)
    assert lower_is_better(name) == (metric(name)(truth, good) < metric(name)(truth, poor))


def test_no_difference_is_exactly_none() -> None:
    truth, score = sample(np.random.default_rng(4), 100)
    assert difference("roc_auc", truth, score, score) == (0.0, 0.0, 0.0)


def test_the_paired_interval_is_narrower_than_the_two_apart() -> None:
    random = np.random.default_rng(5)
    truth, score = sample(random, 500)
    near = np.clip(score + random.normal(0, 0.02, 500), 0, 1)
    apart, paired = estimate("roc_auc", truth, score), difference("roc_auc", truth, score, near)
    assert paired.high - paired.low < (apart.high - apart.low) / 3


@pytest.mark.parametrize(("hits", "of"), [(0, 3), (3, 3), (1, 2), (41, 200), (9_999, 10_000)])
def test_the_interval_of_a_share_is_wilsons(hits: int, of: int) -> None:
    theirs = binomtest(hits, of).proportion_ci(0.95, method="wilson")
    assert share(hits, of) == pytest.approx((hits / of, theirs.low, theirs.high), abs=1e-12)


def test_a_share_of_nothing_is_no_number() -> None:
    assert all(map(math.isnan, share(0, 0)))
