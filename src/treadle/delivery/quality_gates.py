"""The gates that labels open: losses while they come, and requirements once there are enough."""

import math
from collections.abc import Mapping

import numpy as np

from treadle.delivery.model import GateResult
from treadle.delivery.sides import Output
from treadle.delivery.step import ALPHA, Step
from treadle.delivery.step_statistics import StepStatistics
from treadle.scope.model import Requirement
from treadle.stats.evalues import LossEProcess, rejects
from treadle.stats.intervals import Estimate, difference, estimate, one_sided_limits
from treadle.stats.metrics import Array, measures


def losses(seen: LossEProcess, step: Step) -> GateResult:
    """Whether the candidate's labelled answers are further from the truth than the champion's.

    Valid however often it is asked, as labels come.

    Args:
        seen: The losses so far.
        step: What the step asks.
    """
    if not seen.counts[1]:
        return GateResult(
            gate="losses", decision="promote", reason="none of its answers is labelled yet"
        )
    worse = rejects(seen.log_e, step.alpha) and seen.mean(True) > seen.mean(False)
    reason = (
        f"a mean loss of {seen.mean(True):.4f} on {seen.counts[1]} labelled requests, "
        f"the champion's {seen.mean(False):.4f} on {seen.counts[0]} "
        f"({describe_e_value(seen.log_e, step.alpha)})"
    )
    return GateResult(gate="losses", decision="roll back" if worse else "promote", reason=reason)


def judge_quality(
    step: Step, tally: StepStatistics, requirements: list[Requirement]
) -> list[GateResult]:
    """Judge quality once: when enough labels have come, or were waited for long enough.

    Args:
        step: What the step asks.
        tally: What it has shown.
        requirements: The requirements that labels can show, one at least.
    """
    answers = tally.answers[step.newcomer]
    if step.newcomer == "shadow":
        answers = {id: value for id, value in answers.items() if id in tally.answers["champion"]}
    labelled = len([id for id in tally.labels if id in answers])
    if labelled < step.min_labels:
        return [_too_few_labels(step, labelled)]
    if step.newcomer == "shadow":
        return [paired_quality(requirements[0].metric, tally, tally.labels, step.alpha)]
    return [quality(requirement, tally, tally.labels, step.alpha) for requirement in requirements]


def paired_quality(
    metric: str, tally: StepStatistics, labels: Mapping[str, float], alpha: float = ALPHA
) -> GateResult:
    """Whether the shadow is clearly worse than the champion on the same labelled requests.

    Args:
        metric: The metric they are compared by, a name in ``METRICS``.
        tally: What the step has shown.
        labels: Request → label.
        alpha: How often the gate may be wrong.
    """
    shadow_answers, champion_answers = tally.answers["shadow"], tally.answers["champion"]
    both = [id for id in labels if id in shadow_answers and id in champion_answers]
    truth, shadow = _array(labels, both), _array(shadow_answers, both)
    if not measures(metric, shadow):
        return _unmeasurable(metric, len(both))
    measured = difference(metric, truth, shadow, _array(champion_answers, both))
    if not math.isfinite(measured.value):
        return _unmeasurable(metric, len(both))
    worse = one_sided_limits(measured, alpha)[1] < 0
    reason = f"{metric} better by {_describe(measured)} on {len(both)} labelled requests"
    return GateResult(gate="quality", decision="roll back" if worse else "promote", reason=reason)


def quality(
    requirement: Requirement,
    tally: StepStatistics,
    labels: Mapping[str, float],
    alpha: float = ALPHA,
) -> GateResult:
    """Whether the candidate clearly misses a requirement on its own labelled requests.

    Args:
        requirement: The requirement; its metric is a name in ``METRICS``.
        tally: What the step has shown.
        labels: Request → label.
        alpha: How often the gate may be wrong.
    """
    answers = tally.answers["candidate"]
    own = [request for request in labels if request in answers]
    scores = _array(answers, own)
    if not measures(requirement.metric, scores):
        return _unmeasurable(requirement.metric, len(own))
    measured = estimate(requirement.metric, _array(labels, own), scores)
    if not math.isfinite(measured.value):
        return _unmeasurable(requirement.metric, len(own))
    missed = not any(requirement.met_by(limit) for limit in one_sided_limits(measured, alpha))
    reason = f"{requirement.metric} {_describe(measured)} on {len(own)} labelled requests"
    return GateResult(
        gate=requirement.id, decision="roll back" if missed else "promote", reason=reason
    )


def describe_e_value(log_e: float, alpha: float) -> str:
    """An e-value beside the limit from which it rejects, as text.

    Args:
        log_e: Natural logarithm of the e-value.
        alpha: The level that sets the limit.
    """
    return f"e-value {math.exp(min(log_e, 700.0)):.3g}, limit {1 / alpha:.3g}"


def _too_few_labels(step: Step, labelled: int) -> GateResult:
    """A step waits for late labels where that is declared; else it says what it went without."""
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
    reason += f", at {until:%Y-%m-%d %H:%M} and since"
    return GateResult(gate="quality", decision=step.without_labels, reason=reason)


def _unmeasurable(metric: str, labelled: int) -> GateResult:
    reason = f"{metric} cannot be computed on the {labelled} labelled requests there are"
    return GateResult(gate="quality", decision="promote", reason=reason)


def _describe(measured: Estimate) -> str:
    return f"{measured.value:.4f} [{measured.low:.4f}, {measured.high:.4f}]"


def _array(values: Mapping[str, Output], keys: list[str]) -> Array:
    return np.array([values[key] for key in keys])
