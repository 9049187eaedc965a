"""Keeps the trials that have ended in memory: they never change, so each is read once."""

import threading
from dataclasses import dataclass, field

from optuna.trial import FrozenTrial

from treadle.backends.tuner.records import frozen
from treadle.ports.tuner import ENDED, TrialStore


@dataclass
class _Study:
    """Trials of one study by number; ``open`` are the numbers of those that had not ended."""

    trials: list[FrozenTrial] = field(default_factory=list)
    open: set[int] = field(default_factory=set)


class Seen:
    """Trials of studies as this process has seen them last.

    Args:
        store: Where they are.
    """

    def __init__(self, store: TrialStore) -> None:
        self._store = store
        self._studies: dict[int, _Study] = {}
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
        with self._lock:
            known = self._studies.get(study)
            if known is None:
                self._store.study(study)  # refuses a study that is not there
                known = self._studies[study] = _Study()
            for record in self._store.trials(study, known.open, after=len(known.trials) - 1):
                trial = frozen(record)
                if record.number == len(known.trials):
                    known.trials.append(trial)
                else:
                    known.trials[record.number] = trial
                if record.state in ENDED:
                    known.open.discard(record.number)
                else:
                    known.open.add(record.number)
            return known.trials
