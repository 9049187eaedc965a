"""The verbs of incidents: what is open, what happened, who attends to it, who is told."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from treadle.cli.output import console, markup, print_json, print_table
from treadle.cli.verbs import Project, Session, add_group, add_verbs, project_named
from treadle.kernel.escaping import shell

if TYPE_CHECKING:
    from treadle.incidents.model import Incident, Message, Review, TimelineEntry
    from treadle.scope.alerting import AlertKind

Number = Annotated[int, typer.Argument(help="The incident's number.", metavar="ID")]
Reason = Annotated[str, typer.Option(help="Why; it is kept in the event.")]
COLOURS = {"page": "red", "ticket": "yellow", "open": "red", "acknowledged": "yellow"}
COLUMNS = ("id", "severity", "state", "where", "since", "alerts", "what")


def add_to(app: typer.Typer) -> None:
    """Add the groups to the app.

    Args:
        app: The app.
    """
    about = "Incidents: what is wrong, what was done about it, and what to do next."
    verbs = (list_, show, ack, note, assign, silence, resolve, review, followup, tick)
    add_group(app, "incident", about, *verbs)
    group = typer.Typer(no_args_is_help=True, help="Who is told of incidents.")
    group.callback()(lambda: None)
    add_verbs(group, test)
    app.add_typer(group, name="notify")


def list_(
    session: Session,
    project: Project = None,
    limit: Annotated[int, typer.Option(help="How many to list at most.")] = 20,
) -> None:
    """List incidents: those that are open first, the most urgent of them first."""
    found = session.services().incidents.find(project=project, limit=limit)
    if session.json:
        print_json(found)
    elif not found:
        console.print("No incident. Alerts open one: see docs/how-to/incidents.md", markup=False)
    else:
        print_table("", COLUMNS, [_row(one) for one in found], colours=COLOURS)


def show(session: Session, incident: Number) -> None:
    """Show an incident: its alerts and timeline, what the loop did, and what to do next."""
    services = session.services()
    found = services.incidents.get(incident=incident)
    timeline = services.incidents.timeline(incident=incident)
    messages = services.incidents.messages(incident=incident)
    if session.json:
        print_json({"incident": found, "timeline": timeline, "messages": messages})
        return
    print_incident(found)
    for alert in found.alerts:
        ended = f", ended {_moment(alert.cleared_at)}" if alert.cleared_at else ""
        text = f"{alert.says} ({alert.count} times since {_moment(alert.since)}{ended})"
        console.print(f"  [bold]{markup(alert.kind)}[/]: {markup(text)}", soft_wrap=True)
    console.print("\n[bold]Timeline[/]")
    for entry in timeline:
        _print_entry(entry)
    _print_messages(messages)
    console.print("\n[bold]Next[/]")
    for step in _next(found, timeline):
        console.print(f"  {markup(step)}", soft_wrap=True)


def ack(session: Session, incident: Number) -> None:
    """Say that you attend to an incident: nobody else is called, and no reminder is sent."""
    _told(session, session.services().incidents.acknowledge(incident=incident))


def note(
    session: Session,
    incident: Number,
    text: Annotated[str, typer.Argument(help="The note.")],
) -> None:
    """Write a note to an incident; it is part of the timeline."""
    _told(session, session.services().incidents.note(incident=incident, text=text))


def assign(
    session: Session,
    incident: Number,
    role: Annotated[str, typer.Argument(help="The role, such as lead.")],
    person: Annotated[str, typer.Argument(help="Who has it; empty for nobody.")],
) -> None:
    """Give somebody a role in an incident."""
    incidents = session.services().incidents
    _told(session, incidents.assign(incident=incident, role=role, person=person))


def silence(
    session: Session,
    until: Annotated[
        str, typer.Option(help="When people are told again: a time, or a duration such as 2h.")
    ],
    project: Project = None,
    endpoint: Annotated[str | None, typer.Option(help="Only alerts about this endpoint.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only alerts of this kind.")] = None,
    severity: Annotated[
        Literal["info", "ticket", "page"] | None,
        typer.Option(help="Only alerts of this severity.", metavar="[info|ticket|page]"),
    ] = None,
    reason: Reason = "",
) -> None:
    """Tell nobody of some incidents for a time; they are opened and listed all the same."""
    services = session.services()
    made = services.incidents.silence(
        project=project_named(services, project),
        until=_until(until),
        endpoint=endpoint,
        kind=_kind(kind),
        severity=severity,
        reason=reason,
    )
    if session.json:
        print_json(made)
    else:
        text = f"{made.id}: nobody is told until {_moment(made.until)}."
        end = shell("treadle", "incidents", "end-silence", "--silence", made.id)
        console.print(f"{text} End it before: {end}", markup=False, soft_wrap=True)


def resolve(session: Session, incident: Number, reason: Reason = "") -> None:
    """Resolve an incident; it is opened again when one of its alerts comes again soon."""
    _told(session, session.services().incidents.resolve(incident=incident, reason=reason))


def review(
    session: Session,
    incident: Number,
    md: Annotated[bool, typer.Option("--md", help="Print it as Markdown.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write it as a page to this file.")] = None,
    close: Annotated[
        bool, typer.Option("--close", help="Close it; needs --aligned or --not-aligned.")
    ] = False,
    aligned: Annotated[
        bool | None,
        typer.Option(
            "--aligned/--not-aligned",
            help="Whether retraining was aligned with the requirements.",
            show_default=False,
        ),
    ] = None,
    summary: Annotated[str, typer.Option(help="With --close: what you say about it.")] = "",
) -> None:
    """Draft an incident's review from facts: impact, times, causes, what the loop did."""
    from treadle.kernel.errors import Invalid
    from treadle.ui.incident_review import review_page, review_text

    reviews = session.services().reviews
    if close and aligned is None:
        raise Invalid(
            "Was retraining aligned with the requirements? Say --aligned or --not-aligned."
        )
    if close and aligned is not None:
        drafted = reviews.close(incident=incident, aligned=aligned, summary=summary)
    else:
        drafted = reviews.draft(incident=incident)
    if html is not None:
        html.write_text(review_page(drafted), encoding="utf-8")
    if session.json:
        print_json(drafted)
    elif md:
        typer.echo(review_text(drafted), nl=False)
    else:
        _print_review(drafted, html)


def followup(
    session: Session,
    incident: Number,
    text: Annotated[str, typer.Argument(help="What is to be done.")],
) -> None:
    """Add something that is to be done after an incident."""
    every = session.services().reviews.add_follow_up(incident=incident, text=text)
    if session.json:
        print_json(every)
    else:
        console.print(f"Follow-up {len(every)} of incident {incident:d} is kept.")


def tick(
    session: Session,
    incident: Number,
    number: Annotated[int, typer.Argument(help="Which follow-up: 1 for the first.")],
) -> None:
    """Say that a follow-up is done."""
    every = session.services().reviews.tick(incident=incident, number=number)
    if session.json:
        print_json(every)
    else:
        left = sum(not one.done for one in every)
        console.print(f"Follow-up {number:d} of incident {incident:d} is done; {left:d} are left.")


def test(session: Session, project: Project = None) -> None:
    """Send a test message by each route of a project, and print what came of it."""
    services = session.services()
    name = project_named(services, project)
    outcomes = services.incidents.test_routes(project=name)
    if session.json:
        print_json(outcomes)
    elif not outcomes:
        console.print(
            "No route is declared. Write one into treadle.toml, such as: "
            '[[notify]] to = "https://example.com/hook"',
            markup=False,
            soft_wrap=True,
        )
    else:
        rows = [(one.route, "sent" if one.sent else "failed", one.error) for one in outcomes]
        colours = {"sent": "green", "failed": "red"}
        print_table("", ("route", "outcome", "error"), rows, colours=colours)
    if any(not one.sent for one in outcomes):
        raise typer.Exit(1)


def print_incident(incident: "Incident") -> None:
    """Print an incident on one line, without what its alerts say.

    Args:
        incident: The incident.
    """
    kinds = ", ".join(dict.fromkeys(alert.kind for alert in incident.alerts))
    colour = COLOURS.get(incident.severity, "dim")
    place = incident.endpoint or incident.project or "no project"
    more = f", acknowledged by {incident.acknowledged_by}" if incident.acknowledged_by else ""
    more += f", silenced until {_moment(until)}" if (until := incident.silenced_until) else ""
    console.print(
        f"[bold]Incident {incident.id:d}[/] [{colour}]{markup(incident.severity)}[/] "
        f"{markup(incident.state)} "
        f"{markup(place)}: {markup(kinds)}, "
        f"since {markup(_moment(incident.began_at))}{markup(more)}",
        soft_wrap=True,
    )


def _row(incident: "Incident") -> tuple[object, ...]:
    place = incident.endpoint or incident.project or ""
    facts = (incident.id, incident.severity, incident.state, place, _moment(incident.began_at))
    return (*facts, len(incident.alerts), incident.title)


def _told(session: Session, incident: "Incident") -> None:
    if session.json:
        print_json(incident)
    else:
        print_incident(incident)


def _print_entry(entry: "TimelineEntry") -> None:
    console.print(
        f"  [dim]{markup(_moment(entry.at))}[/]  [bold]{markup(entry.what)}[/] "
        f"{markup(entry.says)} "
        f"[dim]{markup(entry.actor)}, event {entry.event:d}[/]",
        soft_wrap=True,
    )


def _print_messages(messages: "list[Message]") -> None:
    failed = [one for one in messages if one.error]
    for one in failed:
        again = f"tried again at {_moment(one.next_at)}" if one.state == "waiting" else one.state
        text = f"{one.change} was not told to {one.route}: {one.error} ({again})"
        console.print(f"  [red]{markup(text)}[/]", soft_wrap=True)


def _next(incident: "Incident", timeline: "list[TimelineEntry]") -> list[str]:
    """What people can do next about an incident."""
    from treadle.incidents.notices import runbooks_of

    number = incident.id
    steps = [f"Follow the runbook: {book}" for book in runbooks_of(incident)]
    if incident.state == "resolved":
        return [*steps, f"Review it: {shell('treadle', 'incident', 'review', number)}"]
    if incident.state == "open":
        steps.append(f"Say that you attend to it: {shell('treadle', 'incident', 'ack', number)}")
    decided = [entry for entry in timeline if entry.what == "decision"]
    if decided and not decided[-1].says.startswith("acted"):
        steps.append(f"The loop left it to people: {decided[-1].says}")
    steps.append(f"See what led to it: {shell('treadle', 'incident', 'review', number)}")
    steps.append(
        f"When it is over: {shell('treadle', 'incident', 'resolve', number)} (it resolves itself "
        "when its alerts have ended)"
    )
    return steps


def _print_review(review: "Review", html: Path | None) -> None:
    from treadle.ui.incident_review import facts_of, share

    print_table(f"Incident {review.incident.id}", ("fact", "value"), facts_of(review))
    if review.budgets:
        rows = [(one.slo, one.bad, one.total, share(one.share)) for one in review.budgets]
        print_table("\nError budgets", ("objective", "bad", "of", "budget spent"), rows)
    for title, entries in (("led to it", review.causes), ("the loop did", review.decisions)):
        console.print(f"\n[bold]What {markup(title)}[/]")
        for entry in entries:
            _print_entry(entry)
    for number, one in enumerate(review.follow_ups, 1):
        done = "done" if one.done else "to do"
        console.print(f"{number:d}. {markup(one.text)} ({markup(done)})", soft_wrap=True)
    if html is not None:
        console.print(f"Written to '{html}'.", markup=False, soft_wrap=True)
    elif not review.closed:
        close = shell("treadle", "incident", "review", review.incident.id, "--close", "--aligned")
        console.print(f"Close it: {close} (or --not-aligned)", markup=False, soft_wrap=True)


def _until(text: str) -> datetime:
    """A moment, given as such or as a duration from now."""
    from treadle.kernel.clock import SystemClock, duration
    from treadle.kernel.errors import Invalid

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        length: timedelta = duration(text)
        try:
            return SystemClock().now() + length
        except OverflowError as error:
            raise Invalid(f"'{text}' from now is in no calendar. Name a time before.") from error
    if moment.tzinfo is None:
        raise Invalid(f"'{text}' names no time zone. Write it as in 2026-03-01T08:00:00Z.")
    return moment


def _kind(text: str | None) -> "AlertKind | None":
    from treadle.kernel.errors import Invalid, did_you_mean
    from treadle.scope.alerting import ALERT_KINDS

    known = next((kind for kind in ALERT_KINDS if kind == text), None)
    if text is not None and known is None:
        raise Invalid(f"There is no kind of alert '{text}'.{did_you_mean(text, ALERT_KINDS)}")
    return known


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"
