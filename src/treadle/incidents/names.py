"""Finds the projects of incidents and silences that a request names."""

from collections.abc import Mapping
from typing import Any

from treadle.incidents.tables import incidents, silences
from treadle.kernel.stage import PROJECT_OF
from treadle.ports.database import Database
from treadle.ports.naming import look_up


class IncidentNames:
    """Looks up the projects of incidents and silences.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @PROJECT_OF("incident")
    def incident(self, id: int, _: Mapping[str, Any]) -> str:
        """The project of an incident; one of no project is nobody's who has a role in some only.

        Args:
            id: Number of the incident.
        """
        return str(look_up(self._database, incidents.c.project, incidents.c.id, id))

    @PROJECT_OF("silence")
    def silence(self, id: str, _: Mapping[str, Any]) -> str:
        """The project of a silence.

        Args:
            id: Id of the silence.
        """
        return str(look_up(self._database, silences.c.project, silences.c.id, id))
