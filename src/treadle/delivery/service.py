"""Endpoints and rollouts. Commands state what is wanted; ``reconcile`` takes one step towards it per call."""

import logging
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select

from treadle.data.service import Data
from treadle.delivery import experiments, gates
from treadle.delivery.experiments import Experiment
from treadle.delivery.model import (
    Endpoint,
    EndpointCreated,
    EndpointRemoved,
    EndpointScaled,
    ExpectedLoad,
    GateResult,
    Rollout,
    RolloutAborted,
    RolloutAdvanced,
    RolloutPaused,
    RolloutPromoted,
    RolloutResumed,
    RolloutRolledBack,
    RolloutStarted,
    RolloutState,
)
from treadle.delivery.scaling import Scaling
from treadle.delivery.tables import endpoints, rollouts
from treadle.events.service import Events
from treadle.kernel.clock import Clock
from treadle.kernel.entity import from_json, to_text
from treadle.kernel.errors import Conflict, Invalid, NotFound, TreadleError, did_you_mean
from treadle.kernel.event import Event, acting, current_act
from treadle.kernel.ids import new_id
from treadle.kernel.operation import command, query
from treadle.ports.database import Database, load
from treadle.ports.target import EndpointSpec, Target, Variant
from treadle.registry.model import CHAMPION
from treadle.registry.service import NAME, Registry
from treadle.scope.file import check_steps, experiment, percentage, share
from treadle.scope.freeze import Freeze
from treadle.scope.model import ProjectSpec, RolloutPolicy, ServingPolicy, duration
from treadle.scope.service import Scope
from treadle.serving.inference_log import LogTail
from treadle.serving.log_files import InferenceLogs

log = logging.getLogger(__name__)
LABELS_OVERLAP = timedelta(minutes=1)  # a label may be written a moment after the time it bears
MOST_HOURS = 24 * 28  # that a forecast goes
UNDER_WAY: tuple[RolloutState, ...] = ("running", "paused")
ACTIVE: tuple[RolloutState, ...] = ("waiting", *UNDER_WAY)


class Delivery:
    """What is live, and how it got there."""

    def __init__(
        self,
        database: Database,
        events: Events,
        clock: Clock,
        scope: Scope,
        data: Data,
        registry: Registry,
        target: Target,
        logs: InferenceLogs,
    ) -> None:
        self._database, self._events, self._clock = database, events, clock
        self._scope, self._data, self._registry = scope, data, registry
        self._target, self._logs = target, logs
        self._learnt: dict[str, datetime] = {}  # rollout → up to when labels have been taken
        self._scaling = Scaling(clock, logs)
        self._tallies: dict[tuple[str, str, int], tuple[LogTail, gates.StepStatistics]] = {}

    def blockers(self, model: str, number: int) -> str | None:
        """Who still needs a version: the endpoint it is live on, or the rollout that brings it."""
        with self._database.read() as connection:
            live = (endpoints.c.model == model) & (endpoints.c.champion == number)
            endpoint = connection.scalar(select(endpoints.c.name).where(live))
            coming = (
                (rollouts.c.model == model)
                & (rollouts.c.number == number)
                & rollouts.c.ended_at.is_(None)
            )
            rollout = connection.scalar(select(rollouts.c.id).where(coming))
        if endpoint is not None:
            return f"it is live on endpoint '{endpoint}'. Deploy another version there first."
        return None if rollout is None else f"rollout '{rollout}' brings it. Abort that first."

    def places(self) -> dict[tuple[str, int], list[str]]:
        """The endpoints on which versions are live, or which rollouts bring them to, by model and number."""
        live = select(endpoints.c.model, endpoints.c.champion, endpoints.c.name).where(
            endpoints.c.champion.is_not(None)
        )
        coming = select(rollouts.c.model, rollouts.c.number, rollouts.c.endpoint).where(
            rollouts.c.ended_at.is_(None)
        )
        found: dict[tuple[str, int], set[str]] = {}
        with self._database.read() as connection:
            for model, number, endpoint in [*connection.execute(live), *connection.execute(coming)]:
                found.setdefault((model, number), set()).add(endpoint)
        return {version: sorted(names) for version, names in found.items()}

    @command()
    def deploy(
        self,
        *,
        version: str,
        endpoint: str | None = None,
        steps: list[str] | None = None,
        hold: str | None = None,
    ) -> Rollout:
        """Roll a version (``NAME:NUMBER`` or ``NAME@ALIAS``) out to an endpoint, named like its model if not given.

        Goes through the steps of the project's file, or those given. The first version of an endpoint goes straight to all
        requests. Where production needs an approval, the rollout waits for it.
        """
        found = self._registry.resolve(ref=version)
        if not found.package:
            raise Invalid(
                f"Version '{found.ref}' was registered from '{found.source}' without a package, so nothing can serve it yet."
            )
        policy = self._scope.project(name=found.project).spec.rollout
        if steps is not None:
            check_steps(steps, "steps")
        name = endpoint or found.model
        if not re.fullmatch(NAME, name):
            raise Invalid(
                f"'{name}' cannot name an endpoint: use letters, digits, hyphens, dots and underscores."
            )
        with self._database.write() as transaction:
            current = self._ensure_endpoint(transaction, name, found.project, found.model)
            self._refuse_second(transaction, name, found.project)
            wanted = steps or policy.way
            rollout = Rollout(
                id=new_id("rollout"),
                endpoint=name,
                model=found.model,
                number=found.number,
                previous=current,
                steps=wanted if current is not None else ["100%"],
                position=-1,
                hold_seconds=duration(hold or policy.hold).total_seconds(),
                min_requests=policy.min_requests,
                state="waiting",
                reason="",
                gates=[],
                step_started_at=self._clock.now(),
                created_at=self._clock.now(),
                ended_at=None,
                actor=current_act().actor,
                cause=None,
                part=None,
            )
            cause = self._events.append(
                transaction,
                RolloutStarted(**_about(rollout, found.project), steps=rollout.steps),
            )
            row = {f: getattr(rollout, f) for f in rollout.__struct_fields__}
            row |= {
                "steps": to_text(rollout.steps),
                "gates": to_text(rollout.gates),
                "cause": cause,
            }
            transaction.execute(rollouts.insert().values(row))
        self._reconcile(name)
        return self.rollout(id=rollout.id)

    @command()
    def abort(self, *, endpoint: str, reason: str) -> Rollout:
        """Stop the endpoint's rollout; the champion answers alone again."""
        active = self._active(endpoint)
        if active is None:
            raise Conflict(f"Endpoint '{endpoint}' has no rollout under way.")
        self._end(
            active,
            "aborted",
            RolloutAborted(**_about(active, self._project(active)), reason=reason),
            reason,
            by=current_act().actor,
        )
        self._reconcile(endpoint)
        return self.rollout(id=active.id)

    @command()
    def pause(self, *, endpoint: str, reason: str) -> Rollout:
        """Keep the endpoint's rollout at its step until it is resumed. What fails is still rolled back."""
        return self._set_state(endpoint, "running", "paused", RolloutPaused, reason)

    @command()
    def resume(self, *, endpoint: str, reason: str) -> Rollout:
        """Let a paused rollout go on."""
        return self._set_state(endpoint, "paused", "running", RolloutResumed, reason)

    @command()
    def promote(self, *, endpoint: str, reason: str) -> Rollout:
        """Give the endpoint's rollout all requests now, whatever its gates still wait for."""
        active = self._active(endpoint)
        if active is None or active.state == "waiting":
            what = "waits for an approval" if active else "has no rollout under way"
            raise Conflict(f"Endpoint '{endpoint}' {what}, so nothing can be promoted.")
        about = _about(active, self._project(active))
        event = RolloutPromoted(**about, reason=reason, previous=active.previous)
        self._end(active, "promoted", event, reason, by=current_act().actor)
        self._reconcile(endpoint)
        return self.rollout(id=active.id)

    @command()
    def roll_back(self, *, endpoint: str, reason: str) -> Endpoint:
        """Undo the last change, at once: abort the rollout under way, or go back to the champion before this one."""
        if self._active(endpoint) is not None:
            self.abort(endpoint=endpoint, reason=reason)
            return self.endpoint(name=endpoint)
        promoted = self.rollouts(endpoint=endpoint, state="promoted", limit=1)
        current = self.endpoint(name=endpoint)
        if not promoted or promoted[0].previous is None:
            raise Conflict(
                f"Endpoint '{endpoint}' has had one version only, so there is none to go back to."
            )
        last = promoted[0]
        with self._database.write() as transaction:
            self._set_champion(transaction, current.name, last.previous)
            transaction.execute(
                rollouts.update()
                .where(rollouts.c.id == last.id)
                .values(state="rolled back", reason=reason)
            )
            about = _about(last, current.project)
            event = RolloutRolledBack(**about, step="after promotion", reason=reason)
            self._events.append(transaction, event)
        self._reconcile(endpoint)
        return self.endpoint(name=endpoint)

    @command()
    def remove(self, *, endpoint: str) -> None:
        """End an endpoint and its processes. Its inference log stays."""
        found = self.endpoint(name=endpoint)
        with self._database.write() as transaction:
            reason = "the endpoint was removed"
            mine = (rollouts.c.endpoint == endpoint) & rollouts.c.state.in_(ACTIVE)
            for row in transaction.execute(select(rollouts).where(mine)).mappings().all():
                about = _about(_rollout(row), found.project)
                self._events.append(transaction, RolloutAborted(**about, reason=reason))
            ended = {"state": "aborted", "reason": reason, "ended_at": self._clock.now()}
            transaction.execute(rollouts.update().where(mine).values(ended))
            transaction.execute(endpoints.delete().where(endpoints.c.name == endpoint))
            event = EndpointRemoved(endpoint=endpoint, project=found.project, model=found.model)
            self._events.append(transaction, event)
        self._target.remove(endpoint)

    @query()
    def endpoint(self, *, name: str) -> Endpoint:
        """One endpoint, with where it answers now."""
        with self._database.read() as connection:
            row = (
                connection.execute(select(endpoints).where(endpoints.c.name == name))
                .mappings()
                .one_or_none()
            )
            if row is None:
                known = connection.scalars(select(endpoints.c.name)).all()
                raise NotFound(f"There is no endpoint '{name}'.{did_you_mean(name, known)}")
        return self._observed(row)

    @query()
    def endpoints(self, *, project: str | None = None) -> list[Endpoint]:
        """All endpoints by name, of one project if given."""
        wanted = select(endpoints).order_by(endpoints.c.name)
        if project:
            wanted = wanted.where(endpoints.c.project == project)
        with self._database.read() as connection:
            return [self._observed(row) for row in connection.execute(wanted).mappings().all()]

    @query()
    def spec(self, *, endpoint: str) -> EndpointSpec:
        """What an endpoint should be now: its variants with their parts of the requests, and its replicas."""
        self.endpoint(name=endpoint)
        wanted = self._wanted(endpoint)
        if wanted is None:
            raise Conflict(
                f"Endpoint '{endpoint}' has no champion yet: its first version waits for an approval."
            )
        return wanted

    @query()
    def forecast(self, *, endpoint: str, hours: int = 24) -> list[ExpectedLoad]:
        """The load to expect in the coming hours, by what the same hours brought in the weeks before, and the replicas it takes."""
        if not 0 < hours <= MOST_HOURS:
            raise Invalid(f"Field 'hours': {hours} is not between 1 and {MOST_HOURS}.")
        policy = self._scope.project(name=self.endpoint(name=endpoint).project).spec.serving
        return self._scaling.expected(endpoint, policy, hours)

    @query()
    def rollout(self, *, id: str) -> Rollout:
        """One rollout."""
        with self._database.read() as connection:
            row = (
                connection.execute(select(rollouts).where(rollouts.c.id == id))
                .mappings()
                .one_or_none()
            )
        if row is None:
            raise NotFound(f"There is no rollout '{id}'.")
        return _rollout(row)

    @query()
    def rollouts(
        self, *, endpoint: str | None = None, state: RolloutState | None = None, limit: int = 50
    ) -> list[Rollout]:
        """Rollouts, newest first, of one endpoint or in one state if given."""
        wanted = select(rollouts).order_by(rollouts.c.id.desc()).limit(limit)
        if endpoint:
            wanted = wanted.where(rollouts.c.endpoint == endpoint)
        if state:
            wanted = wanted.where(rollouts.c.state == state)
        with self._database.read() as connection:
            return [_rollout(row) for row in connection.execute(wanted).mappings()]

    def reconcile(self) -> int:
        """Move every rollout on as far as it can go now, and make the target what it should be."""
        moved, names = 0, [row["name"] for row in self._all()]
        for name in names:
            try:
                moved += self._reconcile(name)
            except TreadleError as error:  # one endpoint's trouble stops no other
                log.warning("endpoint '%s': %s", name, error.message)
            except Exception:
                log.exception("endpoint '%s' could not be reconciled", name)
        for stray in set(self._target.endpoints()) - set(names):
            self._target.remove(stray)
            moved += 1
        return moved

    def _reconcile(self, name: str) -> int:
        active = self._active(name)
        self._tallies = {
            key: t
            for key, t in self._tallies.items()
            if key[0] != name or (active and key[1] == active.id)
        }
        moved = self._advance(active) if active is not None else 0
        return moved + self._scale(name) + self._converge(name) + self._follow_alias(name)

    def _advance(self, rollout: Rollout) -> int:
        if rollout.state == "waiting":
            leave = self._leave_to_start(rollout)
            return self._enter(rollout, 0, leave) if leave else 0
        status = self._target.observe(rollout.endpoint)
        if (
            status is None
            or not status.ready
            or status.generation != self._generation(rollout.endpoint)
        ):
            return 0
        results = self._judge(rollout)
        verdict = gates.decide(results)
        if rollout.state == "paused" and verdict.decision != "roll back":
            return 0
        if verdict.decision == "roll back":
            about = _about(rollout, self._project(rollout))
            event = RolloutRolledBack(**about, step=rollout.step, reason=verdict.reason)
            return self._end(rollout, "rolled back", event, verdict.reason, results)
        if verdict.decision == "promote":
            return self._enter(rollout, rollout.position + 1, _summary(results), results)
        if rollout.step == "bandit" and rollout.state == "running":
            self._follow_rewards(rollout)
        if results != rollout.gates:
            with self._database.write() as transaction:
                values = {"gates": to_text(results), "reason": verdict.reason}
                still = (rollouts.c.id == rollout.id) & rollouts.c.state.in_(ACTIVE)
                transaction.execute(rollouts.update().where(still).values(values))
        return 0

    def _follow_rewards(self, rollout: Rollout) -> None:
        """Give a bandit's candidate the share that its rewards so far call for."""
        _, tally = self._tallies[rollout.endpoint, rollout.id, rollout.position]
        wanted = tally.rewards.share() if all(tally.rewards.counts) else share(rollout.step)
        current = share(rollout.step) if rollout.part is None else rollout.part
        if abs(wanted - current) < experiments.SHIFT:
            return
        still = (rollouts.c.id == rollout.id) & (rollouts.c.state == "running")
        with self._database.write() as transaction:
            if transaction.execute(rollouts.update().where(still).values(part=wanted)).rowcount:
                self._bump(transaction, rollout.endpoint)

    def _leave_to_start(self, rollout: Rollout) -> str | None:
        """Why a waiting rollout may start now, or None while it may not."""
        version = self._registry.get(model=rollout.model, number=rollout.number)
        policy = self._scope.project(name=version.project).spec.rollout
        if self._frozen(policy) is not None:
            return None
        approval = version.approval
        other = approval is not None and not (policy.four_eyes and approval.by == rollout.actor)
        if (
            approval
            and other
            and self._registry.verify_approval(model=rollout.model, number=rollout.number)
        ):
            return f"approved by {approval.by}"
        return None if policy.approve else "no approval is asked for"

    def _frozen(self, policy: RolloutPolicy) -> GateResult | None:
        """That nothing is released now, if so."""
        now = self._clock.now()
        ends = [end for text in policy.freeze if (end := Freeze.read(text).until(now)) is not None]
        if not ends:
            return None
        reason = f"releases are frozen until {max(ends):%Y-%m-%d %H:%M}"
        return GateResult(gate="freeze", decision="hold", reason=reason)

    def _set_state(
        self,
        endpoint: str,
        before: RolloutState,
        after: RolloutState,
        event: type[RolloutPaused | RolloutResumed],
        reason: str,
    ) -> Rollout:
        active = self._active(endpoint)
        if active is None or active.state != before:
            what = f"is {active.state}" if active else "has no rollout under way"
            raise Conflict(
                f"Endpoint '{endpoint}': its rollout {what}; only one that is {before} can be {after}."
                if active
                else f"Endpoint '{endpoint}' {what}."
            )
        about = _about(active, self._project(active))
        still = (rollouts.c.id == active.id) & (rollouts.c.state == before)
        with self._database.write() as transaction:
            if transaction.execute(
                rollouts.update().where(still).values(state=after, reason=reason)
            ).rowcount:
                self._events.append(transaction, event(**about, step=active.step, reason=reason))
        return self.rollout(id=active.id)

    def _enter(
        self, rollout: Rollout, position: int, reason: str, results: list[GateResult] | None = None
    ) -> int:
        """Begin a step; a step of all requests is the promotion."""
        about = _about(rollout, self._project(rollout))
        if position >= len(rollout.steps) or share(rollout.steps[position]) >= 1:
            event: Event = RolloutPromoted(**about, reason=reason, previous=rollout.previous)
            return self._end(rollout, "promoted", event, reason, results)
        step = rollout.steps[position]
        still = (
            (rollouts.c.id == rollout.id)
            & (rollouts.c.position == rollout.position)
            & rollouts.c.state.in_(ACTIVE)
        )
        with self._database.write() as transaction, acting(rollout.actor, cause=rollout.cause):
            values = {
                "state": "running",
                "position": position,
                "reason": reason,
                "gates": to_text(results or []),
            }
            values |= {"step_started_at": self._clock.now(), "part": None}
            if transaction.execute(rollouts.update().where(still).values(values)).rowcount:
                self._bump(transaction, rollout.endpoint)
                self._events.append(transaction, RolloutAdvanced(**about, step=step, reason=reason))
        return 1

    def _end(
        self,
        rollout: Rollout,
        state: RolloutState,
        event: Event,
        reason: str,
        results: list[GateResult] | None = None,
        by: str | None = None,
    ) -> int:
        """End a rollout, in the name of who deployed it unless somebody else ends it."""
        still = (rollouts.c.id == rollout.id) & rollouts.c.state.in_(ACTIVE)
        with (
            self._database.write() as transaction,
            acting(by or rollout.actor, cause=rollout.cause),
        ):
            values = {"state": state, "reason": reason, "ended_at": self._clock.now()}
            values["gates"] = to_text(results if results is not None else rollout.gates)
            if not transaction.execute(rollouts.update().where(still).values(values)).rowcount:
                return 0
            if state == "promoted":
                self._set_champion(transaction, rollout.endpoint, rollout.number)
            else:
                self._bump(transaction, rollout.endpoint)
            self._events.append(transaction, event)
        return 1

    def _judge(self, rollout: Rollout) -> list[GateResult]:
        """All gates over what the current step has shown."""
        spec, tally = self._spec(rollout), self._tally(rollout)
        policy, shadow, kind = spec.rollout, rollout.step == "shadow", experiment(rollout.step)
        wanted = gates.measurable(spec.requirement)
        if wanted or kind:
            learnt = self._learnt.get(rollout.id, rollout.step_started_at)
            tally.learn(
                self._data.labels_since(
                    spec.project.name, max(learnt - LABELS_OVERLAP, rollout.step_started_at)
                ),
                None if kind else wanted[0].metric,
            )
            self._learnt[rollout.id] = self._clock.now()
        hold = timedelta(seconds=rollout.hold_seconds)
        waits = bool(policy.wait_for_labels and spec.labelled)
        delay = duration(spec.labelled.label_delay) if spec.labelled else timedelta()
        step = gates.Step(
            newcomer="shadow" if shadow else "candidate",
            share=0.5 if shadow else share(rollout.step),
            started=rollout.step_started_at,
            now=self._clock.now(),
            hold=hold,
            min_requests=rollout.min_requests,
            error_margin=percentage(policy.error_margin) if policy.error_margin else None,
            requirements=spec.requirement,
            min_labels=spec.monitoring.min_labels,
            labels_due=hold + delay if waits else None,
            patience=duration(policy.wait_for_labels) if waits else timedelta(),
            without_labels=policy.without_labels,
            steps=len([name for name in rollout.steps if share(name) < 1]),
            max_shift=percentage(policy.max_shift) if policy.max_shift else None,
            max_disagreement=percentage(policy.max_disagreement)
            if policy.max_disagreement
            else None,
            experiment=Experiment(kind, duration(policy.experiment), spec.monitoring.min_labels)
            if kind
            else None,
        )
        frozen = self._frozen(policy)
        return gates.judge(step, tally) + ([frozen] if frozen else [])

    def _tally(self, rollout: Rollout) -> gates.StepStatistics:
        key = (rollout.endpoint, rollout.id, rollout.position)
        if key not in self._tallies:
            part = 0.5 if rollout.step == "shadow" else share(rollout.step)
            self._tallies[key] = (
                self._logs.tail(rollout.endpoint, rollout.step_started_at),
                gates.StepStatistics(part),
            )
            self._learnt.pop(rollout.id, None)
        tail, tally = self._tallies[key]
        generation = self._generation(rollout.endpoint)
        for batch in tail.batches():  # a bandit's shares make generations of one step
            if batch.facts.generation == generation or rollout.step == "bandit":
                tally.add(batch)
        return tally

    def _scale(self, name: str) -> int:
        """Look from time to time how many replicas there should be, and say so where that is not what was wanted."""
        if not self._scaling.due(name):
            return 0
        row, status = self._row(name), self._target.observe(name)
        if row is None or status is None:
            return 0
        policy = self._scope.project(name=row["project"]).spec.serving
        if policy.scales:
            before, found = (
                _replicas(row, policy),
                self._scaling.look(name, policy, status.replicas),
            )
            if found.replicas != before:
                with self._database.write() as transaction:
                    here = endpoints.c.name == name
                    transaction.execute(
                        endpoints.update().where(here).values(replicas=found.replicas)
                    )
                    event = EndpointScaled(
                        endpoint=name,
                        project=row["project"],
                        before=before,
                        replicas=found.replicas,
                        reason=found.reason,
                    )
                    self._events.append(transaction, event)
        spec = self._wanted(name)
        if spec is None or status.wanted == spec.replicas or status.generation != spec.generation:
            return 0
        self._target.apply(spec)
        return 1

    def _converge(self, name: str) -> int:
        """Make the target what the records say. Repeats what a crash left undone."""
        status = self._target.observe(name)
        if status is not None and status.generation == self._generation(name):
            return 0
        spec = self._wanted(name)
        if spec is None:
            return 0
        self._target.apply(spec)
        return 1

    def _wanted(self, name: str) -> EndpointSpec | None:
        row = self._row(name)
        if row is None or row["champion"] is None:
            return None
        variants = [self._variant(row["model"], row["champion"], "champion", 1.0)]
        active = self._active(name)
        if active is not None and active.state in UNDER_WAY:
            part = share(active.step) if active.part is None else active.part
            variants = [self._variant(row["model"], row["champion"], "champion", 1.0 - part)]
            role = "shadow" if active.step == "shadow" else "candidate"
            variants.append(self._variant(active.model, active.number, role, part))
        spec = self._scope.project(name=row["project"]).spec
        return EndpointSpec(
            name=name,
            generation=row["generation"],
            variants=variants,
            replicas=_replicas(row, spec.serving),
            log_share=percentage(spec.serving.log)
            if len(variants) == 1
            else 1.0,  # gates judge by every request
            without_log=spec.serving.without_log,
        )

    def _variant(self, model: str, number: int, role: Any, weight: float) -> Variant:
        version = self._registry.get(model=model, number=number)
        return Variant(version=version.ref, package=version.package, role=role, weight=weight)

    def _ensure_endpoint(
        self, transaction: Connection, name: str, project: str, model: str
    ) -> int | None:
        """The endpoint's champion; the endpoint is made if it is not there."""
        row = (
            transaction.execute(select(endpoints).where(endpoints.c.name == name))
            .mappings()
            .one_or_none()
        )
        if row is not None:
            if row["project"] != project:
                raise Conflict(
                    f"Endpoint '{name}' belongs to project '{row['project']}', not '{project}'."
                )
            if row["model"] != model:
                raise Conflict(
                    f"Endpoint '{name}' serves model '{row['model']}', not '{model}'. Name another endpoint."
                )
            champion: int | None = row["champion"]
            return champion
        values = {
            "name": name,
            "project": project,
            "model": model,
            "generation": 0,
            "created_at": self._clock.now(),
        }
        transaction.execute(endpoints.insert().values(values))
        event = EndpointCreated(endpoint=name, project=project, model=model)
        self._events.append(transaction, event)
        return None

    def _refuse_second(self, transaction: Connection, name: str, project: str) -> None:
        """One rollout at a time; one that has not begun gives way to a newer version."""
        active = (rollouts.c.endpoint == name) & rollouts.c.state.in_(ACTIVE)
        for row in transaction.execute(select(rollouts).where(active)).mappings().all():
            found = _rollout(row)
            if found.state != "waiting":
                raise Conflict(
                    f"Endpoint '{name}' is at step '{found.step}' of rolling out {found.version}. "
                    f"Wait for it, or: treadle rollback {name}"
                )
            values = {
                "state": "aborted",
                "reason": "a newer version came first",
                "ended_at": self._clock.now(),
            }
            transaction.execute(rollouts.update().where(rollouts.c.id == found.id).values(values))
            about = _about(found, project)
            event = RolloutAborted(**about, reason="a newer version came first")
            self._events.append(transaction, event)

    def _set_champion(self, transaction: Connection, name: str, number: int | None) -> None:
        transaction.execute(
            endpoints.update().where(endpoints.c.name == name).values(champion=number)
        )
        self._bump(transaction, name)

    def _bump(self, transaction: Connection, name: str) -> None:
        here = endpoints.c.name == name
        transaction.execute(
            endpoints.update().where(here).values(generation=endpoints.c.generation + 1)
        )

    def _follow_alias(self, name: str) -> int:
        """The endpoint that is named like its model says which version is the model's champion."""
        row = self._row(name)
        if row is None or name != row["model"] or row["champion"] is None:
            return 0
        number = row["champion"]
        if CHAMPION in self._registry.get(model=name, number=number).aliases:
            return 0
        newest = self._events.history(subject=f"endpoint:{name}", newest_first=True, limit=1)
        actor, cause = (
            (newest[0].actor, newest[0].number) if newest else (current_act().actor, None)
        )
        with acting(actor, cause=cause):
            self._registry.set_alias(model=name, alias=CHAMPION, number=number)
        return 1

    def _active(self, endpoint: str) -> Rollout | None:
        return next(
            (r for state in ACTIVE for r in self.rollouts(endpoint=endpoint, state=state, limit=1)),
            None,
        )

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
        return load(Endpoint, row, urls=urls, ready=ready)


def _replicas(row: Mapping[Any, Any], policy: ServingPolicy) -> int:
    """How many replicas an endpoint should have: as many as were last found to be needed, within what is declared now."""
    if not policy.scales:
        return policy.replicas
    last = row["replicas"]
    return min(max(policy.replicas if last is None else last, policy.replicas), policy.max_replicas)


def _about(rollout: Rollout, project: str) -> dict[str, Any]:
    """What every event of a rollout tells."""
    return {
        "rollout": rollout.id,
        "endpoint": rollout.endpoint,
        "project": project,
        "model": rollout.model,
        "number": rollout.number,
    }


def _summary(results: list[GateResult]) -> str:
    return "; ".join(result.reason for result in results)


def _rollout(row: Mapping[Any, Any]) -> Rollout:
    return load(
        Rollout,
        row,
        steps=from_json(row["steps"], list[str]),
        gates=from_json(row["gates"], list[GateResult]),
    )
