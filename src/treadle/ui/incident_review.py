"""Writes an incident's review as Markdown and as a page that prints well."""

from treadle.incidents.model import Review, TimelineEntry
from treadle.incidents.notices import runbooks_of
from treadle.kernel.escaping import markdown
from treadle.ui.durations import duration_of
from treadle.ui.rendering import render


def review_page(review: Review) -> str:
    """A review as HTML without scripts, style sheets or pictures from elsewhere.

    Args:
        review: The review.
    """
    return render(
        "incident_review.html",
        review=review,
        incident=review.incident,
        facts=facts_of(review),
        runbooks=runbooks_of(review.incident),
    )


def review_text(review: Review) -> str:
    """A review as Markdown.

    Args:
        review: The review.
    """
    incident = review.incident
    lines = [f"# Incident {incident.id}: {markdown(incident.title)}", ""]
    lines += [f"- **{name}**: {markdown(text)}" for name, text in facts_of(review)]
    if review.summary:
        lines += ["", markdown(review.summary)]
    if review.budgets:
        lines += ["", "## Error budgets", "", "| objective | bad | of | budget spent |"]
        lines += ["|---|---|---|---|"]
        lines += [
            f"| {markdown(one.slo)} | {one.bad} | {one.total} | {share(one.share)} |"
            for one in review.budgets
        ]
    lines += [
        "",
        "## Alerts",
        "",
        "| what | says | times | from | ended |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {alert.kind} | {markdown(alert.says)} | {alert.count} | {alert.first_at:%Y-%m-%d %H:%M}"
        f" | {alert.cleared_at.strftime('%Y-%m-%d %H:%M') if alert.cleared_at else 'holds'} |"
        for alert in incident.alerts
    ]
    lines += _entries("What led to it", review.causes)
    lines += _entries("What the loop did", review.decisions)
    lines += _entries("Timeline", review.timeline)
    lines += ["", "## Follow-ups", ""]
    lines += [
        f"- [{'x' if one.done else ' '}] {markdown(one.text)}" for one in review.follow_ups
    ] or ["None yet."]
    return "\n".join(lines) + "\n"


def facts_of(review: Review) -> list[tuple[str, str]]:
    """The facts at a review's top, as names and texts.

    Args:
        review: The review.
    """
    incident = review.incident
    place = ", ".join(filter(None, [incident.project, incident.endpoint]))
    roles = ", ".join(f"{role}: {who}" for role, who in incident.roles.items())
    answered = "not known" if review.answered is None else f"{review.answered:,}"
    aligned = {None: "not said yet", True: "yes", False: "no"}[review.aligned]
    times = f" {incident.times_opened} times" if incident.times_opened > 1 else ""
    facts = [
        ("Where", place or "no project"),
        ("Severity", incident.severity),
        ("State", incident.state + (f", opened{times}" if times else "")),
        ("Opened", f"{incident.opened_at:%Y-%m-%d %H:%M} UTC"),
        ("Detected after", span(review.detected_after_seconds)),
        ("Acknowledged after", span(review.acknowledged_after_seconds)),
        ("Resolved after", span(review.resolved_after_seconds)),
        ("Predictions answered meanwhile", answered),
        ("Roles", roles),
        ("Retraining aligned with requirements", aligned),
    ]
    return [(name, text) for name, text in facts if text]


def span(seconds: float | None) -> str:
    """A time between two moments of an incident, in words.

    Args:
        seconds: The seconds; None for what has not happened.
    """
    return "not yet" if seconds is None else duration_of(round(seconds))


def share(value: float | None) -> str:
    """A share of an error budget as text.

    Args:
        value: The share; None without events.
    """
    return "no data" if value is None else f"{value:.1%}"


def _entries(title: str, entries: list[TimelineEntry]) -> list[str]:
    lines = ["", f"## {title}", ""]
    told = [
        f"- {entry.at:%Y-%m-%d %H:%M} **{markdown(entry.what)}** {markdown(entry.says)} "
        f"({markdown(entry.actor)}, event {entry.event})"
        for entry in entries
    ]
    return [*lines, *(told or ["Nothing."])]
