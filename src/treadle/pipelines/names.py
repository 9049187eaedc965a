"""Finds the project of pipeline runs that a request names."""

from collections.abc import Mapping
from typing import Any

from treadle.kernel.stage import PROJECT_OF
from treadle.pipelines.tables import pipelines
from treadle.ports.database import Database
from treadle.ports.naming import look_up


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
