"""What one step of a rollout has shown so far, kept as a log tail feeds it."""

from collections.abc import Mapping
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from treadle.delivery.experiments import Rewards
from treadle.delivery.sides import Output, Sides, rewards_of
from treadle.serving.log_batch import LogBatch
from treadle.stats.classes import Truth
from treadle.stats.evalues import LossEProcess
from treadle.stats.histograms import LatencyHistogram, PredictionHistogram
from treadle.stats.metrics import bounded_loss

MOST_ANSWERS = 200_000
"""Answers of one role that are kept to be joined with labels; of more, a sample by request id."""

_ROLES = ("champion", "candidate", "shadow")
_EVERY_HASH = 1 << 32


class StepStatistics:
    """Counts and evidence of one step, by role: champion, candidate, shadow.

    Attributes:
        answers: Role → request → answer: a number, or scores of both versions' classes.
        rows: Role → rows answered, with those that failed.
        errors: Role → rows that failed.
        latencies: Role → latencies.
        predictions: Role → predictions of the rows that did not fail.
        losses: Evidence that the candidate's labelled answers are worse than the champion's.
        have_losses: Whether one answer alone can be wrong.
        rewards: Rewards of an experiment.
        pairs: Mirrored requests that both champion and shadow answered.
        disagreements: Those of them that the shadow answered differently.
        labels: Request → label, as metrics take it.
    """

    def __init__(self, share: float = 0.5, sides: Sides | None = None) -> None:
        """Start with nothing seen.

        Args:
            share: Probability that a request is the newcomer's, between 0 and 1.
            sides: What both versions answer; None for numbers.
        """
        self._sides = sides or Sides()
        self.answers: dict[str, dict[str, Output]] = {role: {} for role in _ROLES}
        self.rows = dict.fromkeys(_ROLES, 0)
        self.errors = dict.fromkeys(_ROLES, 0)
        self.latencies = {role: LatencyHistogram() for role in _ROLES}
        self.predictions = {role: PredictionHistogram() for role in _ROLES}
        self.have_losses = self._sides.have_losses
        self.losses, self.rewards = LossEProcess(share), Rewards(share)
        self.pairs = self.disagreements = 0
        self.labels: dict[str, float] = {}
        # A shadow's answers whose champion's is not seen yet.
        self._unpaired: dict[str, Output] = {}
        # Labelled requests whose answer is not seen yet, in the order of their labels.
        self._unanswered: dict[str, None] = {}
        self._rows_when_matched = 0
        self._hash_limit = _EVERY_HASH  # answers whose request's hash is below this are kept

    def add(self, batch: LogBatch) -> None:
        """Count a batch of the inference log.

        Args:
            batch: Rows that one variant answered together.
        """
        role, failed = batch.facts.role, batch.facts.errors
        if role not in _ROLES:
            return  # rows of a scored file: no request, and no part of the rollout
        self.rows[role] += len(batch)
        self.errors[role] += len(failed)
        self.latencies[role].add(batch.row_micros)
        answered = np.ones(len(batch), dtype=bool)
        answered[list(failed)] = False
        outputs = self._sides.outputs(batch)
        self.predictions[role].add((batch.outputs if outputs is None else outputs)[answered])
        if outputs is not None:
            self._keep_answers(role, batch, outputs)
            self._pair(role, batch)
            if len(self.answers[role]) > MOST_ANSWERS:
                self._thin()

    def learn(self, labels: Mapping[str, Truth], metric: str | None) -> None:
        """Take labels that have come, and bet on those of the candidate's or champion's requests.

        Args:
            labels: Request → label; those seen before change nothing.
            metric: The metric that the labels are the truth of; None where they are rewards.
        """
        new = [id for id in labels if id not in self.labels and self._keeps(id)]
        values = [labels[id] for id in new]
        placed = rewards_of(values) if metric is None else self._sides.truths(values)
        new = [id for id, value in zip(new, placed.tolist(), strict=True) if value == value]
        self.labels.update(zip(new, placed[~np.isnan(placed)].tolist(), strict=True))
        self._unanswered.update(dict.fromkeys(new))
        rows = sum(self.rows.values())
        if not new and rows == self._rows_when_matched:
            return
        self._rows_when_matched = rows
        matched = self._take_matched()
        if matched:
            self._bet(matched, metric)

    def _keep_answers(self, role: str, batch: LogBatch, outputs: NDArray[np.float32]) -> None:
        failed = batch.facts.errors
        answered = zip(batch.row_ids, outputs.tolist(), strict=True)
        self.answers[role].update(
            (id, answer)
            for row, (id, answer) in enumerate(answered)
            if row not in failed and self._keeps(id)
        )

    def _pair(self, role: str, batch: LogBatch) -> None:
        """Compare what a shadow says with what was answered."""
        if role == "shadow":
            shadow_answers = self.answers["shadow"]
            self._unpaired.update(
                (id, shadow_answers[id]) for id in batch.row_ids if id in shadow_answers
            )
        if not self._unpaired or role == "candidate":
            return
        champion_answers = self.answers["champion"]
        newly_seen = list(self._unpaired) if role == "shadow" else batch.row_ids
        for id in newly_seen:
            if id in champion_answers and id in self._unpaired:
                self.pairs += 1
                shadows = self._unpaired.pop(id)
                self.disagreements += self._sides.differ(shadows, champion_answers[id])

    def _take_matched(self) -> list[str]:
        """Labelled requests that went to the candidate or to the champion, each taken once."""
        candidate_answers, champion_answers = self.answers["candidate"], self.answers["champion"]
        matched = [
            id
            for id in self._unanswered
            if (id in candidate_answers) is not (id in champion_answers)
        ]
        for id in matched:
            del self._unanswered[id]
        return matched

    def _bet(self, requests: list[str], metric: str | None) -> None:
        candidate_answers, champion_answers = self.answers["candidate"], self.answers["champion"]
        newcomers = np.array([id in candidate_answers for id in requests])
        labels = np.array([self.labels[id] for id in requests])
        if metric is None:
            self.rewards.add(newcomers, labels)
            return
        answers = np.array(
            [
                candidate_answers[id] if id in candidate_answers else champion_answers[id]
                for id in requests
            ]
        )
        if self.have_losses:
            self.losses.add(newcomers, bounded_loss(metric, labels, answers))

    def _keeps(self, request: str) -> bool:
        return self._hash_limit == _EVERY_HASH or crc32(request.encode()) < self._hash_limit

    def _thin(self) -> None:
        """Keep half of the answers from now on: those of the same requests in every role."""
        self._hash_limit //= 2
        self.answers = {
            role: {id: value for id, value in answers.items() if self._keeps(id)}
            for role, answers in self.answers.items()
        }
