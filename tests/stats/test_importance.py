"""Which parameters matter."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from treadle.stats.importance import importance


def test_what_decides_a_metric_is_told_from_what_does_not() -> None:
    random = np.random.default_rng(7)
    rates = 10 ** random.uniform(-4, -1, 400)
    optimizers = random.choice(["adam", "sgd"], 400)
    noise = random.normal(size=400)
    loss = (np.log10(rates) + 2) ** 2 + (optimizers == "sgd") + 0.1 * noise
    rate = importance([str(one) for one in rates], loss)
    kind = importance(list(optimizers), loss)
    nothing = importance([str(one) for one in random.normal(size=400)], loss)
    assert rate.share > 0.4 and kind.share > 0.1 and nothing.share < 0.06
    assert kind.correlation is None
    assert (rate.groups, kind.groups) == (8, 2)


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=8, max_size=40), st.integers(0, 99))
def test_it_is_the_epsilon_squared_of_kruskal_and_wallis(values: list[str], seed: int) -> None:
    outcome = np.random.default_rng(seed).normal(size=len(values)).round(1)
    groups = [outcome[np.array(values) == kind] for kind in sorted(set(values))]
    if len(groups) < 2 or np.ptp(outcome) == 0:
        assert importance(values, outcome).share == 0
        return
    h, n, k = float(stats.kruskal(*groups).statistic), len(values), len(groups)
    expected = (h - k + 1) / (n - k)
    assert importance(values, outcome).share == pytest.approx(max(expected, 0.0), abs=1e-9)


@given(st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=40, unique=True))
def test_the_correlation_is_spearmans(numbers: list[float]) -> None:
    outcome = np.array(numbers) ** 3
    assert importance([repr(one) for one in numbers], outcome).correlation == pytest.approx(
        stats.spearmanr(numbers, outcome).statistic
    )


@given(
    st.lists(st.none() | st.sampled_from(["1", "x", "nan", "", "inf", "1e9"]), max_size=20),
    st.integers(0, 9),
)
def test_whatever_the_values_are_the_share_is_one(values: list[str | None], seed: int) -> None:
    outcome = np.random.default_rng(seed).normal(size=len(values))
    found = importance(values, outcome)
    assert 0 <= found.share <= 1
    assert found.groups <= 8
