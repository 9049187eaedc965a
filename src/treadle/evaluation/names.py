"""Finds the project of verdicts that a request names."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import or_, select

from treadle.evaluation.tables import evaluations
from treadle.kernel.stage import PROJECT_OF, PROJECTS_OF_CONTENT
from treadle.ports.database import Database
from treadle.ports.naming import DIGEST, look_up, projects_naming

_NAMING = (
    select(evaluations.c.project)
    .where(or_(evaluations.c.package == DIGEST, evaluations.c.holdout == DIGEST))
    .distinct()
)


class VerdictNames:
    """Looks up the projects of verdicts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @PROJECT_OF("verdict")
    def verdict(self, id: str, _: Mapping[str, Any]) -> str:
        """The project of a verdict, given or asked for.

        Args:
            id: Id of the verdict.
        """
        return str(look_up(self._database, evaluations.c.project, evaluations.c.id, id))

    @PROJECTS_OF_CONTENT()
    def of_content(self, digest: str) -> set[str]:
        """The projects in which this package was judged, or another on this holdout table.

        Args:
            digest: Digest of the content.
        """
        return projects_naming(self._database, _NAMING, digest)
