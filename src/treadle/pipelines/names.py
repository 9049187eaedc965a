"""Finds the project of pipeline runs that a request names, and of what their steps made."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from treadle.kernel.stage import PROJECT_OF, PROJECTS_OF_CONTENT
from treadle.pipelines.tables import pipeline_steps, pipelines
from treadle.ports.database import Database
from treadle.ports.naming import DIGEST, look_up, projects_naming

_MADE = select(pipeline_steps.c.pipeline).where(pipeline_steps.c.output == DIGEST)
_RAN = select(pipelines.c.id).where(pipelines.c.code == DIGEST)
_NAMING = select(pipelines.c.project).where(pipelines.c.id.in_(_MADE.union_all(_RAN))).distinct()


class PipelineNames:
    """Looks up the projects of pipeline runs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @PROJECT_OF("pipeline")
    def pipeline(self, id: str, _: Mapping[str, Any]) -> str:
        """The project of a pipeline run.

        Args:
            id: Id of the pipeline run.
        """
        return str(look_up(self._database, pipelines.c.project, pipelines.c.id, id))

    @PROJECTS_OF_CONTENT()
    def of_content(self, digest: str) -> set[str]:
        """The projects whose pipelines ran this code, or have a step that made this.

        Args:
            digest: Digest of the content.
        """
        return projects_naming(self._database, _NAMING, digest)
