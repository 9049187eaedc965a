"""Finds the projects whose datasets are a content."""

from sqlalchemy import select

from treadle.data.tables import dataset_versions
from treadle.kernel.stage import PROJECTS_OF_CONTENT
from treadle.ports.database import Database
from treadle.ports.naming import DIGEST, projects_naming

_NAMING = select(dataset_versions.c.project).where(dataset_versions.c.digest == DIGEST).distinct()


class DataNames:
    """Looks up dataset versions by their content."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @PROJECTS_OF_CONTENT()
    def of_content(self, digest: str) -> set[str]:
        """The projects that have a dataset version of this content.

        Args:
            digest: Digest of the content.
        """
        return projects_naming(self._database, _NAMING, digest)
