"""The verb that erases a person: ``treadle data erase --subject KEY=VALUE``."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from treadle.cli.data_places import MOST_SHOWN
from treadle.cli.output import console, errors, markup, print_json, print_table, progress_bar
from treadle.cli.verbs import Session
from treadle.kernel.errors import Conflict, Invalid, NotFound

if TYPE_CHECKING:
    from treadle.data.erasing.model import Erasure, ErasurePlan, NotLookedInto
    from treadle.data.erasing.subject import Subject
    from treadle.platform.stages import Services

WORD = "erase"
"""What a person types who means it."""
ASKED_EVERY_SECONDS = 0.5


def erase(
    session: Session,
    subject: Annotated[
        list[str] | None,
        typer.Option(
            "--subject",
            metavar="KEY=VALUE",
            help="A column and its value; rows that have any of several are erased.",
        ),
    ] = None,
    project: Annotated[
        str | None,
        typer.Option("--project", help="Only within this project (default: the whole home)."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be erased.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Erase without asking.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an erasure that was stopped.")
    ] = False,
    abandon: Annotated[
        bool, typer.Option("--abandon", help="Give up an erasure that was stopped.")
    ] = False,
) -> None:
    """Erase a person's rows from all dataset versions, logs, features and tables of steps."""
    services = session.services()
    if resume or abandon:
        _go_on(session, services, project, abandon=abandon)
        return
    subjects = _subjects(subject)
    plan = _planned(session, services, subjects, project)
    if dry_run or not plan.places:
        _show(session, plan)
        if not plan.places and not session.json:
            console.print("No row that can be looked into has such a value.")
        return
    if not yes:
        _ask(session, plan)
    _print_done(session, _erased(session, services, subjects, project))


def _subjects(texts: list[str] | None) -> "list[Subject]":
    from treadle.data.erasing.subject import parsed

    if not texts:
        raise Invalid("Whose rows are meant? treadle data erase --subject KEY=VALUE --dry-run")
    return [parsed(text) for text in texts]


def _planned(
    session: Session, services: "Services", subjects: "list[Subject]", project: str | None
) -> "ErasurePlan":
    from treadle.data.erasing.local import LocalErasures

    if isinstance(services.erasure, LocalErasures):
        with progress_bar(session.json) as progress:
            return services.erasure.planned(subjects, project, progress)
    return services.erasure.plan(subjects=subjects, project=project)


def _erased(
    session: Session, services: "Services", subjects: "list[Subject]", project: str | None
) -> "Erasure":
    from treadle.data.erasing.local import LocalErasures

    if isinstance(services.erasure, LocalErasures):
        with progress_bar(session.json) as progress:
            begun = services.erasure.begin(subjects, project, progress)
            return services.erasure.finish(begun.id, progress)
    begun = services.erasure.start(subjects=subjects, project=project)
    return _awaited(session, services, begun)


def _go_on(session: Session, services: "Services", project: str | None, *, abandon: bool) -> None:
    """Go on with the erasures that were stopped, or give them up."""
    from treadle.data.erasing.local import LocalErasures

    every = services.erasure.erasures(project=project)
    stopped = [one for one in every if one.state == "erasing"]
    if not stopped:
        raise NotFound("No erasure was stopped: there is nothing to go on with.")
    for one in stopped:
        if abandon:
            _print_done(session, services.erasure.abandon(erasure=one.id))
        elif isinstance(services.erasure, LocalErasures):
            with progress_bar(session.json) as progress:
                _print_done(session, services.erasure.finish(one.id, progress))
        else:
            resumed = services.erasure.resume(erasure=one.id)
            _print_done(session, _awaited(session, services, resumed))


def _awaited(session: Session, services: "Services", begun: "Erasure") -> "Erasure":
    """Wait until a worker has done an erasure."""
    found = begun
    with progress_bar(session.json) as progress:
        while found.state == "erasing":
            progress(f"erasing ({begun.id})", len(found.contents), 0)
            _refuse_failed(services, found)
            time.sleep(ASKED_EVERY_SECONDS)
            found = services.erasure.get(erasure=begun.id)
    return found


def _refuse_failed(services: "Services", erasure: "Erasure") -> None:
    """Refuse to wait for a job that has ended without success."""
    job = services.jobs.get(job=erasure.job)
    if job.ended and job.state != "succeeded":
        raise Conflict(
            f"Erasure '{erasure.id}' is not done: its job {job.id} {job.state} ({job.error}). Let "
            "it go on with: treadle data erase --resume; or give it up: treadle data erase "
            "--abandon"
        )


def _ask(session: Session, plan: "ErasurePlan") -> None:
    if session.json or not console.is_terminal:
        raise Conflict(
            f"{plan.rows:,} rows would be erased for good. Look at them with --dry-run, and say "
            "--yes to erase them."
        )
    _show(session, plan)
    console.print(
        f"This cannot be undone. Type [bold]{markup(WORD)}[/] to erase {plan.rows:,} rows:"
    )
    if input().strip() != WORD:
        raise Conflict("Nothing was erased.")


def _show(session: Session, plan: "ErasurePlan") -> None:
    if session.json:
        print_json(plan)
        return
    cells = [(place.what, place.digest[:12], f"{place.rows:,}") for place in plan.places]
    print_table("", ("place", "content", "rows"), cells)
    for model in plan.models:
        live = f" (live on {', '.join(model.endpoints)})" if model.endpoints else ""
        console.print(f"learnt from them: {markup(model.version + live)}", soft_wrap=True)
    _print_left(plan.left)


def _print_left(left: "list[NotLookedInto]") -> None:
    """What may hold the rows: what certainly has the value comes first."""
    ordered = sorted(left, key=lambda one: not one.has_value)
    for one in ordered[:MOST_SHOWN]:
        sign = "[bold red]has the value[/]" if one.has_value else "not looked into"
        files = f" ({one.files:,})" if one.files > 1 else ""
        told = f"{one.what}{files}: {one.why}"
        console.print(f"{sign}: {markup(told)}", soft_wrap=True)
    if len(left) > MOST_SHOWN:
        console.print(f"… and {len(left) - MOST_SHOWN:,} more; --json lists them all")


def _print_done(session: Session, done: "Erasure") -> None:
    if session.json:
        print_json(done)
        return
    given_up = "; abandoned: rows may be left" if done.state == "abandoned" else ""
    erased = f"{done.rows:,} rows erased{given_up}"
    console.print(f"[bold]{markup(done.id)}[/]: {markup(erased)}", soft_wrap=True)
    for model in done.models:
        live = f" (live on {', '.join(model.endpoints)})" if model.endpoints else ""
        console.print(f"marked: {markup(model.version + live)} has learnt from them")
    _print_left(done.left)
    if done.left:
        errors.print("Look at these yourself; backups hold the rows until you remove them.")
