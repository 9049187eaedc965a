"""The verbs of features: how fresh views are, and what is stored of one entity."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from treadle.cli.output import console, print_json, print_table, show_duration
from treadle.cli.verbs import Project, Session, project_named

if TYPE_CHECKING:
    from treadle.features.model import ViewFreshness

COLOURS = {"ok": "green", "late": "red"}
NO_VIEWS = (
    "No feature view is declared. Write one into treadle.toml, [features.NAME], and call "
    "'treadle apply'."
)


def show(session: Session, project: Project = None) -> None:
    """List feature views with the age of their newest fact online, beside their objective."""
    services = session.services()
    found = services.features.freshness(project=project_named(services, project))
    if session.json:
        print_json(found)
    elif not found:
        console.print(NO_VIEWS, markup=False, soft_wrap=True)
    else:
        columns = ("view", "keys online", "newest fact", "age", "objective", "freshness")
        print_table("", columns, [_row(one) for one in found], colours=COLOURS)


def get(
    session: Session,
    view: Annotated[str, typer.Argument(help="The feature view.")],
    key: Annotated[
        list[str] | None,
        typer.Option(
            help="A key of the entity as NAME=VALUE. Repeat it where the view has several.",
            metavar="NAME=VALUE",
        ),
    ] = None,
    project: Project = None,
) -> None:
    """Show the features of one entity as they are stored now."""
    services = session.services()
    entity = dict(_pair(text) for text in key or [])
    (found,) = services.features.read(
        project=project_named(services, project), view=view, keys=[entity]
    )
    if session.json:
        print_json(found)
        return
    print_table("", ("feature", "value"), sorted(found.features.items()))
    if found.age_seconds is None:
        text = "Nothing is stored for this entity that still counts."
    else:
        text = f"The event was {show_duration(found.age_seconds)} ago."
    console.print(text, markup=False, soft_wrap=True)


def _row(one: "ViewFreshness") -> tuple[Any, ...]:
    objective = one.objective_seconds
    return (
        one.view,
        one.rows,
        one.newest,
        None if one.age_seconds is None else show_duration(one.age_seconds),
        None if objective is None else show_duration(objective),
        one.state,
    )


def _pair(text: str) -> tuple[str, str]:
    from treadle.kernel.errors import Invalid

    name, equals, value = text.partition("=")
    if not equals:
        raise Invalid(f"'{text}' is no key. Write it as NAME=VALUE.")
    return name, value
