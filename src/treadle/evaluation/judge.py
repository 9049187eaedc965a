"""Judges a candidate: every requirement that rows can show, and the champion on the same rows."""

import math

import numpy as np

from treadle.evaluation.comparable import answered
from treadle.evaluation.model import Finding, Judged, Outcome
from treadle.scope.model import METRICS_OF, Requirement
from treadle.stats.decisions import OF_COSTS
from treadle.stats.families import family
from treadle.stats.intervals import Estimate, difference, estimate
from treadle.stats.metrics import OF_NUMBERS, Array, measures
from treadle.stats.metrics import metric as metric_named

MIN_ROWS = 100
"""Rows of known truth that a verdict takes at least."""

_WON_BY_CONSTANTS = ("precision", "recall", "precision_above_T", "recall_above_T")
"""Metrics in which always answering the same may be perfect."""
_NOTHING = Estimate(math.nan, math.nan, math.nan)


def judge(
    requirements: list[Requirement], truth: Array, candidate: Array, champion: Array | None
) -> Judged:
    """Judge a candidate on rows of known truth.

    It is refused when it misses a requirement, leaves a row without a finite answer, or is clearly
    worse than the champion, or than the same answer to every row: the whole 95 % interval of the
    paired difference is below zero. There is not enough evidence with fewer than 100 rows, or where
    a metric cannot be computed on them.

    Args:
        requirements: The project's requirements; those that rows cannot show are left out.
        truth: Truths (rows,).
        candidate: The candidate's scores (rows,) or (rows, classes).
        champion: The champion's scores, NaN where it gives none; None for no champion.
    """
    findings = [_finite(len(truth), candidate)]
    usable = answered(candidate)
    measurable = [each for each in requirements if measures(each.metric, candidate)]
    if len(truth) and usable.all():
        findings += [_requirement(requirement, truth, candidate) for requirement in measurable]
        findings += _against_baseline(measurable, truth, candidate)
        if champion is not None and measurable:
            findings.append(_against_champion(measurable[0].metric, truth, candidate, champion))
    outcome, reason = _sum_up(findings)
    metrics = measured([requirement.metric for requirement in requirements], truth, candidate)
    return Judged(
        outcome=outcome, reason=reason, rows=len(truth), findings=findings, metrics=metrics
    )


def judge_unlabelled(requirements: list[Requirement], candidate: Array) -> Judged:
    """Judge what rows without any truth can show: that they are answered, and not all alike.

    Args:
        requirements: The project's requirements; there is not enough evidence for those that only
            labelled rows can show.
        candidate: The candidate's scores (rows,).
    """
    findings = [_finite(len(candidate), candidate), _varies(candidate)]
    findings += [
        _finding(each.id, each.says, "not enough evidence", each.metric, _NOTHING, each.bound)
        for each in requirements
        if measures(each.metric, candidate)
    ]
    outcome, reason = _sum_up(findings)
    reason = f"no row has a label; {reason}"
    return Judged(outcome=outcome, reason=reason, rows=len(candidate), findings=findings)


def measured(metrics: list[str], truth: Array, scores: Array) -> dict[str, float]:
    """Measure those metrics that these rows can show, on the rows that were answered.

    Args:
        metrics: Names of metrics; unknown ones are left out.
        truth: Truths (rows,).
        scores: Scores (rows,) or (rows, classes); rows whose score is not finite are left out.

    Returns:
        Metric → value, finite ones only.
    """
    usable = answered(scores)
    values = {
        name: metric_named(name)(truth[usable], scores[usable])
        for name in metrics
        if measures(name, scores) and usable.any()
    }
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _finite(rows: int, candidate: Array) -> Finding:
    share = float(answered(candidate).mean()) if rows else 0.0
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


def _varies(candidate: Array) -> Finding:
    """Scores that are all alike put no row before another."""
    distinct = len(np.unique(candidate[answered(candidate)]))
    return _finding(
        "scores",
        "tells rows apart",
        "passed" if distinct > 1 else "refused",
        "number of different scores",
        Estimate(distinct, distinct, distinct),
        "> 1",
    )


def _requirement(requirement: Requirement, truth: Array, candidate: Array) -> Finding:
    measured = estimate(requirement.metric, truth, candidate)
    outcome: Outcome = "passed" if requirement.met_by(measured.value) else "refused"
    if math.isnan(measured.value):
        outcome = "not enough evidence"
    return _finding(
        requirement.id, requirement.says, outcome, requirement.metric, measured, requirement.bound
    )


def _against_baseline(
    measurable: list[Requirement], truth: Array, candidate: Array
) -> list[Finding]:
    """Compare with the best that is known without inputs; nothing where no metric shows it."""
    metrics = [each.metric for each in measurable if family(each.metric) not in _WON_BY_CONSTANTS]
    if not metrics:
        return []
    name, baseline = metrics[0], _constant(truth, candidate)
    advantage = difference(name, truth, candidate, baseline)
    if not all(map(math.isfinite, advantage)):
        return []
    own, others = (metric_named(name)(truth, scores) for scores in (candidate, baseline))
    than = "the mean" if name in OF_NUMBERS else "the majority class"
    than = "a random order" if family(name) in METRICS_OF["anomaly"] else than
    than = "the cheapest decision for every row" if family(name) == OF_COSTS else than
    how = "better" if advantage.low > 0 else "worse" if advantage.high < 0 else "not clearly better"
    outcome: Outcome = "refused" if advantage.high < 0 else "passed"
    return [
        _finding(
            "baseline",
            f"is {how} than {than}: {own:.4g} against {others:.4g}",
            outcome,
            f"{name} better than the baseline's by",
            advantage,
            "interval not below 0",
        )
    ]


def _constant(truth: Array, candidate: Array) -> Array:
    """The same answer to every row: how often each class occurs, or the mean."""
    if candidate.ndim == 1:
        return np.full(len(truth), truth.mean())
    shares = np.bincount(truth.astype(int), minlength=candidate.shape[1]) / len(truth)
    return np.tile(shares, (len(truth), 1))


def _against_champion(metric: str, truth: Array, candidate: Array, champion: Array) -> Finding:
    usable = answered(champion)
    if not usable.any():
        return _finding(
            "champion",
            "answers none of these rows, so it is no bar",
            "passed",
            metric,
            _NOTHING,
            "nothing",
        )
    advantage = difference(metric, truth[usable], candidate[usable], champion[usable])
    outcome: Outcome = "refused" if advantage.high < 0 else "passed"
    says = "is not clearly worse than the champion on the same rows"
    return _finding(
        "champion",
        says,
        outcome,
        f"{metric} better than the champion's by",
        advantage,
        "interval not below 0",
    )


def _finding(
    check: str, says: str, outcome: Outcome, metric: str, measured: Estimate, bound: str
) -> Finding:
    value, low, high = (None if math.isnan(x) else round(x, 6) for x in measured)
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
        decisive = [finding for finding in findings if finding.outcome == outcome]
        if decisive:
            return decisive[0].outcome, "; ".join(describe(finding) for finding in decisive)
    return "passed", "; ".join(describe(finding) for finding in findings)


def describe(finding: Finding) -> str:
    """One finding as a sentence fragment: check, metric, value, bound.

    Args:
        finding: The finding.
    """
    return f"{finding.check}: {finding.metric} {interval(finding)}, wanted {finding.bound}"


def interval(finding: Finding) -> str:
    """A finding's value with its interval, in words where there is none.

    Args:
        finding: The finding.
    """
    if finding.value is None:
        return "cannot be computed"
    between = (
        ""
        if finding.low is None or finding.high is None
        else f" [{finding.low:.4g}, {finding.high:.4g}]"
    )
    return f"{finding.value:.4g}{between}"
