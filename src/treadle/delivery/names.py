"""Finds the project of endpoints and rollouts that a request names."""

from collections.abc import Mapping
from typing import Any

from treadle.delivery.tables import endpoints, rollouts
from treadle.kernel.stage import PROJECT_OF
from treadle.ports.database import Database
from treadle.ports.naming import NOWHERE, look_up


class DeliveryNames:
    """Looks up the projects of endpoints and rollouts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @PROJECT_OF("endpoint")
    def endpoint(self, name: str, given: Mapping[str, Any]) -> str | None:
        """The project of an endpoint; a new one belongs to the version that is deployed to it.

        Args:
            name: Name of the endpoint.
            given: All arguments of the request.

        Returns:
            The project, or None where the endpoint is new and the request names a version.
        """
        project = str(look_up(self._database, endpoints.c.project, endpoints.c.name, name))
        return None if project == NOWHERE and given.get("version") else project

    @PROJECT_OF("rollout")
    def rollout(self, id: str, _: Mapping[str, Any]) -> str:
        """The project of a rollout's endpoint.

        Args:
            id: Id of the rollout.
        """
        endpoint = look_up(self._database, rollouts.c.endpoint, rollouts.c.id, id)
        return str(look_up(self._database, endpoints.c.project, endpoints.c.name, endpoint))
