"""Steps that measure which version is worth more: A/B, which decides once it is shown, and a bandit, which follows what it learns.

A request's label is its reward, from 0 to 1. Who answers whom is drawn by a key, so a person keeps their version while the shares stand.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from treadle.delivery.evidence import Losses, at_least
from treadle.delivery.model import GateResult

SURE, LEAST_SHARE, MOST_SHARE = 0.99, 0.05, 0.95
SHIFT = 0.02  # smaller changes of a bandit's share are not worth a generation
_DRAWS = 20_000


class Rewards:
    """What labelled requests were worth, by who answered; evidence that may be looked at at any time, for both directions."""

    def __init__(self, share: float) -> None:
        self.counts, self.sums = [0, 0], [0.0, 0.0]  # of the champion, of the candidate
        self.worse, self.better = Losses(share), Losses(share)

    def add(self, newcomers: NDArray[np.bool_], rewards: NDArray[np.float64]) -> None:
        worth = np.clip(rewards, 0.0, 1.0)
        self.worse.add(newcomers, 1.0 - worth)
        self.better.add(newcomers, worth)
        for newcomer in (False, True):
            mine = worth[newcomers == newcomer]
            self.counts[newcomer] += len(mine)
            self.sums[newcomer] += float(mine.sum())

    def mean(self, newcomer: bool) -> float:
        return self.sums[newcomer] / self.counts[newcomer] if self.counts[newcomer] else 0.0

    def chance(self) -> float:
        """How probable it is that the candidate is worth more, by Beta distributions after a flat start (Thompson 1933)."""
        random = np.random.default_rng(0)  # the same evidence gives the same answer
        champion, candidate = (
            random.beta(1 + self.sums[who], 1 + self.counts[who] - self.sums[who], _DRAWS)
            for who in (0, 1)
        )
        return float(np.mean(candidate > champion))

    def share(self) -> float:
        """The candidate's part of the requests by Thompson's rule, with something left for either."""
        return min(max(self.chance(), LEAST_SHARE), MOST_SHARE)


@dataclass(frozen=True)
class Experiment:
    """``longest`` is when an experiment ends that has shown nothing; the champion stays then."""

    kind: Literal["ab", "bandit"]
    longest: timedelta
    min_labels: int


def judge(
    experiment: Experiment, seen: Rewards, started: datetime, now: datetime, alpha: float
) -> GateResult:
    """What the rewards say: the candidate is worth more, it is worth less, or nobody knows yet."""
    figures = (
        f"a mean reward of {seen.mean(True):.4f} on {seen.counts[1]} labelled requests, "
        f"the champion's {seen.mean(False):.4f} on {seen.counts[0]}"
    )
    if min(seen.counts) >= experiment.min_labels:
        if experiment.kind == "ab":
            won, lost = at_least(seen.better.log_e, alpha), at_least(seen.worse.log_e, alpha)
        else:
            chance = seen.chance()
            won, lost = chance >= SURE, chance <= 1 - SURE
            figures += f"; it is worth more with a probability of {chance:.3f}"
        if won or lost:
            return GateResult(
                gate="reward", decision="promote" if won else "roll back", reason=figures
            )
    ends = started + experiment.longest
    if now >= ends:
        return GateResult(
            gate="reward",
            decision="roll back",
            reason=f"{figures}; no difference was shown by {ends:%Y-%m-%d %H:%M}",
        )
    return GateResult(
        gate="reward",
        decision="not enough evidence",
        reason=f"{figures}; it ends by {ends:%Y-%m-%d %H:%M}",
    )
