"""Every event bears its project."""

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

EVERYWHERE = "*"
AT_ONCE = 1_000
THINGS = {
    **dict.fromkeys(("version", "alias"), ("model", "model")),
    "model": ("model", "name"),
    **{kind: (kind, kind) for kind in ("endpoint", "run", "experiment", "pipeline", "job")},
}
"""By the kind that a subject begins with: the kind of thing, and the body's field that names it."""

events = sa.table(
    "events",
    sa.column("number", sa.BigInteger),
    sa.column("type", sa.String),
    sa.column("subject", sa.String),
    sa.column("cause", sa.BigInteger),
    sa.column("body", sa.Text),
    sa.column("project", sa.String),
)
runs = sa.table("runs", sa.column("id", sa.String), sa.column("project", sa.String))


def upgrade() -> None:
    """Add each event's project, and tell it for the events that are there."""
    op.add_column("events", sa.Column("project", sa.String(length=63), nullable=True))
    connection = op.get_bind()
    fill = events.update().where(events.c.number == sa.bindparam("n"))
    projects = Projects(connection)
    for page in _pages(connection):
        told = [{"n": row.number, "p": projects.of(row)} for row in page]
        known = [values for values in told if values["p"] is not None]
        if known:
            connection.execute(fill.values(project=sa.bindparam("p")), known)
    op.create_index("events_by_project", "events", ["project", "number"], unique=False)


class Projects:
    """What the log has told so far of which project things belong to.

    Read it in order: names are given again, also in another project.
    """

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._of_thing: dict[tuple[str, Any], str] = {}
        self._of_event: dict[int, str] = {}
        self._projects: set[str] = set()

    def of(self, row: Any) -> str | None:
        """The project of the next entry: as it says, or that of its thing, or that of its cause.

        Args:
            row: Row of ``events``, with its number, type, subject, cause and body.

        Returns:
            The project, at most 63 characters; None where nothing tells.
        """
        body = _body(row)
        thing = self._thing(row, body)
        said = body.get("project")
        project = said if said and said != EVERYWHERE else self._known(row, body, thing)
        if project is not None:
            project = str(project)[:63]
            self._of_event[row.number] = project
            self._projects.add(project)
            if thing is not None:
                self._of_thing[thing] = project
        return project

    def _thing(self, row: Any, body: dict[str, Any]) -> tuple[str, Any] | None:
        kind, field = THINGS.get(row.subject.partition(":")[0], ("", ""))
        return (kind, body[field]) if body.get(field) is not None else None

    def _known(self, row: Any, body: dict[str, Any], thing: Any) -> str | None:
        if thing is None:
            return None
        if row.type == "ModelRenamed":
            thing = ("model", body.get("before"))
        if row.type == "EndpointCreated":  # its name may have been another project's
            thing = ("model", body.get("model"))
        if thing in self._of_thing:
            return self._of_thing[thing]
        if thing[0] == "job":
            return self._of_event.get(row.cause)
        if thing[0] == "run":  # one that came from elsewhere
            here = sa.select(runs.c.project).where(runs.c.id == thing[1])
            return self._connection.scalar(here)
        # models and endpoints are named like their project unless somebody says otherwise
        named = [body.get("model"), body.get("endpoint")]
        return next((name for name in named if name in self._projects), None)


def _body(row: Any) -> dict[str, Any]:
    """An entry's body; nothing where it was damaged, which is the chain's to tell."""
    try:
        body = json.loads(row.body)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _pages(connection: sa.Connection) -> Iterator[Any]:
    last = 0
    wanted = sa.select(events).order_by(events.c.number).limit(AT_ONCE)
    while page := connection.execute(wanted.where(events.c.number > last)).all():
        yield page
        last = page[-1].number
