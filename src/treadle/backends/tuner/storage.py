"""Optuna's storage over our trial store: any program that uses Optuna can search in a home."""

import copy
import threading
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from optuna.distributions import (
    BaseDistribution,
    check_distribution_compatibility,
    distribution_to_json,
)
from optuna.exceptions import DuplicatedStudyError
from optuna.storages import BaseStorage
from optuna.storages._base import DEFAULT_STUDY_NAME_PREFIX
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from treadle.backends.tuner.records import (
    STATES,
    direction_names,
    directions_of,
    distribution_of,
    frozen,
    frozen_study,
    record_of,
)
from treadle.backends.tuner.seen import Seen
from treadle.kernel.entity import replace
from treadle.kernel.errors import Conflict, NotFound
from treadle.ports.tuner import StudyRecord, TrialRecord, TrialStore


class TreadleStorage(BaseStorage):
    """Studies and trials in Treadle's database; each call is one transaction.

    Args:
        store: Where they are.
        reopen: Opens the store again where this object was pickled for another process; None for an
            object that stays in its process.
    """

    def __init__(
        self, store: TrialStore, reopen: Callable[[str], TrialStore] | None = None
    ) -> None:
        self._store, self._reopen = store, reopen
        self._seen = Seen(store)
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self._store.url, "reopen": self._reopen}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["reopen"](state["url"]), state["reopen"])  # type: ignore[misc]

    def create_new_study(
        self, directions: Sequence[StudyDirection], study_name: str | None = None
    ) -> int:
        """Add a study; without a name it gets one."""
        name = f"{DEFAULT_STUDY_NAME_PREFIX}{uuid4()}" if study_name is None else study_name
        try:
            return self._store.add_study(name, direction_names(directions))
        except Conflict as error:
            raise DuplicatedStudyError(error.message) from error

    def delete_study(self, study_id: int) -> None:
        """Remove a study with its trials."""
        with _as_key_error():
            self._store.remove_study(study_id)
        self._seen.forget(study_id)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Note something about a study."""

        def noted(study: StudyRecord) -> StudyRecord:
            return replace(study, user_attributes={**study.user_attributes, key: value})

        with _as_key_error():
            self._store.change_study(study_id, noted)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Keep something that a sampler knows of a study."""

        def noted(study: StudyRecord) -> StudyRecord:
            return replace(study, system_attributes={**study.system_attributes, key: value})

        with _as_key_error():
            self._store.change_study(study_id, noted)

    def get_study_id_from_name(self, study_name: str) -> int:
        """Find the number of a study."""
        with _as_key_error():
            return self._store.study_named(study_name).id

    def get_study_name_from_id(self, study_id: int) -> str:
        """Find the name of a study."""
        return self._study(study_id).name

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Read what is better, for each objective."""
        return directions_of(self._study(study_id))

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Read what programs have noted about a study."""
        return self._study(study_id).user_attributes

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Read what samplers keep of a study."""
        return self._study(study_id).system_attributes

    def get_all_studies(self) -> list[FrozenStudy]:
        """Read all studies."""
        return [frozen_study(record) for record in self._store.studies()]

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Add a trial, which runs unless a template says otherwise."""
        trial = (
            record_of(study_id, template_trial)
            if template_trial
            else TrialRecord(study=study_id, started_at=datetime.now(UTC))
        )
        with _as_key_error():
            return self._store.add(trial).id

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        """Give a running trial a value of a parameter."""
        draw = {param_name: distribution_to_json(distribution)}
        value = {param_name: distribution.to_external_repr(param_value_internal)}
        self._change(
            trial_id,
            lambda trial: replace(
                trial,
                params={**trial.params, **value},
                distributions={**trial.distributions, **draw},
            ),
            draw,
        )

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        """Find the number of a trial among all studies."""
        for trial in self._store.trials(study_id, [trial_number], after=2**31 - 1):
            if trial.number == trial_number:
                return trial.id
        raise KeyError(f"Study {study_id} has no trial {trial_number}.")

    def get_trial_number_from_id(self, trial_id: int) -> int:
        """Find the number of a trial within its study."""
        return self.get_trial(trial_id).number

    def get_trial_param(self, trial_id: int, param_name: str) -> float:
        """Read a value as the sampler has it, such as the place of a choice."""
        trial = self.get_trial(trial_id)
        internal: float = trial.distributions[param_name].to_internal_repr(trial.params[param_name])
        return internal

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Move a trial to a state, unless another process runs it already."""

        def moved(trial: TrialRecord) -> TrialRecord:
            if state == TrialState.RUNNING and trial.state != "waiting":
                raise _RunsElsewhere
            now = datetime.now(UTC)
            return replace(
                trial,
                state=STATES[state],
                values=trial.values if values is None else [float(value) for value in values],
                started_at=now if state == TrialState.RUNNING else trial.started_at,
                ended_at=now if state.is_finished() else trial.ended_at,
            )

        try:
            self._change(trial_id, moved)
        except _RunsElsewhere:
            return False
        return True

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        """Add a report of a running trial."""
        self._change(
            trial_id,
            lambda trial: replace(trial, reports={**trial.reports, step: intermediate_value}),
        )

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Note something about a running trial."""
        self._change(
            trial_id,
            lambda one: replace(one, user_attributes={**one.user_attributes, key: value}),
        )

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Keep something that a sampler or a pruner knows of a running trial."""
        self._change(
            trial_id,
            lambda one: replace(one, system_attributes={**one.system_attributes, key: value}),
        )

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Read one trial."""
        with _as_key_error():
            return frozen(self._store.trial(trial_id))

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Read the trials of a study; those that have ended were read once."""
        with _as_key_error():
            found = self._seen.trials(study_id)
        wanted = found if states is None else [one for one in found if one.state in states]
        return copy.deepcopy(wanted) if deepcopy else list(wanted)

    def _study(self, study: int) -> StudyRecord:
        with _as_key_error():
            return self._store.study(study)

    def _change(
        self,
        trial: int,
        edit: Callable[[TrialRecord], TrialRecord],
        draws: dict[str, str] | None = None,
    ) -> None:
        def edited(present: TrialRecord) -> TrialRecord:
            self.check_trial_is_updatable(trial, frozen(present).state)
            return edit(present)

        with _as_key_error():
            self._store.change(trial, edited, draws, _agree)


class _RunsElsewhere(Exception):
    """Another process runs the trial already."""


def _agree(known: str, new: str) -> None:
    """Refuse a distribution that does not go with that of earlier trials."""
    check_distribution_compatibility(distribution_of(known), distribution_of(new))


@contextmanager
def _as_key_error() -> Iterator[None]:
    """Raise the error that Optuna expects where a study or a trial is not there."""
    try:
        yield
    except NotFound as error:
        raise KeyError(error.message) from error
