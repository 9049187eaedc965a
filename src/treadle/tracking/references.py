"""Finds the run that a person means by an id, the beginning of one, or a name."""

from sqlalchemy import ColumnElement, select

from treadle.kernel.errors import Invalid, NotFound, did_you_mean
from treadle.kernel.names import ProjectName
from treadle.kernel.operation import query
from treadle.ports.database import in_sight
from treadle.tracking.model import Run
from treadle.tracking.records import records
from treadle.tracking.runs import Runs
from treadle.tracking.tables import runs

MOST_NAMED, MOST_NEAR = 6, 500


class RunReferences(Runs):
    """Resolves what people type for a run."""

    @query()
    def resolve(self, *, ref: str, project: ProjectName | None = None) -> Run:
        """One run by its id, the beginning of its id that no other run has, or its name.

        Args:
            ref: The id, with or without `run_`; its beginning; or a name that one run has.
            project: Look only at runs of this project.

        Raises:
            NotFound: There is no such run.
            Invalid: Several runs are meant; the error names them.
        """
        for meant in (runs.c.id == ref, runs.c.name == ref, _begins(ref)):
            found = self._shown(meant, project)
            if len(found) > 1:
                raise Invalid(_several(ref, found))
            if found:
                return found[0]
        raise NotFound(f"There is no run '{ref}' here.{did_you_mean(ref, self._near(project))}")

    def _shown(self, meant: ColumnElement[bool], project: str | None) -> list[Run]:
        """The newest active runs in sight that satisfy a condition."""
        wanted = select(runs).where(meant, runs.c.deleted_at.is_(None), in_sight(runs.c.project))
        if project is not None:
            wanted = wanted.where(runs.c.project == project)
        wanted = wanted.order_by(runs.c.number.desc()).limit(MOST_NAMED)
        with self._database.read() as connection:
            return [one.run() for one in records(connection, connection.execute(wanted).all())]

    def _near(self, project: str | None) -> set[str]:
        """Names and ids of the newest runs, from which the near miss is chosen."""
        newest = self.find(project=project, limit=MOST_NEAR)
        return {run.name for run in newest} | {run.id for run in newest}


def _begins(ref: str) -> ColumnElement[bool]:
    """The condition that an id begins with a text, with or without what all ids begin with."""
    whole = ref if ref.startswith("run_") else f"run_{ref}"
    return runs.c.id.startswith(ref, autoescape=True) | runs.c.id.startswith(whole, autoescape=True)


def _several(ref: str, found: list[Run]) -> str:
    listed = ", ".join(run.id for run in found[: MOST_NAMED - 1])
    more = " and more" if len(found) == MOST_NAMED else ""
    return f"'{ref}' means several runs: {listed}{more}. Give one of these ids, or more of it."
