"""Keeps studies and trials in the database: the store that a tuner searches over."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, CursorResult, Row, func, or_, select

from treadle.kernel.clock import Clock
from treadle.kernel.entity import replace
from treadle.kernel.errors import Conflict, NotFound
from treadle.ports.database import Database
from treadle.ports.tuner import StudyRecord, TrialRecord
from treadle.tuning.tables import studies, trials

MOST_NAMED = 200
"""Numbers of trials that one statement names; more are read as a range."""
_TEXTS = {
    "params",
    "distributions",
    "values",
    "reports",
    "user_attributes",
    "system_attributes",
}
_STUDY_TEXTS = ("directions", "user_attributes", "system_attributes", "distributions")
_FIELDS = tuple(name for name in TrialRecord.__struct_fields__ if name != "id")
_COLUMNS = [trials.c[name] for name in TrialRecord.__struct_fields__]
_STUDY_COLUMNS = [studies.c[name] for name in StudyRecord.__struct_fields__]


class Trials:
    """The trial store (``ports/tuner.py``) over the tables of this stage.

    Args:
        database: Where they are.
        clock: The source of time.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self.url = database.url

    def add_study(self, name: str, directions: Sequence[str]) -> int:
        """Add a study that belongs to no project.

        Args:
            name: Its name.
            directions: What is better, for each objective.

        Returns:
            Its number.

        Raises:
            Conflict: The name is taken.
        """
        with self._database.write() as transaction:
            return self.begin_study(transaction, name, directions, "", "", "{}")

    def begin_study(
        self,
        transaction: Connection,
        name: str,
        directions: Sequence[str],
        project: str,
        run: str,
        plan: str,
    ) -> int:
        """Add a study in the transaction of whoever needs it.

        Args:
            transaction: An open write transaction.
            name: Its name.
            directions: What is better, for each objective.
            project: Its project, or ''.
            run: Its tracked run, or ''.
            plan: How it searches, as JSON.

        Returns:
            Its number.

        Raises:
            Conflict: The name is taken.
        """
        row = {
            "name": name,
            "directions": json.dumps(list(directions)),
            "user_attributes": "{}",
            "system_attributes": "{}",
            "distributions": "{}",
            "project": project,
            "run": run,
            "plan": plan,
            "started_at": self._clock.now(),
        }
        taken = transaction.scalar(select(studies.c.id).where(studies.c.name == name))
        if taken is not None:
            raise Conflict(
                f"The study '{name}' exists already. Go on with it (--resume), or give another "
                "name."
            )
        return _key(transaction.execute(studies.insert().values(row)))

    def remove_study(self, study: int) -> None:
        """Remove a study with its trials.

        Args:
            study: Number of the study.

        Raises:
            NotFound: There is no such study.
        """
        with self._database.write() as transaction:
            if not transaction.execute(studies.delete().where(studies.c.id == study)).rowcount:
                raise _no_study(study)
            transaction.execute(trials.delete().where(trials.c.study == study))

    def studies(self) -> list[StudyRecord]:
        """All studies, by number."""
        with self._database.read() as connection:
            rows = connection.execute(select(*_STUDY_COLUMNS).order_by(studies.c.id))
            return [_study(row) for row in rows]

    def study(self, study: int) -> StudyRecord:
        """One study.

        Args:
            study: Number of the study.

        Raises:
            NotFound: There is no such study.
        """
        with self._database.read() as connection:
            return _read_study(connection, study)

    def study_named(self, name: str) -> StudyRecord:
        """One study.

        Args:
            name: Name of the study.

        Raises:
            NotFound: There is no such study.
        """
        with self._database.read() as connection:
            here = select(*_STUDY_COLUMNS).where(studies.c.name == name)
            row = connection.execute(here).one_or_none()
        if row is None:
            raise NotFound(f"There is no study '{name}'.")
        return _study(row)

    def change_study(self, study: int, edit: Callable[[StudyRecord], StudyRecord]) -> None:
        """Change a study.

        Args:
            study: Number of the study.
            edit: Makes the new record of the present one.

        Raises:
            NotFound: There is no such study.
        """
        with self._database.write() as transaction:
            changed = edit(_read_study(transaction, study))
            values = {name: json.dumps(getattr(changed, name)) for name in _STUDY_TEXTS}
            transaction.execute(studies.update().where(studies.c.id == study).values(values))

    def add(self, trial: TrialRecord) -> TrialRecord:
        """Add a trial.

        Args:
            trial: The trial; its id and its number are given here.

        Returns:
            The trial as it is stored.

        Raises:
            NotFound: Its study is not there.
        """
        with self._database.write() as transaction:
            known = _read_study(transaction, trial.study).distributions
            self._note_draws(transaction, trial.study, known, trial.distributions)
            return self.insert(transaction, trial)

    def insert(self, transaction: Connection, trial: TrialRecord) -> TrialRecord:
        """Add a trial in the transaction of whoever needs it.

        Args:
            transaction: An open write transaction.
            trial: The trial; its id and its number are given here.

        Returns:
            The trial as it is stored.
        """
        number = count(transaction, trial.study)
        row = _row(trial) | {"number": number}
        made = transaction.execute(trials.insert().values(row))
        return replace(trial, id=_key(made), number=number)

    def trial(self, trial: int) -> TrialRecord:
        """One trial.

        Args:
            trial: Number of the trial among all studies.

        Raises:
            NotFound: There is no such trial.
        """
        with self._database.read() as connection:
            return _read(connection, trial)

    def change(
        self,
        trial: int,
        edit: Callable[[TrialRecord], TrialRecord],
        draws: Mapping[str, str] | None = None,
        agree: Callable[[str, str], None] | None = None,
    ) -> TrialRecord:
        """Change a trial.

        Args:
            trial: Number of the trial among all studies.
            edit: Makes the new record of the present one; what it raises changes nothing.
            draws: Distributions by parameter that are added to those of the study.
            agree: Called with the study's distribution and the new one where they differ.

        Returns:
            The trial as it is now.

        Raises:
            NotFound: There is no such trial.
        """
        with self._database.write() as transaction:
            present = _read(transaction, trial)
            changed = edit(present)
            if draws:
                known = _read_study(transaction, present.study).distributions
                for name in draws.keys() & known.keys():
                    if agree and known[name] != draws[name]:
                        agree(known[name], draws[name])
                self._note_draws(transaction, present.study, known, draws)
            self.update(transaction, present, changed)
        return changed

    def update(self, transaction: Connection, present: TrialRecord, changed: TrialRecord) -> None:
        """Write what differs between two records of a trial.

        Args:
            transaction: An open write transaction.
            present: The trial as it was read in this transaction.
            changed: The trial as it is to be.
        """
        before, after = _row(present), _row(changed)
        values = {name: after[name] for name in _FIELDS if before[name] != after[name]}
        if values:
            transaction.execute(trials.update().where(trials.c.id == present.id).values(values))

    def trials(self, study: int, numbers: Iterable[int], after: int) -> list[TrialRecord]:
        """Trials of a study.

        Args:
            study: Number of the study.
            numbers: Numbers of trials that are wanted.
            after: Trials with larger numbers are wanted, too.

        Returns:
            The trials by number; with many ``numbers`` also others.
        """
        named = sorted(numbers)
        some = trials.c.number > after
        if 0 < len(named) <= MOST_NAMED:
            some = or_(some, trials.c.number.in_(named))
        elif named:
            some = trials.c.number >= named[0]
        wanted = select(*_COLUMNS).where(trials.c.study == study, some).order_by(trials.c.number)
        with self._database.read() as connection:
            return [_trial(row) for row in connection.execute(wanted)]

    def _note_draws(
        self,
        transaction: Connection,
        study: int,
        known: Mapping[str, str],
        draws: Mapping[str, str],
    ) -> None:
        if not draws.items() <= known.items():
            text = json.dumps({**known, **draws})
            here = studies.update().where(studies.c.id == study)
            transaction.execute(here.values(distributions=text))


def count(connection: Connection, study: int) -> int:
    """How many trials a study has.

    Args:
        connection: An open connection.
        study: Number of the study.
    """
    newest = select(func.max(trials.c.number)).where(trials.c.study == study)
    number = connection.scalar(newest)
    return 0 if number is None else int(number) + 1


def read_trials(connection: Connection, study: int, *conditions: Any) -> list[TrialRecord]:
    """Trials of a study that meet conditions, by number.

    Args:
        connection: An open connection.
        study: Number of the study.
        *conditions: Conditions over the table of trials.
    """
    wanted = select(*_COLUMNS).where(trials.c.study == study, *conditions)
    return [_trial(row) for row in connection.execute(wanted.order_by(trials.c.number))]


def _read_study(connection: Connection, study: int) -> StudyRecord:
    row = connection.execute(select(*_STUDY_COLUMNS).where(studies.c.id == study)).one_or_none()
    if row is None:
        raise _no_study(study)
    return _study(row)


def _read(connection: Connection, trial: int) -> TrialRecord:
    row = connection.execute(select(*_COLUMNS).where(trials.c.id == trial)).one_or_none()
    if row is None:
        raise NotFound(f"There is no trial {trial}.")
    return _trial(row)


def _key(result: CursorResult[Any]) -> int:
    """The number that the database has given a new row."""
    return int((result.inserted_primary_key or (0,))[0])


def _no_study(study: int) -> NotFound:
    return NotFound(f"There is no study {study}. List studies with: treadle tuning studies")


def _study(row: Row[Any]) -> StudyRecord:
    fields = dict(row._mapping)
    return StudyRecord(**{**fields, **{name: json.loads(fields[name]) for name in _STUDY_TEXTS}})


def _trial(row: Row[Any]) -> TrialRecord:
    fields: dict[str, Any] = dict(row._mapping)
    for name in _TEXTS:
        fields[name] = _decoded(fields[name])
    fields["reports"] = {int(step): value for step, value in fields["reports"].items()}
    return TrialRecord(**fields)


def _decoded(text: str | None) -> Any:
    """Read JSON; most texts of a trial are empty, which is seen without reading them."""
    if text == "{}":
        return {}
    return None if text is None else json.loads(text)


def _row(trial: TrialRecord) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(trial, name) for name in _FIELDS}
    for name in _TEXTS:
        row[name] = None if row[name] is None else json.dumps(row[name])
    return row
