"""Finds the project of verdicts that a request names."""

from collections.abc import Mapping
from typing import Any

from treadle.evaluation.tables import evaluations
from treadle.kernel.stage import PROJECT_OF
from treadle.ports.database import Database
from treadle.ports.naming import look_up


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
