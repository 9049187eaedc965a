"""Keeps the trials that have ended in memory: they never change, so each is read once."""

import threading
from array import array
from dataclasses import dataclass, field

from optuna.trial import FrozenTrial

from treadle.backends.tuner.records import frozen
from treadle.ports.tuner import ENDED, TrialRecord, TrialStore


@dataclass
class SeenStudy:
    """Trials of one study, as they were seen last.

    Attributes:
        trials: All trials by number.
        open: Numbers of those that had not ended.
        finished: Numbers of those that have finished.
        outcomes: The values of each of ``finished``, one after the other.
    """

    trials: list[FrozenTrial] = field(default_factory=list)
    open: set[int] = field(default_factory=set)
    finished: list[int] = field(default_factory=list)
    outcomes: "array[float]" = field(default_factory=lambda: array("d"))

    def take(self, record: TrialRecord) -> None:
        """Keep a trial.

        Args:
            record: The trial, of a number that is known or the next one.
        """
        trial = frozen(record)
        if record.number == len(self.trials):
            self.trials.append(trial)
        else:
            self.trials[record.number] = trial
        if record.state not in ENDED:
            self.open.add(record.number)
            return
        self.open.discard(record.number)
        if record.state == "finished" and record.values is not None:
            self.finished.append(record.number)
            self.outcomes.extend(record.values)


class Seen:
    """Trials of studies as this process has seen them last.

    Args:
        store: Where they are.
    """

    def __init__(self, store: TrialStore) -> None:
        self._store = store
        self._studies: dict[int, SeenStudy] = {}
        self._lock = threading.RLock()

    def forget(self, study: int) -> None:
        """Drop what is known of a study.

        Args:
            study: Number of the study.
        """
        with self._lock:
            self._studies.pop(study, None)

    def trials(self, study: int) -> list[FrozenTrial]:
        """All trials of a study as they are now; callers do not change them.

        Args:
            study: Number of the study.

        Raises:
            NotFound: There is no such study.
        """
        return self.study(study).trials

    def study(self, study: int) -> SeenStudy:
        """A study with its trials as they are now; callers do not change them.

        Args:
            study: Number of the study.

        Raises:
            NotFound: There is no such study.
        """
        with self._lock:
            known = self._studies.get(study)
            if known is None:
                self._store.study(study)  # refuses a study that is not there
                known = self._studies[study] = SeenStudy()
            newest = len(known.trials) - 1
            for record in self._store.trials(study, known.open, after=newest):
                if record.number > newest or record.number in known.open:
                    known.take(record)
            return known
