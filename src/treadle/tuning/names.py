"""Finds the project of studies that a request names."""

from collections.abc import Mapping
from typing import Any

from treadle.kernel.stage import PROJECT_OF
from treadle.ports.database import Database
from treadle.ports.naming import look_up
from treadle.tuning.tables import studies


class TuningNames:
    """Looks up the projects of studies."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @PROJECT_OF("study")
    def study(self, name: str, _: Mapping[str, Any]) -> str:
        """The project of a study.

        Args:
            name: Name of the study.
        """
        return str(look_up(self._database, studies.c.project, studies.c.name, name))
