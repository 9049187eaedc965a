"""What the events of findings say: their kind, what they are about, and a sentence."""

from treadle.events.model import EventRecord
from treadle.monitoring.model import (
    DriftFound,
    FindingRaised,
    LabelsMissing,
    ModelStale,
    MonitorFailed,
    RequirementMissed,
)
from treadle.scope.alerting import AlertKind

KINDS: dict[str, AlertKind] = {
    DriftFound.__name__: "drift",
    RequirementMissed.__name__: "missed requirement",
    ModelStale.__name__: "stale model",
    LabelsMissing.__name__: "missing labels",
    FindingRaised.__name__: "finding",
    MonitorFailed.__name__: "failed monitor",
}
"""What a finding is, by the type of its event."""


def thing(event: EventRecord) -> tuple[str, str]:
    """What an event is about: two of the same thing tell of one concern.

    Args:
        event: An event of one of ``KINDS``.

    Returns:
        The type of the event, and what it has measured.
    """
    body = event.body
    about = [str(body.get(key) or "") for key in ("requirement", "monitor", "name", "measured")]
    return event.type, "/".join(about)


def says(event: EventRecord) -> str:
    """A finding's event in a sentence with its numbers.

    Args:
        event: An event of one of ``KINDS``.
    """
    body = event.body
    if event.type == DriftFound.__name__:
        moved = body["columns"]
        count = "1 column has" if len(moved) == 1 else f"{len(moved)} columns have"
        return f"{count} moved, {body['strongest']} most (PSI {body['psi']:.3g})"
    if event.type == RequirementMissed.__name__:
        measured = f"{body['metric']} is {body['value']:.4g}"
        return f"{body['requirement']}: {measured}, wanted {body['bound']}"
    if event.type == ModelStale.__name__:
        return f"{body['version']} is {body['age_days']:g} days old"
    if event.type == LabelsMissing.__name__:
        return f"{body['labelled']} of {body['rows']} answers are labelled"
    if event.type == MonitorFailed.__name__:
        return f"monitor '{body['monitor']}' failed: {body['reason']}"
    return f"{body['monitor']}: {body['message']}"
