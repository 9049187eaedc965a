"""The loop as the process has it that holds the database."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import cached_property

from sqlalchemy import func, select

from treadle.delivery.model import RolloutAborted, RolloutPromoted, RolloutRolledBack
from treadle.delivery.records import ACTIVE, UNDER_WAY
from treadle.evaluation.model import VerdictGiven
from treadle.events.model import EventRecord
from treadle.incidents.hooks import DECIDED
from treadle.incidents.timeline import Decided
from treadle.kernel.entity import fields
from treadle.kernel.errors import TreadleError
from treadle.kernel.escaping import shell
from treadle.kernel.event import Event, acting
from treadle.kernel.stage import RECONCILE
from treadle.loop.brakes import Past, spent, undeclared
from treadle.loop.hooks import RULE
from treadle.loop.model import LoopDecision, ScheduleDue
from treadle.loop.service import Act, Loop, Rule, log
from treadle.loop.tables import decisions, schedules
from treadle.monitoring.model import (
    DriftFound,
    FindingRaised,
    ModelStale,
    RequirementMissed,
)
from treadle.registry.model import (
    ChampionNamed,
    VersionPackaged,
    VersionRegistered,
)
from treadle.scope import cron
from treadle.stats.metrics import is_metric
from treadle.training.model import TrainingFinished


class LocalLoop(Loop):
    """The loop; with the rules by which it acts."""

    @cached_property
    def _rules_by_type(self) -> dict[str, list[tuple[str, Rule]]]:
        """The rules of all stages by the type of event, in stage order."""
        rules: dict[str, list[tuple[str, Rule]]] = {}
        for (kind, name), act in self._assembly.answers(RULE):
            rules.setdefault(kind.__name__, []).append((name, act))
        return rules

    def outcomes(self) -> dict[tuple[str, str], int]:
        """Count the decisions by project, which is '' for none, and outcome."""
        columns = decisions.c.project, decisions.c.outcome
        with self._database.read() as connection:
            found = connection.execute(select(*columns, func.count()).group_by(*columns))
            return {(project or "", outcome): count for project, outcome, count in found}

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
            rule=name,
            event=record.number,
            outcome=outcome,
            reason=reason,
            at=self._clock.now(),
            project=record.project,
        )

    @DECIDED()
    def decided(self, numbers: Sequence[int]) -> Iterator[Decided]:
        """Yield what the rules decided about events.

        Args:
            numbers: Numbers of the events.
        """
        about = select(decisions).where(decisions.c.event.in_(list(numbers)))
        with self._database.read() as connection:
            for row in connection.execute(about.order_by(decisions.c.event)).all():
                yield Decided(row.event, row.at, row.rule, f"{row.outcome}: {row.reason}")

    @RULE((DriftFound, "retrain on drift"))
    @RULE((RequirementMissed, "retrain on a missed requirement"))
    @RULE((ModelStale, "retrain when stale"))
    @RULE((ScheduleDue, "retrain on schedule"))
    def _retrain(self, record: EventRecord, event: Event) -> Act:
        project: str = event.project  # type: ignore[attr-defined]
        if self._has_caused(record, "TrainingStarted"):
            return "nothing to do", "this event has started a training already"
        brake = self._brake(record, event, project)
        if brake:
            return "braked", brake
        champion = self._champion(self._model(record, project))
        if champion and (waits := self._training.nothing_new(project, champion.run)):
            return "nothing to do", waits
        training = self._training.start(project=project, name=f"retrain: {record.type}")
        return "acted", f"started training {training.run}"

    @RULE((FindingRaised, "retrain on a monitor's finding"))
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
        if isinstance(event, RequirementMissed) and not is_metric(event.metric):
            return f"training anew does not mend {event.metric}"
        if reason := undeclared(policy, trigger):
            return reason
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
        return spent(
            policy,
            Past(
                self._clock.now(),
                self._starts(project),
                champion.created_at if champion else None,
            ),
        )

    def _starts(self, project: str) -> list[datetime]:
        """When the loop itself has started trainings, newest first."""
        trainings = self._events.history(
            type="TrainingStarted", project=project, newest_first=True, limit=10_000
        )
        return [training.at for training in trainings if training.actor.startswith("loop:")]

    @RULE((TrainingFinished, "judge what was trained"))
    def _judge(self, record: EventRecord, event: Event) -> Act:
        assert isinstance(event, TrainingFinished)
        if self._has_caused(record, "JobQueued"):
            return "nothing to do", "this training is being judged already"
        champion = self._champion(self._model(record, event.project))
        self._evaluation.request(run=event.run, champion=champion.package if champion else None)
        rival = champion.ref if champion else "nobody"
        return "acted", f"had run {event.run} judged beside {rival}"

    @RULE((VerdictGiven, "register what passed"))
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

    @RULE((VersionRegistered, "roll out what was registered"))
    @RULE((VersionPackaged, "roll out what was packaged"))
    def _roll_out(self, record: EventRecord, event: Event) -> Act:  # noqa: ARG002
        assert isinstance(event, VersionRegistered | VersionPackaged)
        version = self._registry.get(model=event.model, number=event.number)
        if not version.package:
            return "nothing to do", f"{version.ref} was registered by its source, without a package"
        if not self._scope.project(name=version.project).spec.rollout.automatic:
            advice = f"deploy it with: {shell('treadle', 'deploy', version.ref)}"
            return "nothing to do", f"rollouts are not automatic here; {advice}"
        if version.number in self._tried(version.model):
            return "nothing to do", "it was rolled out already"
        if any(
            self._delivery.rollouts(endpoint=version.model, state=state, limit=1)
            for state in UNDER_WAY
        ):
            reason = f"another rollout is under way; {version.ref} follows when that has ended"
            return "braked", reason
        rollout = self._delivery.deploy(version=version.ref)
        return "acted", f"began rollout {rollout.id} of {version.ref}"

    @RULE((ChampionNamed, "roll out what was named champion"))
    def _roll_out_champion(self, record: EventRecord, event: Event) -> Act:
        """Roll out what a client of MLflow's points the alias at, where its model is served."""
        assert isinstance(event, ChampionNamed)
        version = self._registry.get(model=event.model, number=event.number)
        live = [served for served in self._delivery.endpoints() if served.name == event.model]
        if not live:
            return "nothing to do", f"no endpoint serves '{event.model}'"
        if self._has_caused(record, "RolloutStarted"):
            return "nothing to do", "it is being rolled out already"
        if live[0].champion == version.number:
            return "nothing to do", f"{version.ref} is live"
        if not version.package:
            advice = shell("treadle", "deploy", version.ref)
            return "nothing to do", f"{version.ref} has no package yet; deploy it with: {advice}"
        rollout = self._delivery.deploy(version=version.ref)
        return "acted", f"began rollout {rollout.id} of {version.ref}"

    @RULE((RolloutPromoted, "roll out what waited"))
    @RULE((RolloutRolledBack, "roll out what waited"))
    @RULE((RolloutAborted, "roll out what waited"))
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
        automatic = self._scope.project(name=newest.project).spec.rollout.automatic
        if not automatic or newest.number <= max(self._tried(model), default=0):
            return "nothing to do", "no version waited"
        rollout = self._delivery.deploy(version=newest.ref)
        return "acted", f"began rollout {rollout.id} of {newest.ref}"

    def _tried(self, endpoint: str) -> set[int]:
        """Numbers of the versions that were ever rolled out to an endpoint."""
        return {
            rollout.number for rollout in self._delivery.rollouts(endpoint=endpoint, limit=1000)
        }

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

    def _model(self, record: EventRecord, project: str) -> str:
        """The model that a training is for: that of the endpoint whose window called for it.

        It is the one named like the project where nothing in production called for it.
        """
        causes = self._events.causes(number=record.number)
        found = (cause.body.get("endpoint") for cause in causes if cause.type in FINDINGS)
        return str(next(found, project))


def _trigger_of(event: Event) -> str | None:
    """The declared trigger that an event stands for, if it needs one."""
    if isinstance(event, FindingRaised):
        return event.trigger
    names: dict[type[Event], str] = {
        DriftFound: "drift",
        RequirementMissed: "missed requirement",
    }
    return names.get(type(event))


FINDINGS = tuple(
    kind.__name__ for kind in (DriftFound, RequirementMissed, ModelStale, FindingRaised)
)


READER = "loop"
