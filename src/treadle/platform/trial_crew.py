"""Runs a study's trials in processes of the home's executor until the study is done."""

import time

from treadle.kernel.errors import TreadleError
from treadle.kernel.ids import new_id
from treadle.platform.wiring import Embedded
from treadle.tuning.model import Study, Trial

LOOK_SECONDS = 0.05
HOPELESS_FAILURES = 3
"""Failed trials after which a study without any other is given up."""


class Crew:
    """Processes of the home's executor, each of which runs one trial.

    This process asks for the trials, so that theirs need not load what chooses values; and it
    notices at once when one of them dies.

    Args:
        platform: The home.
        study: Name of the study.
        workers: Number of processes.
        seconds: Time after which no trial begins; 0 for no limit.

    Attributes:
        ended: How many of its processes have ended.
    """

    def __init__(self, platform: Embedded, study: str, workers: int, seconds: float) -> None:
        self._platform, self._study, self._workers = platform, study, workers
        self._until = time.monotonic() + seconds if seconds else float("inf")
        self._running: dict[str, Trial] = {}
        self.ended = 0

    def tend(self) -> bool:
        """Give free workers trials.

        Returns:
            Whether the study goes on.

        Raises:
            TreadleError: No trial succeeds.
        """
        for name in list(self._running):
            if self._platform.executor.poll(name) is not None:
                self._settle(self._running.pop(name))
                self.ended += 1
        while len(self._running) < self._workers and time.monotonic() < self._until:
            trial = self._platform.tuning.ask(study=self._study)
            if trial is None:
                break
            self._start(trial)
        if self._running:
            return True
        study = self._platform.tuning.get(study=self._study)
        waits = study.counts.get("running", 0) or study.counts.get("waiting", 0)
        return bool(waits) and time.monotonic() < self._until  # for a lease that runs out

    def stop(self) -> None:
        """End all workers; their trials wait for whoever goes on."""
        for name, trial in self._running.items():
            self._platform.executor.cancel(name)
            self._drop(trial, interrupted=True)
        self._running.clear()

    def _settle(self, trial: Trial) -> None:
        """Let a trial be begun again whose process has ended without a word."""
        self._drop(trial, interrupted=False)
        study = self._platform.tuning.get(study=self._study)
        if is_hopeless(study):
            trials = self._platform.tuning.trials(study=self._study)
            error = next(one.error for one in trials if one.error)
            raise TreadleError(f"All trials of study '{self._study}' have failed. {error}")

    def _drop(self, trial: Trial, *, interrupted: bool) -> None:
        self._platform.tuning.drop(
            study=trial.study,
            number=trial.number,
            attempt=trial.attempt,
            interrupted=interrupted,
        )

    def _start(self, trial: Trial) -> None:
        module, name = "treadle.platform.trial_worker", new_id("trial")
        about = [trial.study, str(trial.number), str(trial.attempt)]
        self._running[name] = trial
        self._platform.executor.start(self._platform.launch(name, module, *about, confined=True))


def is_hopeless(study: Study) -> bool:
    """Whether something else is wrong than the values that were tried.

    Args:
        study: The study.
    """
    failed = study.counts.get("failed", 0)
    return failed >= HOPELESS_FAILURES and not (
        study.counts.get("finished", 0) or study.counts.get("pruned", 0)
    )
