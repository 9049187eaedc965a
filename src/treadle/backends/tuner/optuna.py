"""Implements the tuner port with Optuna."""

import sys
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.trial import FrozenTrial, TrialState

from treadle.backends.tuner import grid
from treadle.backends.tuner.draft import Draft
from treadle.backends.tuner.records import frozen
from treadle.backends.tuner.seen import Seen, SeenStudy
from treadle.kernel.entity import replace
from treadle.kernel.errors import Invalid
from treadle.ports.tuner import Range, Scalar, SearchPlan, StudyRecord, TrialRecord, TrialStore

LOOKED_AT = 400
"""Newest trials that a sampler looks at, beside a fifth as many of the best ones. More trials
change a suggestion little and cost the more time the longer a search goes on."""
MOST_STEPS = 2**53
FEWEST_FOR_IMPORTANCES = 10


class OptunaTuner:
    """Searches with Optuna's samplers and pruners over our trial store.

    Args:
        store: Where studies and trials are.
    """

    def __init__(self, store: TrialStore) -> None:
        self._store = store
        self._seen = Seen(store)

    def check(self, plan: SearchPlan) -> None:
        """Refuse a plan that cannot be sampled.

        Args:
            plan: The plan.

        Raises:
            Invalid: The space, the sampler or the pruner does not work; the error names the field.
        """
        if not plan.space:
            raise Invalid("Field 'tune.space': there is no parameter to search over. Give one.")
        for name, drawn in plan.space.items():
            _distribution(name, drawn)
        if plan.sampler == "grid":
            grid.points(plan)
        if plan.sampler == "cmaes":
            _check_cmaes(plan)
        if plan.pruner != "none" and len(plan.directions) > 1:
            raise Invalid(
                "Field 'tune.pruner': trials of several objectives cannot be pruned. "
                'Write pruner = "none", or give one metric.'
            )

    def most_trials(self, plan: SearchPlan) -> int | None:
        """How many different trials there are, or None where nobody counts them.

        Args:
            plan: The plan.
        """
        return len(grid.points(plan)) if plan.sampler == "grid" else None

    def suggest(self, study: int, plan: SearchPlan) -> TrialRecord:
        """Choose the values of a further trial, which is not stored yet.

        Args:
            study: Number of the study.
            plan: How the search goes on.
        """
        seen = self._seen.study(study)
        number = len(seen.trials)
        fresh = TrialRecord(study=study, number=number, started_at=datetime.now(UTC))
        drawn = {name: _distribution(name, one) for name, one in plan.space.items()}
        if plan.sampler == "grid":
            draws = {name: distribution_to_json(one) for name, one in drawn.items()}
            every = grid.points(plan)
            return replace(fresh, params=every[number % len(every)], distributions=draws)
        draft = Draft(self._store, _study(study, plan), looked_at(seen, plan), fresh)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            thinking = optuna.Study(str(study), draft, _sampler(plan, number, drawn), _pruner(plan))
            thinking.ask(drawn)
        return draft.made

    def report(self, trial: TrialRecord, plan: SearchPlan) -> tuple[bool, dict[str, Any]]:
        """Judge a running trial by its newest report.

        Args:
            trial: The trial, with the report.
            plan: How the search goes on.

        Returns:
            Whether the trial is hopeless, and the tuner's notes on it.
        """
        if plan.pruner == "none":
            return False, trial.system_attributes
        others = [one for one in self._seen.trials(trial.study) if one.number != trial.number]
        draft = Draft(self._store, _study(trial.study, plan), others, trial)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            thinking = optuna.Study(str(trial.study), draft, None, _pruner(plan))
            hopeless = thinking.pruner.prune(thinking, frozen(trial))
        return hopeless, draft.made.system_attributes

    def importances(self, study: int, plan: SearchPlan, objective: int) -> dict[str, float]:
        """How much of an objective's variation each parameter explains (PED-ANOVA).

        Args:
            study: Number of the study.
            plan: How the search goes on.
            objective: Place of the objective.

        Raises:
            Invalid: Too few trials have finished.
        """
        trials = [one for one in self._seen.trials(study) if one.state == TrialState.COMPLETE]
        if len(trials) < FEWEST_FOR_IMPORTANCES:
            raise Invalid(
                f"{len(trials)} trials have finished; importances need {FEWEST_FOR_IMPORTANCES}. "
                "Go on with: treadle tune --resume"
            )
        alone = replace(plan, directions=[plan.directions[objective]])
        copies = [_of_objective(trial, objective) for trial in trials]
        draft = Draft(self._store, _study(study, alone), copies, TrialRecord(study=study))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            found = optuna.importance.get_param_importances(
                optuna.Study(str(study), draft),
                evaluator=optuna.importance.PedAnovaImportanceEvaluator(),
            )
        return {name: float(share) for name, share in found.items()}


def looked_at(seen: SeenStudy, plan: SearchPlan) -> Sequence[FrozenTrial]:
    """The trials that a sampler looks at, by number.

    Args:
        seen: The study.
        plan: How the search goes on.
    """
    if len(seen.trials) <= LOOKED_AT:
        return seen.trials
    wanted = set(range(len(seen.trials) - LOOKED_AT, len(seen.trials)))
    outcomes = np.array(seen.outcomes).reshape(-1, len(plan.directions))
    best = LOOKED_AT // 5
    if len(outcomes) > best:
        for place, direction in enumerate(plan.directions):
            values = outcomes[:, place] * (-1.0 if direction == "maximize" else 1.0)
            wanted.update(seen.finished[at] for at in np.argpartition(values, best)[:best])
    return [seen.trials[number] for number in sorted(wanted)]


class _Tpe(optuna.samplers.TPESampler):
    """TPE that is told the space, which it would else work out from all trials each time."""

    def __init__(self, space: dict[str, BaseDistribution], seed: int) -> None:
        super().__init__(seed=seed, constant_liar=True)
        self._space = {name: one for name, one in space.items() if not one.single()}

    def infer_relative_search_space(
        self,
        study: optuna.Study,  # noqa: ARG002
        trial: FrozenTrial,  # noqa: ARG002
    ) -> dict[str, BaseDistribution]:
        return self._space


def _study(study: int, plan: SearchPlan) -> StudyRecord:
    return StudyRecord(id=study, name=str(study), directions=list(plan.directions))


def _of_objective(trial: FrozenTrial, objective: int) -> FrozenTrial:
    """A trial with one of its objectives only."""
    return FrozenTrial(
        number=trial.number,
        state=trial.state,
        value=trial.values[objective],
        datetime_start=trial.datetime_start,
        datetime_complete=trial.datetime_complete,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs={},
        system_attrs={},
        intermediate_values={},
        trial_id=trial._trial_id,
    )


def _distribution(name: str, drawn: Range | list[Scalar]) -> BaseDistribution:
    field = f"Field 'tune.space.{name}'"
    if isinstance(drawn, list):
        if not drawn:
            raise Invalid(f"{field}: the list of values is empty. Give at least one.")
        return CategoricalDistribution(drawn)
    step = drawn.step or (1 if drawn.is_whole else None)
    given = (drawn.low, drawn.high, drawn.high - drawn.low, step or 1)
    if not all(abs(one) <= sys.float_info.max for one in given):
        raise Invalid(f"{field}: bounds, their difference and steps are finite numbers.")
    if drawn.low > drawn.high:
        raise Invalid(f"{field}: low {drawn.low} is above high {drawn.high}. Swap them.")
    if drawn.log and drawn.low <= 0:
        raise Invalid(f"{field}: a logarithm needs bounds above 0, and low is {drawn.low}.")
    if drawn.step is not None and not drawn.step > 0:
        raise Invalid(f"{field}: the step {drawn.step} is not above 0.")
    if step is not None and (drawn.high - drawn.low) / step > MOST_STEPS:
        raise Invalid(
            f"{field}: between low and high there are more steps of {step} than a number can "
            "tell apart. Give a larger step, or bounds that are nearer."
        )
    if drawn.log and drawn.step is not None:
        raise Invalid(f"{field}: with log = true there is no step. Leave one of them out.")
    if drawn.is_whole:
        return IntDistribution(
            int(drawn.low), int(drawn.high), log=drawn.log, step=int(drawn.step or 1)
        )
    return FloatDistribution(
        float(drawn.low), float(drawn.high), log=drawn.log,
        step=None if drawn.step is None else float(drawn.step),
    )  # fmt: skip


def _check_cmaes(plan: SearchPlan) -> None:
    if find_spec("cmaes") is None:
        raise Invalid(
            "Field 'tune.sampler': CMA-ES is not installed. Install it: pip install cmaes"
        )
    if len(plan.directions) > 1:
        raise Invalid("Field 'tune.sampler': CMA-ES has one objective. Take tpe for several.")


def _sampler(
    plan: SearchPlan, number: int, space: dict[str, BaseDistribution]
) -> optuna.samplers.BaseSampler:
    """The sampler of one trial; a trial draws the same numbers in whichever process it begins."""
    seed = (plan.seed * 1_000_003 + number) % 2**32
    if plan.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if plan.sampler == "cmaes":
        return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
    return _Tpe(space, seed)


def _pruner(plan: SearchPlan) -> optuna.pruners.BasePruner:
    if plan.pruner == "asha":
        return optuna.pruners.SuccessiveHalvingPruner()
    if plan.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner()
    return optuna.pruners.MedianPruner() if plan.pruner == "median" else optuna.pruners.NopPruner()
