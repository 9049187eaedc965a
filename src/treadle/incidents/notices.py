"""What people and programs are told of an incident: all its words are here."""

from datetime import datetime
from typing import Any

from treadle.incidents.model import Alert, Change, Incident
from treadle.kernel.entity import to_plain
from treadle.kernel.escaping import shell, visible
from treadle.ports.notifier import Notice
from treadle.scope.alerting import SEVERITIES

NAMED = 5
"""Alerts that a text names; the others are counted."""
LONGEST_LINE = 300
MOST_ALERTS = 100
"""Alerts that programs are sent; ``alert_count`` says how many there are."""
_CHANGES: dict[Change, str] = {
    "opened": "Opened",
    "reopened": "Opened again",
    "raised": "More severe",
    "acknowledged": "Acknowledged",
    "resolved": "Resolved",
    "reminder": "Still open",
}


def notice_of(incident: Incident, change: Change, *, id: str, at: datetime) -> Notice:
    """A notice of an incident as it is now.

    Args:
        incident: The incident.
        change: What has happened.
        id: Id of the notice.
        at: When it is sent.
    """
    return Notice(
        id=id,
        at=at,
        change=change,
        severity=incident.severity,
        title=title_of(incident, change),
        text=text_of(incident),
        labels=_labels(incident),
        since=incident.began_at,
        data={"id": id, "at": at.isoformat(), "change": change, "incident": data_of(incident)},
    )


def sample_notice(project: str, *, id: str, at: datetime) -> Notice:
    """A notice that says that nothing has happened.

    Args:
        project: Name of the project.
        id: Id of the notice.
        at: When it is sent.
    """
    title = line(f"Test: {project}")
    text = f"{title}\nThis route works. Nothing has happened."
    labels = {"alertname": "TreadleTest", "treadle_incident": "test", "project": project}
    data: dict[str, Any] = {"id": id, "at": at.isoformat(), "change": "test"}
    return Notice(
        id=id,
        at=at,
        change="test",
        severity=SEVERITIES[0],
        title=title,
        text=text,
        labels=labels,
        since=at,
        data={**data, "project": project},
    )


def title_of(incident: Incident, change: Change) -> str:
    """A notice's title.

    Args:
        incident: The incident.
        change: What has happened.
    """
    count = len(incident.alerts)
    more = f" (and {count - 1} more)" if count > 1 else ""
    place = incident.endpoint or incident.project or "no project"
    words = f"[{incident.severity}] {_CHANGES[change]}: {place}: {incident.title}"
    return line(words, LONGEST_LINE - len(more)) + more


def text_of(incident: Incident) -> str:
    """A notice's text: the alerts, who attends to it, and what to do next.

    Args:
        incident: The incident.
    """
    alerts = sorted(incident.alerts, key=lambda one: -SEVERITIES.index(one.severity))
    lines = [f"- {_alert(alert)}" for alert in alerts[:NAMED]]
    if len(alerts) > NAMED:
        lines.append(f"- and {len(alerts) - NAMED} more alerts")
    facts = [f"Incident {incident.id}, open since {incident.began_at:%Y-%m-%d %H:%M} UTC."]
    if incident.resolved_at is not None:
        by = "by itself" if incident.resolved_by == "treadle" else f"by {incident.resolved_by}"
        facts.append(f"Resolved {by} at {incident.resolved_at:%Y-%m-%d %H:%M} UTC.")
    elif incident.acknowledged_at is not None:
        facts.append(f"Acknowledged by {incident.acknowledged_by}.")
    facts += [f"Runbook: {book}" for book in runbooks_of(incident)]
    facts.append(f"Look: {shell('treadle', 'incident', 'show', incident.id)}")
    if incident.state == "open":
        facts.append(f"Attend: {shell('treadle', 'incident', 'ack', incident.id)}")
    return "\n".join([*map(line, lines), *map(line, facts)])


def data_of(incident: Incident) -> dict[str, Any]:
    """An incident for programs.

    Args:
        incident: The incident.
    """
    plain: dict[str, Any] = to_plain(incident)
    plain["alert_count"] = len(incident.alerts)
    plain["alerts"] = plain["alerts"][:MOST_ALERTS]
    return plain


def runbooks_of(incident: Incident) -> list[str]:
    """The runbooks of an incident's alerts, each once.

    Args:
        incident: The incident.
    """
    return list(dict.fromkeys(alert.runbook for alert in incident.alerts if alert.runbook))


def line(text: str, longest: int = LONGEST_LINE) -> str:
    """Text on one line, with all that is invisible as its code.

    Args:
        text: Any text.
        longest: Characters from which on it is cut.
    """
    shown = visible(" ".join(text.split()))
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def _alert(alert: Alert) -> str:
    count = f" ({alert.count} times)" if alert.count > 1 else ""
    ended = "" if alert.cleared_at is None else " (ended)"
    return f"{alert.kind}: {alert.says}{count}{ended}"


def _labels(incident: Incident) -> dict[str, str]:
    """What Alertmanager tells alerts apart by; none of it changes while an incident is open."""
    labels = {"alertname": "TreadleIncident", "treadle_incident": str(incident.id)}
    if incident.project:
        labels["project"] = incident.project
    if incident.endpoint:
        labels["endpoint"] = line(incident.endpoint)
    return labels
