"""Runs the rules that turn events of later stages into commands of earlier ones."""

import logging
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import select

from treadle.data.quality import Quality
from treadle.delivery.model import Endpoint
from treadle.delivery.service import Delivery
from treadle.evaluation.service import Evaluation
from treadle.events.local import LocalEvents
from treadle.events.model import EventRecord
from treadle.incidents.model import Incident
from treadle.incidents.service import Incidents
from treadle.kernel.clock import Clock
from treadle.kernel.errors import NotFound, TreadleError
from treadle.kernel.escaping import shell
from treadle.kernel.event import Event
from treadle.kernel.names import ProjectName
from treadle.kernel.operation import query
from treadle.kernel.stage import Assembly
from treadle.loop.concerns import concerns
from treadle.loop.model import (
    Concern,
    LoopDecision,
    Outcome,
    ProjectStatus,
    RequirementStatus,
)
from treadle.loop.tables import decisions
from treadle.monitoring.findings import KINDS
from treadle.monitoring.model import (
    Window,
)
from treadle.monitoring.service import Monitoring
from treadle.monitoring.slo.model import SloStatus
from treadle.monitoring.slo.service import Slos
from treadle.ports.database import Database, in_sight, load
from treadle.ports.sandbox import Sandbox, Strength
from treadle.registry.model import CHAMPION, ModelVersion
from treadle.registry.service import Registry
from treadle.scope.local import LocalScope
from treadle.scope.model import Requirement
from treadle.training.local import LocalTraining
from treadle.training.model import NewRows

Act = tuple[Outcome, str]
Rule = Callable[[EventRecord, Event], Act]
MOST_INCIDENTS = 20
MOST_FINDINGS = 500
"""Events of one kind that are looked through for how long something has held."""
log = logging.getLogger(__name__)


class Loop:
    """Reacts to events with commands and reports a project's status across all stages.

    Args:
        database: Where decisions and schedules are stored.
        events: The event log that the rules read.
        clock: The source of time.
        scope: The declared projects, with their triggers and limits.
        quality: Knows which datasets fail their checks.
        training: Starts trainings.
        evaluation: Has finished trainings judged.
        registry: Registers candidates that have passed.
        delivery: Rolls registered versions out.
        monitoring: The windows that the status reports.
        slo: The objectives that the status reports.
        incidents: The incidents that the status reports.
        assembly: Knows the rules of other stages.
    """

    def __init__(
        self,
        database: Database,
        events: LocalEvents,
        clock: Clock,
        scope: LocalScope,
        quality: Quality,
        training: LocalTraining,
        evaluation: Evaluation,
        registry: Registry,
        delivery: Delivery,
        monitoring: Monitoring,
        slo: Slos,
        incidents: Incidents,
        assembly: Assembly,
        sandbox: Sandbox,
    ) -> None:
        self._database = database
        self._events = events
        self._clock = clock
        self._scope = scope
        self._training = training
        self._evaluation = evaluation
        self._registry = registry
        self._delivery = delivery
        self._monitoring = monitoring
        self._slo = slo
        self._incidents = incidents
        self._quality = quality
        self._assembly = assembly
        self._sandbox = sandbox

    @query()
    def decisions(
        self, *, project: ProjectName | None = None, limit: int = 50
    ) -> list[LoopDecision]:
        """List what the loop decided, newest first.

        Args:
            project: List only decisions about events of this project; all decisions if omitted.
            limit: How many decisions to return at most.
        """
        newest_first = select(decisions).where(in_sight(decisions.c.project))
        newest_first = newest_first.order_by(decisions.c.event.desc()).limit(limit)
        if project:
            newest_first = newest_first.where(decisions.c.project == project)
        with self._database.read() as connection:
            rows = connection.execute(newest_first).mappings()
            return [load(LoopDecision, row) for row in rows]

    @query()
    def status(self, *, project: ProjectName) -> ProjectStatus:
        """Show a project's state: every stage, each requirement, what is live and what waits.

        Args:
            project: The project's name.

        Raises:
            NotFound: The project does not exist.
        """
        spec = self._scope.project(name=project).spec
        trainings = self._training.find(project=project, limit=1)
        verdicts = self._evaluation.find(project=project, limit=1)
        endpoints = self._delivery.endpoints(project=project)
        main = _main(project, endpoints)
        objectives = self._slo.status(project=project)
        windows = self._monitoring.windows(endpoint=main.name, limit=200) if main else []
        rollouts = self._delivery.rollouts(endpoint=main.name, limit=1) if main else []
        strength, missing = self._confinement()
        if fault := self._scope.fault(name=project):
            missing = [*missing, f"a changed treadle.toml is not applied: {fault}"]
        return ProjectStatus(
            project=project,
            problem=spec.project.problem,
            owner=spec.project.owner,
            requirements=[
                _share(requirement, objectives, main)
                if requirement.objective
                else _status(requirement, windows)
                for requirement in spec.requirement
            ],
            objectives=objectives,
            incidents=self._open_incidents(project),
            endpoints=endpoints,
            champion=self._champion(main.model if main else project),
            training=trainings[0] if trainings else None,
            verdict=verdicts[0] if verdicts else None,
            rollout=rollouts[0] if rollouts else None,
            window=windows[0] if windows else None,
            concerns=self._concerns(project, windows, spec.requirement),
            waiting=[*missing, *self._failed_checks(project), *self._waiting(project)],
            new_rows=self._new_rows(project, main.model if main else project),
            decisions=self.decisions(project=project, limit=5),
            recent=self._events.history(project=project, newest_first=True, limit=10),
            sandbox=strength,
        )

    def _open_incidents(self, project: str) -> list[Incident]:
        """Incidents that are not resolved; the list of all has them first."""
        found = self._incidents.find(project=project, limit=MOST_INCIDENTS)
        return [incident for incident in found if incident.state != "resolved"]

    def _concerns(
        self, project: str, windows: list[Window], requirements: list[Requirement]
    ) -> list[Concern]:
        """What is out of bounds at the endpoint of these windows."""
        if not windows:
            return []
        told = [
            event
            for kind in KINDS
            for event in self._events.history(
                type=kind, project=project, newest_first=True, limit=MOST_FINDINGS
            )
            if event.body["endpoint"] == windows[0].endpoint
        ]
        numbers = [event.number for event in told]
        of_these = select(decisions).where(in_sight(decisions.c.project))
        of_these = of_these.where(decisions.c.event.in_(numbers))
        with self._database.read() as connection:
            rows = connection.execute(of_these).mappings()
            decided = {row["event"]: load(LoopDecision, row) for row in rows}
        return concerns(windows, told, decided, requirements)

    def _new_rows(self, project: str, model: str) -> NewRows | None:
        """What has come since the champion was trained; None where it was not trained here."""
        champion = self._champion(model)
        try:
            return self._training.new_rows(project=project, run=champion.run if champion else None)
        except NotFound:
            return None

    def _failed_checks(self, project: str) -> list[str]:
        """Which datasets failed checks when their newest versions were taken, in words."""
        return [failed.words for failed in self._quality.failures(project=project)]

    def _confinement(self) -> tuple[Strength | None, list[str]]:
        """How steps are confined, or what stands in the way."""
        try:
            return self._sandbox.strength, []
        except TreadleError as error:
            return None, [f"no step runs: {error.message}"]

    def _champion(self, model: str) -> ModelVersion | None:
        try:
            return self._registry.resolve(ref=f"{model}@{CHAMPION}")
        except NotFound:
            return None

    def _waiting(self, project: str) -> list[str]:
        """What waits for whom, in words."""
        waits = []
        for endpoint in self._delivery.endpoints(project=project):
            name = endpoint.name
            for rollout in self._delivery.rollouts(endpoint=name, state="waiting"):
                approve = shell("treadle", "approve", rollout.version)
                waits.append(f"{rollout.version} waits for an approver: {approve}")
            for rollout in self._delivery.rollouts(endpoint=name, state="running"):
                step = f"{rollout.version} is at step '{rollout.step}' of {name}"
                waits.append(f"{step}: {rollout.reason}")
            for rollout in self._delivery.rollouts(endpoint=name, state="paused"):
                step = f"{rollout.version} is paused at step '{rollout.step}' of {name}"
                waits.append(f"{step}: {shell('treadle', 'rollout', 'resume', name)}")
        for training in self._training.find(project=project, state="running"):
            waits.append(f"training {training.run} waits for its pipeline {training.pipeline}")
        return waits


def _main(project: str, endpoints: list[Endpoint]) -> Endpoint | None:
    """The endpoint that a project is known by: named like it, else like the model it serves."""
    leading = [endpoint for endpoint in endpoints if endpoint.name == endpoint.model]
    by_name = {endpoint.name: endpoint for endpoint in leading}
    return by_name.get(project, leading[0] if leading else None)


def _share(
    requirement: Requirement, objectives: list[SloStatus], main: Endpoint | None
) -> RequirementStatus:
    """A requirement with an objective, with its share of good events at the main endpoint."""
    name = main.name if main else ""
    own = [one for one in objectives if (one.endpoint, one.slo) == (name, requirement.id)]
    share = own[0].share if own else None
    return RequirementStatus(
        id=requirement.id,
        says=requirement.says,
        bound=requirement.bound,
        value=share,
        met=None if share is None else share >= requirement.objective_share,
        measured_at=own[0].until if own else None,
    )


def _status(requirement: Requirement, windows: list[Window]) -> RequirementStatus:
    """A requirement with its value in the newest window that measured it."""
    value, at = None, None
    for window in windows:
        measured = {measure.metric: measure.value for measure in window.measures}
        if window.rows:
            measured["latency_ms.p99"] = window.latency_ms_p99
        if requirement.metric in measured:
            value, at = measured[requirement.metric], window.end
            break
    estimate, estimated_at = _estimated(requirement.metric, windows)
    return RequirementStatus(
        id=requirement.id,
        says=requirement.says,
        bound=requirement.bound,
        value=value,
        met=None if value is None else requirement.met_by(value),
        measured_at=at,
        estimate=estimate,
        estimated_at=estimated_at,
    )


def _estimated(metric: str, windows: list[Window]) -> tuple[float | None, datetime | None]:
    """A metric's newest estimate without labels, and the end of its window."""
    for window in windows:
        for estimate in window.estimates:
            if estimate.metric == metric:
                return estimate.value, window.end
    return None, None
