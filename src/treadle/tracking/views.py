"""Searches under a name, so that a team looks at the same table."""

from typing import Any

from sqlalchemy import delete, select

from treadle.kernel.clock import Clock
from treadle.kernel.entity import from_json, to_text
from treadle.kernel.errors import Invalid, NotFound, did_you_mean
from treadle.kernel.event import current_act
from treadle.kernel.names import ExperimentId, ProjectName
from treadle.kernel.operation import command, query
from treadle.ports.database import Database, in_sight, load
from treadle.tracking.language import parse, parse_orders
from treadle.tracking.model import RunPage, SavedView
from treadle.tracking.run_tables import fields_of_columns
from treadle.tracking.service import Tracking
from treadle.tracking.tables import saved_views


class Views:
    """Saved searches over runs."""

    def __init__(self, database: Database, clock: Clock, tracking: Tracking) -> None:
        self._database, self._clock, self._tracking = database, clock, tracking

    @command()
    def save(
        self,
        *,
        name: str,
        project: ProjectName,
        experiments: list[ExperimentId],
        filter: str = "",
        order: list[str] | None = None,
        columns: list[str] | None = None,
    ) -> SavedView:
        """Keep a search under a name in a project; what had that name there is replaced.

        ``columns`` are the fields that its table shows, such as ``params.lr``. A filter that
        cannot be read is refused now.

        Args:
            name: Name of the view.
            project: Project that the view belongs to.
            experiments: Numbers of the experiments that it searches.
            filter: Condition on runs, as in a search.
            order: Fields to sort by, as in a search.
            columns: Fields to show.

        Raises:
            Invalid: The name or the project is empty or too long, or the filter or a field
                cannot be read.
        """
        if not name.strip() or len(name) > 200 or len(project) > 63 or not project:
            raise Invalid("A view needs a name of 1 to 200 characters and a project.")
        parse(filter)
        parse_orders(order or [])
        fields_of_columns(columns or [])
        lists = {"experiments": experiments, "order": order or [], "columns": columns or []}
        row: dict[str, Any] = {
            "name": name,
            "project": project,
            "filter": filter,
            "by": current_act().actor,
        }
        row |= {
            "updated_at": self._clock.now(),
            **{key: to_text(value) for key, value in lists.items()},
        }
        with self._database.write() as transaction:
            here = (saved_views.c.project == project) & (saved_views.c.name == name)
            transaction.execute(delete(saved_views).where(here))
            transaction.execute(saved_views.insert().values(row))
        return self.get(name=name, project=project)

    @query()
    def find(self, *, project: ProjectName | None = None) -> list[SavedView]:
        """Views by project and name, of one project if given.

        Args:
            project: Only those of this project.
        """
        wanted = select(saved_views).where(in_sight(saved_views.c.project))
        wanted = wanted.order_by(saved_views.c.project, saved_views.c.name)
        with self._database.read() as connection:
            rows = connection.execute(
                wanted if project is None else wanted.where(saved_views.c.project == project)
            )
            return [_view(row) for row in rows.mappings()]

    @query()
    def get(self, *, name: str, project: ProjectName) -> SavedView:
        """One view.

        Args:
            name: Name of the view.
            project: Project that the view belongs to.

        Raises:
            NotFound: The project has no such view.
        """
        here = (saved_views.c.project == project) & (saved_views.c.name == name)
        with self._database.read() as connection:
            row = connection.execute(select(saved_views).where(here)).mappings().one_or_none()
        if row is None:
            raise NotFound(
                f"Project '{project}' has no view "
                f"'{name}'.{did_you_mean(name, [one.name for one in self.find(project=project)])}"
            )
        return _view(row)

    @query()
    def look(self, *, name: str, project: ProjectName, limit: int = 100, page: str = "") -> RunPage:
        """The runs that a view finds now; ``page`` is what the page before gave as ``next``.

        Args:
            name: Name of the view.
            project: Project that the view belongs to.
            limit: The most runs on a page.
            page: Token that the page before gave as `next`; empty for the first.

        Raises:
            NotFound: The project has no such view.
        """
        view = self.get(name=name, project=project)
        return self._tracking.search(
            experiments=view.experiments,
            filter=view.filter,
            order=view.order,
            limit=limit,
            page=page,
        )

    @command()
    def remove(self, *, name: str, project: ProjectName) -> None:
        """Forget a view; its runs stay.

        Args:
            name: Name of the view.
            project: Project that the view belongs to.

        Raises:
            NotFound: The project has no such view.
        """
        self.get(name=name, project=project)
        with self._database.write() as transaction:
            here = (saved_views.c.project == project) & (saved_views.c.name == name)
            transaction.execute(delete(saved_views).where(here))


def _view(row: Any) -> SavedView:
    lists = {key: from_json(row[key], list[str]) for key in ("order", "columns")}
    return load(SavedView, row, experiments=from_json(row["experiments"], list[int]), **lists)
