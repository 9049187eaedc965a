"""The port to whatever searches for hyper-parameters, and what it keeps in the database."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol

from treadle.kernel.entity import Entity
from treadle.kernel.errors import Invalid

Scalar = str | int | float | bool
Direction = Literal["minimize", "maximize"]
Sampler = Literal["tpe", "random", "grid", "cmaes"]
Pruner = Literal["none", "median", "asha", "hyperband"]
EndState = Literal["finished", "pruned", "failed"]
TrialState = Literal["waiting", "running", EndState]
ENDED: tuple[EndState, ...] = ("finished", "pruned", "failed")


class Range(Entity):
    """Numbers between two bounds: whole ones where both bounds are written without a point.

    Attributes:
        low: Smallest value.
        high: Largest value.
        step: Distance between values; None for every number, or every whole number.
        log: Whether the logarithm is drawn evenly, and not the value.
    """

    low: int | float
    high: int | float
    step: int | float | None = None
    log: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether values are whole numbers."""
        return all(isinstance(one, int) for one in (self.low, self.high, self.step or 1))


Space = dict[str, Range | list[Scalar]]
"""Values that are tried, by parameter: a range or a list of choices."""


class Bound(Entity):
    """A limit on something that is measured of each trial, such as ``latency_ms <= 5``.

    Attributes:
        at_most: Largest value that meets it, or None.
        at_least: Smallest value that meets it, or None.
    """

    at_most: float | None = None
    at_least: float | None = None

    @staticmethod
    def read(text: str, field: str) -> "Bound":
        """Read a bound as people write it.

        Args:
            text: Such as ``<= 5`` or ``>= 0.8``.
            field: Name of the field in error messages.

        Raises:
            Invalid: The text is no bound.
        """
        match = re.fullmatch(r"\s*(<=|>=|≤|≥)\s*([-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?)\s*", text)
        if match is None:
            raise Invalid(f"Field '{field}': '{text}' is no bound. Write one such as '<= 5'.")
        number = float(match[2])
        if math.isinf(number):
            raise Invalid(f"Field '{field}': '{text}' is beyond all numbers.")
        return Bound(at_most=number) if match[1] in ("<=", "≤") else Bound(at_least=number)

    def excess(self, value: float) -> float:
        """By how much a value misses the bound; 0 or less where it meets it.

        Args:
            value: What was measured.
        """
        if self.at_most is not None:
            return value - self.at_most
        return (self.at_least or 0.0) - value


class SearchPlan(Entity):
    """How a search goes on.

    Attributes:
        space: Values that are tried, by parameter.
        directions: What is better, for each objective.
        sampler: How the values of a trial are chosen.
        pruner: How a trial is found hopeless by what it reports.
        seed: Seed of the sampler.
    """

    space: Space
    directions: list[Direction]
    sampler: Sampler = "tpe"
    pruner: Pruner = "none"
    seed: int = 0


class TrialRecord(Entity):
    """A trial as the database keeps it.

    Attributes:
        id: Number of the trial among all studies.
        study: Number of the study.
        number: Place of the trial in its study, from 0 on.
        state: State of the trial.
        params: Values by parameter.
        distributions: Where each value was drawn from, as the tuner writes it.
        values: Value of each objective; None where there is none.
        reports: Reported values of the objective by step.
        user_attributes: What programs have noted about the trial.
        system_attributes: What the tuner has noted about it.
        started_at: When it began.
        ended_at: When it ended.
        run: Id of its tracked run, or None.
        attempt: How often a worker has begun it.
        deaths: How many of its workers have died; one that was interrupted has not.
        leased_until: Seconds since 1970 until which its worker may be silent; 0 for a trial that
            belongs to no worker.
        error: Why it failed, or None.
    """

    id: int = -1
    study: int = -1
    number: int = -1
    state: TrialState = "running"
    params: dict[str, Any] = {}
    distributions: dict[str, str] = {}
    values: list[float] | None = None
    reports: dict[int, float] = {}
    user_attributes: dict[str, Any] = {}
    system_attributes: dict[str, Any] = {}
    started_at: datetime | None = None
    ended_at: datetime | None = None
    run: str | None = None
    attempt: int = 1
    deaths: int = 0
    leased_until: float = 0.0
    error: str | None = None


class StudyRecord(Entity):
    """A study as the tuner sees it.

    Attributes:
        id: Number of the study.
        name: Its name, unique in the database.
        directions: What is better, for each objective; ``""`` where it is not set.
        user_attributes: What programs have noted about the study.
        system_attributes: What the tuner has noted about it.
        distributions: Where the values of each parameter are drawn from.
    """

    id: int
    name: str
    directions: list[str]
    user_attributes: dict[str, Any] = {}
    system_attributes: dict[str, Any] = {}
    distributions: dict[str, str] = {}


class TrialStore(Protocol):
    """Studies and their trials in the database.

    Each call is one transaction. ``change_study`` and ``change`` read a record, let a function
    answer the new one, and write it, while no other process writes: a state moves by comparing it
    in the function. What the function raises leaves everything as it was.
    """

    url: str

    def add_study(self, name: str, directions: Sequence[str]) -> int:
        """Add a study; a name that is taken raises ``Conflict``."""

    def remove_study(self, study: int) -> None:
        """Remove a study with its trials; ``NotFound`` where it is not there."""

    def studies(self) -> list[StudyRecord]:
        """All studies."""

    def study(self, study: int) -> StudyRecord:
        """One study; ``NotFound`` where it is not there."""

    def study_named(self, name: str) -> StudyRecord:
        """One study; ``NotFound`` where it is not there."""

    def change_study(self, study: int, edit: Callable[[StudyRecord], StudyRecord]) -> None:
        """Change a study."""

    def add(self, trial: TrialRecord) -> TrialRecord:
        """Add a trial; its id and number are given here. ``NotFound`` without its study."""

    def trial(self, trial: int) -> TrialRecord:
        """One trial; ``NotFound`` where it is not there."""

    def change(
        self,
        trial: int,
        edit: Callable[[TrialRecord], TrialRecord],
        draws: Mapping[str, str] | None = None,
        agree: Callable[[str, str], None] | None = None,
    ) -> TrialRecord:
        """Change a trial. ``draws`` are added to the study's distributions.

        Where the study has another one for the parameter, ``agree`` is asked with both.
        """

    def trials(self, study: int, numbers: Iterable[int], after: int) -> list[TrialRecord]:
        """The trials of some numbers, and all with a number above ``after``, by number."""


class Tuner(Protocol):
    """Chooses the values of trials by what earlier ones have shown.

    A tuner keeps nothing but what the store holds, so any number of processes may search at once.
    """

    def check(self, plan: SearchPlan) -> None:
        """Refuse a plan that cannot be sampled.

        Args:
            plan: The plan.

        Raises:
            Invalid: The space, the sampler or the pruner does not work; the error names the field.
        """

    def most_trials(self, plan: SearchPlan) -> int | None:
        """How many different trials there are, or None where nobody counts them.

        Args:
            plan: The plan.
        """

    def suggest(self, study: int, plan: SearchPlan) -> TrialRecord:
        """Choose the values of a further trial, which is not stored yet.

        Args:
            study: Number of the study.
            plan: How the search goes on.

        Returns:
            The trial, with the number that it has unless another is stored before it: then its
            values are of no use, for a sampler would choose them again.
        """

    def report(self, trial: TrialRecord, plan: SearchPlan) -> tuple[bool, dict[str, Any]]:
        """Judge a running trial by its newest report.

        Args:
            trial: The trial, with the report.
            plan: How the search goes on.

        Returns:
            Whether the trial is hopeless, and the tuner's notes on it.
        """

    def importances(self, study: int, plan: SearchPlan, objective: int) -> dict[str, float]:
        """How much of an objective's variation each parameter explains, by parameter.

        Args:
            study: Number of the study.
            plan: How the search goes on.
            objective: Place of the objective.

        Returns:
            Shares that add up to 1, the largest first.

        Raises:
            Invalid: Too few trials have finished.
        """


TunerOver = Callable[[TrialStore], Tuner]
"""Makes a tuner that searches over a store."""
