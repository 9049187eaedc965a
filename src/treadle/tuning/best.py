"""What a trial is worth, and which trials are the best ones."""

import math
from collections.abc import Iterator, Sequence

from treadle.kernel.entity import replace
from treadle.kernel.errors import Invalid, did_you_mean
from treadle.ports.tuner import TrialRecord
from treadle.tuning.model import StudyPlan, TrialValues

EXCESS = "constraints:"
"""How the tuner's notes are named that say by how much a trial misses a constraint."""


def with_values(trial: TrialRecord, plan: StudyPlan, metrics: dict[str, float]) -> TrialRecord:
    """A finished trial with its values, and with what its constraints say.

    Args:
        trial: The trial.
        plan: What the study searches for.
        metrics: What was measured.

    Raises:
        Invalid: A metric that the study needs is missing, or is NaN.
    """
    for name in (*plan.metrics, *plan.constraints):
        if name in metrics and math.isnan(metrics[name]):
            raise Invalid(
                f"Trial {trial.number} has measured NaN for '{name}', which says nothing of its "
                "values. Tell it as failed."
            )
        if name not in metrics:
            has = ", ".join(sorted(metrics)) or "nothing"
            raise Invalid(
                f"Trial {trial.number} has no value of '{name}', which the study needs; it has "
                f"measured {has}.{did_you_mean(name, metrics)}"
            )
    excesses = {
        f"{EXCESS}{name}": bound.excess(metrics[name]) for name, bound in plan.constraints.items()
    }
    others = {name: value for name, value in metrics.items() if name not in plan.metrics}
    return replace(
        trial,
        values=[float(metrics[name]) for name in plan.metrics],
        user_attributes={**trial.user_attributes, **({"measured": others} if others else {})},
        system_attributes={**trial.system_attributes, **excesses},
    )


def feasible(trial: TrialRecord) -> bool:
    """Whether a trial meets all constraints that were measured.

    Args:
        trial: The trial.
    """
    notes = trial.system_attributes.items()
    return all(excess <= 0 for name, excess in notes if name.startswith(EXCESS))


def best_of(trials: Sequence[TrialRecord], plan: StudyPlan) -> list[TrialRecord]:
    """The best of some finished trials within the constraints, by number.

    Args:
        trials: The trials.
        plan: What the study searches for.

    Returns:
        One trial, the first of equals; with several objectives those that no other trial equals or
        surpasses in all of them.
    """
    signs = [1.0 if way == "minimize" else -1.0 for way in plan.search.directions]
    costs = {
        trial.number: tuple(sign * value for sign, value in zip(signs, trial.values, strict=True))
        for trial in trials
        if trial.values and feasible(trial)
    }
    ranked = sorted(costs, key=lambda number: (costs[number], number))
    if len(signs) == 1:
        ranked = ranked[:1]
    front: list[int] = []
    for number in ranked:
        # Of two objectives the last covers whatever any before it covers.
        rivals = front[-1:] if len(signs) <= 2 else front
        if not any(_covers(costs[other], costs[number]) for other in rivals):
            front.append(number)
    chosen = set(front)
    return [trial for trial in trials if trial.number in chosen]


def values_of(trial: TrialRecord, plan: StudyPlan) -> dict[str, float]:
    """The values of a trial's objectives by metric; nothing where it has not finished.

    Args:
        trial: The trial.
        plan: What the study searches for.
    """
    return dict(zip(plan.metrics, trial.values or [], strict=False))


def progress_of(trials: Sequence[TrialRecord], plan: StudyPlan) -> Iterator[TrialValues]:
    """What finished trials have reached, each with the best until then.

    Args:
        trials: The trials by number.
        plan: What the study searches for.
    """
    directions, best = plan.search.directions, None
    better = min if directions[0] == "minimize" else max
    for trial in trials:
        values, meets = values_of(trial, plan), feasible(trial)
        if len(directions) == 1 and meets:
            for value in values.values():
                best = value if best is None else better(best, value)
        yield TrialValues(number=trial.number, values=values, feasible=meets, best=best)


def _covers(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether one trial is at least as good as another in every objective."""
    return all(mine <= its for mine, its in zip(one, other, strict=True))
