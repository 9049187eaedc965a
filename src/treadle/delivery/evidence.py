"""Evidence that may be looked at at any time: e-values, and bounds that hold for all sample sizes at once.

An e-value is, when nothing is wrong, 1 on average at whatever moment one stops; by Ville's inequality it exceeds 1/alpha with
probability alpha at most, however often it is looked at.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_KAPPA = 4.0
_BISECTIONS = 60


def share_log_e(k: int, n: int, share: float) -> float:
    """The logarithm of the e-value that ``k`` of ``n`` events are not the newcomer's with probability ``share`` each.

    The Beta-Binomial mixture B(a+k, b+n-k) / B(a, b) over share^k (1-share)^(n-k), with a = κ·share, b = κ·(1-share)
    (Grünwald, de Heide and Koolen 2024).
    """
    a, b = _KAPPA * share, _KAPPA * (1 - share)
    mixture = _log_beta(a + k, b + n - k) - _log_beta(a, b)
    return mixture - k * math.log(share) - (n - k) * math.log1p(-share)


def rate_bounds(k: int, n: int, alpha: float) -> tuple[float, float]:
    """Where a rate lies, of which ``k`` in ``n`` were seen: each side wrong with probability ``alpha`` at most, ever.

    The rates that the mixture over Beta(1/2, 1/2) does not reject at alpha (Robbins 1970).
    """
    if not n:
        return 0.0, 1.0
    mixture = _log_beta(0.5 + k, 0.5 + n - k) - _log_beta(0.5, 0.5)

    def rejected(rate: float) -> bool:
        inside = (k * math.log(rate) if k else 0.0) + (
            (n - k) * math.log1p(-rate) if n > k else 0.0
        )
        return mixture - inside >= -math.log(alpha)

    low = _edge(rejected, 0.0, k / n) if k else 0.0
    high = _edge(rejected, 1.0, k / n) if k < n else 1.0
    return low, high


def at_least(log_e: float, alpha: float) -> bool:
    """Whether an e-value's logarithm is what happens with probability ``alpha`` at most."""
    return log_e >= -math.log(alpha)


def cdf_radius(n: int, alpha: float) -> float:
    """How far a distribution function seen on ``n`` draws is off at most, at whatever n one looks.

    Howard and Ramdas 2022, theorem 2, with A = 0.85.
    """
    return (
        min(
            1.0,
            0.85 * math.sqrt((math.log(math.log(math.e * n)) + 0.8 * math.log(1612 / alpha)) / n),
        )
        if n
        else 1.0
    )


class Losses:
    """Whether a newcomer loses more than the champion, on requests that were given to one of them by chance.

    A bet on each labelled request: with A the newcomer's turn, which has the probability ``share``, and a loss between 0
    and 1, (loss - m) · (A/share - (1-A)/(1-share)) has the mean 0 as long as both lose alike, whatever m the earlier
    requests suggest. The wealth of betting λ of what one has on it is an e-value (Waudby-Smith and Ramdas 2024).
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self.log_e = 0.0
        self.counts, self.sums = [0, 0], [0.0, 0.0]
        self._mean, self._mean_square, self._seen = 0.0, 0.0, 0

    def add(self, newcomers: NDArray[np.bool_], losses: NDArray[np.float64]) -> None:
        """Take labelled requests in the order in which their labels came."""
        share, log_e = self._share, self.log_e
        most = 0.5 * min(share, 1 - share)
        for newcomer, loss in zip(newcomers.tolist(), losses.tolist(), strict=True):
            total = self.counts[0] + self.counts[1]
            centre = (self.sums[0] + self.sums[1] + 0.5) / (total + 1)
            gain = (loss - centre) * (1 / share if newcomer else -1 / (1 - share))
            bet = (
                min(max(self._mean / (self._mean_square + self._mean**2), 0.0), most)
                if self._seen
                else 0.0
            )
            log_e += math.log1p(bet * gain)
            self.counts[newcomer] += 1
            self.sums[newcomer] += loss
            self._seen += 1
            self._mean += (gain - self._mean) / (self._seen + 1)
            self._mean_square += (
                (gain**2 - self._mean_square) / (self._seen + 1) if self._mean_square else gain**2
            )
        self.log_e = log_e

    def mean(self, newcomer: bool) -> float:
        return self.sums[newcomer] / self.counts[newcomer] if self.counts[newcomer] else math.nan


def _edge(rejected: Callable[[float], bool], far: float, near: float) -> float:
    """Between ``near``, which is not rejected, and ``far``: where rejection begins."""
    for _ in range(_BISECTIONS):
        middle = (far + near) / 2
        if rejected(middle):
            far = middle
        else:
            near = middle
    return far


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
