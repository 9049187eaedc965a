"""Places the bars of a pipeline's steps over time."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from treadle.pipelines.model import PipelineRun, StepRun
from treadle.ui.durations import duration_of

_LEFT, _ROW, _FOOT, _PLOT, _BESIDE = 170, 28, 24, 620, 150
_SHORTEST = 4
_ROUND = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400)


class Bar(NamedTuple):
    """A step.

    Attributes:
        name: Its name.
        y: Its upper edge.
        x: Where its bar begins.
        width: The length of its bar.
        state: ``good``, ``bad``, ``wait``, ``cached`` or empty.
        beside: What is written beside the bar.
        says: The same in a sentence.
    """

    name: str
    y: int
    x: int
    width: int
    state: str
    beside: str
    says: str


class Tick(NamedTuple):
    """A mark of the axis of time."""

    x: int
    name: str


class Gantt(NamedTuple):
    """The picture; sizes are in pixels."""

    width: int
    height: int
    left: int
    rows: list[Bar]
    ticks: list[Tick]


def gantt(pipeline: PipelineRun) -> Gantt:
    """Draw how long each step took, begun when all that it needs was there.

    Args:
        pipeline: The pipeline run.
    """
    begins = _begins(pipeline)
    ends = [begins[step.name] + step.seconds for step in pipeline.steps]
    whole = max([*ends, 1e-3])
    scale = _PLOT / whole
    rows = []
    for place, step in enumerate(pipeline.steps):
        said = told(step)
        width = max(_SHORTEST, round(step.seconds * scale))
        x = _LEFT + min(round(begins[step.name] * scale), _PLOT - width)
        says = f"{step.name}: {said}"
        rows.append(Bar(step.name, place * _ROW + 4, x, width, state_of(step), said, says))
    apart: float = next((one for one in _ROUND if whole / one <= 8), 86400)
    if whole < 4:
        apart = max(round(whole / 4, 1), 0.1)
    ticks, at = [], 0.0
    while at <= whole:
        ticks.append(Tick(_LEFT + round(at * scale), duration_of(at)))
        at += apart
    return Gantt(_LEFT + _PLOT + _BESIDE, len(rows) * _ROW + _FOOT + 8, _LEFT, rows, ticks)


def _begins(pipeline: PipelineRun) -> Mapping[str, float]:
    """When each step could begin: after the last of the steps that it needs."""
    seconds = {step.name: step.seconds for step in pipeline.steps}
    begins = dict.fromkeys(seconds, 0.0)
    for planned in pipeline.plan:  # in the order in which they can run
        before = [source for source in planned.sources if source in seconds]
        if planned.name in begins:
            begins[planned.name] = max((begins[one] + seconds[one] for one in before), default=0.0)
    return begins


def state_of(step: StepRun) -> str:
    """The colour of a step's state.

    Args:
        step: The step.
    """
    if step.cached:
        return "cached"
    return {"succeeded": "good", "failed": "bad", "running": "wait"}.get(step.state, "")


def told(step: StepRun) -> str:
    """A step's state in a few words.

    Args:
        step: The step.
    """
    if step.cached:
        return "from the cache"
    return duration_of(step.seconds) if step.state == "succeeded" else step.state


def summary(steps: Sequence[StepRun]) -> str:
    """How far a pipeline run has come, in words.

    Args:
        steps: Its steps.
    """
    done = sum(step.state == "succeeded" for step in steps)
    cached = sum(step.cached for step in steps)
    return f"{done} of {len(steps)}" + (f", {cached} from the cache" if cached else "")
