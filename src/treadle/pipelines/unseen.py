"""Refuses a trial whose model may have learnt from the holdout, or from what it is judged on."""

from collections.abc import Sequence, Set

from treadle.kernel.errors import Invalid
from treadle.pipelines.step import StepPlan

_MEND = "Choose its training rows by table[~treadle.held_out(table)], of the table with all rows."


def check_apart(plan: Sequence[StepPlan], models: Sequence[str], judged: str) -> None:
    """Check that a trial's model can be one that does not depend on the rows it is judged on.

    Args:
        plan: The steps.
        models: The steps of which one makes the model; empty where none does.
        judged: The step whose rows the model is judged on.

    Raises:
        Invalid: Each of them depends on those rows.
    """
    if models and all(judged in _way_to(plan, model) for model in models):
        raise Invalid(
            f"Step '{models[0]}' depends on step '{judged}', which in a trial returns validation "
            "rows: by leaving those out, the trial would learn from the holdout, and a trial's "
            f"model comes from no other step. {_MEND}"
        )


def check_unseen(plan: Sequence[StepPlan], model: str, choosing: Set[str]) -> None:
    """Check that the model of a trial has learnt from rows that ``treadle.held_out`` left.

    Args:
        plan: The steps.
        model: The step that made the model.
        choosing: The steps that have called ``treadle.held_out``.

    Raises:
        Invalid: No step on its way has left rows out.
    """
    if not _way_to(plan, model) & choosing:
        raise Invalid(
            f"No step on the way to '{model}' leaves rows out with treadle.held_out, so a trial "
            f"would be judged on rows that it has learnt from. {_MEND}"
        )


def _way_to(plan: Sequence[StepPlan], step: str) -> set[str]:
    """A step, and all steps that it depends on."""
    needs = {one.name: one.sources for one in plan}
    way: set[str] = set()
    ahead = [step]
    while ahead:
        name = ahead.pop()
        if name in needs and name not in way:
            way.add(name)
            ahead.extend(needs[name])
    return way
