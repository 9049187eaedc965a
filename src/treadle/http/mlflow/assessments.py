"""Serves MLflow's calls for assessments: what people and judges thought of a trace."""

from typing import Any

from treadle.http.mlflow.traces import changed, trace_of
from treadle.http.mlflow.wire import Ask, Call, dashed_id
from treadle.kernel.errors import NotFound
from treadle.platform.wiring import Embedded
from treadle.tracking.trace_facts import Info


class Assess(Ask):
    """Fields of calls on an assessment of a trace."""

    trace_id: str = ""
    assessment_id: str = ""
    assessment: dict[str, Any] = {}


def assess(platform: Embedded, ask: Assess) -> dict[str, Any]:
    """Add an assessment to a trace.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such trace, or no assessment that this one overrides.
    """
    now = platform.clock.now().isoformat().replace("+00:00", "Z")
    assessment = {
        "create_time": now,
        "last_update_time": now,
        **ask.assessment,
        "trace_id": ask.trace_id,
    }
    assessment.setdefault("assessment_id", dashed_id("a"))
    assessment["valid"] = True

    def add(info: Info) -> None:
        if overridden := assessment.get("overrides"):
            _assessment(info, overridden)["valid"] = False
        info.setdefault("assessments", []).append(assessment)

    changed(platform, ask.trace_id, add)
    return {"assessment": assessment}


def _assessment(info: Info, id: str) -> dict[str, Any]:
    for assessment in info.get("assessments", []):
        if assessment.get("assessment_id") == id:
            known: dict[str, Any] = assessment
            return known
    raise NotFound(f"Assessment with ID '{id}' not found for trace '{info['trace_id']}'")


def get_assessment(platform: Embedded, ask: Assess) -> dict[str, Any]:
    """Return an assessment.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such trace, or it has no such assessment.
    """
    return {"assessment": _assessment(trace_of(platform, ask.trace_id), ask.assessment_id)}


def change_assessment(platform: Embedded, ask: Assess) -> dict[str, Any]:
    """Change an assessment.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such trace, or it has no such assessment.
    """
    info = changed(
        platform,
        ask.trace_id,
        lambda info: _assessment(info, ask.assessment_id).update(ask.assessment),
    )
    return {"assessment": _assessment(info, ask.assessment_id)}


def delete_assessment(platform: Embedded, ask: Assess) -> None:
    """Delete an assessment.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such trace, or it has no such assessment.
    """

    def remove(info: Info) -> None:
        gone = _assessment(info, ask.assessment_id)
        info["assessments"].remove(gone)
        for one in info["assessments"]:
            if one.get("assessment_id") == gone.get("overrides"):
                one["valid"] = True

    changed(platform, ask.trace_id, remove)


CALLS = [
    Call(("POST",), "traces/{trace_id}/assessments", Assess, "editor", assess),
    Call(
        ("GET",), "traces/{trace_id}/assessments/{assessment_id}", Assess, "viewer", get_assessment
    ),
    Call(
        ("PATCH",),
        "traces/{trace_id}/assessments/{assessment_id}",
        Assess,
        "editor",
        change_assessment,
    ),
    Call(
        ("DELETE",),
        "traces/{trace_id}/assessments/{assessment_id}",
        Assess,
        "editor",
        delete_assessment,
    ),
]
