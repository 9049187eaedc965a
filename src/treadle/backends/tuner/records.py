"""Turns Optuna's trials and distributions into our records, and back."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from treadle.ports.tuner import StudyRecord, TrialRecord, TrialState

STATES: dict[OptunaState, TrialState] = {
    OptunaState.WAITING: "waiting",
    OptunaState.RUNNING: "running",
    OptunaState.COMPLETE: "finished",
    OptunaState.PRUNED: "pruned",
    OptunaState.FAIL: "failed",
}
OPTUNA_STATES = {ours: theirs for theirs, ours in STATES.items()}
_DIRECTIONS = {
    "": StudyDirection.NOT_SET,
    "minimize": StudyDirection.MINIMIZE,
    "maximize": StudyDirection.MAXIMIZE,
}
_NAMES = {theirs: ours for ours, theirs in _DIRECTIONS.items()}


@lru_cache(maxsize=1000)
def distribution_of(text: str) -> BaseDistribution:
    """Read a distribution; trials of one study share them.

    Args:
        text: The distribution as Optuna writes it.
    """
    return json_to_distribution(text)


def frozen(record: TrialRecord) -> FrozenTrial:
    """Make Optuna's trial of a record.

    Args:
        record: The trial as the database keeps it.
    """
    return FrozenTrial(
        number=record.number,
        state=OPTUNA_STATES[record.state],
        value=None,
        values=record.values,
        datetime_start=local(record.started_at),
        datetime_complete=local(record.ended_at),
        params=dict(record.params),
        distributions={name: distribution_of(one) for name, one in record.distributions.items()},
        user_attrs=dict(record.user_attributes),
        system_attrs=dict(record.system_attributes),
        intermediate_values=dict(record.reports),
        trial_id=record.id,
    )


def record_of(study: int, trial: FrozenTrial) -> TrialRecord:
    """Make a record of Optuna's trial.

    Args:
        study: Number of the study.
        trial: The trial.
    """
    return TrialRecord(
        id=trial._trial_id,
        study=study,
        number=trial.number,
        state=STATES[trial.state],
        params=dict(trial.params),
        distributions={name: distribution_to_json(d) for name, d in trial.distributions.items()},
        values=None if trial.values is None else list(trial.values),
        reports=dict(trial.intermediate_values),
        user_attributes=dict(trial.user_attrs),
        system_attributes=dict(trial.system_attrs),
        started_at=aware(trial.datetime_start),
        ended_at=aware(trial.datetime_complete),
    )


def frozen_study(record: StudyRecord) -> FrozenStudy:
    """Make Optuna's study of a record.

    Args:
        record: The study as the database keeps it.
    """
    return FrozenStudy(
        study_name=record.name,
        direction=None,
        directions=directions_of(record),
        user_attrs=dict(record.user_attributes),
        system_attrs=dict(record.system_attributes),
        study_id=record.id,
    )


def directions_of(record: StudyRecord) -> list[StudyDirection]:
    """What is better, for each objective of a study.

    Args:
        record: The study as the database keeps it.
    """
    return [_DIRECTIONS[name] for name in record.directions]


def direction_names(directions: Any) -> list[str]:
    """What is better, for each objective, as the database keeps it.

    Args:
        directions: Optuna's directions.
    """
    return [_NAMES[direction] for direction in directions]


def aware(moment: datetime | None) -> datetime | None:
    """Read a moment of Optuna's, which has the local time of day and no zone.

    Args:
        moment: The moment, or None.
    """
    return None if moment is None else moment.astimezone(UTC)


def local(moment: datetime | None) -> datetime | None:
    """Write a moment as Optuna has it.

    Args:
        moment: The moment, or None.
    """
    return None if moment is None else moment.astimezone().replace(tzinfo=None)
