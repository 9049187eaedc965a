"""Trains, judges and measures the models of a backtest, in one process."""

import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from treadle.data.frames import plain
from treadle.data.profile import Reference
from treadle.evaluation.comparable import Answered, Comparable, comparable, same_kind
from treadle.evaluation.judge import judge
from treadle.evaluation.model import Judged
from treadle.kernel.clock import duration
from treadle.kernel.errors import Invalid, TreadleError
from treadle.kernel.files import write_whole
from treadle.loop.backtest.history import Timeline, moment_of, naive
from treadle.loop.backtest.model import NOTHING, Period, Seen, Served, Trained, Value
from treadle.monitoring.looking import look, policy_of
from treadle.pipelines.output import Packaged
from treadle.pipelines.step import BUILT_IN, StepPlan
from treadle.ports.monitor import Context, Monitor, WindowFacts
from treadle.ports.runtime import Exporter, Signature
from treadle.scope.model import ProjectSpec
from treadle.stats.delong import roc_auc_difference
from treadle.stats.intervals import Estimate, difference
from treadle.stats.metrics import Array, metric
from treadle.training.package import PROFILE_ROWS, predicted_names, reference_of, score
from treadle.training.service import HOLDOUT

BLOCK = 4096
"""Rows that a model answers at once. What is answered is kept."""
KEPT_MODELS = 16
"""Models that one process keeps loaded."""


class Recipe(NamedTuple):
    """How a project makes a model from the table that it learns from.

    Attributes:
        table: Name of the step that returns that table.
        later: The steps after it, in order.
        functions: The steps' functions.
        given: Values of parameters and paths of datasets by name.
    """

    table: str
    later: Sequence[StepPlan]
    functions: Mapping[str, Callable[..., Any]]
    given: Mapping[str, Any]


class _Model(NamedTuple):
    estimator: Any
    signature: Signature
    reference: Reference
    holdout: Any
    made_at: datetime


class Workbench:
    """Does the work of a replay. What it is asked for depends on its arguments alone.

    Args:
        frame: The table that models learn from, in the order of the timeline.
        timeline: When its rows happened and were labelled.
        label: Name of the label column.
        recipe: How models are made.
        exporter: Knows what estimators take and give.
        monitors: What looks at windows.
        folder: Where models are kept, for all processes that work on the same backtest.
    """

    def __init__(
        self,
        frame: Any,
        timeline: Timeline,
        label: str,
        recipe: Recipe,
        exporter: Exporter,
        monitors: Sequence[Monitor],
        folder: Path,
    ) -> None:
        self._frame = frame
        self._timeline = timeline
        self._label = label
        self._labels = plain(frame[label])
        self._recipe = recipe
        self._exporter = exporter
        self._monitors = monitors
        self._folder = folder
        self._model = lru_cache(KEPT_MODELS)(self._load)

    def train(self, at: datetime, spec: ProjectSpec) -> Trained:
        """Train a model as it would have been trained at a moment.

        Args:
            at: The moment.
            spec: The policy: which rows it keeps, and the pipeline's parameters.
        """
        assert spec.learnt is not None
        kept, parameters = spec.learnt.kept, sorted(spec.pipeline.parameters.items())
        named = blake2b(repr((at, kept, parameters)).encode(), digest_size=4).hexdigest()
        key = f"{at:%Y-%m-%dT%H%M}-{named}"
        rows = self._timeline.learnt(at, kept)
        began, failure = time.process_time(), ""
        try:
            if not len(rows):
                raise Invalid(f"no row has a label by {at:%Y-%m-%d %H:%M}")
            write_whole(self._folder / key, _pickled(self._made(rows, at, spec)))
        except TreadleError as error:
            failure = error.message
        except Exception as error:
            failure = f"{type(error).__name__}: {error}"
        return Trained(key, len(rows), time.process_time() - began, failure)

    def judge(self, candidate: str, champion: str | None, spec: ProjectSpec) -> Judged:
        """Judge a model on its own holdout, beside the champion.

        Args:
            candidate: The model's key.
            champion: The champion's key; None without one.
            spec: The policy, with the requirements.
        """
        model = self._model(candidate)
        answered = self._answers(model, model.holdout)
        rival = self._model(champion) if champion else None
        rows = comparable(
            list(plain(model.holdout[self._label]).tolist()),
            self._label,
            answered,
            self._answers(rival, model.holdout)
            if rival and same_kind(rival.signature, model.signature)
            else None,
        )
        return judge(spec.requirement, *rows)

    def look(
        self,
        start: datetime,
        end: datetime,
        served: list[Served],
        labelled: bool,
        spec: ProjectSpec,
    ) -> list[Seen]:
        """Show a window to the monitors.

        Args:
            start: The window's first moment.
            end: The moment after its last.
            served: Which models answered its rows; the one with the most rows is its champion.
            labelled: Whether its labels are due: monitors look that need them, else the others.
            spec: The policy.
        """
        usual = max(served, key=lambda part: part.stop - part.start)
        model = self._model(usual.model)
        rows = sum(part.stop - part.start for part in served)
        context = Context(
            endpoint=spec.project.name,
            project=spec.project.name,
            window=WindowFacts(
                start=start,
                end=end,
                version=usual.model,
                rows=rows,
                errors=0,
                latency_ms_p99=0.0,
            ),
            policy=policy_of(spec),
            requirements=spec.requirement,
            version_created_at=model.made_at,
            champion_rows=usual.stop - usual.start,
            **(self._with_labels(served, end, spec) if labelled else self._counted(usual, model)),
        )
        monitors = [each for each in self._monitors if each.needs.labels is labelled]
        return [
            Seen(monitor, finding)
            for monitor, findings, _ in look(monitors, context)
            for finding in findings
        ]

    def compare(self, served: list[Served], other: list[Served], name: str) -> Period:
        """Measure what was served beside what another model would have answered to the same rows.

        Args:
            served: Which models answered.
            other: Which models might have answered the same rows.
            name: Name of the metric.
        """
        start, stop = served[0].start, served[-1].stop
        one, two = self._side_by_side(served), self._side_by_side(other)
        same = len(one.truth) == len(two.truth) and one.candidate.shape == two.candidate.shape
        measure = metric(name)
        values = [_finite(measure(each.truth, each.candidate)) for each in (one, two)]
        apart = NOTHING
        if served != other and same and None not in values:
            apart = Value.of(_difference(name, one.truth, one.candidate, two.candidate))
        elif served == other:
            apart = Value(value=0.0, low=0.0, high=0.0)
        return Period(
            start=moment_of(self._timeline.times[start]),
            end=moment_of(self._timeline.times[stop - 1]),
            rows=len(one.truth),
            value=values[0],
            never=values[1],
            difference=apart,
        )

    def _made(self, rows: NDArray[np.intp], at: datetime, spec: ProjectSpec) -> _Model:
        """Take the later steps of the pipeline on rows of the past."""
        outputs: dict[str, Any] = {self._recipe.table: rows_of(self._frame, rows)}
        known = {**self._recipe.given, **spec.pipeline.parameters}
        known |= dict(zip(BUILT_IN, (at, spec.pipeline.parameters.get("seed", 0)), strict=True))
        for step in self._recipe.later:
            names = [need.name for need in step.needs if need.name in outputs or need.name in known]
            arguments = {name: outputs[name] if name in outputs else known[name] for name in names}
            arguments = {
                name: value.copy() if hasattr(value, "copy") and name in outputs else value
                for name, value in arguments.items()
            }
            outputs[step.name] = self._recipe.functions[step.name](**arguments)
        model = [each for each in outputs.values() if isinstance(each, Packaged)][-1:]
        if not model or HOLDOUT not in outputs:
            raise Invalid(
                f"The pipeline has no step that returns a treadle.Model, or no step '{HOLDOUT}'."
            )
        estimator, inputs = model[0].estimator, model[0].inputs  # type: ignore[attr-defined]
        signature = self._exporter.describe(estimator, inputs)
        sample = inputs[:: max(1, len(inputs) // PROFILE_ROWS)]
        answers = np.asarray(self._exporter.answer(estimator, signature, sample))
        columns = {field.name: plain(sample[field.name]) for field in signature.inputs}
        return _Model(
            estimator,
            signature,
            reference_of(columns, answers, 0.0, signature.classes),
            outputs[HOLDOUT],
            at,
        )

    def _load(self, key: str) -> _Model:
        loaded: _Model = pickle.loads((self._folder / key).read_bytes())
        return loaded

    def _scores(self, part: Served) -> NDArray[np.float64]:
        """A model's answers to some rows, kept by blocks for all processes."""
        first = part.start // BLOCK
        blocks = [self._block(part.model, each) for each in range(first, -(-part.stop // BLOCK))]
        joined = np.concatenate(blocks)
        return joined[part.start - first * BLOCK : part.stop - first * BLOCK]

    def _block(self, key: str, number: int) -> NDArray[np.float64]:
        file = self._folder / f"{key}.{number}.npy"
        if file.exists():
            kept: NDArray[np.float64] = np.load(file)
            return kept
        rows = np.arange(number * BLOCK, min((number + 1) * BLOCK, len(self._labels)))
        scores = self._answers(self._model(key), rows_of(self._frame, rows)).scores
        content = BytesIO()
        np.save(content, scores)
        write_whole(file, content.getvalue())
        return scores

    def _answers(self, model: _Model, frame: Any) -> Answered:
        names = [field.name for field in model.signature.inputs]
        answers = np.asarray(self._exporter.answer(model.estimator, model.signature, frame[names]))
        several = model.signature.output == "probabilities"
        return Answered(model.signature, (answers if several else score(answers)).astype(float))

    def _side_by_side(self, served: Sequence[Served], by: datetime | None = None) -> Comparable:
        """Truths and scores of rows that one or several models answered.

        Where models of different kinds answered, only the rows of the last one's kind count, and
        with ``by`` only those whose label was known by then.
        """
        last = self._model(served[-1].model).signature
        parts = [
            part
            for part in served
            if self._model(part.model).signature.classes == last.classes
            and self._model(part.model).signature.output == last.output
            and part.stop > part.start
        ]
        rows = np.concatenate([np.arange(part.start, part.stop) for part in parts])
        scores = np.concatenate([self._scores(part) for part in parts])
        if by is not None:
            known = self._timeline.known[rows] <= naive(by)
            rows, scores = rows[known], scores[known]
        if not len(rows):
            return Comparable(np.empty(0), scores, None)
        return comparable(self._labels[rows].tolist(), self._label, Answered(last, scores))

    def _with_labels(
        self, served: Sequence[Served], end: datetime, spec: ProjectSpec
    ) -> dict[str, Any]:
        """The answers whose labels are known when the window's are due."""
        assert spec.learnt is not None
        rows = self._side_by_side(served, by=end + duration(spec.learnt.label_delay))
        several = rows.candidate.ndim == 2
        signature = self._model(served[-1].model).signature
        return {
            "truth": rows.truth,
            "score": rows.candidate,
            "classes": signature.classes if several else (),
        }

    def _counted(self, usual: Served, model: _Model) -> dict[str, Any]:
        frame = rows_of(self._frame, np.arange(usual.start, usual.stop))
        scores = self._scores(usual)
        classes = model.signature.classes
        named = scores.ndim == 2 and len(classes) == scores.shape[1]
        predicted = predicted_names(scores, classes) if named else score(scores)
        return {
            "reference": model.reference.columns,
            "current": {
                name: profile.count(plain(frame[name]))
                for name, profile in model.reference.columns.items()
            },
            "reference_prediction": model.reference.prediction,
            "current_prediction": model.reference.prediction.count(
                predicted if named else predicted.astype(np.float64)
            ),
        }


def rows_of(frame: Any, rows: NDArray[np.intp]) -> Any:
    """Some rows of a frame, numbered anew as a step would get them.

    Args:
        frame: A frame of pandas or Polars, or an Arrow table.
        rows: Numbers of the rows.
    """
    if hasattr(frame, "iloc"):
        return frame.iloc[rows].reset_index(drop=True)
    return frame.take(rows) if hasattr(frame, "take") else frame[rows]


def _pickled(made: _Model) -> bytes:
    """A model's bytes; its classes may live in the project's own file."""
    import cloudpickle

    written: bytes = cloudpickle.dumps(made)
    return written


def _difference(name: str, truth: Array, score: Array, other: Array) -> Estimate:
    if name == "roc_auc":
        return roc_auc_difference(truth, score, other)
    return difference(name, truth, score, other)


def _finite(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None
