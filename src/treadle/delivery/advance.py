"""Moves rollouts from step to step, as their gates, approvals and freezes allow."""

from contextlib import suppress
from datetime import timedelta

from treadle.delivery import experiments, gates
from treadle.delivery.experiments import Experiment
from treadle.delivery.model import (
    GateResult,
    Rollout,
    RolloutRolledBack,
)
from treadle.delivery.records import ACTIVE
from treadle.delivery.sides import Sides
from treadle.delivery.tables import rollouts
from treadle.delivery.transitions import RolloutTransitions, facts_of
from treadle.kernel.clock import duration
from treadle.kernel.entity import to_text
from treadle.kernel.errors import Corrupt, Invalid, NotFound
from treadle.registry.signatures import signature_of
from treadle.scope.file import experiment, share
from treadle.scope.freeze import Freeze
from treadle.scope.policies import RolloutPolicy
from treadle.scope.shares import percentage

LABELS_OVERLAP = timedelta(minutes=1)  # a label may be written a moment after the time it bears


class RolloutAdvance(RolloutTransitions):
    """Takes the next step of a rollout when it may."""

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
            about = facts_of(rollout, self._project(rollout))
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
                gates.StepStatistics(part, self._sides(rollout)),
            )
            self._learnt.pop(rollout.id, None)
        tail, tally = self._tallies[key]
        generation = self._generation(rollout.endpoint)
        for batch in tail.batches():  # a bandit's shares make generations of one step
            if batch.facts.generation == generation or rollout.step == "bandit":
                tally.add(batch)
        return tally

    def _sides(self, rollout: Rollout) -> Sides:
        """What the champion and the newcomer answer, as far as their packages tell."""
        champion = self.endpoint(name=rollout.endpoint).champion
        numbers = [number for number in (champion, rollout.number) if number is not None]
        known = {}
        for number in numbers:
            version = self._registry.get(model=rollout.model, number=number)
            with suppress(Invalid, Corrupt, NotFound):
                if (signature := signature_of(self._blobs, version.package)) is not None:
                    known[version.ref] = signature
        source = self._spec(rollout).labelled
        return Sides(known, source.positive if source else None)


def _summary(results: list[GateResult]) -> str:
    return "; ".join(result.reason for result in results)
