"""E-values: evidence against a hypothesis that may be looked at at any time.

When the hypothesis is true, an e-value is 1 on average at whatever moment one stops. By Ville's
inequality (1939) it then ever reaches 1/alpha with probability alpha at most, however often it is
looked at. Logarithms are natural.
"""

import math

import numpy as np
from numpy.typing import NDArray

from treadle.stats.beta import log_beta

_KAPPA = 4.0


def rejects(log_e: float, alpha: float) -> bool:
    """Whether an e-value rejects its hypothesis at a level.

    Args:
        log_e: Natural logarithm of the e-value.
        alpha: Probability of rejecting a true hypothesis, between 0 and 1.
    """
    return log_e >= -math.log(alpha)


def share_log_e(k: int, n: int, share: float) -> float:
    """Log e-value against the hypothesis that each event is the newcomer's with one probability.

    The Beta-Binomial mixture B(a+k, b+n-k) / B(a, b) over share^k (1-share)^(n-k), with a = κ·share
    and b = κ·(1-share), κ = 4 (Grünwald, de Heide and Koolen 2024).

    Args:
        k: Events of the newcomer, such as its errors.
        n: Events of both.
        share: Probability of the newcomer under the hypothesis, between 0 and 1.
    """
    a, b = _KAPPA * share, _KAPPA * (1 - share)
    log_mixture = log_beta(a + k, b + n - k) - log_beta(a, b)
    return log_mixture - k * math.log(share) - (n - k) * math.log1p(-share)


class LossEProcess:
    """Evidence that a newcomer loses more than the champion, on requests given out by chance.

    A bet on each labelled request. A is 1 where the request was the newcomer's, which has the
    probability ``share``; its loss lies between 0 and 1. While both lose alike,
    (loss - m) · (A/share - (1-A)/(1-share)) has the mean 0, whatever m the earlier requests
    suggest. The wealth of betting a part λ of what one has on it is an e-value (Waudby-Smith and
    Ramdas 2024).

    Attributes:
        log_e: Natural logarithm of the e-value so far.
        counts: Requests of the champion, of the newcomer.
        sums: Sums of losses of the champion, of the newcomer.
    """

    def __init__(self, share: float) -> None:
        """Start without evidence.

        Args:
            share: Probability that a request is the newcomer's, between 0 and 1.
        """
        self._share = share
        self.log_e = 0.0
        self.counts, self.sums = [0, 0], [0.0, 0.0]
        self._gain_mean, self._gain_mean_square, self._seen = 0.0, 0.0, 0

    def add(self, newcomers: NDArray[np.bool_], losses: NDArray[np.float64]) -> None:
        """Take labelled requests in the order in which their labels came.

        Args:
            newcomers: Whether each request (requests,) was the newcomer's.
            losses: Loss of each request (requests,), from 0 to 1.
        """
        share, log_e = self._share, self.log_e
        largest_bet = 0.5 * min(share, 1 - share)
        for newcomer, loss in zip(newcomers.tolist(), losses.tolist(), strict=True):
            total = self.counts[0] + self.counts[1]
            centre = (self.sums[0] + self.sums[1] + 0.5) / (total + 1)
            gain = (loss - centre) * (1 / share if newcomer else -1 / (1 - share))
            log_e += math.log1p(self._bet(largest_bet) * gain)
            self.counts[newcomer] += 1
            self.sums[newcomer] += loss
            self._remember(gain)
        self.log_e = log_e

    def mean(self, newcomer: bool) -> float:
        """Mean loss of one side, NaN before its first request.

        Args:
            newcomer: The newcomer's, or else the champion's.
        """
        return self.sums[newcomer] / self.counts[newcomer] if self.counts[newcomer] else math.nan

    def _bet(self, largest: float) -> float:
        """The part of the wealth to bet, by earlier gains; nothing while they are all 0."""
        if not self._gain_mean_square:
            return 0.0
        best = self._gain_mean / (self._gain_mean_square + self._gain_mean**2)
        return min(max(best, 0.0), largest)

    def _remember(self, gain: float) -> None:
        """Update the running moments of the gains; the mean starts from an imagined gain of 0."""
        self._seen += 1
        self._gain_mean += (gain - self._gain_mean) / (self._seen + 1)
        if self._gain_mean_square:
            self._gain_mean_square += (gain**2 - self._gain_mean_square) / (self._seen + 1)
        else:
            self._gain_mean_square = gain**2
