"""The gates of a rollout's step. Each looks at what the step has shown so far and gives one of four decisions."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import NormalDist
from typing import Any, Literal
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from treadle.delivery import experiments
from treadle.delivery.evidence import Losses, at_least, cdf_radius, rate_bounds, share_log_e
from treadle.delivery.experiments import Experiment, Rewards
from treadle.delivery.model import Decision, GateResult
from treadle.evaluation.metrics import METRICS, Estimate, difference, estimate
from treadle.scope.model import Requirement
from treadle.serving.inference_log import LogBatch

ALPHA = 0.05  # how often a newcomer that is as good as the champion is rolled back, over all steps and gates
MOST_ANSWERS = (
    200_000  # of one role are kept to be joined with labels; of more, a sample by request id
)
_SEVERITY: tuple[Decision, ...] = ("roll back", "not enough evidence", "hold", "promote")
_ROLES = ("champion", "candidate", "shadow")
_BIN = math.log(1.02)  # latencies are kept to 2 %
_REGRESSION = ("mae", "rmse", "r2")
_SCALE, _WIDTH, _HALF = 1e-3, 0.02, 1600  # predictions are kept in bins of 2 % of their size


class Latencies:
    """How long answers took, counted in bins of 2 %: quantiles and shares of any number of them."""

    def __init__(self) -> None:
        self._counts = np.zeros(1200, dtype=np.int64)  # up to e^(1200 · 0.0198) µs: days

    def add(self, micros: list[int]) -> None:
        bins = np.log(np.maximum(np.array(micros, dtype=np.float64), 1.0)) / _BIN
        self._counts += np.bincount(np.minimum(bins.astype(np.int64), 1199), minlength=1200)

    def __len__(self) -> int:
        return int(self._counts.sum())

    def quantile(self, part: float) -> float:
        """Milliseconds that this part of the answers did not exceed."""
        if not len(self):
            return 0.0
        place = int(np.searchsorted(np.cumsum(self._counts), part * len(self)))
        return math.exp((place + 0.5) * _BIN) / 1000

    def above(self, milliseconds: float) -> int:
        """How many took longer, to 2 %."""
        return int(
            self._counts[max(0, math.ceil(math.log(max(milliseconds * 1000, 1.0)) / _BIN)) :].sum()
        )


class Spread:
    """How predictions are spread, counted in bins: numbers by their size, classes by the likeliest."""

    def __init__(self) -> None:
        self._counts = np.zeros(2 * _HALF + 1, dtype=np.int64)

    def add(self, outputs: NDArray[np.float32]) -> None:
        if outputs.ndim == 2:
            bins = outputs.argmax(axis=1) + _HALF
        else:
            sizes = np.arcsinh(outputs.astype(np.float64) / _SCALE) / _WIDTH
            bins = np.clip(np.rint(np.nan_to_num(sizes)), -_HALF, _HALF).astype(np.int64) + _HALF
        self._counts += np.bincount(bins, minlength=2 * _HALF + 1)

    def __len__(self) -> int:
        return int(self._counts.sum())

    def distance(self, other: "Spread") -> float:
        """Kolmogorov and Smirnov's: the largest difference of the distribution functions."""
        mine, its = (np.cumsum(one._counts) / max(1, len(one)) for one in (self, other))
        return float(np.max(np.abs(mine - its)))


class StepStatistics:
    """What one step of a rollout has shown so far, kept as a log tail feeds it."""

    def __init__(self, share: float = 0.5) -> None:
        self.answers: dict[str, dict[str, float]] = {role: {} for role in _ROLES}
        self.rows = dict.fromkeys(_ROLES, 0)
        self.errors = dict.fromkeys(_ROLES, 0)
        self.latencies = {role: Latencies() for role in _ROLES}
        self.spreads = {role: Spread() for role in _ROLES}
        self.losses, self.rewards = Losses(share), Rewards(share)
        self.pairs = self.disagreements = (
            0  # mirrored requests that both answered, and how many of them differently
        )
        self._alone: dict[str, float] = {}  # a shadow's answers whose champion's is not seen yet
        self.labels: dict[str, float] = {}
        self._unmatched: dict[
            str, None
        ] = {}  # labelled, and not seen to be answered yet, in the order of their labels
        self._rows_when_matched = 0
        self._kept = 1 << 32  # answers whose request's hash is below this are kept

    def add(self, batch: LogBatch) -> None:
        role, failed = batch.facts.role, batch.facts.errors
        self.rows[role] += len(batch)
        self.errors[role] += len(failed)
        self.latencies[role].add(batch.row_micros)
        well = (
            [place for place in range(len(batch)) if place not in failed] if failed else slice(None)
        )
        self.spreads[role].add(batch.outputs[well])
        if batch.outputs.ndim == 1:
            answered = zip(batch.row_ids, batch.outputs.tolist(), strict=True)
            kept = (
                a for place, a in enumerate(answered) if place not in failed and self._keeps(a[0])
            )
            self.answers[role].update(kept)
            self._pair(role, batch)
            if len(self.answers[role]) > MOST_ANSWERS:
                self._thin()

    def _pair(self, role: str, batch: LogBatch) -> None:
        """Compare what a shadow says with what was answered."""
        if role == "shadow":
            self._alone.update(
                (id, self.answers[role][id]) for id in batch.row_ids if id in self.answers[role]
            )
        if not self._alone or role == "candidate":
            return
        its = self.answers["champion"]
        for id in [
            id
            for id in (self._alone if role == "shadow" else batch.row_ids)
            if id in its and id in self._alone
        ]:
            self.pairs += 1
            self.disagreements += _disagree(self._alone.pop(id), its[id])

    def learn(self, labels: Mapping[str, float], metric: str | None) -> None:
        """Take labels that have come, and bet on those of requests that went to the candidate or to the champion.

        They are the truth that ``metric`` is about; without one they are rewards.
        """
        new = [id for id in labels if id not in self.labels and self._keeps(id)]
        self.labels.update((id, labels[id]) for id in new)
        self._unmatched.update(dict.fromkeys(new))
        rows = sum(self.rows.values())
        if not new and rows == self._rows_when_matched:
            return
        self._rows_when_matched = rows
        mine, its = self.answers["candidate"], self.answers["champion"]
        ids = [id for id in self._unmatched if (id in mine) is not (id in its)]
        for id in ids:
            del self._unmatched[id]
        if not ids:
            return
        truth = np.array([self.labels[id] for id in ids])
        answers = np.array([mine[id] if id in mine else its[id] for id in ids])
        newcomers = np.array([id in mine for id in ids])
        if metric is None:
            self.rewards.add(newcomers, truth)
        else:
            self.losses.add(newcomers, _losses(truth, answers, metric))

    def _keeps(self, request: str) -> bool:
        return self._kept == 1 << 32 or crc32(request.encode()) < self._kept

    def _thin(self) -> None:
        self._kept //= 2
        self.answers = {
            role: {id: value for id, value in answers.items() if self._keeps(id)}
            for role, answers in self.answers.items()
        }


@dataclass(frozen=True)
class Step:
    """What a step asks of its newcomer. ``share`` is its part of the requests; ½ for a shadow, which sees them all too."""

    newcomer: Literal["candidate", "shadow"]
    share: float
    started: datetime
    now: datetime
    hold: timedelta = timedelta()
    min_requests: int = 0
    error_margin: float | None = None
    requirements: list[Requirement] = field(default_factory=list)
    min_labels: int = 100
    labels_due: timedelta | None = (
        None  # from the step's start; None where labels are not waited for
    )
    patience: timedelta = timedelta()
    without_labels: Literal["promote", "hold", "roll back"] = "hold"
    steps: int = 1  # of the rollout in which something can be rolled back
    max_shift: float | None = None
    max_disagreement: float | None = None
    experiment: Experiment | None = None

    @property
    def alpha(self) -> float:
        """What each gate of this step may be wrong with, so that all of the rollout's together stay within ALPHA."""
        gates = 2 + sum(
            one is not None for one in (self.max_shift, self.max_disagreement, self.experiment)
        )
        gates += len([r for r in self.requirements if _of_latency(r)]) + len(
            measurable(self.requirements)
        )
        return ALPHA / (gates * max(self.steps, 1))


def judge(step: Step, tally: StepStatistics) -> list[GateResult]:
    """What every gate says now."""
    mine = step.newcomer
    if step.experiment is not None and step.experiment.kind == "bandit":
        results = [error_rates(step, tally)]  # its share changes
    else:
        results = [errors(tally.errors[mine], tally.errors["champion"], step.share, step.alpha)]
    if step.max_shift is not None:
        results.append(shift(step, tally, step.max_shift))
    if step.max_disagreement is not None and mine == "shadow":
        results.append(disagreement(step, tally, step.max_disagreement))
    for requirement in step.requirements:
        if _of_latency(requirement):
            results.append(
                latency(requirement, tally.latencies[mine], tally.latencies["champion"], step)
            )
    if step.experiment is not None:
        now, kind = step.now, step.experiment
        return [
            *results,
            evidence(step, tally),
            experiments.judge(kind, tally.rewards, step.started, now, step.alpha),
        ]
    wanted = measurable(step.requirements)
    if wanted and mine == "candidate":
        results.append(losses(tally.losses, step))
    results.append(evidence(step, tally))
    if step.now - step.started < step.hold:
        until = step.started + step.hold
        results.append(
            GateResult(
                gate="hold", decision="hold", reason=f"the step lasts until {until:%Y-%m-%d %H:%M}"
            )
        )
    elif wanted and decide(results).decision == "promote":
        results += _quality(step, tally, wanted)
    return results


def decide(results: list[GateResult]) -> GateResult:
    """The gravest of the gates' decisions, with the reasons of all gates that gave it."""
    for decision in _SEVERITY:
        found = [result for result in results if result.decision == decision]
        if found:
            return GateResult(
                gate="all", decision=decision, reason="; ".join(result.reason for result in found)
            )
    return GateResult(gate="all", decision="promote", reason="nothing stands against it")


def evidence(step: Step, tally: StepStatistics) -> GateResult:
    """Whether the newcomer has shown enough to be judged at all, and when it will have."""
    seen, mine = tally.rows[step.newcomer], step.newcomer
    if seen < step.min_requests:
        reason = f"{seen} of {step.min_requests} wanted requests seen{_when(step, seen, step.min_requests)}"
        return GateResult(gate="evidence", decision="not enough evidence", reason=reason)
    if step.error_margin is None:
        return GateResult(
            gate="evidence",
            decision="promote",
            reason=f"{seen} of {step.min_requests} wanted requests seen",
        )
    worst = _worst(tally.errors[mine], seen, tally.errors["champion"], tally.rows["champion"])
    reason = f"after {seen} requests it may fail {max(worst, 0.0):.2%} more often than the champion ({step.error_margin:.2%} is tolerated)"
    if worst <= step.error_margin:
        return GateResult(gate="evidence", decision="promote", reason=reason)
    needed = _needed(tally, mine, step.error_margin)
    when = (
        _when(step, seen, needed)
        if needed
        else "; at the present rates more requests will not show less"
    )
    return GateResult(gate="evidence", decision="not enough evidence", reason=reason + when)


def errors(newcomer: int, others: int, share: float, alpha: float = ALPHA) -> GateResult:
    """Whether the newcomer fails more often, valid however often it is asked.

    Under equality each error is the newcomer's with probability ``share`` (its part of the requests).
    """
    total = newcomer + others
    log_e = share_log_e(newcomer, total, share)
    worse = total > 0 and newcomer / total > share
    decision: Decision = "roll back" if worse and at_least(log_e, alpha) else "promote"
    part = (
        f"{newcomer} of {total} errors with {share:.0%} of the requests ({_e_value(log_e, alpha)})"
    )
    return GateResult(gate="errors", decision=decision, reason=part)


def error_rates(step: Step, tally: StepStatistics) -> GateResult:
    """Whether the newcomer fails more often, whatever its share of the requests was at which time."""
    mine, its = (
        rate_bounds(tally.errors[role], tally.rows[role], step.alpha / 2)
        for role in (step.newcomer, "champion")
    )
    part = f"it fails {mine[0]:.2%} to {mine[1]:.2%} of its requests, the champion {its[0]:.2%} to {its[1]:.2%}"
    return GateResult(
        gate="errors", decision="roll back" if mine[0] > its[1] else "promote", reason=part
    )


def shift(step: Step, tally: StepStatistics, most: float) -> GateResult:
    """Whether the newcomer's predictions are spread otherwise than the champion's, by more than is allowed for sure."""
    mine, its = tally.spreads[step.newcomer], tally.spreads["champion"]
    found = mine.distance(its) if len(mine) and len(its) else 0.0
    off = cdf_radius(len(mine), step.alpha / 2) + cdf_radius(len(its), step.alpha / 2)
    reason = f"predictions are shifted by {found:.1%}, {max(found - off, 0.0):.1%} at least ({most:.0%} is allowed)"
    return GateResult(
        gate="shift", decision="roll back" if found - off > most else "promote", reason=reason
    )


def disagreement(step: Step, tally: StepStatistics, most: float) -> GateResult:
    """Whether the shadow decides otherwise than the champion on the same requests more often than is allowed."""
    low, high = rate_bounds(tally.disagreements, tally.pairs, step.alpha)
    reason = f"{tally.disagreements} of {tally.pairs} mirrored requests answered differently: {low:.1%} to {high:.1%} ({most:.0%} are allowed)"
    return GateResult(
        gate="disagreement", decision="roll back" if low > most else "promote", reason=reason
    )


def latency(requirement: Requirement, mine: Latencies, its: Latencies, step: Step) -> GateResult:
    """Whether the newcomer misses a latency bound more often than the champion, or misses it by twice as much.

    What is too slow is counted as errors are: under equality each slow answer is the newcomer's with probability ``share``.
    """
    assert requirement.at_most is not None
    quantile = float(requirement.metric.rpartition("p")[2]) / 100
    took, takes = mine.quantile(quantile), its.quantile(quantile)
    slow = max(requirement.at_most, 2 * takes if takes > requirement.at_most else 0.0)
    mine_slow, all_slow = mine.above(slow), mine.above(slow) + its.above(slow)
    log_e = share_log_e(mine_slow, all_slow, step.share)
    missed = (
        took > slow
        and all_slow
        and mine_slow / all_slow > step.share
        and at_least(log_e, step.alpha)
    )
    reason = (
        f"{requirement.metric} {took:.1f} ms, the champion's {takes:.1f} ms ({requirement.bound})"
    )
    return GateResult(
        gate=requirement.id, decision="roll back" if missed else "promote", reason=reason
    )


def losses(seen: Losses, step: Step) -> GateResult:
    """Whether the candidate's labelled answers are further from the truth than the champion's, looked at as labels come."""
    worse = at_least(seen.log_e, step.alpha) and seen.mean(True) > seen.mean(False)
    if not seen.counts[1]:
        return GateResult(
            gate="losses", decision="promote", reason="none of its answers is labelled yet"
        )
    part = (
        f"a mean loss of {seen.mean(True):.4f} on {seen.counts[1]} labelled requests, the champion's "
        f"{seen.mean(False):.4f} on {seen.counts[0]} ({_e_value(seen.log_e, step.alpha)})"
    )
    return GateResult(gate="losses", decision="roll back" if worse else "promote", reason=part)


def paired_quality(
    metric: str, tally: StepStatistics, labels: dict[str, float], alpha: float = ALPHA
) -> GateResult:
    """Shadow and champion on the same labelled requests: is the shadow clearly worse?"""
    both = [
        r
        for r, _ in labels.items()
        if r in tally.answers["shadow"] and r in tally.answers["champion"]
    ]
    truth, shadow = _arrays(labels, both), _arrays(tally.answers["shadow"], both)
    found = difference(metric, truth, shadow, _arrays(tally.answers["champion"], both))
    if not math.isfinite(found.value):
        return _unmeasurable(metric, len(both))
    reason = f"{metric} better by {found.value:.4f} [{found.low:.4f}, {found.high:.4f}] on {len(both)} labelled requests"
    worse = _edges(found, alpha)[1] < 0
    return GateResult(gate="quality", decision="roll back" if worse else "promote", reason=reason)


def quality(
    requirement: Requirement, tally: StepStatistics, labels: dict[str, float], alpha: float = ALPHA
) -> GateResult:
    """The candidate's own labelled requests: does it clearly miss the requirement?"""
    mine = [request for request in labels if request in tally.answers["candidate"]]
    found = estimate(
        requirement.metric, _arrays(labels, mine), _arrays(tally.answers["candidate"], mine)
    )
    if not math.isfinite(found.value):
        return _unmeasurable(requirement.metric, len(mine))
    missed = not any(requirement.met_by(edge) for edge in _edges(found, alpha))
    reason = f"{requirement.metric} {found.value:.4f} [{found.low:.4f}, {found.high:.4f}] on {len(mine)} labelled requests"
    return GateResult(
        gate=requirement.id, decision="roll back" if missed else "promote", reason=reason
    )


def measurable(requirements: list[Requirement]) -> list[Requirement]:
    """The requirements that labelled requests can show."""
    return [requirement for requirement in requirements if requirement.metric in METRICS]


def _quality(step: Step, tally: StepStatistics, wanted: list[Requirement]) -> list[GateResult]:
    """Quality, judged once: when enough labels have come, or when they have been waited for long enough."""
    answered, known = tally.answers[step.newcomer], tally.labels
    if step.newcomer == "shadow":
        answered = {id: value for id, value in answered.items() if id in tally.answers["champion"]}
    labelled = len([id for id in known if id in answered])
    if labelled < step.min_labels:
        return [_few(step, labelled)]
    if step.newcomer == "shadow":
        return [paired_quality(wanted[0].metric, tally, known, step.alpha)]
    return [quality(requirement, tally, known, step.alpha) for requirement in wanted]


def _few(step: Step, labelled: int) -> GateResult:
    """Labels come late. A step waits for them where that is declared; else it says what it went without."""
    reason = (
        f"{labelled} labelled requests, fewer than the {step.min_labels} that quality is judged on"
    )
    if step.labels_due is None:
        return GateResult(gate="quality", decision="promote", reason=reason)
    due = step.started + step.labels_due
    until = due + step.patience
    if step.now < until:
        reason += (
            f"; labels are due by {due:%Y-%m-%d %H:%M} and waited for until {until:%Y-%m-%d %H:%M}"
        )
        return GateResult(gate="quality", decision="not enough evidence", reason=reason)
    return GateResult(
        gate="quality",
        decision=step.without_labels,
        reason=f"{reason}, at {until:%Y-%m-%d %H:%M} and since",
    )


def _unmeasurable(metric: str, labelled: int) -> GateResult:
    reason = f"{metric} cannot be computed on the {labelled} labelled requests there are"
    return GateResult(gate="quality", decision="promote", reason=reason)


def _disagree(mine: float, its: float) -> bool:
    """Two probabilities on different sides of a half; two other numbers more than a tenth apart."""
    if 0 <= mine <= 1 and 0 <= its <= 1:
        return (mine >= 0.5) is not (its >= 0.5)
    return abs(mine - its) > 0.1 * max(abs(mine), abs(its))


def _losses(truth: NDArray[Any], answers: NDArray[Any], metric: str) -> NDArray[np.float64]:
    """How far each answer is from its truth, from 0 to 1: the squared error of a probability, a share of the answer's size."""
    off = np.abs(answers - truth)
    if metric in _REGRESSION:
        return np.asarray(off / (off + np.abs(truth) + 1e-9))
    return np.asarray(np.minimum(off, 1.0) ** 2)


def _edges(found: Estimate, alpha: float) -> tuple[float, float]:
    """Where a measured value's one-sided limits lie at ``alpha``, from its 95 % interval."""
    wider = NormalDist().inv_cdf(1 - alpha) / NormalDist().inv_cdf(0.975)
    return found.value - wider * (found.value - found.low), found.value + wider * (
        found.high - found.value
    )


def _worst(k: int, n: int, others: int, other_rows: int) -> float:
    """How much more often the newcomer may fail than the champion: its highest rate less the champion's lowest."""
    return rate_bounds(k, n, ALPHA / 2)[1] - rate_bounds(others, other_rows, ALPHA / 2)[0]


def _needed(tally: StepStatistics, newcomer: str, margin: float) -> int | None:
    """Requests of the newcomer after which the margin is shown, should both go on failing as they do; None if never."""
    k, n = tally.errors[newcomer], tally.rows[newcomer]
    others, other_rows = tally.errors["champion"], tally.rows["champion"]
    for times in (1.25**power for power in range(1, 40)):
        if (
            _worst(int(k * times), int(n * times), int(others * times), int(other_rows * times))
            <= margin
        ):
            return int(n * times)
    return None


def _when(step: Step, seen: int, wanted: int) -> str:
    """When as many requests will have come, at the rate of this step so far."""
    passed = step.now - step.started
    if not seen or not passed:
        return ""
    return f"; {wanted} at the present rate by {step.started + passed * (wanted / seen):%Y-%m-%d %H:%M}"


def _e_value(log_e: float, alpha: float) -> str:
    return f"e-value {math.exp(min(log_e, 700.0)):.3g}, limit {1 / alpha:.3g}"


def _of_latency(requirement: Requirement) -> bool:
    return requirement.metric.startswith("latency_ms.p") and requirement.at_most is not None


def _arrays(values: Mapping[str, float], keys: list[str]) -> NDArray[Any]:
    return np.array([values[key] for key in keys])
