"""The verbs status and why: where each stage stands, and what led to it."""

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from treadle.cli import completing
from treadle.cli.incident import print_incident
from treadle.cli.output import console, markup, print_json, print_table, show
from treadle.cli.slo import print_objectives
from treadle.cli.verbs import Project, Session

if TYPE_CHECKING:
    from treadle.delivery.model import Endpoint
    from treadle.events.model import EventRecord
    from treadle.loop.model import Concern, ProjectStatus, RequirementStatus
    from treadle.training.model import NewRows

CONFINED = {
    "namespaces": "namespaces: steps see their inputs only, and no network unless declared",
    "landlock": "landlock: the kernel refuses steps other files and TCP; not UDP, nor shared ids",
    "off": "off: steps have the rights of the server's user",
}
LONGEST_FACT = 160
"""Characters of an event's fact that 'why' shows."""


def status(
    session: Session,
    project: Project = None,
) -> None:
    """Show the wheel: each stage, each requirement, what is live, what waits for whom."""
    services = session.services()
    names = [project] if project else [known.name for known in services.scope.projects()]
    wheels = [services.loop.status(project=name) for name in names]
    if session.json:
        print_json(wheels)
        return
    if not wheels:
        console.print("No project yet. Make one with: treadle init NAME")
    for wheel in wheels:
        _print_status(wheel)


def why(
    session: Session,
    subject: Annotated[
        str,
        typer.Argument(
            help="What to ask about, such as NAME@champion, NAME:3 or an endpoint.",
            autocompletion=completing.SUBJECTS,
        ),
    ],
) -> None:
    """Walk from a thing's newest event up the chain of causes."""
    thread = session.services().events.why(subject=subject)
    if session.json:
        print_json(thread)
        return
    console.print(f"[bold]Why {markup(subject)}?[/]")
    for depth, record in enumerate(thread.events):
        indent, lead = "  " * depth, "" if depth == 0 else "because "
        console.print(
            f"{indent}{lead}[bold]{markup(record.type)}[/] {_words(record)}", soft_wrap=True
        )
        told = f"event {record.number}, {record.at:%Y-%m-%d %H:%M}, by {markup(record.actor)}"
        console.print(f"{indent}[dim]{told}[/]")
    for record in thread.signatures:
        thing = record.subject.partition(":")[2]
        comment = record.body.get("comment") or "without a comment"
        console.print(
            f"[bold]{markup(thing)} was signed by {markup(record.actor)}[/], "
            f"{record.at:%Y-%m-%d %H:%M}: "
            f"[cyan]{markup(comment)}[/]",
            soft_wrap=True,
        )


def _registered(wheel: "ProjectStatus") -> str | None:
    if wheel.champion is not None:
        return f"champion is {wheel.champion.ref}"
    return f"{wheel.rollout.version}; no champion yet" if wheel.rollout else None


def _print_status(wheel: "ProjectStatus") -> None:
    problem, owner = markup(wheel.problem), markup(wheel.owner)
    console.print(f"[bold]{markup(wheel.project)}[/]  {problem}  [dim]{owner}[/]", soft_wrap=True)
    training, verdict, rollout, window = wheel.training, wheel.verdict, wheel.rollout, wheel.window
    stages = [
        ("train", f"{training.state} ({training.run})" if training else None),
        ("sandbox", wheel.sandbox and CONFINED[wheel.sandbox]),
        ("evaluate", f"{verdict.outcome}: {verdict.reason}" if verdict else None),
        ("register", _registered(wheel)),
        ("deploy", f"{rollout.version} {rollout.state} {rollout.reason}" if rollout else None),
        *(("serve", _served(endpoint)) for endpoint in wheel.endpoints),
        (
            "monitor",
            f"{window.rows} answers, {window.errors} errors until {window.end:%Y-%m-%d %H:%M}; "
            f"{_bounds(wheel.concerns)}"
            if window
            else None,
        ),
    ]
    print_table("", ("stage", "now"), stages)
    rows = [
        (*(one.id, one.says, one.bound, one.value, one.met), _estimated(one))
        for one in wheel.requirements
    ]
    columns = ("id", "says", "bound", "last measured", "met", "estimated without labels")
    if rows:
        print_table("\nRequirements", columns, rows)
    if wheel.objectives:
        print_objectives("\nObjectives", wheel.objectives)
    new = wheel.new_rows
    if new is not None and (rows or new.labels or new.unmatched):
        console.print(_came(new), soft_wrap=True)
    for incident in wheel.incidents:
        print_incident(incident)
    for concern in wheel.concerns:
        _print_concern(concern)
    for wait in wheel.waiting:
        console.print(f"[yellow]→[/] {markup(wait)}", soft_wrap=True)
    console.print()


def _bounds(concerns: "list[Concern]") -> str:
    """How many things are out of bounds, by kind."""
    kinds = Counter(concern.kind for concern in concerns)
    told = [kind if count == 1 else f"{count}x {kind}" for kind, count in kinds.items()]
    return ", ".join(told) or "nothing out of bounds"


def _print_concern(concern: "Concern") -> None:
    span = "window" if concern.windows == 1 else "windows"
    console.print(
        f"[red]![/] [bold]{markup(concern.kind)}[/]: {markup(concern.says)}", soft_wrap=True
    )
    facts = [
        f"since {concern.since:%Y-%m-%d %H:%M}, {concern.windows} {span}, "
        f"{concern.rows:,} answers in the newest",
        concern.harm,
        f"the loop {concern.decision}" if concern.decision else "the loop has not decided yet",
    ]
    for fact in facts:
        console.print(f"    [dim]{markup(fact)}[/]", soft_wrap=True)


def _served(endpoint: "Endpoint") -> str:
    """Where an endpoint answers, why it cannot serve what is wanted, and which replicas died."""
    text = f"{endpoint.name} at {', '.join(endpoint.urls) or 'no process'}"
    faults = [endpoint.fault] if endpoint.fault else []
    faults += [exits.says for exits in endpoint.exits]
    return f"{text}: {'; '.join(faults)}" if faults else text


def _estimated(requirement: "RequirementStatus") -> str | None:
    """A metric's estimate, with the time it is of."""
    if requirement.estimate is None or requirement.estimated_at is None:
        return None
    return f"{show(requirement.estimate)} until {requirement.estimated_at:%Y-%m-%d %H:%M}"


def _came(new: "NewRows") -> str:
    """What has come since the champion was trained, in a line."""
    text = f"[dim]{new.labels} labelled answers are new to the champion"
    if new.unmatched:
        text += f"; {new.unmatched} labels name no answered request, such as "
        text += ", ".join(f"'{markup(id)}'" for id in new.examples[:3])
    return text + "[/]"


def _words(record: "EventRecord") -> str:
    """An event's own facts in one line, without the digests and what is empty."""
    facts = []
    for name, value in record.body.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        if isinstance(value, dict) or value in (None, "", []) or _is_digest(text):
            continue
        if isinstance(value, float):
            text = show(value)
        elif len(text) > LONGEST_FACT:
            text = f"{text[:LONGEST_FACT]} …"
        facts.append(f"{name} [cyan]{markup(text)}[/]")
    return ", ".join(facts)


def _is_digest(text: str) -> bool:
    return len(text) == 64 and text.isalnum()
