"""Finds the projects whose datasets are a content, and those of erasures."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from treadle.data.tables import dataset_versions, erasures
from treadle.kernel.stage import PROJECT_OF, PROJECTS_OF_CONTENT
from treadle.ports.database import Database
from treadle.ports.naming import DIGEST, look_up, projects_naming

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

    @PROJECT_OF("erasure")
    def erasure(self, id: str, _: Mapping[str, Any]) -> str:
        """The project of an erasure; NOWHERE for one of the whole home, or that is not there.

        Args:
            id: Id of the erasure.
        """
        return str(look_up(self._database, erasures.c.project, erasures.c.id, id))
