"""The gates of a rollout's step: each looks at what the step has shown and gives a decision.

The decisions are: promote, hold, roll back, not enough evidence.
"""

from treadle.delivery import experiments
from treadle.delivery.model import Decision, GateResult
from treadle.delivery.quality_gates import describe_e_value, judge_quality, losses
from treadle.delivery.step import ALPHA, Step, bounds_latency, measurable
from treadle.delivery.step_statistics import StepStatistics
from treadle.scope.model import Requirement
from treadle.stats.evalues import rejects, share_log_e
from treadle.stats.histograms import LatencyHistogram
from treadle.stats.sequences import cdf_radius, rate_bounds

__all__ = [
    "Step",
    "StepStatistics",
    "decide",
    "disagreement",
    "error_rates",
    "errors",
    "evidence",
    "judge",
    "latency",
    "measurable",
    "shift",
]

_BY_SEVERITY: tuple[Decision, ...] = ("roll back", "not enough evidence", "hold", "promote")


def judge(step: Step, tally: StepStatistics) -> list[GateResult]:
    """Ask every gate that the step has.

    Args:
        step: What the step asks of its newcomer.
        tally: What it has shown so far.

    Returns:
        One result per gate. Quality is judged last, once nothing else stands against promotion.
    """
    results = _always_asked(step, tally)
    if step.experiment is not None:
        rewards = experiments.judge(
            step.experiment, tally.rewards, step.started, step.now, step.alpha
        )
        return [*results, evidence(step, tally), rewards]
    from_labels = measurable(step.requirements)
    if from_labels and step.newcomer == "candidate" and tally.have_losses:
        results.append(losses(tally.losses, step))
    results.append(evidence(step, tally))
    if step.now - step.started < step.hold:
        until = step.started + step.hold
        reason = f"the step lasts until {until:%Y-%m-%d %H:%M}"
        results.append(GateResult(gate="hold", decision="hold", reason=reason))
    elif from_labels and decide(results).decision == "promote":
        results += judge_quality(step, tally, from_labels)
    return results


def decide(results: list[GateResult]) -> GateResult:
    """The gravest of the gates' decisions, with the reasons of all gates that gave it.

    Args:
        results: What the gates said.
    """
    for decision in _BY_SEVERITY:
        reasons = [result.reason for result in results if result.decision == decision]
        if reasons:
            return GateResult(gate="all", decision=decision, reason="; ".join(reasons))
    return GateResult(gate="all", decision="promote", reason="nothing stands against it")


def evidence(step: Step, tally: StepStatistics) -> GateResult:
    """Whether the newcomer has shown enough to be judged at all, and when it will have.

    Args:
        step: What the step asks of its newcomer.
        tally: What it has shown so far.
    """
    seen, newcomer = tally.rows[step.newcomer], step.newcomer
    reason = f"{seen} of {step.min_requests} wanted requests seen"
    if seen < step.min_requests:
        reason += _when(step, seen, step.min_requests)
        return GateResult(gate="evidence", decision="not enough evidence", reason=reason)
    if step.error_margin is None:
        return GateResult(gate="evidence", decision="promote", reason=reason)
    excess = _excess(tally.errors[newcomer], seen, tally.errors["champion"], tally.rows["champion"])
    reason = (
        f"after {seen} requests it may fail {max(excess, 0.0):.2%} more often than the champion "
        f"({step.error_margin:.2%} is tolerated)"
    )
    if excess <= step.error_margin:
        return GateResult(gate="evidence", decision="promote", reason=reason)
    needed = _needed(tally, newcomer, step.error_margin)
    if needed:
        reason += _when(step, seen, needed)
    else:
        reason += "; at the present rates more requests will not show less"
    return GateResult(gate="evidence", decision="not enough evidence", reason=reason)


def errors(newcomer: int, others: int, share: float, alpha: float = ALPHA) -> GateResult:
    """Whether the newcomer fails more often, valid however often it is asked.

    While both fail alike, each error is the newcomer's with probability ``share``.

    Args:
        newcomer: Errors of the newcomer.
        others: Errors of the champion.
        share: The newcomer's part of the requests, between 0 and 1.
        alpha: How often the gate may ever be wrong.
    """
    total = newcomer + others
    log_e = share_log_e(newcomer, total, share)
    worse = total > 0 and newcomer / total > share
    decision: Decision = "roll back" if worse and rejects(log_e, alpha) else "promote"
    reason = (
        f"{newcomer} of {total} errors with {share:.0%} of the requests "
        f"({describe_e_value(log_e, alpha)})"
    )
    return GateResult(gate="errors", decision=decision, reason=reason)


def error_rates(step: Step, tally: StepStatistics) -> GateResult:
    """Whether the newcomer fails more often, whatever its share of the requests was and when.

    Args:
        step: What the step asks of its newcomer.
        tally: What it has shown so far.
    """
    newcomer, champion = (
        rate_bounds(tally.errors[role], tally.rows[role], step.alpha / 2)
        for role in (step.newcomer, "champion")
    )
    reason = (
        f"it fails {newcomer[0]:.2%} to {newcomer[1]:.2%} of its requests, "
        f"the champion {champion[0]:.2%} to {champion[1]:.2%}"
    )
    worse = newcomer[0] > champion[1]
    return GateResult(gate="errors", decision="roll back" if worse else "promote", reason=reason)


def shift(step: Step, tally: StepStatistics, allowed: float) -> GateResult:
    """Whether the newcomer's predictions are surely spread otherwise than is allowed.

    Args:
        step: What the step asks of its newcomer.
        tally: What it has shown so far.
        allowed: Kolmogorov and Smirnov's distance to the champion's that is allowed, 0 to 1.
    """
    newcomer, champion = tally.predictions[step.newcomer], tally.predictions["champion"]
    distance = newcomer.distance(champion) if len(newcomer) and len(champion) else 0.0
    radius = cdf_radius(len(newcomer), step.alpha / 2) + cdf_radius(len(champion), step.alpha / 2)
    at_least = distance - radius
    reason = (
        f"predictions are shifted by {distance:.1%}, {max(at_least, 0.0):.1%} at least "
        f"({allowed:.0%} is allowed)"
    )
    decision: Decision = "roll back" if at_least > allowed else "promote"
    return GateResult(gate="shift", decision=decision, reason=reason)


def disagreement(step: Step, tally: StepStatistics, allowed: float) -> GateResult:
    """Whether the shadow answers the champion's requests differently more often than is allowed.

    Args:
        step: What the step asks of its newcomer.
        tally: What it has shown so far.
        allowed: Share of mirrored requests that may be answered differently, 0 to 1.
    """
    low, high = rate_bounds(tally.disagreements, tally.pairs, step.alpha)
    reason = (
        f"{tally.disagreements} of {tally.pairs} mirrored requests answered differently: "
        f"{low:.1%} to {high:.1%} ({allowed:.0%} are allowed)"
    )
    decision: Decision = "roll back" if low > allowed else "promote"
    return GateResult(gate="disagreement", decision=decision, reason=reason)


def latency(
    requirement: Requirement, newcomer: LatencyHistogram, champion: LatencyHistogram, step: Step
) -> GateResult:
    """Whether the newcomer misses a latency bound more often than the champion, who keeps it.

    Where the champion misses the bound too, the newcomer may take up to twice as long. What is too
    slow is counted as errors are: while both are alike, each slow answer is the newcomer's with
    probability ``share``.

    Args:
        requirement: The bound, on a quantile such as ``latency_ms.p99``.
        newcomer: The newcomer's latencies.
        champion: The champion's.
        step: What the step asks of its newcomer.
    """
    assert requirement.at_most is not None
    part = float(requirement.metric.rpartition("p")[2]) / 100
    newcomer_ms, champion_ms = newcomer.quantile(part), champion.quantile(part)
    limit_ms = max(
        requirement.at_most, 2 * champion_ms if champion_ms > requirement.at_most else 0.0
    )
    newcomer_slow = newcomer.above(limit_ms)
    all_slow = newcomer_slow + champion.above(limit_ms)
    log_e = share_log_e(newcomer_slow, all_slow, step.share)
    missed = (
        newcomer_ms > limit_ms
        and all_slow
        and newcomer_slow / all_slow > step.share
        and rejects(log_e, step.alpha)
    )
    reason = (
        f"{requirement.metric} {newcomer_ms:.1f} ms, the champion's {champion_ms:.1f} ms "
        f"({requirement.bound})"
    )
    return GateResult(
        gate=requirement.id, decision="roll back" if missed else "promote", reason=reason
    )


def _always_asked(step: Step, tally: StepStatistics) -> list[GateResult]:
    """The gates that need no labels and no patience: errors, predictions, latency."""
    newcomer = step.newcomer
    if step.experiment is not None and step.experiment.kind == "bandit":
        results = [error_rates(step, tally)]  # a bandit's share changes
    else:
        newcomer_errors, champion_errors = tally.errors[newcomer], tally.errors["champion"]
        results = [errors(newcomer_errors, champion_errors, step.share, step.alpha)]
    if step.max_shift is not None:
        results.append(shift(step, tally, step.max_shift))
    if step.max_disagreement is not None and newcomer == "shadow":
        results.append(disagreement(step, tally, step.max_disagreement))
    for requirement in bounds_latency(step.requirements):
        own, champions = tally.latencies[newcomer], tally.latencies["champion"]
        results.append(latency(requirement, own, champions, step))
    return results


def _excess(errors: int, rows: int, champion_errors: int, champion_rows: int) -> float:
    """How much more often the newcomer may fail: its highest rate less the champion's lowest."""
    highest = rate_bounds(errors, rows, ALPHA / 2)[1]
    return highest - rate_bounds(champion_errors, champion_rows, ALPHA / 2)[0]


def _needed(tally: StepStatistics, newcomer: str, margin: float) -> int | None:
    """Requests after which the margin is shown if both go on failing as they do; None if never."""
    newcomer_rows = tally.rows[newcomer]
    seen = (
        tally.errors[newcomer],
        newcomer_rows,
        tally.errors["champion"],
        tally.rows["champion"],
    )
    for growth in (1.25**power for power in range(1, 40)):
        if _excess(*(int(count * growth) for count in seen)) <= margin:
            return int(newcomer_rows * growth)
    return None


def _when(step: Step, seen: int, wanted: int) -> str:
    """When as many requests will have come, at the rate of this step so far."""
    passed = step.now - step.started
    if not seen or not passed:
        return ""
    by = step.started + passed * (wanted / seen)
    return f"; {wanted} at the present rate by {by:%Y-%m-%d %H:%M}"
