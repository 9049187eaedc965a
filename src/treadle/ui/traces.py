"""Pages of traces: the list of what was asked, and one as a waterfall of its steps."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from treadle.tracking.language import Field
from treadle.tracking.trace_facts import Info, started_at, value_of
from treadle.ui.addresses import number_of
from treadle.ui.site import Area, Page, Visit
from treadle.ui.spans import waterfall

AREA = Area("Traces", "/traces", "t")
SHOWN = 200
GOOD = {"OK": "good", "ERROR": "bad", "IN_PROGRESS": "wait"}


class Line(NamedTuple):
    """A trace in the list.

    Attributes:
        id: Id of the trace.
        name: What was asked for.
        state: How it ended.
        at: When it began.
        milliseconds: How long it took; None where that is not known.
        request: The beginning of what went in.
        response: The beginning of what came out.
        run: Id of the run that it belongs to; empty if to none.
        experiment: Number of its experiment, as text.
        assessments: Number of its assessments.
    """

    id: str
    name: str
    state: str
    at: datetime | None
    milliseconds: float | None
    request: str
    response: str
    run: str
    experiment: str
    assessments: int


class Assessment(NamedTuple):
    """What somebody thought of a trace.

    Attributes:
        name: What was assessed.
        value: The feedback or the expectation, as text.
        kind: ``feedback`` or ``expectation``.
        by: Who assessed it.
        why: Their reasons.
    """

    name: str
    value: str
    kind: str
    by: str
    why: str


def line_of(info: Info) -> Line:
    """Lay out a trace's facts.

    Args:
        info: The facts as its client wrote them.
    """

    def fact(name: str) -> Any:
        return value_of(info, Field(kind="attribute", key=name), list)

    place = info.get("trace_location", {})
    within = place.get("mlflow_experiment", {}) if isinstance(place, dict) else {}
    return Line(
        id=str(info.get("trace_id", "")),
        name=fact("name") or "",
        state=fact("state") or "",
        at=started_at(info),
        milliseconds=fact("execution_time_ms"),
        request=str(info.get("request_preview") or ""),
        response=str(info.get("response_preview") or ""),
        run=fact("run_id") or "",
        experiment=str(within.get("experiment_id", "")) if isinstance(within, dict) else "",
        assessments=len(info.get("assessments", [])),
    )


def assessment_of(body: Mapping[str, Any]) -> Assessment:
    """Lay out an assessment.

    Args:
        body: The assessment as its client wrote it.
    """
    kind = "expectation" if "expectation" in body else "feedback"
    said, source = body.get(kind), body.get("source")
    value = said.get("value", "") if isinstance(said, dict) else ""
    by = source.get("source_id", "") if isinstance(source, dict) else ""
    return Assessment(
        name=str(body.get("assessment_name") or body.get("name") or ""),
        value=str(value),
        kind=kind,
        by=str(by),
        why=str(body.get("rationale") or ""),
    )


def _traces(visit: Visit) -> Mapping[str, Any]:
    chosen = visit.query.get("experiment", "")
    experiments = visit.ask.tracking.experiments()
    numbers = [number_of(chosen, "experiment")] if chosen else [one.id for one in experiments]
    filter = visit.query.get("filter", "")
    found = []
    if numbers:  # whoever sees no experiment sees no trace
        found = visit.ask.traces.find(experiments=numbers, filter=filter, limit=SHOWN)
    return {
        "lines": [line_of(info) for info in found],
        "experiments": experiments,
        "chosen": chosen,
        "filter": filter,
        "most": SHOWN,
        "colours": GOOD,
    }


def _trace(visit: Visit) -> Mapping[str, Any]:
    info = visit.ask.traces.get(id=visit.path["trace"])
    spans = waterfall(visit.ask.traces.spans(id=visit.path["trace"]))
    asked = visit.query.get("span", "")
    first = spans[0] if spans else None
    return {
        "line": line_of(info),
        "tags": info.get("tags", {}),
        "metadata": info.get("trace_metadata", {}),
        "spans": spans,
        "chosen": next((span for span in spans if span.id == asked), first),
        "assessments": [assessment_of(one) for one in info.get("assessments", [])],
        "colours": GOOD,
    }


PAGES = (
    Page("/traces", AREA.name, "traces.html", _traces, turn="search"),
    Page("/traces/{trace}", AREA.name, "trace.html", _trace),
)
