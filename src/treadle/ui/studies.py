"""Pages of studies: what searches for hyper-parameters have tried, and what came out."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from treadle.kernel.errors import TreadleError
from treadle.kernel.escaping import shell
from treadle.ports.tuner import Range, Scalar
from treadle.tuning.model import Study, Trial, TrialValues
from treadle.ui.experiments import AREA
from treadle.ui.series import Series, over_steps
from treadle.ui.site import Page, Visit

SHOWN = 50
"""Studies that the list shows."""
AT_ONCE = 200
"""Trials on one page."""
MOST_CHARTED = 5000
"""Newest trials that a chart draws."""
MOST_SHOWN_BEST = 50
"""Trials of a Pareto front that are shown."""


def _studies(visit: Visit) -> Mapping[str, Any]:
    project = visit.query.get("project") or None
    found = visit.ask.tuning.studies(project=project, limit=SHOWN)
    return {"studies": found, "project": project, "most": SHOWN}


def _study(visit: Visit) -> Mapping[str, Any]:
    tuning, name = visit.ask.tuning, visit.path["study"]
    study = tuning.get(study=name)
    about: dict[str, Any] = {
        "study": study,
        "best": [Best(one, apply_command(study, one)) for one in tuning.best(study=name)],
        "most_best": MOST_SHOWN_BEST,
        "measured": [*study.plan.metrics, *study.plan.constraints],
    }
    if visit.query.get("tab") == "parameters":
        return about | {"tab": "parameters"} | _importances(visit, study)
    before = visit.query.get("before", "")
    last = int(before) if before.isascii() and before.isdigit() and len(before) < 10 else None
    trials = tuning.trials(study=name, limit=AT_ONCE, before=last)
    return about | {
        "tab": "trials",
        "trials": trials[::-1],
        "before": last,
        "older": trials[0].number if trials and trials[0].number > 0 else None,
        "charts": charts_of(study, tuning.progress(study=name, limit=MOST_CHARTED)),
    }


def _importances(visit: Visit, study: Study) -> dict[str, Any]:
    """How much of the first objective each parameter explains, or why that is not known."""
    fault, shares = "", dict[str, float]()
    try:
        shares = visit.ask.tuning.importances(study=study.name)
    except TreadleError as error:
        fault = error.message
    space = study.plan.search.space
    ranked = sorted(space, key=lambda name: -shares.get(name, 0.0))
    tried = {name: said(space[name]) for name in ranked}
    return {"shares": shares, "fault": fault, "space": tried}


class Best(NamedTuple):
    """A best trial, and the command that takes its values over.

    Attributes:
        trial: The trial.
        command: The command line.
    """

    trial: Trial
    command: str


def apply_command(study: Study, trial: Trial) -> str:
    """The command that writes a trial's values into the project's declaration.

    Args:
        study: The study.
        trial: One of its best trials.
    """
    words = ["treadle", "tune", "apply", "--study", study.name]
    return shell(*words, *(["--trial", str(trial.number)] if len(study.best) > 1 else []))


def said(drawn: Range | list[Scalar]) -> str:
    """Say which values of a parameter are tried.

    Args:
        drawn: A range, or a list of choices.
    """
    if not isinstance(drawn, Range):
        return "one of " + ", ".join(str(one) for one in drawn)
    ends = f"{drawn.low:g} to {drawn.high:g}"
    steps = f", every {drawn.step:g}" if drawn.step is not None else ""
    scale = ", on a logarithmic scale" if drawn.log else ""
    return f"{'whole numbers' if drawn.is_whole else 'numbers'} from {ends}{steps}{scale}"


def charts_of(study: Study, reached: Sequence[TrialValues]) -> list[tuple[str, str]]:
    """A chart of each objective over the numbers of trials: its name, and its data.

    Args:
        study: The study.
        reached: What its trials have reached, by number.
    """
    if len(reached) < 2:
        return []
    numbers = [one.number for one in reached]
    return [
        (f"{metric}, by trial", over_steps(numbers, _series(metric, reached), label="trial"))
        for metric in study.plan.metrics
    ]


def _series(metric: str, reached: Sequence[TrialValues]) -> list[Series]:
    """The values of trials within the constraints and beyond them, and the best until then."""
    values = [one.values.get(metric) for one in reached]
    inside = [v if one.feasible else None for v, one in zip(values, reached, strict=True)]
    series = [Series(metric, inside, "--c3", dots=True)]
    if not all(one.feasible for one in reached):
        beyond = [None if one.feasible else v for v, one in zip(values, reached, strict=True)]
        series.append(Series("beyond a constraint", beyond, "--bad", dots=True))
    if any(one.best is not None for one in reached):
        series.append(Series("best so far", [one.best for one in reached], "--c1"))
    return series


PAGES = (
    Page("/studies", AREA.name, "studies.html", _studies),
    Page("/studies/{study:path}", AREA.name, "study.html", _study, turn="search"),
)
