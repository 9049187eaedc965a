"""Finds the projects whose trainings made a content."""

from sqlalchemy import or_, select

from treadle.kernel.stage import PROJECTS_OF_CONTENT
from treadle.ports.database import Database
from treadle.ports.naming import DIGEST, projects_naming
from treadle.training.tables import answered_rows, trainings

_TRAININGS = (
    select(trainings.c.project)
    .where(or_(trainings.c.package == DIGEST, trainings.c.holdout == DIGEST))
    .distinct()
)
_ANSWERS = select(answered_rows.c.project).where(answered_rows.c.digest == DIGEST).distinct()


class TrainingNames:
    """Looks up trainings by what they made."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @PROJECTS_OF_CONTENT()
    def of_content(self, digest: str) -> set[str]:
        """The projects whose trainings made this package or this holdout table.

        Args:
            digest: Digest of the content.
        """
        return projects_naming(self._database, _TRAININGS, digest)

    @PROJECTS_OF_CONTENT()
    def of_answers(self, digest: str) -> set[str]:
        """The projects whose labelled answers are in this content.

        Args:
            digest: Digest of the content.
        """
        return projects_naming(self._database, _ANSWERS, digest)
