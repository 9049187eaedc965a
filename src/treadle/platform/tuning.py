"""``treadle.tune``: searches with a function of one's own; each trial is a recorded run."""

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from treadle.kernel.entity import from_plain
from treadle.kernel.errors import Conflict, Invalid, TreadleError
from treadle.platform.trial_run import Beating, Pruned, TrialRun
from treadle.ports.tuner import (
    Bound,
    Direction,
    EndState,
    Pruner,
    Range,
    Sampler,
    Scalar,
    SearchPlan,
    Space,
)
from treadle.tuning.model import Study, StudyPlan, Trial

if TYPE_CHECKING:
    from treadle.platform.stages import Services

Objective = Callable[[dict[str, Any], TrialRun], "float | Mapping[str, float]"]


def tune(
    objective: Objective,
    space: Mapping[str, Range | Mapping[str, Any] | Sequence[Scalar]],
    *,
    metric: str | Sequence[str] = "objective",
    direction: Direction | Sequence[Direction] = "minimize",
    trials: int | None = None,
    seconds: float = 0.0,
    workers: int = 1,
    sampler: Sampler = "tpe",
    pruner: Pruner = "none",
    constraints: Mapping[str, str] | None = None,
    name: str = "",
    project: str = "",
    resume: bool = False,
    seed: int = 0,
    catch: bool = True,
    home: str | Path | None = None,
    url: str | None = None,
    token: str | None = None,
    on_trial: Callable[[Trial], None] | None = None,
) -> Study:
    """Search for the values of hyper-parameters; each trial is a run under that of the study.

    ``treadle.tune(lambda p, run: (p["x"] - 2) ** 2, {"x": {"low": -9.0, "high": 9.0}}, trials=50)``

    Several processes may search in one study: start them with the same name and ``resume=True``.

    Args:
        objective: Called with a trial's values by parameter and with its run. It returns the value
            of the metric, or values by metric.
        space: By parameter a range such as ``{"low": 1e-4, "high": 1.0, "log": True}``, whole
            numbers where no bound has a point; or a list of choices.
        metric: Name of what the objective returns; several for several objectives.
        direction: What is better: one for all metrics, or one for each.
        trials: Largest number of trials; 0 for no limit. If omitted, 100, or what the study has
            that is gone on with.
        seconds: Time after which no trial begins; 0 for no limit.
        workers: Number of threads that call the objective; after Ctrl-C no trial begins, and
            those that run end first.
        sampler: How values are chosen: ``tpe``, ``random``, ``grid``, or ``cmaes``.
        pruner: How hopeless trials are ended by what they log: ``none``, ``median``, ``asha`` or
            ``hyperband``.
        constraints: Limits on what the objective returns besides, as in ``{"size_mb": "<= 5"}``; a
            trial beyond one is never the best.
        name: Name of the study; empty takes one with the time of day.
        project: The project; empty takes the one of this folder, else ``default``.
        resume: Whether a study of this name is gone on with, if there is one.
        seed: Seed of the sampler.
        catch: Whether an error of the objective fails its trial only; else it ends the search.
        home: The home to record in; None takes ``TREADLE_HOME``, else ``.treadle`` here.
        url: The server to record at instead; None takes ``TREADLE_URL``.
        token: The token for the server; None takes ``TREADLE_TOKEN``.
        on_trial: Called with each trial that has ended.

    Returns:
        The study, with the numbers of its best trials.

    Raises:
        Invalid: The space cannot be sampled, or the objective has not returned the metric.
        Conflict: There is a study of this name, and ``resume`` is not given.
    """
    from treadle.platform.recording import services_at

    metrics = [metric] if isinstance(metric, str) else list(metric)
    ways = [direction] * len(metrics) if isinstance(direction, str) else list(direction)
    limits = {key: Bound.read(text, f"constraints.{key}") for key, text in
              (constraints or {}).items()}  # fmt: skip
    plan = StudyPlan(
        search=SearchPlan(
            space=space_of(space), directions=ways, sampler=sampler, pruner=pruner, seed=seed
        ),
        metrics=metrics,
        constraints=limits,
        trials=100 if trials is None else trials,
    )
    services = services_at(home, url, token)
    study = begin(
        services, project or _project_here(), name, plan, resume=resume, extend=trials is not None
    )
    searching = _Search(services, study, objective, seconds, catch, on_trial)
    return searching.run(workers)


def begin(
    services: "Services", project: str, name: str, plan: StudyPlan, *, resume: bool, extend: bool
) -> Study:
    """Begin a study, or take the one of this name that is there.

    Args:
        services: Where it is recorded.
        project: Name of the project.
        name: Name of the study; empty takes one with the time of day.
        plan: What it searches for.
        resume: Whether a study of this name is gone on with.
        extend: Whether such a study has as many trials at most as the plan says.

    Raises:
        Conflict: There is a study of this name, and ``resume`` is not given.
        Invalid: The space cannot be sampled.
    """
    name = name or name_now(project)
    try:
        return services.tuning.start(project=project, name=name, plan=plan)
    except Conflict:
        if not resume:
            raise
    if extend:
        return services.tuning.extend(study=name, trials=plan.trials)
    return services.tuning.get(study=name)


def name_now(project: str) -> str:
    """A study's name with the time of day.

    Args:
        project: Name of the project.
    """
    return time.strftime(f"{project} %Y-%m-%d %H:%M:%S")


def space_of(space: Mapping[str, Any]) -> Space:
    """Read a space as people write it.

    Args:
        space: By parameter a range, a mapping with its bounds, or a list of choices.

    Raises:
        Invalid: A parameter has neither.
    """
    read: Space = {}
    for name, drawn in space.items():
        plain = list(drawn) if isinstance(drawn, tuple | range) else drawn
        try:
            read[name] = plain if isinstance(plain, Range) else _read_range(plain)
        except Invalid as error:
            raise Invalid(
                f"Field 'space.{name}': {error.message} Write a range such as "
                '{"low": 0.0, "high": 1.0}, or a list of choices.'
            ) from error
    return read


def _read_range(plain: Any) -> Range | list[Scalar]:
    made: Range | list[Scalar] = from_plain(plain, Range | list[Scalar])  # type: ignore[arg-type]
    return made


class _NoMetric(Invalid):
    """The objective has not returned what is searched for, and will not in another trial."""


class _Search:
    """Calls an objective for trial after trial, in some threads."""

    def __init__(
        self,
        services: "Services",
        study: Study,
        objective: Objective,
        seconds: float,
        catch: bool,
        on_trial: Callable[[Trial], None] | None,
    ) -> None:
        self._services, self._study, self._objective = services, study, objective
        self._until = time.monotonic() + seconds if seconds else float("inf")
        self._catch, self._on_trial = catch, on_trial
        self._stopping = threading.Event()

    def run(self, workers: int) -> Study:
        """Search until the budget is spent.

        Args:
            workers: Number of threads.
        """
        if workers <= 1:
            self._work()
        else:
            with ThreadPoolExecutor(workers) as pool:  # at its end it waits for all threads
                try:
                    for one in [pool.submit(self._work) for _ in range(workers)]:
                        one.result()
                finally:
                    self._stopping.set()
        return self._services.tuning.finish(study=self._study.name)

    def _work(self) -> None:
        try:
            while not self._stopping.is_set() and time.monotonic() < self._until:
                trial = self._services.tuning.ask(study=self._study.name)
                if trial is None:
                    return
                ended = self._try(trial)
                if ended is not None and self._on_trial is not None:
                    self._on_trial(ended)
        except BaseException:
            self._stopping.set()
            raise

    def _try(self, trial: Trial) -> Trial | None:
        """Do one trial; None where it was given to another worker meanwhile."""
        run = TrialRun(self._services, trial, self._study.plan)
        about: dict[str, Any] = {
            "study": trial.study,
            "number": trial.number,
            "attempt": trial.attempt,
        }
        try:
            with Beating(self._services.tuning, **about, also=run.send):
                answer = self._objective(dict(trial.params), run)
            metrics = self._metrics(answer)
            run.send()
        except Pruned:
            return self._end(trial, run, "pruned")
        except Exception as error:
            ended = self._end(trial, run, "failed", error=f"{type(error).__name__}: {error}")
            if ended is not None and (isinstance(error, _NoMetric) or not self._catch):
                raise
            return ended
        except BaseException:  # an interrupt: the trial is there for whoever resumes
            with suppress(TreadleError):
                run.send()
            self._services.tuning.drop(**about, interrupted=True)
            raise
        return self._finish(trial, run, metrics)

    def _finish(self, trial: Trial, run: TrialRun, metrics: dict[str, float]) -> Trial | None:
        plan = self._study.plan
        needed = {name: metrics.get(name, 0.0) for name in (*plan.metrics, *plan.constraints)}
        unknown = [name for name, value in needed.items() if math.isnan(value)]
        if unknown:
            error = f"The objective has returned NaN for {', '.join(unknown)}."
            return self._end(trial, run, "failed", error=error)
        try:
            return self._end(trial, run, "finished", metrics)
        except Invalid as error:  # a metric is missing, as it will be in each trial
            self._end(trial, run, "failed", error=error.message)
            raise

    def _metrics(self, answer: Any) -> dict[str, float]:
        metrics = self._study.plan.metrics
        if isinstance(answer, Mapping):
            return {str(name): float(value) for name, value in answer.items()}
        values = list(answer) if isinstance(answer, tuple | list) else [answer]
        if len(values) != len(metrics) or None in values:
            raise _NoMetric(
                f"The objective has returned {answer!r}. Return a number for {', '.join(metrics)}, "
                "or a dict of numbers by metric."
            )
        return dict(zip(metrics, map(float, values), strict=True))

    def _end(
        self,
        trial: Trial,
        run: TrialRun,
        state: EndState,
        metrics: dict[str, float] | None = None,
        error: str | None = None,
    ) -> Trial | None:
        """Tell how a trial has ended; None where it was given to another worker meanwhile."""
        try:
            run.send()
        except TreadleError as trouble:  # such as a metric whose name is refused
            error = error or f"What it logged was not stored: {trouble.message}"
        try:
            return self._services.tuning.tell(
                study=trial.study,
                number=trial.number,
                attempt=trial.attempt,
                state=state,
                metrics=metrics,
                error=error and error[:1000],
            )
        except Conflict:
            return None


def _project_here() -> str:
    """The project of this folder, or ``default``."""
    from treadle.scope.file import nearest, read

    folder = nearest(Path.cwd())
    return read(folder).project.name if folder else "default"
