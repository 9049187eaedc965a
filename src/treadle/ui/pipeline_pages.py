"""Pages of pipelines: their runs, and one run with its graph, its times and its logs."""

from collections.abc import Mapping
from typing import Any, get_args

from treadle.kernel.entity import to_text
from treadle.pipelines.model import PipelineRun, PipelineState, StepRun
from treadle.ui.addresses import dataset_page
from treadle.ui.addresses import step as path_step
from treadle.ui.durations import duration_of
from treadle.ui.gantt import gantt, state_of, summary, told
from treadle.ui.layered_graph import Graph, Node, layered
from treadle.ui.site import Page, Visit

SHOWN, SHOWN_CALLS = 50, 500
_FIRST = ("failed", "running", "waiting")
STATES: tuple[PipelineState, ...] = get_args(PipelineState)


def _pipelines(visit: Visit) -> Mapping[str, Any]:
    state = next((one for one in STATES if one == visit.query.get("state")), None)
    found = visit.ask.pipelines.find(state=state, limit=SHOWN)
    return {
        "pipelines": [(one, _lasted(one), summary(one.steps)) for one in found],
        "state": state,
        "states": STATES,
    }


def _pipeline(visit: Visit) -> Mapping[str, Any]:
    ask = visit.ask
    pipeline = ask.pipelines.get(pipeline=visit.path["pipeline"])
    trainings = ask.training.find(project=pipeline.project, limit=SHOWN)
    asked = visit.query.get("step", "")
    every = [*pipeline.parts, *pipeline.steps]
    chosen = next((one for one in every if one.name == asked), None) or next(
        (one for one in every if one.state in ("failed", "running")),
        pipeline.steps[-1] if pipeline.steps else None,
    )
    mapped = chosen.part_of or chosen.name if chosen else ""
    again = {"datasets": pipeline.datasets, "parameters": pipeline.parameters}
    return {
        "pipeline": pipeline,
        "lasted": _lasted(pipeline),
        "graph": step_graph(pipeline),
        "gantt": gantt(pipeline),
        "chosen": chosen,
        "mapped": mapped,
        "most_calls": SHOWN_CALLS,
        "calls": sorted(pipeline.parts_of(mapped), key=_urgency)[:SHOWN_CALLS],
        "counts": {step.name: _calls(pipeline, step.name) for step in pipeline.steps},
        "again": {name: to_text(value) for name, value in again.items()},
        "training": next((one for one in trainings if one.pipeline == pipeline.id), None),
        "told": told,
        "sees_logs": visit.caller.may("viewer"),
    }


def _lasted(pipeline: PipelineRun) -> str:
    """How long a run took; its steps' time where the clock has not moved."""
    if pipeline.ended_at is None:
        return ""
    seconds = (pipeline.ended_at - pipeline.started_at).total_seconds()
    return duration_of(seconds or sum(step.seconds for step in pipeline.steps))


def _urgency(call: StepRun) -> int:
    """Where a call is in the table: those that have failed come first."""
    return _FIRST.index(call.state) if call.state in _FIRST else len(_FIRST)


def _calls(pipeline: PipelineRun, step: str) -> str:
    """How far the calls of a mapped step have come; empty for another step."""
    parts = pipeline.parts_of(step)
    done = sum(part.state == "succeeded" for part in parts)
    return f"{done} of {len(parts)} calls" if parts else ""


def step_graph(pipeline: PipelineRun) -> Graph:
    """Draw a pipeline's datasets, parameters and steps.

    Args:
        pipeline: The pipeline run.
    """
    nodes = [
        Node(
            name,
            "dataset",
            f"{name}@{digest[:8]}",
            dataset_page(pipeline.project, name, digest),
            note=digest,
        )
        for name, digest in pipeline.datasets.items()
    ]
    nodes += [
        Node(name, "parameter", f"{name} = {value}") for name, value in pipeline.parameters.items()
    ]
    for step in pipeline.steps:
        state = {"cached": "good"}.get(state_of(step), state_of(step))
        link = f"?step={path_step(step.name)}#log"
        note = step.error or f"{step.name}: {told(step)}"
        nodes.append(Node(step.name, f"step · {told(step)}", step.name, link, state, note))
    edges = [(source, planned.name) for planned in pipeline.plan for source in planned.sources]
    return layered(nodes, edges)


PAGES = (
    Page("/pipelines", "Pipelines", "pipelines.html", _pipelines),
    Page("/pipelines/{pipeline}", "Pipelines", "pipeline.html", _pipeline),
)
