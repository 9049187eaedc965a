"""Judges a candidate: every requirement that rows can show, and the champion on the same rows."""

import math

import numpy as np

from treadle.evaluation.model import Finding, Judged, Outcome
from treadle.scope.model import Requirement
from treadle.stats.intervals import Estimate, difference, estimate
from treadle.stats.metrics import METRICS, Array

MIN_ROWS = 100
_NOTHING = Estimate(math.nan, math.nan, math.nan)


def judge(
    requirements: list[Requirement], truth: Array, candidate: Array, champion: Array | None
) -> Judged:
    """The verdict on a candidate's scores (rows,) for rows of known truth.

    Refused when a requirement is missed or the champion is clearly better (the whole interval of the paired difference
    below zero); not enough evidence when there are too few rows, or a metric cannot be computed on them.
    """
    findings = [_finite(len(truth), candidate)]
    usable = np.isfinite(candidate)
    measurable = [requirement for requirement in requirements if requirement.metric in METRICS]
    if len(truth) and usable.all():
        findings += [_requirement(requirement, truth, candidate) for requirement in measurable]
        if champion is not None and measurable:
            findings.append(_against_champion(measurable[0].metric, truth, candidate, champion))
    outcome, reason = _sum_up(findings)
    metrics = measured([requirement.metric for requirement in requirements], truth, candidate)
    return Judged(
        outcome=outcome, reason=reason, rows=len(truth), findings=findings, metrics=metrics
    )


def measured(metrics: list[str], truth: Array, scores: Array) -> dict[str, float]:
    """Those of some metrics that these rows can show, on the rows that were answered."""
    usable = np.isfinite(scores)
    found = {
        name: METRICS[name](truth[usable], scores[usable])
        for name in metrics
        if name in METRICS and usable.any()
    }
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _finite(rows: int, candidate: Array) -> Finding:
    share = float(np.isfinite(candidate).mean()) if rows else 0.0
    outcome: Outcome = (
        "not enough evidence" if rows < MIN_ROWS else "passed" if share == 1 else "refused"
    )
    says = (
        f"answers every one of {rows} rows"
        if rows >= MIN_ROWS
        else f"{rows} rows are fewer than {MIN_ROWS}"
    )
    return _finding(
        "answers", says, outcome, "share of rows answered", Estimate(share, share, share), "= 1"
    )


def _requirement(requirement: Requirement, truth: Array, candidate: Array) -> Finding:
    found = estimate(requirement.metric, truth, candidate)
    outcome: Outcome = "passed" if requirement.met_by(found.value) else "refused"
    if math.isnan(found.value):
        outcome = "not enough evidence"
    return _finding(
        requirement.id, requirement.says, outcome, requirement.metric, found, requirement.bound
    )


def _against_champion(metric: str, truth: Array, candidate: Array, champion: Array) -> Finding:
    usable = np.isfinite(champion)
    if not usable.any():
        return _finding(
            "champion",
            "answers none of these rows, so it is no bar",
            "passed",
            metric,
            _NOTHING,
            "nothing",
        )
    found = difference(metric, truth[usable], candidate[usable], champion[usable])
    outcome: Outcome = "refused" if found.high < 0 else "passed"
    says = "is not clearly worse than the champion on the same rows"
    return _finding(
        "champion",
        says,
        outcome,
        f"{metric} better than the champion's by",
        found,
        "interval reaches 0",
    )


def _finding(
    check: str, says: str, outcome: Outcome, metric: str, found: Estimate, bound: str
) -> Finding:
    value, low, high = (None if math.isnan(x) else round(x, 6) for x in found)
    return Finding(
        check=check,
        says=says,
        outcome=outcome,
        metric=metric,
        value=value,
        low=low,
        high=high,
        bound=bound,
    )


def _sum_up(findings: list[Finding]) -> tuple[Outcome, str]:
    for outcome in ("refused", "not enough evidence"):
        found = [finding for finding in findings if finding.outcome == outcome]
        if found:
            return found[0].outcome, "; ".join(describe(finding) for finding in found)
    return "passed", "; ".join(describe(finding) for finding in findings)


def describe(finding: Finding) -> str:
    """One finding as a sentence fragment."""
    return f"{finding.check}: {finding.metric} {interval(finding)}, wanted {finding.bound}"


def interval(finding: Finding) -> str:
    """The number with its interval, in words where there is none."""
    if finding.value is None:
        return "cannot be computed"
    between = (
        ""
        if finding.low is None or finding.high is None
        else f" [{finding.low:.4g}, {finding.high:.4g}]"
    )
    return f"{finding.value:.4g}{between}"
