"""Endpoints and rollouts as they are stored and observed."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select

from treadle.data.local import LocalData
from treadle.delivery import gates
from treadle.delivery.exits import ExitNews
from treadle.delivery.model import (
    Endpoint,
    GateResult,
    Rollout,
    RolloutState,
)
from treadle.delivery.scaling import Scaling
from treadle.delivery.tables import endpoints, rollouts
from treadle.events.local import LocalEvents
from treadle.kernel.clock import Clock
from treadle.kernel.entity import from_json
from treadle.kernel.errors import NotFound, did_you_mean
from treadle.kernel.names import EndpointName, ProjectName, RolloutId
from treadle.kernel.operation import query
from treadle.ports.blobs import Blobs
from treadle.ports.database import Database, in_sight, load
from treadle.ports.target import Target
from treadle.registry.local import LocalRegistry
from treadle.scope.model import ProjectSpec
from treadle.scope.service import Scope
from treadle.serving.inference_log import LogTail
from treadle.serving.log_files import InferenceLogs

TROUBLE_SHOWN = timedelta(days=1)
"""How long an endpoint shows that a replica has ended unasked, by the machine's clock."""
UNDER_WAY: tuple[RolloutState, ...] = ("running", "paused")
ACTIVE: tuple[RolloutState, ...] = ("waiting", *UNDER_WAY)


class DeliveryRecords:
    """Looks endpoints and rollouts up."""

    def __init__(
        self,
        database: Database,
        events: LocalEvents,
        clock: Clock,
        scope: Scope,
        data: LocalData,
        registry: LocalRegistry,
        target: Target,
        logs: InferenceLogs,
        blobs: Blobs,
    ) -> None:
        self._blobs = blobs
        self._database, self._events, self._clock = database, events, clock
        self._scope, self._data, self._registry = scope, data, registry
        self._target, self._logs = target, logs
        self._learnt: dict[str, datetime] = {}  # rollout → up to when labels have been taken
        self._scaling = Scaling(clock, logs)
        self._exit_news = ExitNews(database, events)
        self._tallies: dict[tuple[str, str, int], tuple[LogTail, gates.StepStatistics]] = {}

    @query()
    def endpoint(self, *, name: EndpointName) -> Endpoint:
        """One endpoint, with where it answers now.

        Args:
            name: Name of the endpoint.

        Raises:
            NotFound: There is no such endpoint.
        """
        with self._database.read() as connection:
            row = (
                connection.execute(select(endpoints).where(endpoints.c.name == name))
                .mappings()
                .one_or_none()
            )
            if row is None:
                seen = select(endpoints.c.name).where(in_sight(endpoints.c.project))
                known = connection.scalars(seen).all()
                raise NotFound(f"There is no endpoint '{name}'.{did_you_mean(name, known)}")
        return self._observed(row)

    @query()
    def endpoints(self, *, project: ProjectName | None = None) -> list[Endpoint]:
        """All endpoints by name, of one project if given.

        Args:
            project: Only those of this project.
        """
        wanted = select(endpoints).where(in_sight(endpoints.c.project)).order_by(endpoints.c.name)
        if project:
            wanted = wanted.where(endpoints.c.project == project)
        with self._database.read() as connection:
            return [self._observed(row) for row in connection.execute(wanted).mappings().all()]

    @query()
    def rollout(self, *, id: RolloutId) -> Rollout:
        """One rollout.

        Args:
            id: Id of the rollout.

        Raises:
            NotFound: There is no such rollout.
        """
        with self._database.read() as connection:
            row = (
                connection.execute(select(rollouts).where(rollouts.c.id == id))
                .mappings()
                .one_or_none()
            )
        if row is None:
            raise NotFound(f"There is no rollout '{id}'.")
        return rollout_of(row)

    @query()
    def rollouts(
        self,
        *,
        endpoint: EndpointName | None = None,
        state: RolloutState | None = None,
        limit: int = 50,
    ) -> list[Rollout]:
        """Rollouts, newest first, of one endpoint or in one state if given.

        Args:
            endpoint: Only those of this endpoint.
            state: Only those in this state.
            limit: The most rollouts to return.
        """
        wanted = select(rollouts).order_by(rollouts.c.id.desc()).limit(limit)
        if endpoint:
            wanted = wanted.where(rollouts.c.endpoint == endpoint)
        if state:
            wanted = wanted.where(rollouts.c.state == state)
        with self._database.read() as connection:
            return [rollout_of(row) for row in connection.execute(wanted).mappings()]

    def _active(self, endpoint: str) -> Rollout | None:
        """The rollout that waits, runs or is paused; there is one at most."""
        mine = (rollouts.c.endpoint == endpoint) & rollouts.c.state.in_(ACTIVE)
        with self._database.read() as connection:
            row = connection.execute(select(rollouts).where(mine)).mappings().first()
        return None if row is None else rollout_of(row)

    def _row(self, name: str) -> Mapping[Any, Any] | None:
        with self._database.read() as connection:
            return (
                connection.execute(select(endpoints).where(endpoints.c.name == name))
                .mappings()
                .one_or_none()
            )

    def _all(self) -> list[Mapping[Any, Any]]:
        with self._database.read() as connection:
            return list(connection.execute(select(endpoints).order_by(endpoints.c.name)).mappings())

    def _generation(self, name: str) -> int:
        with self._database.read() as connection:
            return int(
                connection.scalar(select(endpoints.c.generation).where(endpoints.c.name == name))
                or 0
            )

    def _project(self, rollout: Rollout) -> str:
        """The project of a rollout's version."""
        return self._registry.get(model=rollout.model, number=rollout.number).project

    def _spec(self, rollout: Rollout) -> ProjectSpec:
        version = self._registry.get(model=rollout.model, number=rollout.number)
        return self._scope.project(name=version.project).spec

    def _observed(self, row: Mapping[Any, Any]) -> Endpoint:
        status = self._target.observe(row["name"])
        urls = (
            list(dict.fromkeys(replica.url for replica in status.replicas if replica.ready))
            if status
            else []
        )
        if status and not urls and not status.wanted and status.address:
            urls = [status.address]  # it sleeps, and a request wakes it
        ready = bool(status and status.ready and status.generation == row["generation"])
        fault = status.fault if status else ""
        since = datetime.now(UTC) - TROUBLE_SHOWN
        exits = [one for one in (status.exits if status else []) if one.at > since]
        return load(Endpoint, row, urls=urls, ready=ready, fault=fault, exits=exits)


def rollout_of(row: Mapping[Any, Any]) -> Rollout:
    """Build a rollout from its row.

    Args:
        row: Row of ``rollouts``, by column name; steps and gates are JSON text.
    """
    return load(
        Rollout,
        row,
        steps=from_json(row["steps"], list[str]),
        gates=from_json(row["gates"], list[GateResult]),
    )
