"""One trial in memory: what a sampler or a pruner notes on it is stored with it, and not before."""

import copy
from collections.abc import Container, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from treadle.backends.tuner.records import directions_of, frozen, record_of
from treadle.backends.tuner.storage import TreadleStorage
from treadle.ports.tuner import StudyRecord, TrialRecord, TrialStore


class Draft(TreadleStorage):
    """A study as Optuna sees it while it thinks about one trial.

    Args:
        store: Where the study is.
        study: The study; the other trials of it are read once.
        others: The trials that the sampler or pruner may look at.
        trial: The trial that is thought about.
    """

    def __init__(
        self,
        store: TrialStore,
        study: StudyRecord,
        others: Sequence[FrozenTrial],
        trial: TrialRecord,
    ) -> None:
        super().__init__(store)
        self._record, self._others = study, others
        self._draft = frozen(trial)

    @property
    def made(self) -> TrialRecord:
        """The trial as it is now."""
        return record_of(self._record.id, self._draft)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Return the trial that is thought about."""
        return self._draft._trial_id

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        """Give the trial a value of a parameter."""
        self._draft.params[param_name] = distribution.to_external_repr(param_value_internal)
        self._draft.distributions[param_name] = distribution

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Keep something that a sampler or a pruner knows of the trial."""
        self._draft.system_attrs[key] = value

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Read the trial, or another one."""
        if trial_id == self._draft._trial_id:
            return self._draft
        return next(trial for trial in self._others if trial._trial_id == trial_id)

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Read the trials that may be looked at, and this one as the last."""
        every = [*self._others, self._draft]
        wanted = every if states is None else [one for one in every if one.state in states]
        return copy.deepcopy(wanted) if deepcopy else wanted

    def get_study_id_from_name(self, study_name: str) -> int:
        """Return the number of the study."""
        return self._record.id

    def get_study_name_from_id(self, study_id: int) -> str:
        """Return the name of the study."""
        return self._record.name

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Read what is better, for each objective."""
        return directions_of(self._record)
