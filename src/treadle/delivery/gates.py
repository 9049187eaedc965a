"""The gates of a rollout's step. Each looks at what the step has shown so far and gives one of four decisions."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.delivery.model import Decision, GateResult
from treadle.evaluation.metrics import METRICS, difference, estimate
from treadle.scope.model import Requirement
from treadle.serving.inference_log import LogBatch

ALPHA = 0.05
_KAPPA = 4.0
_SEVERITY: tuple[Decision, ...] = ("roll back", "not enough evidence", "hold", "promote")


class Tally:
    """What one step of a rollout has shown so far: rows by role, kept as a log tail feeds them."""

    def __init__(self) -> None:
        self.answers: dict[str, dict[str, float]] = {"champion": {}, "candidate": {}, "shadow": {}}
        self.errors = {"champion": 0, "candidate": 0, "shadow": 0}
        self.micros: dict[str, list[int]] = {"champion": [], "candidate": [], "shadow": []}

    def add(self, batch: LogBatch) -> None:
        role, failed = batch.facts.role, batch.facts.errors
        self.micros[role] += batch.row_micros
        self.errors[role] += len(failed)
        if batch.outputs.ndim == 1:
            answered = zip(batch.row_ids, batch.outputs.tolist(), strict=True)
            self.answers[role].update(a for place, a in enumerate(answered) if place not in failed)

    def rows(self, role: str) -> int:
        return len(self.micros[role])


def decide(results: list[GateResult]) -> GateResult:
    """The gravest of the gates' decisions, with the reasons of all gates that gave it."""
    for decision in _SEVERITY:
        found = [result for result in results if result.decision == decision]
        if found:
            return GateResult(gate="all", decision=decision, reason="; ".join(result.reason for result in found))
    return GateResult(gate="all", decision="promote", reason="nothing stands against it")


def evidence(seen: int, wanted: int) -> GateResult:
    """Whether the newcomer has seen enough requests to be judged at all."""
    decision: Decision = "promote" if seen >= wanted else "not enough evidence"
    return GateResult(gate="evidence", decision=decision, reason=f"{seen} of {wanted} wanted requests seen")


def errors(newcomer: int, others: int, share: float) -> GateResult:
    """Whether the newcomer fails more often, valid however often it is asked.

    Under equality each error is the newcomer's with probability ``share`` (its part of the requests). The e-value is the
    Beta-Binomial mixture B(a+k, b+n-k) / B(a, b) over share^k (1-share)^(n-k) with a = κ·share, b = κ·(1-share); by
    Ville's inequality it exceeds 1/alpha with probability alpha at most (Grünwald, de Heide and Koolen 2024).
    """
    total = newcomer + others
    log_e = log_e_value(newcomer, total, share)
    e = math.exp(min(log_e, 700.0))
    worse = total > 0 and newcomer / total > share
    decision: Decision = "roll back" if worse and log_e >= -math.log(ALPHA) else "promote"
    part = f"{newcomer} of {total} errors with {share:.0%} of the requests (e-value {e:.3g}, limit {1 / ALPHA:g})"
    return GateResult(gate="errors", decision=decision, reason=part)


def log_e_value(k: int, n: int, share: float) -> float:
    a, b = _KAPPA * share, _KAPPA * (1 - share)
    evidence = _log_beta(a + k, b + n - k) - _log_beta(a, b)
    return evidence - k * math.log(share) - (n - k) * math.log1p(-share)


def latency(requirement: Requirement, newcomer: list[int], champion: list[int]) -> GateResult:
    """Whether the newcomer misses a latency bound that the champion keeps, or that it misses by twice as much."""
    quantile = float(requirement.metric.rpartition("p")[2]) / 100
    mine, its = (float(np.quantile(m, quantile)) / 1000 if m else 0.0 for m in (newcomer, champion))
    missed = not requirement.met_by(mine) and (requirement.met_by(its) or mine > 2 * its)
    reason = f"{requirement.metric} {mine:.1f} ms, the champion's {its:.1f} ms ({requirement.bound})"
    return GateResult(gate=requirement.id, decision="roll back" if missed else "promote", reason=reason)


def paired_quality(metric: str, tally: Tally, labels: dict[str, float], min_labels: int) -> GateResult:
    """Shadow and champion on the same labelled requests: is the shadow clearly worse?"""
    both = [r for r, _ in labels.items() if r in tally.answers["shadow"] and r in tally.answers["champion"]]
    if len(both) < min_labels:
        return _few(len(both), min_labels)
    truth, shadow = _arrays(labels, both), _arrays(tally.answers["shadow"], both)
    found = difference(metric, truth, shadow, _arrays(tally.answers["champion"], both))
    if not math.isfinite(found.value):
        return _unmeasurable(metric, len(both))
    worse = found.high < 0
    reason = (
        f"{metric} better by {found.value:.4f} [{found.low:.4f}, {found.high:.4f}] on {len(both)} labelled requests"
    )
    return GateResult(gate="quality", decision="roll back" if worse else "promote", reason=reason)


def quality(requirement: Requirement, tally: Tally, labels: dict[str, float], min_labels: int) -> GateResult:
    """The candidate's own labelled requests: does it clearly miss the requirement?"""
    mine = [request for request in labels if request in tally.answers["candidate"]]
    if len(mine) < min_labels:
        return _few(len(mine), min_labels)
    found = estimate(requirement.metric, _arrays(labels, mine), _arrays(tally.answers["candidate"], mine))
    if not math.isfinite(found.value):
        return _unmeasurable(requirement.metric, len(mine))
    missed = not (requirement.met_by(found.low) or requirement.met_by(found.high))
    reason = (
        f"{requirement.metric} {found.value:.4f} [{found.low:.4f}, {found.high:.4f}] on {len(mine)} labelled requests"
    )
    return GateResult(gate=requirement.id, decision="roll back" if missed else "promote", reason=reason)


def measurable(requirements: list[Requirement]) -> list[Requirement]:
    """The requirements that labelled requests can show."""
    return [requirement for requirement in requirements if requirement.metric in METRICS]


def _few(labelled: int, wanted: int) -> GateResult:
    """Labels come late; a step does not wait for them, and says what it went without."""
    reason = f"{labelled} labelled requests, fewer than the {wanted} that quality is judged on"
    return GateResult(gate="quality", decision="promote", reason=reason)


def _unmeasurable(metric: str, labelled: int) -> GateResult:
    reason = f"{metric} cannot be computed on the {labelled} labelled requests there are"
    return GateResult(gate="quality", decision="promote", reason=reason)


def _arrays(values: dict[str, float], keys: list[str]) -> NDArray[Any]:
    return np.array([values[key] for key in keys])


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
