"""A trial while it runs: what it logs, and what keeps it."""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, SupportsFloat

from treadle.kernel.errors import TreadleError
from treadle.tuning.model import StudyPlan, Trial

if TYPE_CHECKING:
    from treadle.platform.stages import Services
    from treadle.tuning.service import Tuning

BEAT_SECONDS = 3.0


class Pruned(Exception):
    """Ends a trial that its reports have shown to be hopeless."""


class TrialRun:
    """The recorded run of a trial, as its objective holds it.

    Attributes:
        id: Id of the run; ``treadle.run(id=run.id)`` joins it, to keep files and pictures.
        number: Number of the trial.
        params: Values by parameter.
    """

    def __init__(self, services: "Services", trial: Trial, plan: StudyPlan) -> None:
        self.id, self.number, self.params = trial.run, trial.number, trial.params
        self._services, self._trial, self._plan = services, trial, plan
        self._points: list[Any] = []
        self._sending = threading.Lock()
        self._next_step = 0

    def log(
        self,
        values: Mapping[str, SupportsFloat] | None = None,
        /,
        *,
        step: int | None = None,
        **metrics: SupportsFloat,
    ) -> None:
        """Add one value to each of some metrics.

        A value of the metric that is searched for is a report: where the study has a pruner, a
        hopeless trial ends here.

        Args:
            values: Values by metric.
            step: Step of the values; by default the number of earlier calls without one.
            **metrics: Further values by metric.

        Raises:
            Pruned: The trial is hopeless. Let it pass, so that the trial ends as pruned.
        """
        from treadle.tracking.model import Metric

        if step is None:
            step, self._next_step = self._next_step, self._next_step + 1
        given = {**(values or {}), **metrics}
        self._points.extend(
            [Metric(key=key, value=float(value), step=step) for key, value in given.items()]
        )
        objective = self._plan.metrics[0]
        if self._plan.search.pruner == "none" or objective not in given:
            return
        trial, value = self._trial, float(given[objective])
        if self._services.tuning.report(
            study=trial.study, number=trial.number, attempt=trial.attempt, step=step, value=value
        ):
            raise Pruned(f"Trial {trial.number} is hopeless at step {step}: {objective} {value:g}.")

    def send(self) -> None:
        """Store what was logged since the last time; the trial may log on meanwhile."""
        with self._sending:
            points = self._points[:]
            if points:
                self._services.tracking.log(run=self.id, metrics=points)
                del self._points[: len(points)]


class Beating:
    """Keeps a trial that runs for as long as a block lasts; short trials need no beat.

    Args:
        tuning: The service that keeps it.
        study: Name of the study.
        number: Number of the trial.
        attempt: The attempt, as ``ask`` gave it.
        also: Called with each beat, to store what was logged; None for nothing.
    """

    def __init__(
        self,
        tuning: "Tuning",
        study: str,
        number: int,
        attempt: int,
        also: Callable[[], None] | None = None,
    ) -> None:
        self._tuning, self._study, self._number, self._attempt = tuning, study, number, attempt
        self._also = also
        self._timer: threading.Timer | None = None
        self._ended = False

    def __enter__(self) -> "Beating":
        self._again()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()

    def _again(self) -> None:
        self._timer = threading.Timer(BEAT_SECONDS, self._beat)
        self._timer.daemon = True
        self._timer.start()

    def _beat(self) -> None:
        if self._ended:
            return
        with suppress(TreadleError):  # who tells how the trial has ended meets the trouble, too
            self._tuning.beat(study=self._study, number=self._number, attempt=self._attempt)
            if self._also is not None:
                self._also()
        self._again()
