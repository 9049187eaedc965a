"""E-values are what their formulas say, and rarely reject what is true, however often looked at."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import betabinom, binom

from treadle.stats.evalues import LossEProcess, rejects, share_log_e

KAPPA = 4.0
shares = st.floats(0.01, 0.99)


@given(st.integers(0, 300), st.integers(0, 300), shares)
def test_the_e_value_is_a_ratio_of_scipys_densities(k: int, others: int, share: float) -> None:
    n = k + others
    mixture = betabinom.logpmf(k, n, KAPPA * share, KAPPA * (1 - share))
    expected = float(mixture - binom.logpmf(k, n, share))
    assert share_log_e(k, n, share) == pytest.approx(expected, abs=1e-6)


@given(st.integers(0, 40), shares)
def test_the_e_value_is_one_on_average_when_both_fail_alike(n: int, share: float) -> None:
    mean = sum(
        math.comb(n, k) * share**k * (1 - share) ** (n - k) * math.exp(share_log_e(k, n, share))
        for k in range(n + 1)
    )
    assert mean == pytest.approx(1, abs=1e-6)


def test_an_e_value_rejects_from_the_level_s_inverse_on() -> None:
    assert rejects(math.log(20), 0.05)
    assert not rejects(math.log(19.99), 0.05)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_bets_on_losses_rarely_win_when_both_lose_alike_and_often_when_not(share: float) -> None:
    random = np.random.default_rng(3)

    def won(worse: float) -> float:
        rounds = 0
        for _ in range(100):
            newcomers = random.random(5000) < share
            bets = LossEProcess(share)
            losses = np.minimum(random.beta(2, 8, 5000) + worse * newcomers, 1.0)
            for start in range(0, 5000, 250):
                bets.add(newcomers[start : start + 250], losses[start : start + 250])
                if bets.log_e >= math.log(20):
                    rounds += 1
                    break
        return rounds / 100

    assert won(0.0) <= 0.05
    assert won(0.05) >= 0.95


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), max_size=30), shares)
def test_bets_are_never_ruined(rounds: list[tuple[bool, float]], share: float) -> None:
    bets = LossEProcess(share)
    newcomers = np.array([newcomer for newcomer, _ in rounds], dtype=bool)
    losses = np.array([loss for _, loss in rounds], dtype=float)
    bets.add(newcomers, losses)
    assert math.isfinite(bets.log_e)
    for newcomer in (False, True):
        own = losses[newcomers == newcomer]
        assert math.isnan(bets.mean(newcomer)) if not len(own) else True
        assert bets.counts[newcomer] == len(own)
        assert bets.sums[newcomer] == pytest.approx(own.sum())


def test_losses_that_say_nothing_are_no_bet() -> None:
    bets = LossEProcess(0.5)
    bets.add(np.array([True, False, True]), np.array([0.5, 0.5, 0.5]))
    assert bets.log_e == 0.0
