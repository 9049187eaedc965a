"""Checks ``[[requirement]]``: a bound on a metric, or an objective for a share of values."""

import math
import re

from treadle.kernel.clock import duration
from treadle.kernel.errors import Invalid, did_you_mean
from treadle.scope.model import FROM_PRODUCTION, OF_REQUESTS, OF_WINDOWS, Requirement
from treadle.scope.shares import percentage
from treadle.stats.families import EXAMPLES
from treadle.stats.metrics import METRICS, is_metric, lower_is_better

LONGEST_ID = 100
SHORTEST_PERIOD_DAYS, LONGEST_PERIOD_DAYS = 7, 90


def check_requirement(requirement: Requirement, field: str) -> None:
    """Check a requirement's metric, bounds and objective.

    Args:
        requirement: The requirement.
        field: Name of its table in error messages, such as ``requirement[0]``.

    Raises:
        Invalid: The metric is unknown, a bound is missing, double or not finite, or the objective
            is malformed or missing where the metric needs one.
    """
    _check_bounds(requirement, field)
    if not (requirement.metric in FROM_PRODUCTION or is_metric(requirement.metric)):
        hint = did_you_mean(requirement.metric, (*METRICS, *EXAMPLES, *FROM_PRODUCTION))
        raise Invalid(f"Field '{field}.metric': there is no metric '{requirement.metric}'.{hint}")
    if requirement.objective:
        _check_objective(requirement, field)
    elif requirement.metric in (*OF_REQUESTS, *OF_WINDOWS):
        what = "requests" if requirement.metric in OF_REQUESTS else "windows"
        raise Invalid(
            f"Field '{field}.objective': '{requirement.metric}' is a metric of single {what}. "
            f'Write what share of them has to be good, such as: objective = "99.9%"'
        )


def _check_bounds(requirement: Requirement, field: str) -> None:
    given = [name for name in ("at_least", "at_most") if getattr(requirement, name) is not None]
    if requirement.metric == "availability" and given:
        raise Invalid(
            f"Field '{field}.{given[0]}': availability has no bound, since a request is answered "
            'or not. Write the share of answered requests: objective = "99.9%"'
        )
    if requirement.metric != "availability" and len(given) != 1:
        raise Invalid(
            f"Field '{field}.metric': requirement '{requirement.id}' "
            "needs either at_least or at_most."
        )
    if requirement.at_least is not None and requirement.at_least > 1 and _is_share(requirement):
        raise Invalid(
            f"Field '{field}.at_least': '{requirement.metric}' is 1 at most, so "
            f"{requirement.at_least:g} can never be reached."
        )
    for name in given:
        if not math.isfinite(getattr(requirement, name)):
            raise Invalid(f"Field '{field}.{name}': a bound must be a finite number.")


def _is_share(requirement: Requirement) -> bool:
    """Whether the metric is 1 at most: one of classes that is to be raised, or ``r2``."""
    return is_metric(requirement.metric) and not lower_is_better(requirement.metric)


def _check_objective(requirement: Requirement, field: str) -> None:
    if len(requirement.id) > LONGEST_ID:
        raise Invalid(f"Field '{field}.id': an objective's id has {LONGEST_ID} characters at most.")
    share = percentage(requirement.objective, f"{field}.objective")
    if share == 1:
        raise Invalid(
            f"Field '{field}.objective': 100% leaves no error budget. Write less, such as '99.9%'."
        )
    try:
        period = duration(requirement.over)
    except Invalid as error:
        raise Invalid(f"Field '{field}.over': {error.message}") from error
    whole_days = re.fullmatch(r"\d+[dw]", requirement.over)
    if not whole_days or not SHORTEST_PERIOD_DAYS <= period.days <= LONGEST_PERIOD_DAYS:
        raise Invalid(
            f"Field '{field}.over': '{requirement.over}' is no period of {SHORTEST_PERIOD_DAYS} to "
            f"{LONGEST_PERIOD_DAYS} whole days, such as '30d' or '4w'."
        )
