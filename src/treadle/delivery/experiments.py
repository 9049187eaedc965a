"""Steps that measure which version is worth more: A/B tests, which decide, and bandits.

A bandit also follows what it learns. A request's label is its reward, from 0 to 1. A key draws who
answers whom, so a person keeps their version while the shares stand.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from treadle.delivery.model import GateResult
from treadle.stats.beta import chance_of_more
from treadle.stats.evalues import LossEProcess, rejects

SURE, LEAST_SHARE, MOST_SHARE = 0.99, 0.05, 0.95
SHIFT = 0.02  # smaller changes of a bandit's share are not worth a generation


class Rewards:
    """Rewards of labelled requests, by who answered, and the evidence in both directions.

    Attributes:
        counts: Labelled requests of the champion, of the candidate.
        sums: Their rewards in total, in the same order.
        worse: Evidence that the candidate is worth less.
        better: Evidence that the candidate is worth more.
    """

    def __init__(self, share: float) -> None:
        """Start without rewards.

        Args:
            share: Probability that a request is the candidate's, between 0 and 1.
        """
        self.counts, self.sums = [0, 0], [0.0, 0.0]
        self.worse, self.better = LossEProcess(share), LossEProcess(share)

    def add(self, newcomers: NDArray[np.bool_], rewards: NDArray[np.float64]) -> None:
        """Take labelled requests in the order in which their labels came.

        Args:
            newcomers: Whether each request (requests,) was the candidate's.
            rewards: Reward of each request (requests,); what lies beyond 0 or 1 counts as that.
        """
        clipped = np.clip(rewards, 0.0, 1.0)
        self.worse.add(newcomers, 1.0 - clipped)
        self.better.add(newcomers, clipped)
        for newcomer in (False, True):
            own_rewards = clipped[newcomers == newcomer]
            self.counts[newcomer] += len(own_rewards)
            self.sums[newcomer] += float(own_rewards.sum())

    def mean(self, newcomer: bool) -> float:
        """Mean reward of one side, 0 before its first.

        Args:
            newcomer: The candidate's, or else the champion's.
        """
        return self.sums[newcomer] / self.counts[newcomer] if self.counts[newcomer] else 0.0

    def chance(self) -> float:
        """How probable it is that the candidate is worth more, after a flat start."""
        return chance_of_more(self.sums, self.counts)

    def share(self) -> float:
        """The candidate's part of the requests by Thompson's rule (1933), within 5 % and 95 %."""
        return min(max(self.chance(), LEAST_SHARE), MOST_SHARE)


@dataclass(frozen=True)
class Experiment:
    """What an experiment is.

    Attributes:
        kind: An A/B test, which holds its shares, or a bandit, which moves them.
        longest: When it ends if it has shown nothing; the champion stays then.
        min_labels: Labelled requests of either version before it decides.
    """

    kind: Literal["ab", "bandit"]
    longest: timedelta
    min_labels: int


def judge(
    experiment: Experiment, seen: Rewards, started: datetime, now: datetime, alpha: float
) -> GateResult:
    """Decide whether the candidate is worth more, is worth less, or nobody knows yet.

    Args:
        experiment: What was asked.
        seen: The rewards so far.
        started: When the step began.
        now: When it is looked at.
        alpha: How often an A/B test may be wrong, in each direction.
    """
    figures = (
        f"a mean reward of {seen.mean(True):.4f} on {seen.counts[1]} labelled requests, "
        f"the champion's {seen.mean(False):.4f} on {seen.counts[0]}"
    )
    if min(seen.counts) >= experiment.min_labels:
        if experiment.kind == "ab":
            won, lost = rejects(seen.better.log_e, alpha), rejects(seen.worse.log_e, alpha)
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
