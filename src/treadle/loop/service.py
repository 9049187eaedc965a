"""Runs the rules that turn events of later stages into commands of earlier ones."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cached_property

from sqlalchemy import select

from treadle.delivery.model import Endpoint, RolloutAborted, RolloutPromoted, RolloutRolledBack
from treadle.delivery.records import ACTIVE, UNDER_WAY
from treadle.delivery.service import Delivery
from treadle.evaluation.model import VerdictGiven
from treadle.evaluation.service import Evaluation
from treadle.events.model import EventRecord
from treadle.events.service import Events
from treadle.events.tables import events
from treadle.kernel.clock import Clock
from treadle.kernel.entity import fields
from treadle.kernel.errors import NotFound, TreadleError
from treadle.kernel.event import Event, acting
from treadle.kernel.names import ProjectName
from treadle.kernel.operation import query
from treadle.kernel.stage import RECONCILE, Assembly
from treadle.loop.hooks import RULE
from treadle.loop.model import LoopDecision, Outcome, ProjectStatus, RequirementStatus, ScheduleDue
from treadle.loop.tables import decisions, schedules
from treadle.monitoring.model import (
    DriftFound,
    FindingRaised,
    ModelStale,
    RequirementMissed,
    Window,
)
from treadle.monitoring.service import Monitoring
from treadle.ports.database import Database, load
from treadle.registry.model import CHAMPION, ModelVersion, VersionRegistered
from treadle.registry.service import Registry
from treadle.scope import cron
from treadle.scope.model import FROM_LABELS, TRIGGERS, Requirement, duration
from treadle.scope.service import Scope
from treadle.training.model import TrainingFinished
from treadle.training.service import TrainingService

READER = "loop"
FINDINGS = tuple(
    kind.__name__ for kind in (DriftFound, RequirementMissed, ModelStale, FindingRaised)
)
Act = tuple[Outcome, str]
Rule = Callable[[EventRecord, Event], Act]
log = logging.getLogger(__name__)


class Loop:
    """Reacts to events with commands and reports a project's status across all stages.

    Args:
        database: Where decisions and schedules are stored.
        events: The event log that the rules read.
        clock: The source of time.
        scope: The declared projects, with their triggers and limits.
        training: Starts trainings.
        evaluation: Has finished trainings judged.
        registry: Registers candidates that have passed.
        delivery: Rolls registered versions out.
        monitoring: The windows that the status reports.
        assembly: Knows the rules of other stages.
    """

    def __init__(
        self,
        database: Database,
        events: Events,
        clock: Clock,
        scope: Scope,
        training: TrainingService,
        evaluation: Evaluation,
        registry: Registry,
        delivery: Delivery,
        monitoring: Monitoring,
        assembly: Assembly,
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
        self._assembly = assembly
        self._rules: dict[type[Event], tuple[str, Rule]] = {
            DriftFound: ("retrain on drift", self._retrain),
            RequirementMissed: ("retrain on a missed requirement", self._retrain),
            ModelStale: ("retrain when stale", self._retrain),
            FindingRaised: ("retrain on a monitor's finding", self._retrain_on_finding),
            ScheduleDue: ("retrain on schedule", self._retrain),
            TrainingFinished: ("judge what was trained", self._judge),
            VerdictGiven: ("register what passed", self._register),
            VersionRegistered: ("roll out what was registered", self._roll_out),
            RolloutPromoted: ("roll out what waited", self._roll_out_next),
            RolloutRolledBack: ("roll out what waited", self._roll_out_next),
            RolloutAborted: ("roll out what waited", self._roll_out_next),
        }

    @cached_property
    def _rules_by_type(self) -> dict[str, list[tuple[str, Rule]]]:
        """The rules by the type of event: the loop's own first, then those of other stages."""
        rules = {kind.__name__: [rule] for kind, rule in self._rules.items()}
        for (kind, name), act in self._assembly.answers(RULE):
            rules.setdefault(kind.__name__, []).append((name, act))
        return rules

    @RECONCILE()
    def react(self) -> int:
        """Act on every event since the last call, each of them once.

        Returns:
            How many events there were; 0 when one has to wait because its command may succeed
            later. Events behind it wait with it, so that they are handled in order.
        """
        self._look_at_schedules()
        unread = self._events.unread(READER)
        for record in unread:
            try:
                made = [
                    self._decide(record, *rule) for rule in self._rules_by_type.get(record.type, [])
                ]
            except TreadleError as error:  # only an error that a retry may mend arrives here
                log.warning("event %d waits: %s", record.number, error.message)
                return 0
            with self._database.write() as transaction:
                for decision in made:
                    known = (decisions.c.rule == decision.rule) & (
                        decisions.c.event == decision.event
                    )
                    transaction.execute(decisions.delete().where(known))
                    transaction.execute(decisions.insert().values(fields(decision)))
                self._events.confirm(transaction, READER, record.number)
        return len(unread)

    @query()
    def decisions(self, *, limit: int = 50) -> list[LoopDecision]:
        """List what the loop decided, newest first.

        Args:
            limit: How many decisions to return at most.
        """
        newest_first = select(decisions).order_by(decisions.c.event.desc()).limit(limit)
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
        windows = self._monitoring.windows(endpoint=main.name, limit=200) if main else []
        rollouts = self._delivery.rollouts(endpoint=main.name, limit=1) if main else []
        return ProjectStatus(
            project=project,
            problem=spec.project.problem,
            owner=spec.project.owner,
            requirements=[_status(requirement, windows) for requirement in spec.requirement],
            endpoints=endpoints,
            champion=self._champion(main.model if main else project),
            training=trainings[0] if trainings else None,
            verdict=verdicts[0] if verdicts else None,
            rollout=rollouts[0] if rollouts else None,
            window=windows[0] if windows else None,
            waiting=self._waiting(project),
            decisions=self._decisions_of(project),
            recent=self._events.history(project=project, newest_first=True, limit=10),
        )

    def _decide(self, record: EventRecord, name: str, act: Rule) -> LoopDecision:
        """Apply one rule to an event, in the loop's name and with the event as cause."""
        with acting(f"loop: {name}", cause=record.number):
            try:
                event = record.event()
                assert event is not None, "a newer Treadle wrote this event"
                outcome, reason = act(record, event)
            except TreadleError as error:
                if error.retry:
                    raise
                outcome, reason = "failed", error.message
            except Exception as error:
                log.exception("rule '%s' failed on event %d", name, record.number)
                outcome, reason = "failed", f"{type(error).__name__}: {error}"
        return LoopDecision(
            rule=name, event=record.number, outcome=outcome, reason=reason, at=self._clock.now()
        )

    def _retrain(self, record: EventRecord, event: Event) -> Act:
        project: str = event.project  # type: ignore[attr-defined]
        if self._has_caused(record, "TrainingStarted"):
            return "nothing to do", "this event has started a training already"
        brake = self._brake(record, event, project)
        if brake:
            return "braked", brake
        training = self._training.start(project=project, name=f"retrain: {record.type}")
        return "acted", f"started training {training.run}"

    def _retrain_on_finding(self, record: EventRecord, event: Event) -> Act:
        assert isinstance(event, FindingRaised)
        if event.trigger is None:
            return (
                "nothing to do",
                f"monitor '{event.monitor}' leaves it to people: {event.message}",
            )
        return self._retrain(record, event)

    def _brake(self, record: EventRecord, event: Event, project: str) -> str | None:
        """Why no training may start now, or None."""
        policy = self._scope.project(name=project).spec.retrain
        trigger = _trigger_of(event)
        if isinstance(event, RequirementMissed) and event.metric not in FROM_LABELS:
            return f"training anew does not mend {event.metric}"
        if trigger == "stale" and policy.older_than is None:
            return "no age is declared from which a model is stale"
        if trigger in TRIGGERS and trigger not in policy.when:
            return f"'{trigger}' is not among the declared triggers"
        main = getattr(event, "endpoint", project)
        if main != project and not self._leads(main):
            return f"endpoint '{main}' is not the one that is kept up to date"
        if record.depth >= policy.max_depth:
            return f"the chain of causes is {record.depth} long, the limit is {policy.max_depth}"
        if self._training.find(project=project, state="running", limit=1):
            return "a training is running"
        model = self._model(record, project)
        if any(self._delivery.rollouts(endpoint=model, state=state, limit=1) for state in ACTIVE):
            return "a rollout is under way"
        champion = self._champion(model)
        return self._spent(project, champion, duration(policy.cooldown), policy.budget_per_month)

    def _spent(
        self, project: str, champion: ModelVersion | None, cooldown: timedelta, budget: int
    ) -> str | None:
        """Why the cooldown or the budget allows no training now, or None."""
        trainings = self._events.history(
            type="TrainingStarted", project=project, newest_first=True, limit=10_000
        )
        own_starts = [training.at for training in trainings if training.actor.startswith("loop:")]
        champions = [champion.created_at] if champion else []
        now, last = self._clock.now(), max([*own_starts[:1], *champions], default=None)
        if last is not None and now - last < cooldown:
            return (
                f"the last training of the loop or the champion was {_ago(now - last)} ago, "
                f"the cooldown is {_ago(cooldown)}"
            )
        last_month = [start for start in own_starts if now - start < timedelta(days=30)]
        if len(last_month) >= budget:
            return (
                f"{len(last_month)} trainings were started in the last 30 days, "
                f"the budget is {budget}"
            )
        return None

    def _judge(self, record: EventRecord, event: Event) -> Act:
        assert isinstance(event, TrainingFinished)
        if self._has_caused(record, "JobQueued"):
            return "nothing to do", "this training is being judged already"
        champion = self._champion(self._model(record, event.project))
        self._evaluation.request(run=event.run, champion=champion.package if champion else None)
        rival = champion.ref if champion else "nobody"
        return "acted", f"had run {event.run} judged beside {rival}"

    def _register(self, record: EventRecord, event: Event) -> Act:
        assert isinstance(event, VerdictGiven)
        if event.outcome != "passed":
            return (
                "nothing to do",
                f"the candidate is not registered: {event.outcome}: {event.reason}",
            )
        model = self._model(record, event.project)
        version = self._registry.register(verdict=event.verdict, model=model)
        return "acted", f"registered {version.ref}"

    def _roll_out(self, record: EventRecord, event: Event) -> Act:
        assert isinstance(event, VersionRegistered)
        version = self._registry.get(model=event.model, number=event.number)
        if not self._scope.project(name=version.project).spec.rollout.automatic:
            advice = f"deploy it with: treadle deploy {version.ref}"
            return "nothing to do", f"rollouts are not automatic here; {advice}"
        if self._has_caused(record, "RolloutStarted"):
            return "nothing to do", "it is being rolled out already"
        if any(
            self._delivery.rollouts(endpoint=version.model, state=state, limit=1)
            for state in UNDER_WAY
        ):
            reason = f"another rollout is under way; {version.ref} follows when that has ended"
            return "braked", reason
        rollout = self._delivery.deploy(version=version.ref)
        return "acted", f"began rollout {rollout.id} of {version.ref}"

    def _roll_out_next(self, record: EventRecord, event: Event) -> Act:
        """Roll out the newest version that was registered during another rollout, if any."""
        model: str = event.model  # type: ignore[attr-defined]
        endpoint: str = event.endpoint  # type: ignore[attr-defined]
        if endpoint != model or self._has_caused(record, "RolloutStarted"):
            reason = "this was not the model's own endpoint, or the next rollout has begun"
            return "nothing to do", reason
        if not any(served.name == model for served in self._delivery.endpoints()):
            return "nothing to do", "the endpoint was removed"
        newest = self._registry.find(model=model, limit=1)[0]
        tried = {rollout.number for rollout in self._delivery.rollouts(endpoint=model, limit=1000)}
        automatic = self._scope.project(name=newest.project).spec.rollout.automatic
        if not automatic or newest.number <= max(tried, default=0):
            return "nothing to do", "no version waited"
        rollout = self._delivery.deploy(version=newest.ref)
        return "acted", f"began rollout {rollout.id} of {newest.ref}"

    def _look_at_schedules(self) -> None:
        """Emit ScheduleDue for every declared schedule that is due since the last look."""
        now = self._clock.now()
        for project in self._scope.projects():
            for schedule in project.spec.retrain.schedules:
                self._look_at(project.name, schedule, now)

    def _look_at(self, project: str, schedule: str, now: datetime) -> None:
        here = (schedules.c.project == project) & (schedules.c.schedule == schedule)
        with self._database.read() as connection:
            looked = connection.scalar(select(schedules.c.looked_at).where(here))
        if looked is not None and now - looked < timedelta(minutes=1):
            return
        with self._database.write() as transaction:
            transaction.execute(schedules.delete().where(here))
            transaction.execute(
                schedules.insert().values(project=project, schedule=schedule, looked_at=now)
            )
            if looked is not None and cron.due(schedule, looked, now):
                self._events.append(transaction, ScheduleDue(project=project, schedule=schedule))

    def _has_caused(self, record: EventRecord, type: str) -> bool:
        """Whether the event has led to one of that type already, so that rules may repeat."""
        return any(effect.type == type for effect in self._events.effects(number=record.number))

    def _leads(self, endpoint: str) -> bool:
        """Whether the endpoint is its model's own, which the loop keeps up to date."""
        served = self._delivery.endpoint(name=endpoint)
        return served.name == served.model

    def _champion(self, model: str) -> ModelVersion | None:
        try:
            return self._registry.resolve(ref=f"{model}@{CHAMPION}")
        except NotFound:
            return None

    def _model(self, record: EventRecord, project: str) -> str:
        """The model that a training is for: that of the endpoint whose window called for it.

        It is the one named like the project where nothing in production called for it.
        """
        causes = self._events.causes(number=record.number)
        found = (cause.body.get("endpoint") for cause in causes if cause.type in FINDINGS)
        return str(next(found, project))

    def _decisions_of(self, project: str) -> list[LoopDecision]:
        """The newest decisions about a project's events."""
        of_project = select(decisions).join(events, events.c.number == decisions.c.event)
        of_project = of_project.where(events.c.project == project)
        newest = of_project.order_by(decisions.c.event.desc()).limit(5)
        with self._database.read() as connection:
            return [load(LoopDecision, row) for row in connection.execute(newest).mappings()]

    def _waiting(self, project: str) -> list[str]:
        """What waits for whom, in words."""
        waits = []
        for endpoint in self._delivery.endpoints(project=project):
            name = endpoint.name
            for rollout in self._delivery.rollouts(endpoint=name, state="waiting"):
                approve = f"treadle approve {rollout.version}"
                waits.append(f"{rollout.version} waits for an approver: {approve}")
            for rollout in self._delivery.rollouts(endpoint=name, state="running"):
                step = f"{rollout.version} is at step '{rollout.step}' of {name}"
                waits.append(f"{step}: {rollout.reason}")
            for rollout in self._delivery.rollouts(endpoint=name, state="paused"):
                step = f"{rollout.version} is paused at step '{rollout.step}' of {name}"
                waits.append(f"{step}: treadle rollout resume {name}")
        for training in self._training.find(project=project, state="running"):
            waits.append(f"training {training.run} waits for its pipeline {training.pipeline}")
        return waits


def _main(project: str, endpoints: list[Endpoint]) -> Endpoint | None:
    """The endpoint that a project is known by: named like it, else like the model it serves."""
    leading = [endpoint for endpoint in endpoints if endpoint.name == endpoint.model]
    by_name = {endpoint.name: endpoint for endpoint in leading}
    return by_name.get(project, leading[0] if leading else None)


def _trigger_of(event: Event) -> str | None:
    """The declared trigger that an event stands for, if it needs one."""
    if isinstance(event, FindingRaised):
        return event.trigger
    names: dict[type[Event], str] = {
        DriftFound: "drift",
        RequirementMissed: "missed requirement",
    }
    return names.get(type(event))


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
    return RequirementStatus(
        id=requirement.id,
        says=requirement.says,
        bound=requirement.bound,
        value=value,
        met=None if value is None else requirement.met_by(value),
        measured_at=at,
    )


def _ago(span: timedelta) -> str:
    """A span in words, in days or hours."""
    if span >= timedelta(days=1):
        return f"{span / timedelta(days=1):.1f} days"
    return f"{span / timedelta(hours=1):.1f} hours"
